#!/usr/bin/env python3
"""Lay the documents out as a site's source: README, docs, the examples' READMEs, and a reference of the public names.

    site.py FOLDER

The folder gets the same layout as the checkout, so links hold in both.  What the site does not show, such as source
files that documents link to, is copied along.  `mkdocs build --strict` then makes the site of it (see mkdocs.yml).
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
GROUPS = {
    "Patches": ("Patch", "Release", "Owners", "Embargo", "Probe", "Checkpoint", "Touches", "build", "load", "sign"),
    "In the process": ("check", "apply", "Applied", "flags", "status", "verify", "revert", "cancel", "fingerprint"),
    "Modes": ("split", "at", "Split", "At", "Shadow", "Measured", "unit_of_work"),
    "Health": ("soak", "Soak", "Soaked", "Watchdog", "HealthProbe", "Rule", "load_rules", "Verdict"),
    "Errors": (),
}


def public_names() -> dict[str, str]:
    """Each public name, and the module that defines it, read from the source without running it."""
    tree = ast.parse((ROOT / "src" / "livepatch" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["_HOMES"]:
            homes = ast.literal_eval(node.value)
            return {name: home for home, names in homes.items() for name in names}
    raise SystemExit("src/livepatch/__init__.py has no _HOMES to read the public names from")


def reference() -> str:
    """The page of the reference: the first groups by what one does, then the errors, then all others by name."""
    homes = public_names()
    errors = sorted(name for name in homes if name.endswith("Error"))
    groups = {title: [name for name in names if name in homes] for title, names in GROUPS.items()}
    groups["Errors"] = errors
    taken = {name for names in groups.values() for name in names}
    groups["Others"] = sorted(set(homes) - taken)
    lines = ["# Reference", "", "Each public name of `livepatch`, from its docstring.", ""]
    for title, names in groups.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += [f"### livepatch.{name}", "", f"::: {homes[name]}.{name}", ""]
    return "\n".join(lines)


def lay_out(target: Path) -> None:
    """Write the source of the site below `target`, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    pages += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("*.md"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        _write(target / page.relative_to(ROOT), _with_files(text, page, target))
    (target / "README.md").rename(target / "index.md")
    for page in target.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"\]\(((?:\.\./)*)README\.md", r"](\1index.md", text), encoding="utf-8")
    _write(target / "reference.md", reference())


def _with_files(text: str, page: Path, target: Path) -> str:
    """The text of a page, with each link to a folder leading to what describes it; linked files are copied along."""

    def mended(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        found = (page.parent / path).resolve()
        if found.is_dir():
            readme = found / "README.md"
            return f"]({path.rstrip('/')}/README.md{anchor})" if readme.exists() else match[0]
        if found.is_file() and found.suffix != ".md":
            copied = target / found.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, copied)
        return match[0]

    return LINK.sub(mended, text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    lay_out(Path(sys.argv[1]))
