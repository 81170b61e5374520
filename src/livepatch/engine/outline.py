"""Where a file defines what, read token by token: parsing a whole file is one step, of tens of milliseconds.

With an outline, one definition is parsed and compiled by itself, inside the chain of classes and functions in which it
stands.  That gives the code object that the whole file gives, apart from lines; whoever needs to be sure compares.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, NamedTuple

from livepatch.contents.parsing import compiled, tree_of
from livepatch.engine.code import FUTURE_FLAGS, IMPLICIT_CELLS, FunctionNode, nested_codes, same_code
from livepatch.engine.pace import breathe, paced

__all__ = ["Block", "Outline", "outline_of"]


@dataclass(slots=True)
class Block:
    """One definition: its lines, and the blanks before it.  `first` is that of its first decorator."""

    qualname: str
    first: int
    heading: int
    last: int
    indent: str


@dataclass(slots=True)
class Outline:
    """The functions of a file, by qualified name, in the order of their lines.

    `imports` are the names that import statements bind outside of functions and classes: the compiler calls a method of
    such a name by another instruction.  `renamed` are the names that are ``global`` somewhere: a definition of such a
    name may have another qualified name than its place says.
    """

    lines: list[str]
    blocks: dict[str, list[Block]] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    renamed: set[str] = field(default_factory=set)

    def blocks_of(self, code: CodeType) -> list[Block] | None:
        """Every definition in the file that could give that code; ``None`` if its name does not tell."""
        names = code.co_qualname.split(".")
        if code.co_name != names[-1] or not code.co_name.isidentifier() or not self.renamed.isdisjoint(names):
            return None
        return self.blocks.get(code.co_qualname, [])

    def gives(self, block: Block, code: CodeType) -> bool:
        """Whether the block, compiled by itself, gives that code.  Emits the warnings of the compiler."""
        text = self._alone(block, code.co_freevars)
        breathe()
        try:
            top = compiled(text, code.co_filename, flags=code.co_flags & FUTURE_FLAGS)
        except (SyntaxError, ValueError):
            return False
        breathe()
        same = any(one.co_qualname == code.co_qualname and same_code(one, code) for one in nested_codes(top))
        breathe()
        return same

    def parsed(self, block: Block, filename: str) -> tuple[FunctionNode, str]:
        """The syntax of a block that compiles, without its decorators, and its text.

        The line of its ``def`` is the first, as in the text by itself: so nobody need shift a copy of it.
        """
        lines = self.lines[block.heading - 1 : block.last]
        node: Any = tree_of("".join(["if 1:\n" * bool(block.indent), *lines]), filename).body[0]
        breathe()
        if block.indent:
            node = ast.increment_lineno(node.body[0], -1)
            breathe()
        text = "".join(lines[: node.end_lineno])
        return node, text if text.endswith("\n") else text + "\n"

    def _alone(self, block: Block, free: Iterable[str]) -> str:
        """The block at its own lines, inside bare classes and functions of the names around it.

        Each of those has a line of its own in the file, too, so there is room for them above the block.
        """
        around = _shells(block.qualname, [name for name in free if name not in IMPLICIT_CELLS])
        if block.indent and not around:
            around = ["if 1:"]
        opened = [f"{block.indent[:depth]}{shell}\n" for depth, shell in enumerate(around)]
        imported = f"\nimport {', '.join(sorted(self.imports))}\n" if self.imports else ""
        blank = "\n" * (block.first - 1 - len(opened))
        return "".join([blank, *opened, *self.lines[block.first - 1 : block.last], imported])


def _shells(qualname: str, free: list[str]) -> list[str]:
    """The lines that open the classes and functions around a definition; its innermost function binds `free`."""
    names = qualname.split(".")[:-1]
    shells: list[str] = []
    for i, name in enumerate(names):
        if name != "<locals>":
            shells.append(f"class {name}:")
        else:
            innermost = "<locals>" not in names[i + 1 :]
            shells[-1] = f"def {names[i - 1]}({', '.join(free) if innermost else ''}):"
    return shells


# Reading


class _Line(NamedTuple):
    """A logical line: how many blocks it is inside of, where it stands, and its words."""

    depth: int
    first: int
    last: int
    indent: str
    words: list[str]


_UNSEEN = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}
# The text within f-strings and t-strings, on the versions that give it as tokens of its own.
_UNSEEN |= {getattr(tokenize, name) for name in ("FSTRING_MIDDLE", "TSTRING_MIDDLE") if hasattr(tokenize, name)}


def _logical_lines(lines: list[str]) -> Iterator[_Line]:
    depth = first = 0
    indent = ""
    words: list[str] = []
    for kind, text, start, _, line in tokenize.generate_tokens(iter([*lines, ""]).__next__):
        if kind in _UNSEEN:
            continue
        if kind == tokenize.INDENT:
            depth += 1
        elif kind == tokenize.DEDENT:
            depth -= 1
        elif kind == tokenize.NEWLINE:
            yield _Line(depth, first, start[0], indent, words)
            words = []
        else:
            if not words:
                first, indent = start[0], line[: start[1]]
            words.append(text)


def outline_of(lines: list[str]) -> Outline | None:
    """Read the outline of a file; ``None`` if its lines are no Python."""
    outline = Outline(lines)
    opened: list[tuple[int, Block, bool]] = []  # how deep it stands, the block, whether it is a function
    decorated = last = 0
    try:
        for line in paced(_logical_lines(lines)):
            while opened and line.depth <= opened[-1][0]:
                opened.pop()[1].last = last
            last = line.last
            words = line.words
            kind = words[1] if words[0] == "async" and len(words) > 1 else words[0]
            if kind == "@":
                decorated = decorated or line.first
            elif kind in ("def", "class"):
                name = words[words.index(kind) + 1]
                if opened:
                    name = f"{opened[-1][1].qualname}{'.<locals>' if opened[-1][2] else ''}.{name}"
                block = Block(name, decorated or line.first, line.first, 0, line.indent)
                opened.append((line.depth, block, kind == "def"))
                if kind == "def":
                    outline.blocks.setdefault(name, []).append(block)
                decorated = 0
            elif "import" in words and not opened:
                outline.imports |= set(_imported(words))
            if "global" in words:
                outline.renamed |= set(words[words.index("global") :])
    except (SyntaxError, ValueError, IndexError, tokenize.TokenError):
        return None
    for _, block, _ in opened:
        block.last = last
    return outline


def _imported(words: list[str]) -> Iterator[str]:
    """The names that the import statements of a line bind."""
    while "import" in words:
        end = words.index(";") if ";" in words else len(words)
        statement, words = words[:end], words[end + 1 :]
        if "import" not in statement:
            continue
        part: list[str] = []
        for word in [*statement[statement.index("import") + 1 :], ","]:
            if word == ",":
                if part and part[0] != "*":
                    yield part[-1] if "as" in part else part[0]
                part = []
            elif word not in "()":
                part.append(word)
