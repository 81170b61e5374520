"""The process that runs a vulnerable release: patched and reverted, or treated by one of livepatch's peers.

Started by run.py, with what to do as JSON on the command line; the last line that it prints is what came of it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from case import Case
from peers import reload_modules, swap_code
from picture import Picture, differences, take

MARK = "@@RESULT@@"
T = TypeVar("T")


class _WrongError(Exception):
    """Something did not hold that must."""


def _expect(when: str, probe: ModuleType, *, exploitable: bool) -> None:
    """Hold the exploit against what it must do, and normal use against what it always must."""
    try:
        exploited = probe.exploit()
    except BaseException as error:
        raise _WrongError(f"exploit() {when} raised {type(error).__name__}: {error}") from error
    if exploited is not exploitable:
        raise _WrongError(f"exploit() {when} gave {exploited!r}")
    try:
        probe.regression()
    except BaseException as error:
        raise _WrongError(f"regression() {when} raised {type(error).__name__}: {error}") from error


def _same(picture: Picture, when: str) -> None:
    if found := differences(picture):
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise _WrongError(f"not identical {when}: {'; '.join(found[:3])}{more}")


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, action: Callable[[], T]) -> T:
        begun = time.perf_counter()
        try:
            return action()
        finally:
            self.seconds[step] = time.perf_counter() - begun


def _tops(tree: Path) -> set[str]:
    """The top-level packages and modules of a release."""
    return {path.stem for path in tree.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}


def _patch(case: Case, probe: ModuleType, before: Path, after: Path) -> dict[str, Any]:
    import livepatch

    clock = _Clock()
    result: dict[str, Any] = {"outcome": "WRONG", "why": "", "codes": [], "seconds": clock.seconds}
    try:
        _expect("before", probe, exploitable=True)
        only = list(case.only) or None
        built = clock(
            "build", lambda: livepatch.build(str(before), str(after), package=case.package, only=only, id=case.id)
        )
        file = Path(tempfile.mkdtemp(), "fix.lpatch")
        built.save(file)
        result["bytes"] = file.stat().st_size
        fix = clock("load", lambda: livepatch.load(file, trust=livepatch.UNSIGNED))
        picture = take(_tops(before))
        report = clock("check", lambda: livepatch.check(fix))
        result["codes"] = sorted({finding.code for finding in report.errors})
        result["findings"] = [str(finding) for finding in report.findings]
        try:
            applied = clock("apply", lambda: livepatch.apply(fix))
        except livepatch.IncompatibleError as error:
            result["why"] = str(error)
            if report.ok:
                raise _WrongError(f"check() said yes, apply() said no: {error}") from error
            _same(picture, "after a refusal")
            _expect("after a refusal", probe, exploitable=True)
            return {**result, "outcome": "refused"}
        if not report.ok:
            raise _WrongError("check() said no, apply() did it all the same")
        result |= {"targets": len(applied.status().targets), "switch_us": applied.switch_seconds * 1e6}
        _expect("when patched", probe, exploitable=False)
        clock("revert", applied.revert)
        applied.wait(timeout=10)
        _same(picture, "after the revert")
        _expect("after the revert", probe, exploitable=True)
        return {**result, "outcome": "patched"}
    except _WrongError as error:
        return {**result, "why": str(error)}
    except Exception:  # noqa: BLE001  # whatever else the library raises is its fault, and to be shown
        return {**result, "why": traceback.format_exc()}


def _treat(probe: ModuleType, treatment: Callable[[], None]) -> dict[str, Any]:
    """Whether a peer's way stops the exploit and leaves normal use as it was, seen by objects bound before."""
    _expect("before", probe, exploitable=True)
    try:
        treatment()
    except Exception as error:  # noqa: BLE001  # how it fails is the result
        return {"outcome": "breaks", "why": f"{type(error).__name__}: {error}"}
    try:
        probe.regression()
        exploited = probe.exploit()
        probe.regression()
    except BaseException as error:  # noqa: BLE001  # as above
        return {"outcome": "breaks", "why": f"{type(error).__name__}: {error}"}
    return {"outcome": "exploitable" if exploited else "fixed", "why": ""}


def _run(way: str, case: Case, site: Path, before: Path, after: Path) -> dict[str, Any]:
    for name in case.modules:
        importlib.import_module(name)
    probe = case.probe()
    if way == "livepatch":
        return _patch(case, probe, before, after)
    if way == "swap":
        return _treat(probe, lambda: swap_code(before, after, case.only))
    return _treat(probe, lambda: reload_modules(site, before, after, case.only))


def main() -> None:
    warnings.simplefilter("ignore")
    asked = json.loads(sys.argv[1])
    case = Case(**{name: tuple(value) if isinstance(value, list) else value for name, value in asked["case"].items()})
    paths = (Path(asked[name]) for name in ("site", "before", "after"))
    result = _run(asked["way"], case, *paths)
    sys.stdout.write(f"\n{MARK}{json.dumps(result)}\n")
    sys.stdout.flush()
    os._exit(0)  # whatever threads a package has left


if __name__ == "__main__":
    main()
