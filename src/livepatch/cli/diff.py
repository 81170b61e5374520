"""The two sides of a patch as unified diffs, with the line numbers of the files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from livepatch.cli.output import Style
from livepatch.contents.edits import ModuleEdit, Side, Statement, Text
from livepatch.patch import Patch

__all__ = ["differences"]

_CONTEXT = 3  # lines around a change
_MOST = 4_000_000  # comparisons of two lines: a longer text is shown whole on either side


def differences(patch: Patch, style: Style) -> Iterator[str]:
    """Each function, each run statement and each import that the sides do not share."""
    for edit in patch.edits:
        if edit.whole is not None:
            yield from _diff(edit.path, f"{edit.module}, a new module", None, Text(source=edit.whole, line=1), style)
        for function in edit.functions:
            what = f"{edit.module}:{function.qualname}{'.' * bool(function.accessor)}{function.accessor}"
            yield from _diff(edit.path, what, function.before, function.after, style)
        yield from _programs(edit, style)
        yield from _imports(edit, style)


def _programs(edit: ModuleEdit, style: Style) -> Iterator[str]:
    """What the sides compute values with, where that differs; lines are numbered from the first such statement."""
    before, after = _apart(edit.before, edit.after), _apart(edit.after, edit.before)
    for scope in dict.fromkeys([*before, *after]):
        what = f"{edit.module}{':' * bool(scope)}{scope}, statements"
        yield from _diff(edit.path, what, _joined(before.get(scope, [])), _joined(after.get(scope, [])), style)


def _apart(side: Side, other: Side) -> dict[str, list[Statement]]:
    """The statements that the other side does not have, by scope."""
    shared = {(statement.scope, statement.text.source) for statement in other.program}
    found: dict[str, list[Statement]] = {}
    for statement in side.program:
        if (statement.scope, statement.text.source) not in shared:
            found.setdefault(statement.scope, []).append(statement)
    return found


def _joined(statements: list[Statement]) -> Text | None:
    if not statements:
        return None
    sources = [statement.text.source.removesuffix("\n") for statement in statements]
    return Text(source="\n".join(sources), line=statements[0].text.line)


def _imports(edit: ModuleEdit, style: Style) -> Iterator[str]:
    sides = [
        [f"from __future__ import {name}" for name in side.futures] + [line.strip() for line in side.imports]
        for side in (edit.before, edit.after)
    ]
    gone = [line for line in sides[0] if line not in set(sides[1])]
    new = [line for line in sides[1] if line not in set(sides[0])]
    if gone or new:
        yield from _head(edit.path, f"{edit.module}, imports", style)
        yield from (style("red", f"-{line}") for line in gone)
        yield from (style("green", f"+{line}") for line in new)


def _diff(path: str, what: str, before: Text | None, after: Text | None, style: Style) -> Iterator[str]:
    old, new = (side.source.removesuffix("\n").split("\n") if side is not None else [] for side in (before, after))
    if old == new:
        return
    yield from _head(path, what, style)
    first = (before.line if before is not None else 1), (after.line if after is not None else 1)
    for group in _groups(old, new):
        (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
        yield style("cyan", f"@@ -{_range(first[0], a, b, old)} +{_range(first[1], c, d, new)} @@")
        for kind, i, j, k, m in group:
            if kind == "equal":
                yield from (style("plain", f" {line}") for line in old[i:j])
                continue
            yield from (style("red", f"-{line}") for line in old[i:j])
            yield from (style("green", f"+{line}") for line in new[k:m])


def _groups(old: Sequence[str], new: Sequence[str]) -> Iterable[list[tuple[str, int, int, int, int]]]:
    if len(old) * len(new) > _MOST:
        return [[("replace", 0, len(old), 0, len(new))]]
    return difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(_CONTEXT)


def _head(path: str, what: str, style: Style) -> Iterator[str]:
    yield ""
    yield style("bold", what)
    yield style("bold", f"--- a/{path}")
    yield style("bold", f"+++ b/{path}")


def _range(first: int, start: int, stop: int, lines: Sequence[str]) -> str:
    if not lines:
        return "0,0"
    return f"{first + start},{stop - start}"
