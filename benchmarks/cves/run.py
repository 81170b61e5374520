#!/usr/bin/env python3
"""Patch published vulnerabilities of packages on PyPI in a running process, and take the patches back.

    run.py [--jobs N] [--json FILE] [--write DOCUMENT] [--strict] [CASE ...]

For each case, in a fresh process that runs the vulnerable release: the exploit works; livepatch.build() makes a patch
out of the two releases, with no code written by hand; it goes into a file and comes back; check(), apply(); the exploit
fails, and normal use goes on; revert(); the exploit works, and every function, module and class of the package holds
the very objects that it held before.  An outcome is one of

    patched   all of that held
    refused   check() and apply() said no, and nothing had changed
    WRONG     anything else

Beside that, each in a process of its own: storing the changed functions' code objects bare, and importlib.reload() of
the changed modules.  CASE is a CVE's number, a package or the name of a case's file.  The releases come from the
package index once, by pip, and are kept in $LIVEPATCH_CVES, or else in a folder of the system's temporary one.

The exit status is 1 if anything was WRONG or did not run, and with --strict 2 if a case came out otherwise than its
file expects.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from case import CASES, Case, CaseError, InstallError, fetch, load_cases

__all__ = ["Row", "document", "main", "run_case", "tables"]

_CHILD = Path(__file__).resolve().parent / "child.py"
_MARK = "@@RESULT@@"
_WAYS = ("livepatch", "swap", "reload")
_SAID = {"fixed": "✓", "exploitable": "✗ exploitable", "breaks": "✗ breaks"}
_TIMEOUT = 300


@dataclass(frozen=True, slots=True)
class Row:
    """One case and what came of each way to fix it."""

    case: Case
    livepatch: dict[str, Any]
    swap: dict[str, Any]
    reload: dict[str, Any]

    @property
    def outcome(self) -> str:
        """What came of livepatch."""
        return str(self.livepatch["outcome"])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        case = self.case.to_dict() | {"file": Path(self.case.file).name}
        return {"case": case, "livepatch": self.livepatch, "swap": self.swap, "reload": self.reload}


def run_case(case: Case) -> Row:
    """Run one case in three processes."""
    try:
        before, after = fetch(case.before), fetch(case.after)
        requires = [fetch(requirement) for requirement in case.requires]
    except InstallError as error:
        not_run = {"outcome": "not run", "why": str(error)}
        return Row(case, not_run, not_run, not_run)
    return Row(case, *(_run_way(way, case, before, after, requires) for way in _WAYS))


def _run_way(way: str, case: Case, before: Path, after: Path, requires: Sequence[Path]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")  # as a reload finds what an installer has put in the same place
        site.symlink_to(before)
        asked = {"way": way, "case": case.to_dict(), "site": str(site), "before": str(before), "after": str(after)}
        found_in = site if way == "reload" else before
        inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        path = [found_in, *requires, _CHILD.parent, *(Path(entry).absolute() for entry in inherited)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": folder,  # what probes write goes with it
        }
        try:
            done = subprocess.run(
                [sys.executable, _CHILD, json.dumps(asked)],
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"outcome": "WRONG", "why": f"no end after {_TIMEOUT} s"}
    found = re.search(rf"^{_MARK}(.*)$", done.stdout, re.MULTILINE)
    if found is None:
        return {"outcome": "WRONG", "why": f"ended with status {done.returncode}: {done.stderr[-800:]}"}
    result: dict[str, Any] = json.loads(found[1])
    return result


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; what begins with a tab is aligned to the right."""
    aligned = ["---:" if head.startswith("\t") else "---" for head in heads]
    lines = [[head.strip() for head in heads], aligned, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _verdict(row: Row) -> str:
    if row.outcome == "refused":
        return f"refused: {', '.join(f'`{code}`' for code in row.livepatch['codes'])}"
    return "✓" if row.outcome == "patched" else f"**{row.outcome}**"


def _ms(row: Row, step: str) -> str:
    seconds = row.livepatch.get("seconds", {}).get(step)
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


def _number(row: Row, figure: str, style: str) -> str:
    value = row.livepatch.get(figure)
    return "" if value is None else style.format(value)


def tables(rows: Sequence[Row]) -> str:
    """What came of the cases, and the figures, as two Markdown tables and a line of totals."""
    heads = ("vulnerability", "package", "what was wrong", "shape of the fix", "livepatch", "`__code__`", "`reload`")
    outcomes = [
        (
            row.case.id,
            f"{row.case.package} {row.case.vulnerable} → {row.case.fixed}",
            row.case.what,
            row.case.shape,
            _verdict(row),
            _SAID.get(row.swap["outcome"], row.swap["outcome"]),
            _SAID.get(row.reload["outcome"], row.reload["outcome"]),
        )
        for row in rows
    ]
    steps = ("build", "load", "check", "apply", "revert")
    figures = [
        (
            row.case.id,
            _number(row, "targets", "{}"),
            _number(row, "bytes", "{:,}"),
            *(_ms(row, step) for step in steps),
            _number(row, "switch_us", "{:.0f}"),
        )
        for row in rows
    ]
    columns = ("\ttargets", "\tfile, bytes", *(f"\t{step}, ms" for step in steps), "\tswitch, µs")
    return "\n\n".join([_totals(rows), _table(heads, outcomes), _table(("vulnerability", *columns), figures)])


def _totals(rows: Sequence[Row]) -> str:
    outcomes = [row.outcome for row in rows]
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in ("refused", "WRONG", "not run") if each in outcomes)
    peers = [
        f"{name} {sum(getattr(row, way)['outcome'] == 'fixed' for row in rows)}"
        for way, name in (("swap", "a bare `__code__`"), ("reload", "`importlib.reload`"))
    ]
    patched = f"{outcomes.count('patched')} of {len(rows)} patched and reverted"
    return f"{', '.join(filter(None, [patched, counts]))}. Of the same, {' and '.join(peers)} would have fixed."


def document(text: str, section: str, body: str) -> str:
    """The document with the body of its section `section` exchanged; the section is added at the end if it lacks it."""
    heading = f"## {section}\n"
    body = f"{heading}\n{body}\n"
    if heading not in text:
        return f"{text.rstrip()}\n\n{body}"
    start = text.index(heading)
    following = text.find("\n## ", start)
    return text[:start] + body + ("" if following < 0 else text[following:])


def _tell(row: Row) -> None:
    said = f"{row.outcome:8} {row.case.id:16} {row.case.package:16}"
    said += f" __code__ {row.swap['outcome']:11} reload {row.reload['outcome']:11}"
    print(said, ", ".join(row.livepatch.get("codes", ())), flush=True)
    if row.outcome in {"WRONG", "not run"}:
        print(f"         {row.livepatch['why'].strip()}", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cases at a time; times are best with one")
    parser.add_argument("--cases", type=Path, default=CASES, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="put the tables into this document")
    parser.add_argument("--strict", action="store_true", help="exit with status 2 for an outcome that is not expected")
    options = parser.parse_args(arguments)
    try:
        cases = load_cases(options.cases, options.names)
    except CaseError as error:
        parser.error(str(error))
    rows = []
    with ThreadPoolExecutor(options.jobs) as threads:
        for row in threads.map(run_case, [case for case in cases if case.runs_here]):
            _tell(row)
            rows.append(row)
    version = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"\n{version}\n\n{tables(rows)}")
    if options.write:
        section = version.rpartition(".")[0]
        body = f"{version}. {tables(rows)}"
        options.write.write_text(document(options.write.read_text(encoding="utf-8"), section, body), encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps([row.to_dict() for row in rows], indent=2) + "\n", encoding="utf-8")
    if any(row.outcome in {"WRONG", "not run"} for row in rows):
        return 1
    return 2 if options.strict and any(row.outcome != row.case.expect for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
