#!/usr/bin/env python3
"""Run the benchmarks and print their tables.

    run.py [calls] [shadows] [switch] [curves] [transition] [pauses] [serving] [build] [callgraph] [record] [trust]
           [import] [migration] [agent] [health] [fleet] [--quick] [--strict] [--json FILE] [--plots FOLDER]

Every figure to compare stands beside its peer of the same run.  Bars are shown, not enforced: the exit status is 0
unless a benchmark fails to run (1), or with --strict a bar is missed (2).
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import time
import traceback
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from measure import Table

_BENCHMARKS = (
    "calls",
    "shadows",
    "switch",
    "curves",
    "transition",
    "pauses",
    "serving",
    "build",
    "callgraph",
    "record",
    "trust",
    "import",
    "migration",
    "agent",
    "fleet",
    "health",
)
_PEERS = ("livepatch", "structlog", "wrapt", "openfeature-sdk", "bytecode")


def _versions() -> dict[str, str]:
    versions = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in _PEERS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(_BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not to quote")
    parser.add_argument("--strict", action="store_true", help="exit with status 2 if a bar is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="draw the tables there, each as an SVG (matplotlib)"
    )
    options = parser.parse_args()
    # `choices` would refuse the empty list of an argument that may be left out.
    for name in options.names:
        if name not in _BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are {', '.join(_BENCHMARKS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # the tables are the output
    versions = _versions()
    print(" · ".join(f"{name} {text}".removeprefix("python ") for name, text in versions.items()))
    begun = time.monotonic()
    done: list[Table] = []
    broken = []
    for name in options.names or _BENCHMARKS:
        try:
            for table in importlib.import_module(f"bench_{name}").tables(quick=options.quick):
                print(f"\n{table}", flush=True)
                done.append(table)
        except Exception:  # noqa: BLE001  # one that fails must not hide the others
            traceback.print_exc()
            broken.append(name)
    missed = [row for table in done for row in table.rows if row.passed is False]
    held = [row for table in done for row in table.rows if row.passed]
    print(f"\n{len(held)} bars held, {len(missed)} missed, {time.monotonic() - begun:.0f} s")
    for name in broken:
        print(f"{name} did not run to its end")
    if options.json:
        result = {"versions": versions, "platform": platform.platform(), "tables": [table.plain() for table in done]}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.plots:
        from plots import draw

        about = f"{versions['python']}, livepatch {versions['livepatch']}, {datetime.now(UTC):%Y-%m-%d}"
        for path in draw(done, options.plots, about):
            print(path)
    return 1 if broken else 2 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
