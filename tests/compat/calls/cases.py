"""Small programs and the calls that they make.

Each case is a text: its name after ``##``, files after ``# file:``, and the true edges, one a line, after ``# edges``.
``=>`` must be certain, ``->`` may be only possible.  Every true edge between functions of the program is listed, so a
certain edge that is not is wrong.  Names without a module are those of `main`.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

__all__ = ["Case", "all_cases"]


class Case(NamedTuple):
    group: str
    name: str
    files: dict[str, str]
    edges: dict[tuple[str, str], bool]
    """(caller, callee), and whether it must be certain."""

    def __str__(self) -> str:
        return f"{self.group}-{self.name}"


def all_cases() -> list[Case]:
    folder = Path(__file__).parent / "programs"
    return [case for path in sorted(folder.glob("*.txt")) for case in _read(path)]


def _read(path: Path) -> list[Case]:
    found = []
    for part in re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        program, _, edges = rest.partition("# edges\n")
        files = {"main.py": ""}
        pieces = re.split(r"^# file: (\S+)\n", program, flags=re.MULTILINE)
        files["main.py"] = pieces[0]
        files.update(zip(pieces[1::2], pieces[2::2], strict=True))
        found.append(Case(path.stem, name.strip(), {k: textwrap.dedent(v) for k, v in files.items()}, _edges(edges)))
    return found


def _edges(text: str) -> dict[tuple[str, str], bool]:
    edges = {}
    for line in text.split("\n"):
        match = re.fullmatch(r"\s*(\S+) (->|=>) (\S+)\s*", line)
        if match:
            caller, arrow, callee = match.groups()
            edges[_full(caller), _full(callee)] = arrow == "=>"
        elif line.strip():
            raise ValueError(line)
    return edges


def _full(name: str) -> str:
    return name if ":" in name else f"main:{name}"
