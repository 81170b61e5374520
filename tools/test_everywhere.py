#!/usr/bin/env python3
"""Run the tests under every supported Python that is installed, each in an environment of its own.

    test_everywhere.py [PYTEST ARGUMENT ...]

One interpreter after another, each in two sessions, with one worker more than there are processors, because many
tests wait: what switches live code looks through all that a process has loaded, and need not look through the tests and
libraries of the rest. Arguments that name tests are run in one session.

Tests that hardly depend on the interpreter are shared: in the short form each of them runs under one.  What tests write
is kept in memory, where the system has room for that: many write through to the disk, and wait for it.

Each session's output is kept in `.reports/` and printed whole, the lowest version last, so that what ends the run is
pytest's own summary. The status is 0 if all passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from environment import ROOT, Interpreter, SetupError, activated, ensure, find_interpreters

REPORTS = ROOT / ".reports"
# A worker that has nothing left to do takes from the other.
WORKERS = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal", "--durations", "15"]


SWITCHING = [*("engine", "attacks", "stress", "property", "process", "state"), "test_*.py"]


SHARE = "LIVEPATCH_TESTS_SHARE"  # tests/sharing.py reads it

_MEMORY = "/dev/shm"  # noqa: S108  # a folder of our own is made in it
_ROOM = 2**31  # bytes; a session writes an eighth of that

NOTHING_CHOSEN = 5  # pytest's status where no test was chosen


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one session under one interpreter came to; no `report` where its output was shown as it came."""

    interpreter: Interpreter
    session: str
    status: int
    report: Path | None


def sessions_of(arguments: list[str]) -> dict[str, list[str]]:
    """What pytest is asked in each session, by the session's name."""
    if any((ROOT / argument.partition("::")[0]).exists() for argument in arguments if argument):
        return {"chosen": arguments}
    switching = sorted(str(path.relative_to(ROOT)) for part in SWITCHING for path in (ROOT / "tests").glob(part))
    others = [f"--ignore={path}" for path in switching]
    return {"around": [*arguments, *others], "switching": [*arguments, *switching]}


def prepare(interpreter: Interpreter, asked: list[str]) -> Path | SetupError:
    """Make the environment, and write what is compiled from the package and its tests; return where, or what failed.

    What is compiled is only read then, by the workers and by the hundreds of processes that tests start. Where
    PYTHONDONTWRITEBYTECODE is set, each of them would compile the package for itself.
    """
    try:
        directory = ensure(interpreter.series, interpreter, ["--editable", ".[test]"])
    except SetupError as error:
        return error
    python = str(directory / "bin" / "python")
    variables = activated(directory)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    collecting = [python, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "--quiet"]
    for command in ([python, "-m", "compileall", "-q", "src"], [*collecting, *asked]):
        # what is wrong with a test is told where it is run
        subprocess.run(command, cwd=ROOT, env=variables, check=False, capture_output=True)
    return directory


@contextmanager
def in_memory() -> Iterator[dict[str, str]]:
    """The variables by which temporary files are made in memory, until the end; none where the system cannot."""
    try:
        system = os.statvfs(_MEMORY)
    except OSError:
        system = None
    if system is None or system.f_bavail * system.f_frsize < _ROOM or system.f_flag & (os.ST_NOEXEC | os.ST_RDONLY):
        yield {}
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="livepatch-", ignore_cleanup_errors=True) as folder:
        yield {"TMPDIR": folder}


def run_tests(
    interpreter: Interpreter,
    prepared: Path | SetupError,
    session: str,
    arguments: list[str],
    report: Path | None,
    share: str,
) -> Outcome:
    """Run pytest under one interpreter, the output kept in `report` or shown as it comes."""
    with report.open("w") if report is not None else nullcontext() as output, in_memory() as variables:
        if isinstance(prepared, SetupError):
            print(f"set-up failed: {prepared}", file=output or sys.stderr)
            return Outcome(interpreter, session, 2, report)
        cache = f"cache_dir=.pytest_cache/{interpreter.series}-{session}"  # each keeps its own
        status = subprocess.run(
            [prepared / "bin" / "python", "-m", "pytest", "-o", cache, *WORKERS, *arguments],
            cwd=ROOT,
            env={**activated(prepared), **variables, SHARE: share},
            check=False,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
        ).returncode
    return Outcome(interpreter, session, status, report)


def main(arguments: list[str]) -> int:
    """Test everywhere; non-zero if anything failed, or if no test at all was chosen."""
    try:
        interpreters = find_interpreters()
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    print(f"testing under Python {', '.join(each.series for each in interpreters)}", flush=True)
    REPORTS.mkdir(exist_ok=True)
    sessions = sessions_of(arguments)
    with ThreadPoolExecutor() as side_by_side:
        prepared = list(side_by_side.map(lambda each: prepare(each, arguments), interpreters))
    outcomes = []
    for turn, (interpreter, environment) in reversed(list(enumerate(zip(interpreters, prepared, strict=True)))):
        share = f"{turn}/{len(interpreters)}"
        for session, asked in sessions.items():
            report = REPORTS / f"{interpreter.series}-{session}.txt" if len(interpreters) > 1 else None
            outcomes.append(run_tests(interpreter, environment, session, asked, report, share))
    for outcome in outcomes:
        if outcome.report is not None:
            verdict = "passed" if outcome.status == 0 else f"ended with status {outcome.status}"
            print(f"\n===== Python {outcome.interpreter.series}, {outcome.session}: {verdict}\n")
            sys.stdout.write(outcome.report.read_text(errors="replace"))
            sys.stdout.flush()
    statuses = {outcome.status for outcome in outcomes}
    return 1 if statuses - {0, NOTHING_CHOSEN} or statuses == {NOTHING_CHOSEN} else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
