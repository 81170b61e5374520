#!/usr/bin/env python3
"""Does a function's own text give the code that its whole file gives, and is a change in it noticed?

    run_pre.py [--packages DIR] [--only NAME ...] [--changes 1000] [--seed 1]

Every function of the standard library and of five packages from PyPI (fetched with pip, into DIR if given) is compiled
from its own text, and must match the code that another process made of the whole file.  Then single operators,
constants, names and defaults are changed in functions taken at random, and each change must be noticed.  The exit
status is 1 if a function does not match, or a change goes unnoticed.
"""

from __future__ import annotations

import argparse
import marshal
import os
import platform
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import tokenize
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.mutants import File, file_of, try_one

from livepatch.engine.matching import matches

# Wheels of one kind for every interpreter, so that all of them read the same files.
_PACKAGES = ("django==6.1.3", "sympy==1.14.0", "sqlalchemy==2.1.9", "twisted==26.10.0", "aiohttp==3.14.5")
_WHEELS = ("--only-binary=:all:", "--python-version", "3.13", "--platform", "manylinux_2_17_x86_64")

# The other process has another order of hashes, as the one that wrote a `.pyc` has.
_COMPILING = """
import marshal, sys
for path in sys.stdin.read().splitlines():
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, UnicodeDecodeError):
        code = None
    data = marshal.dumps(code)
    sys.stdout.buffer.write(len(data).to_bytes(8, "little") + data)
"""


@dataclass
class Result:
    """Of one tree: how many functions it has, what of them matches, and how long each took (milliseconds)."""

    name: str
    files: int = 0
    functions: int = 0
    matched: int = 0
    took: list[float] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def trees(directory: Path, only: list[str]) -> Iterator[tuple[str, Path]]:
    if not only or "stdlib" in only:
        yield "standard library", Path(sysconfig.get_paths()["stdlib"])
    for package in _PACKAGES:
        name = package.partition("==")[0]
        if only and name not in only:
            continue
        target = directory / package
        if not target.is_dir():
            with tempfile.TemporaryDirectory() as fetched:
                command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *_WHEELS]
                subprocess.run([*command, "--dest", fetched, package], check=True)
                for wheel in Path(fetched).glob("*.whl"):
                    zipfile.ZipFile(wheel).extractall(target)
        yield package, target


def files_of(root: Path) -> Iterator[File]:
    """The files below a directory that this interpreter compiles, with what another process made of each."""
    paths = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-W", "ignore", "-c", _COMPILING]
    with (
        tempfile.TemporaryFile("w+") as names,
        subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE, env=environment) as other,
    ):
        names.write("\n".join(map(str, paths)))
        names.seek(0)
        assert other.stdout is not None
        for path in paths:
            size = int.from_bytes(other.stdout.read(8), "little")
            whole = marshal.loads(other.stdout.read(size))
            if whole is None:
                continue
            with tokenize.open(path) as file:
                source = file.read()
            read = file_of(str(path), source, whole)
            if read is not None:
                yield read


def match_all(name: str, root: Path, taken: list[Path]) -> Result:
    result = Result(name)
    for file in files_of(root):
        result.files += 1
        taken.append(Path(file.path))
        for function in file.functions:
            result.functions += 1
            where = f"{Path(file.path).relative_to(root)}: {function.qualname}"
            if function.code is None:
                result.absent.append(f"{where}, {function.absent}")
                continue
            begun = time.thread_time()
            mismatch = matches(function.code, file.context, function.qualname, function.text)
            result.took.append((time.thread_time() - begun) * 1e3)
            if mismatch is None:
                result.matched += 1
            else:
                result.wrong.append(f"{where}, {mismatch}")
    return result


def change_some(paths: list[Path], count: int, seed: int) -> bool:
    """Try so many changes; whether each was noticed."""
    rng = random.Random(seed)
    kinds: Counter[str] = Counter()
    without: Counter[str] = Counter()
    missed: list[str] = []
    exact = 0
    while sum(kinds.values()) < count:
        path = rng.choice(paths)
        with tokenize.open(path) as read:
            file = file_of(str(path), read.read())
        functions = [function for function in file.functions if function.code is not None] if file else []
        for function in rng.sample(functions, min(3, len(functions))):
            assert file is not None
            outcome = try_one(file, function, rng)
            if outcome is None:
                continue
            shown = f"{path}: {function.qualname}, {outcome.site.kind} {outcome.site.old!r} to {outcome.site.new!r}"
            if outcome.caught is None and outcome.why:
                without[outcome.why] += 1
                continue
            kinds[outcome.site.kind] += 1
            exact += outcome.exact
            if not outcome.caught:
                missed.append(shown)
            if sum(kinds.values()) == count:
                break
    listed = ", ".join(f"{kinds[kind]} {kind}s" for kind in sorted(kinds))
    print(f"\nchanged one at a time: {listed}; seed {seed}")
    print(f"noticed: {count - len(missed):,} of {count:,}; the line told is one of the changed statement: {exact:,}")
    for why, times in without.most_common():
        print(f"not counted, because the compiler gives the same code: {times} ({why})")
    for line in missed:
        print(f"NOT NOTICED {line}")
    return not missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, metavar="DIR", help="keep the packages from PyPI there")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="stdlib, or packages of the five")
    parser.add_argument("--changes", type=int, default=1000, help="how many single changes to try")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}\n")
    print(
        f"{'tree':20} {'files':>6} {'functions':>10} {'match':>8} {'never run':>10} {'differ':>7} {'ms':>6} {'p99':>6}"
    )
    taken: list[Path] = []
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, root in trees(options.packages or Path(temporary), options.only):
            result = match_all(name, root, taken)
            took = sorted(result.took)
            print(
                f"{name:20} {result.files:6,} {result.functions:10,} {result.matched:8,} {len(result.absent):10,} "
                f"{len(result.wrong):7,} {statistics.median(took):6.2f} {took[len(took) * 99 // 100]:6.2f}",
                flush=True,
            )
            results.append(result)
        for result in results:
            for line in (*(f"no code: {one}" for one in result.absent), *(f"DIFFERS: {one}" for one in result.wrong)):
                print(f"  {line}")
        noticed = change_some(taken, options.changes, options.seed)
    return 0 if noticed and not any(result.wrong for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
