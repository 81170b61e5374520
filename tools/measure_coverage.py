#!/usr/bin/env python3
"""Count which lines and branches of four packages the tests reach, and end with 1 below 95 % of one of them.

    measure_coverage.py [PYTEST ARGUMENT ...]

The tests that speak of the packages are run with coverage.py (lines and branches together), by two workers; what a test
starts in another process is not counted.  Some lines are for some interpreters alone, so what reads code objects is
tested under every other one that is installed as well, and a line or branch counts that was reached under any.

Two things would have a measured run take other paths than one that is not:
livepatch tells of tools that watch code and reads no bytecode beside them, so `tools/unseen_tracer.py` hides it;
and pytest rewrites the assertions of the whole package, because a plugin is in it, so it is told not to.

What was not reached is in `.reports/coverage.txt`. Arguments go to pytest; those that name tests replace the choice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import ROOT, Interpreter, SetupError, activated, ensure, find_interpreters

REPORTS = ROOT / ".reports"
PACKAGES = ("engine", "compat", "bundle", "govern")
LEAST = 95.0  # percent of the lines and branches of each package

# It holds a reader to seconds of processor time, of which the tracer takes several times as many.
LEFT_OUT = "tests/attacks/test_bundle_files.py::test_lengths_that_lie_cost_nothing"
TESTS = [
    *PACKAGES,
    *("attacks", "cli", "contents", "documents", "health", "node", "probing", "process", "property", "state"),
    *("testing", "fleet/test_planfile.py", "fleet/test_planning.py", "test_*.py"),
]
OF_EACH = ["engine", "compat", "test_*.py"]
"""What is tested under every interpreter: what reads code objects, of which each has its own."""

SUPPORTED = ("3.12", "3.13", "3.11", "3.14", "3.15")
"""The first of them that is installed runs all; tracing costs least from 3.12 on."""


@dataclass(frozen=True, slots=True)
class Figure:
    """How many lines and branches a package has, and how many of them were reached."""

    lines: int = 0
    lines_reached: int = 0
    branches: int = 0
    branches_reached: int = 0

    @property
    def percent(self) -> float:
        """Lines and branches together, as coverage.py counts; 0 for a package of which nothing was measured."""
        total = self.lines + self.branches
        return 100 * (self.lines_reached + self.branches_reached) / total if total else 0.0

    def with_file(self, summary: Mapping[str, Any]) -> Figure:
        """The same with what coverage.py says of one file."""
        return Figure(
            self.lines + summary["num_statements"],
            self.lines_reached + summary["covered_lines"],
            self.branches + summary["num_branches"],
            self.branches_reached + summary["covered_branches"],
        )


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The figure of each package in what ``coverage json`` wrote."""
    found = dict.fromkeys(PACKAGES, Figure())
    for path, file in report["files"].items():
        parts = Path(path).parts
        package = parts[parts.index("livepatch") + 1]
        found[package] = found[package].with_file(file["summary"])
    return found


def not_reached(report: Mapping[str, Any]) -> Iterator[str]:
    """By file, the lines that nothing reached, and the branches ``FROM->TO`` of those that were, from line to line."""
    for path, file in sorted(report["files"].items()):
        lines = set(file["missing_lines"])
        branches = [f"{start}->{end}" for start, end in file["missing_branches"] if start not in lines]
        if lines or branches:
            yield f"{path}: {', '.join([*map(str, sorted(lines)), *branches])}"


def below(found: Mapping[str, Figure]) -> list[str]:
    """The packages of which less than :data:`LEAST` percent was reached."""
    return [package for package, figure in found.items() if figure.percent < LEAST]


def chosen(arguments: list[str], tests: list[str]) -> list[str]:
    """What pytest is asked: the arguments, with the tests that speak of the packages unless they name tests."""
    if any((ROOT / argument.partition("::")[0]).exists() for argument in arguments if argument):
        return arguments
    paths = (path for part in tests for path in (ROOT / "tests").glob(part))
    return [*arguments, *sorted(str(path.relative_to(ROOT)) for path in paths)]


def _coverage(directory: Path, *arguments: str) -> int:
    command = [str(directory / "bin" / "python"), "-m", "coverage", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, env=activated(directory)).returncode


def _prepared(interpreter: Interpreter) -> Path:
    print(f"setting up .venvs/coverage-{interpreter.series}", file=sys.stderr, flush=True)
    requirements = ["--editable", ".[test]", "coverage>=7.10"]
    return ensure(f"coverage-{interpreter.series}", interpreter, requirements)


def _test(directory: Path, asked: list[str]) -> int:
    how = ["-n", "2", "--assert=plain", "-p", "tools.unseen_tracer", "-o", f"cache_dir=.pytest_cache/{directory.name}"]
    return _coverage(directory, "run", "-m", "pytest", *how, "--deselect", LEFT_OUT, *asked)


def main(arguments: list[str]) -> int:
    """Run the tests, print the four figures; non-zero if a test failed or a figure is too low."""
    (REPORTS / "coverage").mkdir(parents=True, exist_ok=True)
    try:
        directories = [_prepared(each) for each in find_interpreters(SUPPORTED)]
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    first = directories[0]
    _coverage(first, "erase")
    tested = 0
    for directory in directories:
        tests = TESTS if directory == first else OF_EACH
        tested = _test(directory, chosen(arguments, tests)) or tested
    written = REPORTS / "coverage.json"
    for step in (["combine", "--quiet"], ["json", "--quiet", "-o", str(written)]):
        if status := _coverage(first, *step):
            return status
    report = json.loads(written.read_text())
    (REPORTS / "coverage.txt").write_text("".join(f"{line}\n" for line in not_reached(report)))
    found = figures(report)
    for package, figure in found.items():
        print(
            f"{package:<8} {figure.percent:5.1f} %"
            f"  lines {figure.lines_reached}/{figure.lines}, branches {figure.branches_reached}/{figure.branches}"
        )
    if short := below(found):
        print(f"below {LEAST:g} %: {', '.join(short)}; what was not reached is in .reports/coverage.txt")
    return tested or bool(short)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
