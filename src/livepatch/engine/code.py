"""Source to code objects in the target's context; what a code object is, apart from lines and files.

A function compiled alone, inside the classes and functions that enclose the target, is the function that
the compiler would have made had the source been edited there: private names, ``super()``, free variables
and the qualified name come out as the target's own.
"""

from __future__ import annotations
import __future__

import ast
import copy
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from opcode import EXTENDED_ARG, opmap
from types import CodeType, FunctionType

from livepatch.contents.parsing import compiled, copy_of
from livepatch.engine.pace import breathe, paced

__all__ = [
    "CodeKind",
    "Parameter",
    "compile_in_context",
    "fingerprint",
    "is_class_body",
    "kind_of",
    "names_loaded",
    "names_stored",
    "nested_codes",
    "parameters_of",
    "private_names",
    "same_code",
]

FUTURE_FLAGS = 0
for _feature in __future__.all_feature_names:
    FUTURE_FLAGS |= getattr(__future__, _feature).compiler_flag

# Free variables that the compiler makes for itself and the source cannot bind.
IMPLICIT_CELLS = frozenset({"__class__", "__classdict__", "__conditional_annotations__"})

CodeKind = str  # "function", "generator", "coroutine", "async generator", "generator-based coroutine"


def kind_of(code: CodeType) -> CodeKind:
    """What calling it gives: a value, a generator, a coroutine or an async generator."""
    flags = code.co_flags
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "async generator"
    if flags & inspect.CO_COROUTINE:
        return "coroutine"
    if flags & inspect.CO_GENERATOR:
        return "generator-based coroutine" if flags & inspect.CO_ITERABLE_COROUTINE else "generator"
    return "function"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.  `kind` is ``/`` (positional only), ``-``, ``*`` (the rest), ``=`` (keyword only) or ``**``."""

    name: str
    kind: str
    required: bool


def parameters_of(function: FunctionType) -> tuple[Parameter, ...]:
    """The parameters that the function really has (``inspect.signature`` follows ``__wrapped__`` and overrides)."""
    code, names = function.__code__, function.__code__.co_varnames
    count, keyword = code.co_argcount, code.co_kwonlyargcount
    optional = count - len(function.__defaults__ or ())
    found = [
        Parameter(name, "/" if i < code.co_posonlyargcount else "-", i < optional)
        for i, name in enumerate(names[:count])
    ]
    rest = count + keyword
    if code.co_flags & inspect.CO_VARARGS:
        found.append(Parameter(names[rest], "*", False))
        rest += 1
    by_keyword = function.__kwdefaults__ or {}
    found += [Parameter(name, "=", name not in by_keyword) for name in names[count : count + keyword]]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        found.append(Parameter(names[rest], "**", False))
    return tuple(found)


def nested_codes(code: CodeType) -> Iterator[CodeType]:
    """Every code object inside this one, outermost first."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from nested_codes(constant)


def is_class_body(code: CodeType) -> bool:
    """Whether it is what a class statement runs."""
    return "__module__" in code.co_names and "__qualname__" in code.co_names


_NAMED = (("LOAD_GLOBAL", 1), ("LOAD_NAME", 0), ("LOAD_FROM_DICT_OR_GLOBALS", 0))
# Instructions that have a name for their argument, and how far it is shifted.  Plain bytes are read, because `dis`
# takes a millisecond for a function of twenty lines, and holds its thread up for it.
_GLOBAL_LOADS = {opmap[name]: shift for name, shift in _NAMED if name in opmap}
_STORES, _GLOBAL_STORES = {opmap["STORE_NAME"]: 0}, {opmap["STORE_GLOBAL"]: 0}


def _named(code: CodeType, instructions: Mapping[int, int]) -> Iterator[str]:
    """The names that these instructions of the code refer to."""
    raw, extended = code.co_code, 0
    for op, low in zip(raw[::2], raw[1::2], strict=True):
        argument = extended | low
        extended = argument << 8 if op == EXTENDED_ARG else 0
        if op in instructions:
            yield code.co_names[argument >> instructions[op]]


def names_loaded(code: CodeType) -> frozenset[str]:
    """The names that this code, and all inside it, looks up among globals and builtins; a class body's own left out."""
    loaded: set[str] = set()
    for part in paced((code, *nested_codes(code))):
        loaded |= set(_named(part, _GLOBAL_LOADS)) - set(_named(part, _STORES))
    return frozenset(loaded - {"__name__", "__module__", "__qualname__"})


def names_stored(code: CodeType) -> frozenset[str]:
    """The globals that this code, and all inside it, assigns."""
    return frozenset(name for part in paced((code, *nested_codes(code))) for name in _named(part, _GLOBAL_STORES))


def private_names(code: CodeType) -> frozenset[str]:
    """Names such as ``__x`` that a class around the function would have mangled."""
    names = {*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars}
    for inner in nested_codes(code):
        names |= private_names(inner)
    return frozenset(n for n in names if n.startswith("__") and not n.endswith("__") and "." not in n)


# Identity of code


def _constant_key(value: object) -> object:
    if isinstance(value, CodeType):
        return _code_key(value)
    if isinstance(value, tuple):
        return ("tuple", *(_constant_key(item) for item in value))
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(repr(_constant_key(item)) for item in value))
    if isinstance(value, slice):
        return ("slice", _constant_key(value.start), _constant_key(value.stop), _constant_key(value.step))
    return (type(value).__name__, repr(value))


def _code_key(code: CodeType) -> tuple[object, ...]:
    return (
        code.co_code,
        tuple(_constant_key(constant) for constant in code.co_consts),
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags & ~inspect.CO_ITERABLE_COROUTINE,  # types.coroutine sets it on code that is compiled already
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_exceptiontable,
        code.co_qualname,
    )


def same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same: all of them but lines and file names, constants with their types."""
    return one is other or _code_key(one) == _code_key(other)


def interpreter_tag() -> str:
    """What compiled code depends on besides its source: the Python version and ``-O``."""
    optimized = {0: "", 1: "-O"}.get(sys.flags.optimize, "-OO")
    return f"cp{sys.version_info.major}{sys.version_info.minor}{optimized}"


def fingerprint(function: FunctionType, code: CodeType | None = None) -> str:
    """A pin for what a function does: its code (or `code`), and its defaults as far as they are plain values.

    Looks like ``cp311:6b86b273ff34fce19d6b804eff5a3f57``; before the colon stands the interpreter for which it holds.
    """
    defaults = tuple(_default_key(value) for value in function.__defaults__ or ())
    keyword = tuple(sorted((name, _default_key(value)) for name, value in (function.__kwdefaults__ or {}).items()))
    key = repr((_code_key(code or function.__code__), defaults, keyword))
    return f"{interpreter_tag()}:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def _default_key(value: object) -> object:
    if type(value) in _PLAIN:
        return (type(value).__name__, repr(value))
    if type(value) is tuple:
        return tuple(_default_key(item) for item in value)
    return (type(value).__module__, type(value).__qualname__)


# Compiling

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def _bind(names: list[str]) -> list[ast.stmt]:
    """An assignment that makes the names local to the enclosing function."""
    if not names:
        return []
    targets: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
    return [ast.Assign(targets, ast.Constant(None))]


def _shell(name: str, body: list[ast.stmt]) -> ast.FunctionDef:
    arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    shell = ast.FunctionDef(name=name, args=arguments, body=body, decorator_list=[])
    if sys.version_info >= (3, 12):
        shell.type_params = []
    return shell


def _bare(node: FunctionNode) -> FunctionNode:
    """The definition without what is evaluated around the function and not in it."""
    node = copy.copy(node)
    node.decorator_list, node.returns = [], None
    node.args = copy.copy(node.args)
    for group in ("posonlyargs", "args", "kwonlyargs"):
        setattr(node.args, group, [ast.copy_location(ast.arg(a.arg), a) for a in getattr(node.args, group)])
    for single in ("vararg", "kwarg"):
        a = getattr(node.args, single)
        if a is not None:
            setattr(node.args, single, ast.copy_location(ast.arg(a.arg), a))
    node.args.defaults = [ast.copy_location(ast.Constant(None), d) for d in node.args.defaults]
    node.args.kw_defaults = [d and ast.copy_location(ast.Constant(None), d) for d in node.args.kw_defaults]
    return node


def compile_in_context(
    node: FunctionNode,
    qualname: str,
    filename: str,
    *,
    flags: int = 0,
    first_line: int = 1,
    enclosing: Mapping[str, tuple[str, ...]] | None = None,
    outside: Iterable[str] = (),
    keep_free: Mapping[str, tuple[str, ...]] | None = None,
) -> CodeType:
    """Compile a function definition as if it stood at `qualname`; give its code object.

    `flags` are the ``__future__`` flags of its source, `first_line` the line at which the definition stands in
    `filename`.  `enclosing` names the local variables of each enclosing function (by its qualified name), `outside`
    those of an invisible scope around everything.  `keep_free` names, for the function and those nested in it (by
    qualified name), variables that must be free in the result even where the new source does not use them, so that
    closures keep the target's shape.  Raises :class:`SyntaxError`.
    """
    segments = qualname.split(".")
    inner = _bare(node if not keep_free and node.lineno == first_line else copy_of(node))
    inner.name = segments[-1]
    breathe()
    if keep_free:
        _keep_free(inner, qualname, keep_free)
        ast.fix_missing_locations(inner)
    breathe()
    tree: ast.stmt = inner
    end = len(segments) - 1
    while end > 0:
        if segments[end - 1] == "<locals>":
            end -= 2
            local = (enclosing or {}).get(".".join(segments[: end + 1]), ())
            tree = _shell(segments[end], [*_bind([n for n in local if n != segments[end + 2]]), tree])
        else:
            end -= 1
            owner = ast.ClassDef(name=segments[end], bases=[], keywords=[], body=[tree], decorator_list=[])
            if sys.version_info >= (3, 12):
                owner.type_params = []
            tree = owner
    names = sorted(set(outside) - {segments[0]})
    if names:
        # `global` keeps the invisible scope out of the qualified names.
        tree = _shell("outside", [ast.Global([segments[0]]), *_bind(names), tree])
    module = ast.Module([tree], type_ignores=[])
    if node.lineno != first_line:
        ast.increment_lineno(inner, first_line - node.lineno)
    breathe()
    ast.fix_missing_locations(module)
    breathe()
    top = compiled(module, filename, flags=flags & FUTURE_FLAGS)
    breathe()
    found = [code for code in nested_codes(top) if code.co_qualname == qualname]
    if not found:
        raise SyntaxError(f"the definition does not compile to {qualname}")
    return found[0]


def _keep_free(node: FunctionNode, qualname: str, keep: Mapping[str, tuple[str, ...]]) -> None:
    """Let each function use the variables that it must keep free, in a branch that is never even compiled."""
    used = {n.id for n in paced(ast.walk(node)) if isinstance(n, ast.Name)}
    missing = [name for name in keep.get(qualname, ()) if name not in used]
    for child in _functions_right_inside(node):
        _keep_free(child, f"{qualname}.<locals>.{child.name}", keep)
    if missing:
        reads: list[ast.stmt] = [ast.Expr(ast.Name(name, ast.Load())) for name in missing]
        node.body.append(ast.If(ast.Constant(False), reads, []))


def _functions_right_inside(node: ast.AST) -> Iterator[FunctionNode]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
        elif not isinstance(child, (ast.ClassDef, ast.Lambda)):
            yield from _functions_right_inside(child)
