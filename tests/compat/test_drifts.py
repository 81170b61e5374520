"""Real packages in a process that is not what the patch was built for: each drift is refused or reported.

``pytest -s tests/compat/test_drifts.py`` prints what became of them.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

import livepatch
from livepatch.report import Report
from tests.drifting import KINDS, Drift, Kind
from tests.drifts import PACKAGES, Specimen

_SEVERITIES = ("error", "warning", "info")
_TRIES = 40
_NOT_YET = {
    "decorator added": "nothing compares decorators",
    "decorator removed": "nothing compares decorators",
    "wrapped in memory": "nothing compares decorators",
    "kind of method": "nothing compares decorators",
    "base class added": "nothing compares bases",
    "base class removed": "nothing compares bases",
    "base class exchanged": "nothing compares bases",
    "return annotation": "nothing compares annotations",
}
# Where the code itself differs, a check ends early.  The others are drawn for every third package.
_QUICK = [kind for kind in KINDS if kind.severity == "error" and kind.name not in _NOT_YET]
_OTHERS = [kind for kind in KINDS if kind not in _QUICK and kind.name not in _NOT_YET]


@pytest.fixture(scope="module", params=list(PACKAGES))
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
        became["refused" if not report.ok else "reported"] += 1
        row = f"{specimen.distribution:15} {kind.name:28} {drift.what[:50]!r:54}"
        if told(kind, drift, report):
            print(row, "refused" if not report.ok else "reported", sep="")
        else:
            print(row, "MISSED", sep="")
            missed.append((kind.name, drift, [(f.severity, f.code, f.target, f.found) for f in report.findings]))
    assert not missed
    print(f"{specimen.distribution:15} {became.total()} drifts: {dict(became)}")
    return became.total()


def test_the_untouched_process_is_the_one_that_the_patch_is_for(specimen: Specimen):
    assert len(specimen.fixed) >= 5
    with specimen.process():
        report = livepatch.check(specimen.patch)
    assert report.ok, report
    assert [row for row in report.findings if row.severity != "info"] == []
    assert {str(one) for one in specimen.fixed} <= {target.removesuffix(".fget") for target in report.targets}


def test_drifts(specimen: Specimen):
    place = list(PACKAGES).index(specimen.distribution)
    kinds = [*_QUICK, *(kind for i, kind in enumerate(_OTHERS) if (i + place) % 3 == 0)]
    # With at least 25 of each package, there are 300 altogether.
    assert hold(specimen, kinds, "1") >= 25
    assert 25 * len(PACKAGES) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_more_drifts(specimen: Specimen, seed: int):
    hold(specimen, [kind for kind in KINDS if kind.name not in _NOT_YET], f"more {seed}")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.xfail(reason=_NOT_YET[kind.name], strict=True), id=kind.name)
        for kind in KINDS
        if kind.name in _NOT_YET
    ],
)
def test_what_is_not_told_yet(kind: Kind, tmp_path: Path):
    assert hold(Specimen("packaging", tmp_path, seed=1), [kind], "1") == 1
