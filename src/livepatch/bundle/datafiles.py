"""Files of the package that are not code, and what of a fix may need the new ones."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from livepatch.bundle.archives import digest_of
from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item
from livepatch.bundle.leftout import reason_to_leave_file
from livepatch.bundle.nodes import walk
from livepatch.bundle.trees import Tree
from livepatch.contents.edits import Obstacle, PlanEntry

__all__ = ["data_files"]


def data_files(
    before: Tree, after: Tree, taken: Iterable[Difference], *, picked: bool
) -> tuple[list[Obstacle], list[PlanEntry]]:
    """The data files that differ: those that what is taken may read, and those that it does not need.

    A file counts if code that is taken names it, or lies in its folder or the one above or below; where the code was
    `picked` by hand, none does.
    """
    changed = sorted(n for n in {*before.data, *after.data} if before.data.get(n) != after.data.get(n))
    obstacles: list[Obstacle] = []
    entries: list[PlanEntry] = []
    taken = list(taken) if changed else []
    folders = {one.module: _folder(before, after, one.module) for one in taken}
    strings = {text for one in taken for item in one.after for text in _strings(item)}
    for name in changed:
        why = reason_to_leave_file(name)
        if not why and all(_states_the_version(tree, name) for tree in (before, after)):
            why = "the version of the package, which stays that of the installed release"
        if not why:
            how = (
                "is another"
                if name in before.data and name in after.data
                else "is new"
                if name in after.data
                else "is gone"
            )
            near = (
                next((m for m, folder in folders.items() if _is_near(folder, name)), None) if "another" in how else None
            )
            base = name.rpartition("/")[2]
            named = any(base in text for text in strings)
            if (near is not None or named) and not picked:
                by = f"{near} lies beside it" if near is not None and not named else "code that is taken names it"
                obstacles.append(
                    Obstacle(
                        code="data-file-changed",
                        target=near or next(iter(folders)),
                        found=f"{name} {how}, and {by}",
                        expected="a fix that is in the code alone: a patch carries no other files",
                        action="deploy the file by other means, then build with only= what the code needs",
                    )
                )
            why = "a file that is not code, which a patch does not carry"
        entries.append(PlanEntry(target=name, what="data file", verdict="left-out", why=why))
    return obstacles, entries


def _states_the_version(tree: Tree, name: str) -> bool:
    """Whether a file has nothing in it but the version of its release."""
    texts = [f"{tree.version}{end}".encode() for end in ("", "\n", "\r\n")] if tree.version else []
    return tree.data.get(name) in [digest_of(text) for text in texts]


def _folder(before: Tree, after: Tree, module: str) -> str:
    path = after.modules.get(module) or before.modules.get(module, "")
    return path.removeprefix("src/").rpartition("/")[0]


def _is_near(folder: str, name: str) -> bool:
    """Whether a folder is that of the file, or the one above or below."""
    own = name.rpartition("/")[0]
    return bool(folder) and (folder == own or own.rpartition("/")[0] == folder or folder.rpartition("/")[0] == own)


def _strings(item: Item) -> Iterable[str]:
    for node in walk(item.node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 500:
            yield node.value
