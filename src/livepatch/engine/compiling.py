"""The code that a module would give for one of its functions, compiled from the function's own text.

The definition is compiled alone, inside the chain of ``class`` statements in which it stands, with the names that its
module imports and the module's ``__future__`` features.  That gives the code object that the whole module gives, bit
for bit.
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
from typing import Any, NamedTuple

from livepatch.contents.edits import Text
from livepatch.contents.parsing import compiled, tree_of
from livepatch.engine.code import IMPLICIT_CELLS, FunctionNode, nested_codes
from livepatch.engine.pace import breathe, paced

__all__ = ["MOST_BLANK", "Context", "Surroundings", "compile_at", "compile_function", "preamble", "surroundings_of"]


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
    return compile_at(context, name, text, text.line, Surroundings() if like is None else surroundings_of(like))


# What of a module changes the code of its functions, and no text of theirs shows


class Surroundings(NamedTuple):
    """`generic` names type parameters of the classes around a function.

    With `own_super`, the module's own statements speak of ``super``, as in ``_super = super``: from 3.12 the compiler
    then makes no use of its knowing what that is.
    """

    generic: tuple[str, ...] = ()
    own_super: bool = False


_LOAD_SUPER = {opmap[name] for name in ("LOAD_SUPER_ATTR",) if name in opmap}


def surroundings_of(live: CodeType) -> Surroundings:
    """Told by live code.  Either way the code does the same: this hides no difference in what it does."""
    generic = tuple(name for name in live.co_freevars if name not in IMPLICIT_CELLS)
    if not generic and live.co_flags & inspect.CO_NESTED:
        generic = (".unused",)  # no function is around it; the scope of the type parameters is one
    codes = (live, *nested_codes(live))
    speaks = bool(_LOAD_SUPER) and any("super" in code.co_names for code in codes)
    return Surroundings(generic, speaks and all(_LOAD_SUPER.isdisjoint(code.co_code[::2]) for code in codes))


# Compiling


def compile_at(context: Context, qualname: str, text: Text, line: int, surroundings: Surroundings) -> CodeType:
    """Like :func:`compile_function`, with the definition at `line`, in a module that is as it says."""
    try:
        flags, names = preamble(context.futures, context.imports)
        breathe()
        node = _definition(context, text, qualname, flags, line)
        breathe()
        module = ast.Module(_module(node, qualname, names, surroundings), type_ignores=[])
        top = compiled(module, context.filename, flags=flags)
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise SyntaxError(f"the definition of {qualname} does not compile: {error}") from error
    breathe()
    for code in nested_codes(top):
        if code.co_qualname == qualname:
            return code
    raise SyntaxError(f"the definition does not compile to {qualname}")


def _module(
    node: FunctionNode, qualname: str, imported: tuple[ast.alias, ...], surroundings: Surroundings
) -> list[ast.stmt]:
    """The statements of a module that consists of the definition and what has an influence on its code."""
    statement: ast.stmt = node
    *around, _ = qualname.split(".")
    for i, name in enumerate(reversed(around)):
        statement = _class(name, statement, () if i else surroundings.generic)
    body = [statement]
    if imported:
        body.insert(0, ast.Import(list(imported), **_HERE))
    if surroundings.own_super:
        body.insert(0, ast.Expr(ast.Name("super", ast.Load(), **_HERE), **_HERE))
    return body


_HERE = {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
MOST_BLANK = 20_000
"""The blank lines that are put in front of a text at most."""
_FEATURES = frozenset(__future__.all_feature_names)


@functools.lru_cache(maxsize=256)
def preamble(futures: tuple[str, ...], imports: tuple[str, ...]) -> tuple[int, tuple[ast.alias, ...]]:
    """The flags of the compiler that the features give, and every name that the module imports."""
    unknown = sorted(set(futures) - _FEATURES)
    if unknown:
        raise SyntaxError(f"future feature {unknown[0]} is not defined")
    names = dict.fromkeys(futures)
    for node in paced(ast.walk(tree_of("\n".join(line.strip() for line in imports)))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= dict.fromkeys(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    names.pop("*", None)
    flags = 0
    if futures:
        # What a statement sets: nothing for a feature that is always on by now.
        top = compiled(f"from __future__ import {', '.join(futures)}", "<futures>")
        for name in futures:
            flags |= top.co_flags & getattr(__future__, name).compiler_flag
    return flags, tuple(ast.alias(name, None, **_HERE) for name in names)


def _definition(context: Context, text: Text, qualname: str, flags: int, line: int) -> FunctionNode:
    """The syntax of the definition at its lines."""
    # Blank lines in front are read faster than something is added to the line of every node.
    blank = min(line - 1, MOST_BLANK)
    source = "\n" * blank + text.source
    tree: Any = compiled(source, context.filename, flags=flags | ast.PyCF_ONLY_AST)
    node = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != qualname.rpartition(".")[2]:
        raise SyntaxError(f"the text is not the definition of {qualname}")
    if line - 1 > blank:
        ast.increment_lineno(node, line - 1 - blank)
    # Code begins at the line of its first decorator.  What that is does not matter, and would only take time.
    node.decorator_list = [ast.copy_location(ast.Constant(None), one) for one in node.decorator_list[:1]]
    if node.name == "__annotate__":
        node.args, node.returns = _unannotated(node.args), None  # from 3.14 the code for annotations has that name, too
    return node


def _unannotated(arguments: ast.arguments) -> ast.arguments:
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
    return arguments


def _class(name: str, member: ast.stmt, parameters: Iterable[str]) -> ast.ClassDef:
    given = {"lineno": member.lineno, "col_offset": 0, "end_lineno": member.lineno, "end_col_offset": 0}
    owner = ast.ClassDef(name=name, bases=[], keywords=[], body=[member], decorator_list=[], **given)
    if sys.version_info >= (3, 12):
        owner.type_params = [ast.TypeVar(parameter, None, **given) for parameter in parameters]
    return owner
