#!/usr/bin/env python3
"""Run the tests under every supported Python that is installed, each in an environment of its own.

    test_everywhere.py [PYTEST ARGUMENT ...]

One interpreter after another, each with one worker more than there are processors, because many tests wait. Each
one's output is kept in `.reports/` and printed whole, the lowest version last, so that what ends the run is pytest's
own summary. The status is 0 if all passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from environment import ROOT, Interpreter, SetupError, activated, ensure, find_interpreters

REPORTS = ROOT / ".reports"
# A worker that has nothing left to do takes from the other.
WORKERS = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal", "--durations", "15"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one interpreter's run came to."""

    interpreter: Interpreter
    status: int
    report: Path


def run_tests(interpreter: Interpreter, arguments: list[str]) -> Outcome:
    """Run pytest under one interpreter, its output kept in a file."""
    report = REPORTS / f"{interpreter.series}.txt"
    with report.open("w") as output:
        try:
            directory = ensure(interpreter.series, interpreter, ["--editable", ".[test]"])
        except SetupError as error:
            output.write(f"set-up failed: {error}\n")
            return Outcome(interpreter, 2, report)
        cache = f"cache_dir=.pytest_cache/{interpreter.series}"  # side by side, each keeps its own
        status = subprocess.run(
            [directory / "bin" / "python", "-m", "pytest", "-o", cache, *WORKERS, *arguments],
            cwd=ROOT,
            env=activated(directory),
            check=False,
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    return Outcome(interpreter, status, report)


def run_alone(interpreter: Interpreter, arguments: list[str]) -> int:
    """Run pytest under the only interpreter there is, its output shown as it comes."""
    try:
        directory = ensure(interpreter.series, interpreter, ["--editable", ".[test]"])
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    command = [str(directory / "bin" / "python"), "-m", "pytest", *WORKERS, *arguments]
    return subprocess.run(command, cwd=ROOT, env=activated(directory), check=False).returncode


def main(arguments: list[str]) -> int:
    """Test everywhere; non-zero if any interpreter failed."""
    try:
        interpreters = find_interpreters()
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    print(f"testing under Python {', '.join(each.series for each in interpreters)}", flush=True)
    if len(interpreters) == 1:
        return run_alone(interpreters[0], arguments)
    REPORTS.mkdir(exist_ok=True)
    outcomes = [run_tests(each, arguments) for each in interpreters]
    for outcome in reversed(outcomes):
        verdict = "passed" if outcome.status == 0 else f"failed with status {outcome.status}"
        print(f"\n===== Python {outcome.interpreter.series}: {verdict}\n")
        sys.stdout.write(outcome.report.read_text(errors="replace"))
        sys.stdout.flush()
    return 1 if any(outcome.status for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
