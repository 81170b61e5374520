"""What a patch file costs: building one from two trees of 100,000 lines, and loading and checking one in a process."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import Bar, Column, Row, Table, median_ratio

import livepatch

__all__ = ["tables", "write_package"]

_LINES = 100_000
_MODULES = 100
_CHANGED = 36
_LOADED = 20
_MOST_TIMES_COMPILEALL = 3.0
_MOST_MS = 50.0

_HEAD = '''\
"""Part {number} of a package that is no more than large."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

LIMIT_{number} = {number} * 16 + 3
PATTERN_{number} = re.compile(r"(?P<key>[a-z]+)=(?P<value>[0-9]+)")
NAMES_{number} = {{"first": 1, "second": 2, "third": (3, 4)}}


@dataclass
class Message_{number}:
    """What is sent."""

    key: str
    size: int = 0
    payload: bytes = b""

'''
_CLASS = '''
class Worker_{number}_{part}:
    """Takes messages in and keeps count of them."""

    retries = 3

    def __init__(self, name: str, *, limit: int = LIMIT_{number}) -> None:
        self.name = name
        self.limit = limit
        self.seen: dict[str, int] = {{}}

    def admit(self, message: Message_{number}) -> str:
        """Take a message in, unless it is too large or known."""
        if message.size > self.limit{fix}:
            raise ValueError(f"{{self.name}}: {{message.key}} is {{message.size - self.limit}} too large")
        count = self.seen.get(message.key, 0)
        self.seen[message.key] = count + 1
        if count > self.retries:
            return "refused"
        return "again" if count else "admitted"

    @property
    def total(self) -> int:
        return sum(count for count in self.seen.values() if count > 0)

    @staticmethod
    def digest(payload: bytes, *, rounds: int = {part}) -> str:
        for _ in range(rounds):
            payload = hashlib.sha256(payload).digest()
        return payload.hex()


def parse_{number}_{part}(text: str, separator: str = ";") -> list[Message_{number}]:
    """Read messages, each as key=size."""
    found = []
    for position, entry in enumerate(text.split(separator)):
        match = PATTERN_{number}.fullmatch(entry.strip())
        if match is None:
            raise ValueError(f"entry {{position}}: {{entry!r}}")
        value = int(match["value"])
        if value < {part}{fix}:
            continue
        found.append(Message_{number}(match["key"], size=value + NAMES_{number}["first"]))
    found.sort(key=lambda message: (message.size, message.key))
    return found

'''


def write_package(folder: Path, *, lines: int, changed: int, fixed: bool) -> Path:
    """A package ``large`` of that many lines.  Where it is `fixed`, so many functions have other bodies."""
    package = folder / "large"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A large package."""\n', encoding="utf-8")
    metadata = folder / "large-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: large\nVersion: 1.0\n", encoding="utf-8")
    parts = math.ceil((lines / _MODULES - _HEAD.count("\n")) / _CLASS.count("\n"))
    left = changed // 2 if fixed else 0  # each part has two places to change
    for number in range(_MODULES):
        texts = [_HEAD.format(number=number)]
        for part in range(parts):
            mended = left > 0 and part == number % parts
            left -= mended
            texts.append(_CLASS.format(number=number, part=part, fix=" - 1" if mended else ""))
        (package / f"part_{number}.py").write_text("".join(texts), encoding="utf-8")
    return folder


def _spend(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


_BUILD = "import sys, livepatch; print(len(livepatch.build(sys.argv[1], sys.argv[2], package='large').edits))"


def _building(rounds: int, folder: Path) -> Table:
    trees = [
        write_package(folder / name, lines=_LINES, changed=_CHANGED, fixed=name == "fixed") for name in ("old", "fixed")
    ]
    old, fixed = map(str, trees)
    source = [path.read_text(encoding="utf-8") for path in trees[0].rglob("*.py")]
    lines = sum(text.count("\n") for text in source)
    ways: dict[str, Callable[[], object]] = {
        "python -m compileall -f": lambda: _run("-m", "compileall", "-q", "-f", old),
        "livepatch.build, in a process of its own": lambda: _run("-c", _BUILD, old, fixed),
        "livepatch.build, the call alone": lambda: livepatch.build(old, fixed, package="large"),
        "livepatch.build of some functions, the call alone": lambda: livepatch.build(
            old, fixed, package="large", only=["large.part_0:Worker_0_0.admit"]
        ),
    }
    for action in ways.values():
        action()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, action in ways.items():
            taken[name].append(_spend(action))
    peer = "python -m compileall -f"
    bar = Bar("to compileall", _MOST_TIMES_COMPILEALL)
    rows = [
        Row(
            name,
            {"s": statistics.median(seconds), "to compileall": median_ratio(seconds, taken[peer])},
            bar if "own" in name else None,
        )
        for name, seconds in taken.items()
    ]
    return Table(
        f"Building a patch from a package of {lines:,} lines, {_CHANGED} functions of which changed",
        (Column("s", "{:.2f}"), Column("to compileall", "{:.2f}")),
        rows,
        "build() reads two trees of that size, compileall compiles one.",
    )


_LOAD_AND_CHECK = """\
import importlib, json, sys, time
for module in json.loads(sys.argv[2]): importlib.import_module(module)
import livepatch
livepatch.apply, livepatch.load, livepatch.UNSIGNED
clock = time.perf_counter
figures = []
for _ in range(6):
    begun = clock()
    fix = livepatch.load(sys.argv[1], trust=livepatch.UNSIGNED)
    loaded = clock()
    report = livepatch.check(fix)
    figures.append((loaded - begun, clock() - loaded))
assert report.ok, report
assert len(report.targets) == int(sys.argv[3]), report.targets
print(json.dumps(figures))
"""


def _loading(rounds: int, folder: Path) -> Table:
    trees = [
        write_package(folder / name, lines=_LINES // 5, changed=_LOADED, fixed=name == "fixed")
        for name in ("old", "fixed")
    ]
    patch = livepatch.build(str(trees[0]), str(trees[1]), package="large")
    file = folder / "fix.lpatch"
    patch.save(file)
    modules = sorted({edit.module for edit in patch.edits})
    sources = [function.after.source for edit in patch.edits for function in edit.functions if function.after]
    text = "\n".join(_dedented(source) for source in sources)
    path = f"import sys; sys.path.insert(0, {str(trees[0])!r})\n"
    first: dict[str, list[float]] = {"load": [], "check": []}
    later: dict[str, list[float]] = {"load": [], "check": []}
    compiled = []
    for _ in range(rounds):
        figures = json.loads(_run("-c", path + _LOAD_AND_CHECK, str(file), json.dumps(modules), str(_LOADED)))
        for taken, (load, check) in ((first, figures[0]), *((later, figure) for figure in figures[1:])):
            taken["load"].append(load)
            taken["check"].append(check)
        compiled += [_spend(lambda: compile(text, "<patch>", "exec")) for _ in range(len(figures))]
    peer = statistics.median(compiled)

    def row(name: str, seconds: list[float], bar: Bar | None = None) -> Row:
        return Row(
            name, {"ms": statistics.median(seconds) * 1e3, "to compile()": statistics.median(seconds) / peer}, bar
        )

    whole = [
        [load + check for load, check in zip(taken["load"], taken["check"], strict=True)] for taken in (first, later)
    ]
    return Table(
        f"Loading and checking a patch file of {_LOADED} functions, {file.stat().st_size:,} bytes",
        (Column("ms", "{:.1f}"), Column("to compile()", "{:.1f}")),
        [
            row("load(), the first", first["load"]),
            row("check(), the first", first["check"]),
            row("both, the first in the process", whole[0]),
            row("load(), again", later["load"]),
            row("check(), again", later["check"]),
            row("both, again", whole[1], Bar("ms", _MOST_MS)),
            row("compile() of the new functions", compiled),
        ],
        "In a process that runs the package and has imported livepatch; the first check imports what assembles code.",
    )


def _dedented(source: str) -> str:
    return source if source.endswith("\n") else source + "\n"


def tables(*, quick: bool = False) -> Iterator[Table]:
    rounds = 1 if quick else 5
    with tempfile.TemporaryDirectory() as folder:
        yield _building(rounds, Path(folder, "building"))
        yield _loading(3 * rounds, Path(folder, "loading"))
