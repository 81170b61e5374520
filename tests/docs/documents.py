"""The documents, and the blocks in them that a comment marks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "livepatch"
FIRST_PATCH = ROOT / "examples" / "first_patch"
BUILT_PATCH = ROOT / "examples" / "built_patch"
NODE = ROOT / "examples" / "node"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


class Block(NamedTuple):
    what: str
    name: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    pattern = r"<!-- (file|run|output|shell|prints)(?:: (\S+))? -->\n```\w*\n(.*?)^```$"
    text = document.read_text(encoding="utf-8")
    found = re.finditer(pattern, text, re.DOTALL | re.MULTILINE)
    return [Block(m[1], m[2] or "", m[3], text.count("\n", 0, m.start(3)) + 1) for m in found]


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


RUNNABLE = [document for document in DOCUMENTS if blocks(document)]
NAVIGATION = [
    ROOT / page for page in re.findall(r"[:-] (docs/.*\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
]
GUIDES = [page for page in NAVIGATION if page.parent.name == "how-to" or page.name == "runbook.md"]
IN_A_SHELL = [
    document
    for document in RUNNABLE
    if document not in GUIDES and any(block.what == "shell" for block in blocks(document))
]
