"""Does a live function run exactly the code that a given source gives?

The process's own compiler answers: the definition is compiled alone, inside the chain of ``class`` statements in which it
stands, with the names that its module imports and the module's ``__future__`` features.  That gives the code object that
the whole module gives, bit for bit but for lines; so whatever else the process runs was not made from this source.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from opcode import opmap
from types import CodeType
from typing import NamedTuple

from livepatch.edits import Text
from livepatch.engine.code import IMPLICIT_CELLS, FunctionNode, nested_codes
from livepatch.engine.differing import Mismatch, differs_where, same_constant, same_shape
from livepatch.engine.pace import breathe, paced

__all__ = ["Context", "Mismatch", "compile_function", "differs_where", "matches", "same_constant"]


@dataclass(frozen=True, slots=True)
class Context:
    """What the code of a module's functions depends on besides their own text.

    `futures` are the names of its ``__future__`` features, `imports` its import statements outside of functions and
    classes: the compiler calls a method of an imported name by another instruction.
    """

    futures: tuple[str, ...]
    imports: tuple[str, ...]
    filename: str


def compile_function(
    context: Context, qualname: str, text: Text, *, accessor: str = "", like: CodeType | None = None
) -> CodeType:
    """The code object that the whole module would give for the definition, with the lines of its file.

    `qualname` is as in ``__qualname__``; that of a property's function may end in `accessor`.  `like` is live code of
    the same place, which tells what the text does not show of the module: the type parameters of the classes around it
    (``class Box[T]``) as far as the live code uses them, and whether the module speaks of ``super``.  Raises
    :class:`SyntaxError` for a text that is not one function of that name, or that this Python does not know.
    """
    name = qualname.removesuffix(f".{accessor}") if accessor else qualname
    return _compile(context, name, text, text.line, _Surroundings() if like is None else _surroundings(like))


def matches(function_code: CodeType, context: Context, qualname: str, text: Text) -> Mismatch | None:
    """``None`` if the live code is the one that the text gives; else the first line that the process does not run.

    A text that this Python cannot compile gives a mismatch at its first line.
    """
    around = _surroundings(function_code)
    try:
        compiled = _compile(context, qualname, text, text.line, around)
        if same_shape(function_code, compiled):
            return None
        moved = function_code.co_firstlineno - compiled.co_firstlineno
        if moved and any("__firstlineno__" in inner.co_names for inner in nested_codes(compiled)):
            # From 3.13 a class inside the function has its line among its constants.
            breathe()
            if same_shape(function_code, _compile(context, qualname, text, text.line + moved, around)):
                return None
    except SyntaxError as error:
        line = text.line + (error.lineno or 1) - 1
        shown = (error.text or "").strip()
        return Mismatch(line, shown, f"line {line} does not compile: {error.msg}")
    breathe()
    return differs_where(function_code, compiled, text)


# What of a module changes the code of its functions, and no text of theirs shows


class _Surroundings(NamedTuple):
    """`generic` names type parameters of the classes around a function.

    With `own_super`, the module's own statements speak of ``super``, as in ``_super = super``: from 3.12 the compiler
    then makes no use of its knowing what that is.
    """

    generic: tuple[str, ...] = ()
    own_super: bool = False


_LOAD_SUPER = {opmap[name] for name in ("LOAD_SUPER_ATTR",) if name in opmap}


def _surroundings(live: CodeType) -> _Surroundings:
    """Told by live code.  Either way the code does the same: this hides no difference in what it does."""
    generic = tuple(name for name in live.co_freevars if name not in IMPLICIT_CELLS)
    if not generic and live.co_flags & inspect.CO_NESTED:
        generic = (".unused",)  # no function is around it; the scope of the type parameters is one
    speaking = [code for code in (live, *nested_codes(live)) if "super" in code.co_names] if _LOAD_SUPER else []
    return _Surroundings(generic, any(_LOAD_SUPER.isdisjoint(code.co_code[::2]) for code in speaking))


# Compiling


def _compile(context: Context, qualname: str, text: Text, line: int, surroundings: _Surroundings) -> CodeType:
    flags, names = _preamble(context.futures, context.imports)
    breathe()
    node = _definition(text, qualname, flags, line)
    breathe()
    statement: ast.stmt = node
    *around, _ = qualname.split(".")
    for i, name in enumerate(reversed(around)):
        statement = _class(name, statement, () if i else surroundings.generic)
    body = [statement]
    if names:
        body.insert(0, ast.Import(list(names), **_HERE))
    if surroundings.own_super:
        body.insert(0, ast.Expr(ast.Name("super", ast.Load(), **_HERE), **_HERE))
    top = compile(ast.Module(body, type_ignores=[]), context.filename, "exec", flags=flags, dont_inherit=True)
    breathe()
    for code in nested_codes(top):
        if code.co_qualname == qualname:
            return code
    raise SyntaxError(f"the definition does not compile to {qualname}")


_HERE = {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
_FEATURES = frozenset(__future__.all_feature_names)


@functools.lru_cache(maxsize=256)
def _preamble(futures: tuple[str, ...], imports: tuple[str, ...]) -> tuple[int, tuple[ast.alias, ...]]:
    """The flags of the compiler that the features give, and every name that the module imports."""
    unknown = sorted(set(futures) - _FEATURES)
    if unknown:
        raise SyntaxError(f"future feature {unknown[0]} is not defined")
    names = dict.fromkeys(futures)
    for node in paced(ast.walk(ast.parse("\n".join(line.strip() for line in imports)))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= dict.fromkeys(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    names.pop("*", None)
    flags = 0
    if futures:
        # What a statement sets: nothing for a feature that is always on by now.
        top = compile(f"from __future__ import {', '.join(futures)}", "<futures>", "exec", dont_inherit=True)
        for name in futures:
            flags |= top.co_flags & getattr(__future__, name).compiler_flag
    return flags, tuple(ast.alias(name, None, **_HERE) for name in names)


def _definition(text: Text, qualname: str, flags: int, line: int) -> FunctionNode:
    """The syntax of the definition at its lines, without decorators."""
    # Blank lines in front are read faster than the line of every node is added to.
    source = "\n" * (line - 1) + text.source
    tree = compile(source, "<text>", "exec", flags=flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    node = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != qualname.rpartition(".")[2]:
        raise SyntaxError(f"the text is not the definition of {qualname}")
    node.decorator_list = []
    return node


def _class(name: str, member: ast.stmt, parameters: Iterable[str]) -> ast.ClassDef:
    given = {"lineno": member.lineno, "col_offset": 0, "end_lineno": member.lineno, "end_col_offset": 0}
    owner = ast.ClassDef(name=name, bases=[], keywords=[], body=[member], decorator_list=[], **given)
    if sys.version_info >= (3, 12):
        owner.type_params = [ast.TypeVar(parameter, None, **given) for parameter in parameters]
    return owner
