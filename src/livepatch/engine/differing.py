"""Where two code objects differ, told by the source that gave one of them.

The walk over both takes values and not numbers: a constant is what it is and not where it stands in a table, a jump is
a jump wherever it goes.  So the first difference is where the source was changed, and not the first jump across it.
"""

from __future__ import annotations

import ast
import dis
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from opcode import hasjabs, hasjrel, opname
from types import CodeType
from typing import Any

from livepatch.contents.edits import Text
from livepatch.contents.parsing import tree_of
from livepatch.engine.code import kind_of
from livepatch.engine.pace import breathe, paced

__all__ = ["Mismatch", "differs_where", "same_constant", "same_shape", "shown_at"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The line of the source that the process does not run as it stands there.

    `line` is that in the file, `source_line` its text without what indents it, `what` a sentence about it.
    """

    line: int
    source_line: str
    what: str

    def __str__(self) -> str:
        return self.what


# Equality

_FLAGS = ~inspect.CO_ITERABLE_COROUTINE
_PARTS = (
    "co_code",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_exceptiontable",
    "co_qualname",
)


def same_shape(live: CodeType, compiled: CodeType) -> bool:
    """Whether live code is the compiled code: all of it but lines, file name and stack size, nested code included.

    ``types.coroutine`` may have marked live code that was a plain generator when it was compiled.
    """
    if live is compiled:
        return True
    flags, others = live.co_flags, compiled.co_flags
    if flags != others and not (others & inspect.CO_GENERATOR and flags == others | inspect.CO_ITERABLE_COROUTINE):
        return False
    return (
        all(getattr(live, part) == getattr(compiled, part) for part in _PARTS)
        and len(live.co_consts) == len(compiled.co_consts)
        and all(
            same_constant(mine, theirs) or _static_attributes(live, compiled, mine, theirs)
            for mine, theirs in zip(live.co_consts, compiled.co_consts, strict=True)
        )
    )


def same_constant(one: Any, other: Any) -> bool:
    """Whether two constants are of the very same type and value: ``True`` is not ``1``, and ``-0.0`` is not ``0.0``."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is CodeType:
        return same_shape(one, other)
    if kind is tuple:
        return len(one) == len(other) and all(map(same_constant, one, other))
    if kind is frozenset:
        return {*map(_key, one)} == {*map(_key, other)}
    if kind is slice:
        return same_constant((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if kind is float or kind is complex:
        return repr(one) == repr(other)
    if kind in _PLAIN:
        return bool(one == other)
    return one is other  # None, the ellipsis; and no compiler makes anything else


_PLAIN = (int, str, bytes, bool)


def _key(value: object) -> object:
    """A member of a frozen set as something that is equal only to the same."""
    if isinstance(value, (tuple, frozenset)):
        return type(value), type(value)(map(_key, value))
    return type(value), repr(value) if type(value) in (float, complex) else value


def _static_attributes(live: CodeType, compiled: CodeType, mine: object, theirs: object) -> bool:
    """Whether both are the ``__static_attributes__`` of a class, which on 3.13 are in the order of a set: in any."""
    if type(mine) is not tuple or type(theirs) is not tuple or sorted(map(repr, mine)) != sorted(map(repr, theirs)):
        return False
    return _stored_as(live, mine) == _stored_as(compiled, theirs) == {"__static_attributes__"}


def _stored_as(code: CodeType, constant: object) -> set[object]:
    """How a code object uses a constant: the names under which it stores it, and ``None`` for any other use."""
    uses: set[object] = set()
    instructions = list(dis.get_instructions(code))
    for one, following in zip_longest(instructions, instructions[1:]):
        if one.argval is constant:
            stored = following is not None and following.opname == "STORE_NAME"
            uses.add(following.argval if stored else None)
    return uses


# Difference

_JUMPS = {opname[op] for op in (*hasjrel, *hasjabs)}
_Step = tuple[str, object, int]  # the instruction, its value, its line


# Instructions that stand for no expression of the source: what they do shows in others, too, and there at its line.
_SILENT = {"EXTENDED_ARG", "NOP", "MAKE_CELL", "COPY_FREE_VARS"}


def _steps(code: CodeType) -> list[_Step]:
    found: list[_Step] = []
    line = code.co_firstlineno
    for one in paced(dis.get_instructions(code)):
        line = (one.positions and one.positions.lineno) or line
        if one.opname == "KW_NAMES":  # `dis` gives no value for it
            found.append((one.opname, code.co_consts[one.arg or 0], line))
        elif one.opname not in _SILENT:
            found.append((one.opname, None if one.opname in _JUMPS else one.argval, line))
    return found


def _same_step(mine: _Step | None, theirs: _Step | None) -> bool:
    if mine is None or theirs is None or mine[0] != theirs[0]:
        return False
    return same_constant(mine[1], theirs[1])


def _definition_at(mine: list[_Step], theirs: list[_Step], at: int) -> tuple[CodeType, CodeType] | None:
    """The code of the function or class that is made at the line of a step, on both sides, if it is what differs."""
    line = theirs[at][2]
    ours = next((step[1] for step in theirs[at:] if isinstance(step[1], CodeType) and step[2] == line), None)
    live = next((step[1] for step in mine[at:] if isinstance(step[1], CodeType)), None)
    if ours is None or live is None or live.co_name != ours.co_name or same_shape(live, ours):
        return None
    return live, ours


def differs_where(live: CodeType, compiled: CodeType, text: Text, *, moved: int = 0) -> Mismatch:
    """The first line of the source at which the live code is another than the code that was compiled from it.

    `compiled` has the lines of the file, `moved` further down, and `text` is the definition that it is from.
    """
    return _Telling(text, moved).difference(live, compiled)


def shown_at(text: Text, line: int, what: str) -> Mismatch:
    """A mismatch at a line of the file; ``{}`` in `what` stands for the line's number and text."""
    lines = text.source.split("\n")
    index = line - text.line
    shown = lines[index].strip() if 0 <= index < len(lines) else ""
    where = f"line {line}: `{shown}`" if shown else f"line {line}"
    return Mismatch(line, shown, what.replace("{}", where))


class _Telling:
    def __init__(self, text: Text, moved: int) -> None:
        self._lines = text.source.split("\n")
        self._text = text
        self._moved = moved

    def at(self, line: int, what: str) -> Mismatch:
        """`line` is that of the compiled code."""
        return shown_at(self._text, line - self._moved, what)

    def difference(self, live: CodeType, compiled: CodeType) -> Mismatch:
        found = self._heading(live, compiled)
        if found is None:
            breathe()
            found = self._body(_steps(live), _steps(compiled))
        return found or self._rest(live, compiled)

    def _heading(self, live: CodeType, compiled: CodeType) -> Mismatch | None:
        """A difference in name, parameters or kind."""
        line = self._line_of_def(compiled)
        if live.co_qualname != compiled.co_qualname:
            return self.at(line, f"the process runs {live.co_qualname} in place of {compiled.co_qualname}, {{}}")
        for mine, theirs in zip_longest(_parameters(live), _parameters(compiled)):
            if mine == theirs:
                continue
            if theirs is None:
                return self.at(line, f"the process has a parameter {mine} that is not in {{}}")
            line = self._line_of_parameter(compiled, theirs.lstrip("*/ ").removesuffix(" by keyword")) or line
            has = f"the process has {mine} in its place" if mine else "the process has none"
            return self.at(line, f"parameter {theirs}: {has}, {{}}")
        if kind_of(live).removeprefix("generator-based ") != kind_of(compiled) and not (
            kind_of(live) == "generator-based coroutine" and kind_of(compiled) == "generator"
        ):
            return self.at(line, f"the process runs a {kind_of(live)} in place of the {kind_of(compiled)} in {{}}")
        return None

    def _body(self, mine: list[_Step], theirs: list[_Step]) -> Mismatch | None:
        at = next((i for i, pair in enumerate(zip_longest(mine, theirs)) if not _same_step(*pair)), None)
        if at is None:
            return None
        if at == len(theirs):
            return self.at(theirs[-1][2], "the process runs more after {}")
        if at < len(mine):
            inner = _definition_at(mine, theirs, at)
            if inner is not None:
                return self.difference(*inner)
            more = len(mine) - len(theirs)
            if more > 0 and all(map(_same_step, mine[at + more :], theirs[at:])):
                return self.at(theirs[at][2], "the process runs more than the source says, before {}")
        line = theirs[at][2]
        if line == theirs[0][2]:
            # The compiler gives the line of the `def` to what it makes of several expressions, as of `"%s" % x`.
            line = next((step[2] for step in theirs[at:] if step[2] > line), line)
        return self.at(line, "the process does not run {}")

    def _rest(self, live: CodeType, compiled: CodeType) -> Mismatch:
        """A difference that no instruction shows by itself: where jumps go, what is only in a table."""
        for a, b in zip_longest(_jumps(live), _jumps(compiled)):
            if a is None or b is None or a[0] != b[0]:
                return self.at((b or a or (0, compiled.co_firstlineno))[1], "the process goes on elsewhere after {}")
        line = self._line_of_def(compiled)
        if not same_constant(_docstring(live), _docstring(compiled)):
            return self.at(self._line_below(line), "the process has another docstring in place of that in {}")
        if live.co_exceptiontable != compiled.co_exceptiontable:
            return self.at(line, "the process catches exceptions elsewhere in the function of {}")
        for part, words in (
            ("co_flags", "was compiled with other options or `__future__` imports"),
            ("co_varnames", "names its variables otherwise"),
            ("co_freevars", "takes other variables from around it"),
            ("co_cellvars", "shares other variables with functions inside it"),
        ):
            if getattr(live, part) != getattr(compiled, part):
                return self.at(line, f"the function that the process runs {words}: {{}}")
        return self.at(
            line, "the code that the process runs was not compiled from the source of {} (constants or names)"
        )

    def _line_of_def(self, compiled: CodeType) -> int:
        """The line of the ``def`` below the decorators with which code begins."""
        first = self._text.line + self._moved
        if not compiled.co_name.startswith("<"):
            for i in range(max(compiled.co_firstlineno - first, 0), len(self._lines)):
                words = self._lines[i].split()[:2]
                if words[:1] in (["def"], ["class"]) or words == ["async", "def"]:
                    return i + first
        return compiled.co_firstlineno

    def _line_of_parameter(self, compiled: CodeType, name: str) -> int | None:
        lines = [line for node, line in self._nodes() if isinstance(node, ast.arg) and node.arg == name]
        return min((line for line in lines if line >= compiled.co_firstlineno), default=None)

    def _line_below(self, line: int) -> int:
        """The line of the first statement in the function whose ``def`` is at `line`."""
        for node, at in self._nodes():
            if at == line and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return node.body[0].lineno - node.lineno + line
        return line

    def _nodes(self) -> Iterator[tuple[ast.AST, int]]:
        """The syntax of the text, each node with its line in the compiled code."""
        try:
            tree = tree_of(self._text.source)
        except (SyntaxError, ValueError):
            return
        for node in ast.walk(tree):
            yield node, getattr(node, "lineno", 0) + self._text.line + self._moved - 1


def _parameters(code: CodeType) -> Iterator[str]:
    """The parameters as words, those of a generator expression left out (it has `.0`)."""
    names, count, keyword = code.co_varnames, code.co_argcount, code.co_kwonlyargcount
    for i, name in enumerate(names[: count + keyword]):
        yield f"/ {name}" if i < code.co_posonlyargcount else name if i < count else f"{name} by keyword"
    rest = count + keyword
    if code.co_flags & inspect.CO_VARARGS:
        yield f"*{names[rest]}"
        rest += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        yield f"**{names[rest]}"


def _jumps(code: CodeType) -> Iterator[tuple[int, int]]:
    """Where each jump goes, by number of instruction, and the line of the jump."""
    instructions = list(dis.get_instructions(code))
    number, line = {}, code.co_firstlineno
    count = 0
    for one in instructions:
        number[one.offset] = count
        count += one.opname not in _SILENT
    for one in paced(instructions):
        line = (one.positions and one.positions.lineno) or line
        if one.opname in _JUMPS:
            yield number.get(one.argval, -1), line


def _docstring(code: CodeType) -> object:
    first = code.co_consts[:1]
    return first[0] if first and isinstance(first[0], str) else None
