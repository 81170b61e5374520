#!/usr/bin/env python3
"""Put the results of several interpreters side by side: a Markdown table of all rows that have a bar.

compare.py FILE … [--also TEXT …]     files that run.py --json wrote; rows whose name has one of the texts as well
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def _figure(row: dict[str, Any]) -> str:
    """The figure that the bar is about, else the first ratio, else the first of all."""
    if row["bar"]:
        return str(row["bar"]["figure"])
    names: list[str] = list(row["figures"])
    return next((name for name in names if name.startswith("to ")), names[0])


def _cell(row: dict[str, Any]) -> str:
    figure = _figure(row)
    style = "{:.0f} {}" if figure == "count" else "{:.2f} {}"
    return style.format(row["figures"][figure], figure) + (" **MISS**" if row["passed"] is False else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--also", nargs="*", default=[], metavar="TEXT")
    options = parser.parse_args()
    results = [json.loads(file.read_text()) for file in options.files]
    cells: dict[str, dict[int, str]] = {}
    for i, result in enumerate(results):
        for table in result["tables"]:
            for row in table["rows"]:
                if row["bar"] or any(text in row["name"] for text in options.also):
                    name = f"{table['title'].partition(':')[0]}: {row['name']}"
                    cells.setdefault(name, {})[i] = _cell(row)
    print("| | " + " | ".join(result["versions"]["python"] for result in results) + " |")
    print("|---|" + "---|" * len(results))
    for name, columns in cells.items():
        print(f"| {name} | " + " | ".join(columns.get(i, "") for i in range(len(results))) + " |")


if __name__ == "__main__":
    main()
