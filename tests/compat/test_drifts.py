"""Real packages in a process that is not what the patch was built for: each drift is refused or reported.

``pytest -s tests/compat/test_drifts.py`` prints what became of them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.drifting import KINDS, Drift, Kind, new_caller
from tests.drifts import PACKAGES, Specimen
from tests.sharing import in_turn

import livepatch
from livepatch.compat.report import Finding, Report

_SEVERITIES = ("error", "warning", "info")
_TRIES = 40
_LEAST = 28
"""How many drifts of each package there must be, where all kinds are drawn."""
_SHARE = 4
"""In the short form each kind is drawn for every fourth package."""


@pytest.fixture(scope="module", params=in_turn(PACKAGES))
def specimen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return Specimen(request.param, tmp_path_factory.mktemp(request.param), seed=1)


def drawn(specimen: Specimen, kind: Kind, seed: str) -> tuple[Drift, Report] | None:
    """One drift of a kind and what is said of it; `None` if the package has no place for it."""
    rng = random.Random(f"{seed} {specimen.distribution} {kind.name}")
    for _ in range(_TRIES):
        drift = kind.draw(specimen, rng)
        if drift is None:
            continue
        try:
            process = specimen.process(drift.texts, drift.optimize)
            patching = process.__enter__()
        except Exception:  # a package that cannot be imported runs in no process
            continue
        try:
            drift.act(specimen, patching)
            return drift, livepatch.check(specimen.patch)
        finally:
            process.__exit__(None, None, None)
    return None


def told(kind: Kind, drift: Drift, report: Report) -> bool:
    """Whether a report says of a drift what it deserves."""
    enough = _SEVERITIES[: _SEVERITIES.index(kind.severity) + 1]
    rows = [f for f in report.findings if f.code in kind.codes and f.severity in enough]
    return any(row.target.startswith(drift.target) for row in rows)


def hold(specimen: Specimen, kinds: list[Kind], seed: str) -> int:
    """Draw one drift of each kind; say how many there were."""
    missed = []
    became: Counter[str] = Counter()
    for kind in kinds:
        found = drawn(specimen, kind, seed)
        if found is None:
            continue
        drift, report = found
        is_told = told(kind, drift, report)
        verdict = ("refused" if not report.ok else "reported") if is_told else "MISSED"
        became[verdict] += 1
        sys.stdout.write(f"{specimen.distribution:15} {kind.name:28} {verdict:8} {drift.what[:70]!r}\n")
        if not is_told:
            missed.append((kind.name, drift, list(map(_shown, report.findings))))
    sys.stdout.write(f"{specimen.distribution:15} {became.total()} drifts: {dict(became)}\n")
    assert not missed
    return became.total()


def _shown(finding: Finding) -> tuple[str, ...]:
    return finding.severity, finding.code, finding.target, finding.found


def test_the_untouched_process_is_the_one_that_the_patch_is_for(specimen: Specimen):
    assert len(specimen.fixed) >= 5
    with specimen.process():
        report = livepatch.check(specimen.patch)
        assert report.ok, report
        assert [_shown(row) for row in report.findings if row.severity != "info"] == []
        assert {str(one) for one in specimen.fixed} <= {target.removesuffix(".fget") for target in report.targets}
        livepatch.apply(specimen.patch)


def test_drifts(specimen: Specimen):
    place = list(PACKAGES).index(specimen.distribution)
    assert hold(specimen, [kind for i, kind in enumerate(KINDS) if (i + place) % _SHARE == 0], "1") >= _LEAST // _SHARE


def test_there_are_three_hundred_drifts_and_each_kind_is_drawn():
    assert _LEAST * len(PACKAGES) >= 300
    assert len(PACKAGES) >= _SHARE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_more_drifts(specimen: Specimen, seed: int):
    assert hold(specimen, KINDS, f"more {seed}") >= _LEAST


@pytest.mark.parametrize("distribution", ["packaging", "idna", "outcome"])
def test_a_caller_from_outside_of_the_package(distribution: str, tmp_path: Path):
    specimen = Specimen(distribution, tmp_path, seed=1)
    one = next(each for each in specimen.fixed if "." not in each.qualname)
    drift, patch = new_caller(specimen, one), specimen.narrowed(one)
    with specimen.process() as patching:
        without = livepatch.check(patch)
        drift.act(specimen, patching)
        report = livepatch.check(patch)
    kind = Kind("caller set", lambda specimen, rng: drift, frozenset({"call-breaks", "call-may-break"}), "warning")
    assert told(kind, drift, report)
    assert not any(f"{specimen.top}_caller" in row.found for row in without.findings)
    assert any(f"{specimen.top}_caller" in row.found for row in report.findings)


_CHECK = """
import importlib, json, sys
import livepatch
path, names = sys.argv[1], sys.argv[2].split(",")
for name in names:
    importlib.import_module(name)
report = livepatch.check(path, trust=livepatch.UNSIGNED)
print(json.dumps([report.ok, sorted({row.code for row in report.findings if row.severity != "info"})]))
"""


@pytest.mark.parametrize(
    ("flags", "codes"), [((), []), (("-O",), ["asserts-stripped"]), (("-OO",), ["asserts-stripped"])]
)
def test_flags_of_the_interpreter(flags: tuple[str, ...], codes: list[str], tmp_path: Path):
    specimen = Specimen("iniconfig", tmp_path, seed=1)
    specimen.patch.save(tmp_path / "fix.lpatch")
    paths = os.pathsep.join([str(specimen.old), *filter(None, sys.path)])
    child = subprocess.run(
        [sys.executable, *flags, "-c", _CHECK, str(tmp_path / "fix.lpatch"), ",".join(specimen.modules)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(child.stdout.splitlines()[-1]) == [True, codes]
