#!/usr/bin/env python3
"""Change one thing at a time in the files that decide, and see whether a test notices.

    mutants.py [--workers N] [NAME ...]

mutmut makes the mutants of the files that `pyproject.toml` names and runs the tests that call the function that was
changed, each mutant in a process of its own, which ends with the first test that fails and is killed if it hangs.  What
is known of mutants from an earlier run stays in `mutants/`; a function that has changed is tried anew.  NAME is a
mutant's name or a pattern of names.

A mutant that no test notices must be explained in `tools/mutants.toml`: by file, function, the line as it is and the
line as the mutant has it, with the reason why that makes no difference.  The status is 1 if one is not, if a mutant
was not tried, or if an explanation fits none that survived.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from environment import ROOT

EXPLAINED = ROOT / "tools" / "mutants.toml"
MADE = "mutants"  # the folder in which mutmut keeps them
KILLED = ("killed", "timeout", "segfault")
"""What mutmut says of a mutant that a test noticed, that hung, or that brought its process down."""
SURVIVED = ("survived", "no tests")


class ExplanationError(Exception):
    """The list of explained mutants cannot be read."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a mutant changes: lines of a function of a file, as they are and as the mutant has them."""

    file: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}: {self.function}\n    - {self.before}\n    + {self.after}"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutant that was tried: what became of it, and what it changes if no test noticed."""

    file: str
    name: str
    status: str
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """What became of the mutants of one file."""

    file: str
    mutants: int
    killed: int
    survived: int
    explained: int


def read_explained(text: str) -> dict[Change, str]:
    """The changes that make no difference, and why.  Raises :class:`ExplanationError`."""
    explained: dict[Change, str] = {}
    for entry in tomllib.loads(text).get("explained", []):
        if entry.keys() != {"file", "function", "line", "mutants", "why"} or not entry["why"].strip():
            raise ExplanationError(f"found {entry}; expected file, function, line, mutants and why")
        for after in entry["mutants"]:
            change = Change(entry["file"], entry["function"], entry["line"], after)
            if change in explained:
                raise ExplanationError(f"found twice: {change}; expected once")
            explained[change] = entry["why"]
    return explained


def change_of(file: str, function: str, diff: str) -> Change:
    """What a unified diff of the function changes, without the indentation."""
    body = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    sides = (" ".join(line[1:].strip() for line in body if line.startswith(sign)) for sign in "-+")
    return Change(file, function, *sides)


def count(mutants: Sequence[Mutant], explained: Iterable[Change]) -> list[Count]:
    """What became of them, by file."""
    known = frozenset(explained)
    counts = []
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        of_file = [mutant for mutant in mutants if mutant.file == file]
        survived = [mutant for mutant in of_file if mutant.status in SURVIVED]
        killed = sum(mutant.status in KILLED for mutant in of_file)
        counts.append(Count(file, len(of_file), killed, len(survived), sum(each.change in known for each in survived)))
    return counts


def complaints(mutants: Sequence[Mutant], explained: Iterable[Change], *, whole: bool) -> list[str]:
    """What keeps the run from passing.  With `whole`, all mutants were to be tried, and no explanation may be left."""
    explained = list(explained)
    survived = {mutant.change: mutant for mutant in mutants if mutant.status in SURVIVED}
    found = [
        f"{mutant.name} survived and is not explained: {change}"
        for change, mutant in survived.items()
        if change not in explained
    ]
    found += [f"{m.name}: {m.status}" for m in mutants if m.status not in KILLED and m.status not in SURVIVED]
    if whole:
        found += [f"explained, and fits no mutant that survived: {each}" for each in explained if each not in survived]
    return found


def table(counts: Sequence[Count]) -> str:
    """The counts, a line for each file."""
    width = max((len(each.file) for each in counts), default=0)
    lines = [f"{'':{width}}  mutants  killed  survived  explained"]
    lines += [
        f"{each.file:{width}}  {each.mutants:7}  {each.killed:6}  {each.survived:8}  {each.explained:9}"
        for each in counts
    ]
    return "\n".join(lines)


def tried(patterns: Sequence[str]) -> list[Mutant]:
    """What mutmut has kept of the mutants with such names."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    found = []
    with (ROOT / "pyproject.toml").open("rb") as settings:
        paths = tomllib.load(settings)["tool"]["mutmut"]["only_mutate"]
    for path in paths:
        kept = json.loads((ROOT / MADE / f"{path}.meta").read_text())
        file = str(Path(path).relative_to("src/livepatch"))
        for name, code in kept["exit_code_by_key"].items():
            if patterns and not any(fnmatch(name, pattern) for pattern in patterns):
                continue
            status = status_by_exit_code[code]
            change = None
            if status in SURVIVED:
                function, owner = orig_function_and_class_names_from_key(name)
                diff = get_diff_for_mutant(name, path=path)
                change = change_of(file, f"{owner}.{function}" if owner else function, diff)
            found.append(Mutant(file, name, status, change))
    return found


def main(arguments: list[str]) -> int:
    """Try the mutants and tell what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many mutants are tried at a time")
    parser.add_argument("--told", action="store_true", help="try none, and tell what became of those of earlier runs")
    parser.add_argument("names", nargs="*", help="names of mutants, or patterns of names")
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    explained = read_explained(EXPLAINED.read_text(encoding="utf-8"))
    if not asked.told:
        # The plugins that happen to be installed make every one of thousands of short sessions longer.
        variables = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = ["mutmut", "run", "--max-children", str(asked.workers), *asked.names]
        status = subprocess.run(command, env=variables, check=False).returncode
        if status != 0:
            print(f"{' '.join(command)} ended with status {status}", file=sys.stderr)
            return 2
    mutants = tried(asked.names)
    print(table(count(mutants, explained)))
    found = complaints(mutants, explained, whole=not asked.names)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
