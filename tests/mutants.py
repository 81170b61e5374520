"""Functions with the source that gives them, and with one thing changed: an operator, constant, name or default.

Used by the tests and by ``benchmarks/run_pre.py``.  What the compiler says decides what is right here: a function is
what compiling the whole file gives, and a change counts if that gives other code.
"""

from __future__ import annotations

import ast
import dis
import io
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from livepatch.contents.edits import Text
from livepatch.engine.code import nested_codes
from livepatch.engine.functions import held_by
from livepatch.engine.matching import Context, Mismatch, defaults_match, matches
from livepatch.engine.texts import source_lines, text_of

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Function:
    """A function of a file, its text and the code that the whole file gives; `absent` says why there is none."""

    qualname: str
    node: FunctionNode
    text: Text
    code: CodeType | None
    absent: str = ""


@dataclass
class File:
    """A file that this interpreter compiles."""

    path: str
    source: str
    tree: ast.Module
    context: Context
    functions: list[Function]


def file_of(path: str, source: str, whole: CodeType | None = None) -> File | None:
    """The functions of a file outside of functions; `None` if it does not compile.  `whole` is its code if known."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, path)
            whole = whole or compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    by_name: dict[str, list[CodeType]] = {}
    starts = set()
    for code in nested_codes(whole):
        # From 3.14 there is code for the annotations of a function, too.
        if code.co_name != "__annotate__" or code.co_varnames[:1] not in ((".format",), ("format",)):
            by_name.setdefault(code.co_qualname, []).append(code)
        starts.add((code.co_name, code.co_firstlineno))
    futures: list[str] = []
    imports: list[str] = []
    lines = source_lines(source)
    functions = []
    for node, scope in _outside_functions(tree.body, ""):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            futures += [alias.name for alias in node.names]
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and not scope:
            imports.append(ast.unparse(node))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = text_of(lines, node)
            span = range(text.line, node.lineno + 1)
            found = [code for code in by_name.get(scope + node.name, ()) if code.co_firstlineno in span]
            absent = ""
            if not found:
                renamed = any((node.name, line) in starts for line in span)
                absent = "defined as a `global` of its class" if renamed else "never compiled: under `if 0` or the like"
            functions.append(Function(scope + node.name, node, text, found[0] if found else None, absent))
    return File(path, source, tree, Context(tuple(futures), tuple(imports), path), functions)


def _outside_functions(body: list[ast.stmt], scope: str) -> Iterator[tuple[ast.stmt, str]]:
    for node in body:
        yield node, scope
        if isinstance(node, ast.ClassDef):
            yield from _outside_functions(node.body, f"{scope}{node.name}.")
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for block in ("body", "orelse", "finalbody"):
                yield from _outside_functions(getattr(node, block, []), scope)
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _outside_functions(part.body, scope)


# One change


@dataclass
class Site:
    """One thing that can be changed: what, and how to set it; `node` is where it stands."""

    kind: str
    node: ast.AST
    set: Callable[[Any], None]
    old: object
    new: object
    default: ast.expr | None = None


_BINARY = [ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.LShift, ast.RShift]
_BINARY += [ast.BitOr, ast.BitXor, ast.BitAnd, ast.MatMult]
_COMPARING = [ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn]
_UNARY = [ast.Not, ast.Invert, ast.USub, ast.UAdd]
_NAMES = {
    ast.Name: ("id",),
    ast.Attribute: ("attr",),
    ast.arg: ("arg",),
    ast.keyword: ("arg",),
    ast.alias: ("name", "asname"),
    ast.FunctionDef: ("name",),
    ast.AsyncFunctionDef: ("name",),
    ast.ClassDef: ("name",),
    ast.ExceptHandler: ("name",),
    ast.MatchAs: ("name",),
    ast.MatchStar: ("name",),
    ast.MatchMapping: ("rest",),
}


def sites_of(node: FunctionNode, rng: random.Random) -> list[Site]:
    """Everything in a function that can be changed, each with one change; not its decorators and own annotations."""
    found: list[Site] = []
    for default in (*node.args.defaults, *node.args.kw_defaults):
        if default is not None:
            found += [Site(**{**vars(site), "kind": "default", "default": default}) for site in _sites(default, rng)]
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    found += [_name(argument, "arg") for argument in arguments if argument is not None]
    for statement in node.body:
        found += _sites(statement, rng)
    return found


def _setter(node: ast.AST, name: str, index: int | None = None) -> Callable[[Any], None]:
    def put(value: object) -> None:
        if index is None:
            setattr(node, name, value)
        else:
            getattr(node, name)[index] = value

    return put


def _name(node: ast.AST, field: str) -> Site:
    old = getattr(node, field)
    return Site("name", node, _setter(node, field), old, old + "_")


def _sites(top: ast.AST, rng: random.Random) -> Iterator[Site]:
    for node in ast.walk(top):
        if isinstance(node, (ast.BinOp, ast.AugAssign)):
            yield Site("operator", node, _setter(node, "op"), node.op, _other(_BINARY, node.op, rng))
        elif isinstance(node, ast.UnaryOp):
            yield Site("operator", node, _setter(node, "op"), node.op, _other(_UNARY, node.op, rng))
        elif isinstance(node, ast.BoolOp):
            yield Site("operator", node, _setter(node, "op"), node.op, _other([ast.And, ast.Or], node.op, rng))
        elif isinstance(node, ast.Compare):
            for i, op in enumerate(node.ops):
                yield Site("operator", node, _setter(node, "ops", i), op, _other(_COMPARING, op, rng))
        elif isinstance(node, (ast.Constant, ast.MatchSingleton)):
            yield Site("constant", node, _setter(node, "value"), node.value, _changed(node.value, rng))
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            for i, name in enumerate(node.names):
                yield Site("name", node, _setter(node, "names", i), name, name + "_")
        for field in _NAMES.get(type(node), ()):
            if getattr(node, field) not in (None, "*"):
                yield _name(node, field)


def _other(operators: list[Any], old: object, rng: random.Random) -> object:
    return rng.choice([one for one in operators if one is not type(old)])()


def _changed(value: Any, rng: random.Random) -> object:
    """Another constant, often one that compares equal to the old one."""
    if isinstance(value, bool):
        return rng.choice([not value, int(value)])
    if isinstance(value, int):
        choices: list[object] = [value + 1, -value - 1]
        choices += [float(value)] if value < 2**53 else []
        return rng.choice([*choices, bool(value)] if value in (0, 1) else choices)
    if isinstance(value, float):
        return rng.choice([value + 1, -value, complex(value, 0.0)] if value < 1e15 else [0.0])
    if isinstance(value, complex):
        return value + 1
    if isinstance(value, str):
        return rng.choice([value + "_", value.encode("utf-8", "surrogatepass"), value.swapcase() + " "])
    if isinstance(value, bytes):
        return rng.choice([value + b"_", value.decode("latin-1")])
    return rng.choice([None, True, 0, ...]) if value is not None else rng.choice([False, 0, ...])


# What became of it


@dataclass
class Outcome:
    """Of one change.  `caught` is ``None`` if the compiler gives the same code for it, and `why` then says why."""

    site: Site
    function: Function
    caught: bool | None
    why: str = ""
    mismatch: Mismatch | None = None
    exact: bool = False


def try_one(file: File, function: Function, rng: random.Random) -> Outcome | None:
    """Change one thing in a function and see whether it is noticed; `None` if the change is no program.

    The process is the one with the change; the text is the one without it.
    """
    sites = sites_of(function.node, rng)
    if not sites:
        return None
    # Of the kinds that there are, each as often as the others.
    kind = rng.choice(sorted({site.kind for site in sites}))
    site = rng.choice([site for site in sites if site.kind == kind])
    assert function.code is not None
    if site.default is not None:
        return _try_default(function, site)
    statement = next(one for one in reversed(list(_statements(function.node))) if _is_inside(site.node, one))
    site.set(site.new)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = compile(file.tree, file.path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, TypeError, RecursionError):
        return None
    finally:
        site.set(site.old)
    codes = [code for code in nested_codes(whole) if code.co_qualname == function.qualname]
    live = next(code for code in codes if code.co_firstlineno == function.code.co_firstlineno)
    mismatch = matches(live, file.context, function.qualname, function.text)
    if _listing(live) == _listing(function.code) and live == function.code:
        return Outcome(site, function, None if mismatch is None else True, _why_the_same(function, site), mismatch)
    exact = mismatch is not None and statement.lineno <= mismatch.line <= (statement.end_lineno or 0)
    return Outcome(site, function, mismatch is not None, "", mismatch, exact)


def _statements(node: FunctionNode) -> Iterator[ast.stmt]:
    """The function and all statements in it, outer ones before inner ones."""
    return (one for one in ast.walk(node) if isinstance(one, ast.stmt))


def _is_inside(node: ast.AST, other: ast.AST) -> bool:
    return any(one is node for one in ast.walk(other))


def _listing(code: CodeType) -> str:
    """All that `dis` shows of code and of what is in it, with positions."""
    out = io.StringIO()
    for one in (code, *nested_codes(code)):
        header = (one.co_flags, one.co_names, one.co_varnames, one.co_freevars, one.co_cellvars, one.co_exceptiontable)
        constants = [constant for constant in one.co_consts if not isinstance(constant, CodeType)]
        print(header, [(type(constant), repr(constant)) for constant in constants], file=out)
        for step in dis.get_instructions(one):
            value = step.argval.co_qualname if isinstance(step.argval, CodeType) else repr(step.argval)
            print(step.opname, step.arg, value, step.positions, file=out)
    return out.getvalue()


def _why_the_same(function: Function, site: Site) -> str:
    """Why a change cannot be seen in the code; empty if that cannot be shown."""
    assert function.code is not None
    if isinstance(site.node, (ast.Global, ast.Nonlocal)):
        return "declares a name that the function never binds"
    if any(isinstance(node, ast.Expr) and node.value is site.node for node in ast.walk(function.node)):
        return "a constant that stands alone"
    constant = site.node
    for node in ast.walk(function.node):
        if isinstance(node, ast.expr) and _is_inside(site.node, node) and _is_constant(node):
            constant = node
            break
    if (isinstance(site.node, (ast.UnaryOp, ast.BinOp)) and constant is not site.node) or _is_constant(site.node):
        expression = ast.unparse(constant)
        site.set(site.new)
        changed = ast.unparse(constant)
        site.set(site.old)
        try:
            same = repr(eval(expression, {})) == repr(eval(changed, {}))  # constants only
        except Exception:  # a division by zero
            same = False
        if same:
            return "gives the same constant"
    for node in ast.walk(function.node):
        tests = [node.test] if isinstance(node, (ast.If, ast.While, ast.IfExp, ast.Assert)) else []
        tests += node.values if isinstance(node, ast.BoolOp) else []
        if any(_is_inside(site.node, test) and _is_constant(test) for test in tests):
            return "a condition that the compiler decides, and decides the same"
    if not _gives_instructions(function.code, site.node):
        return "no instruction comes from it"
    return ""


def _is_constant(node: ast.AST) -> bool:
    kinds = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Tuple)
    return isinstance(node, kinds) and all(
        isinstance(one, (*kinds, ast.unaryop, ast.operator, ast.boolop, ast.cmpop, ast.expr_context))
        for one in ast.walk(node)
    )


def _gives_instructions(code: CodeType, node: Any) -> bool:
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    for one in (code, *nested_codes(code)):
        for line, last, column, last_column in one.co_positions():
            if None in (line, last, column, last_column):
                continue
            if begin <= (line, column) and (last, last_column) <= end:
                return True
    return False


def _try_default(function: Function, site: Site) -> Outcome | None:
    assert site.default is not None
    objects: dict[str, object] = {}

    def value(expression: ast.expr) -> object:
        if _is_constant(expression):
            try:
                return eval(compile(ast.Expression(expression), "default", "eval"), {})  # constants only
            except (TypeError, ValueError, ArithmeticError):
                pass
        return objects.setdefault(ast.dump(expression), object())

    before = function_with_defaults(function, value)
    untouched = defaults_match(held_by(before), function.text, value)
    assert untouched.mismatch is None, (function.qualname, untouched)
    assert (untouched.differing, untouched.unknown) == ((), ()), (function.qualname, untouched)
    old = ast.dump(site.default)
    site.set(site.new)
    try:
        if not _compiles(site.default):
            return None
        live = function_with_defaults(function, value)
        changed = ast.dump(site.default) != old
    finally:
        site.set(site.old)
    found = defaults_match(held_by(live), function.text, value)
    if not changed or (
        repr(live.__defaults__) == repr(before.__defaults__)
        and repr(live.__kwdefaults__) == repr(before.__kwdefaults__)
    ):
        return Outcome(site, function, None, "gives the same constant")
    caught = found.mismatch is not None or bool(found.differing)
    exact = found.mismatch is None or site.default.lineno <= found.mismatch.line <= (site.default.end_lineno or 0)
    return Outcome(site, function, caught, "", found.mismatch, exact)


def _compiles(expression: ast.expr) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(ast.Expression(expression), "default", "eval", dont_inherit=True)
    except (SyntaxError, ValueError, TypeError):
        return False
    return True


def function_with_defaults(function: Function, value: Callable[[ast.expr], object]) -> FunctionType:
    """A function object with the defaults that `value` gives for their expressions."""
    code, arguments = function.code, function.node.args
    assert code is not None
    made = FunctionType(code, {}, closure=tuple(CellType() for _ in code.co_freevars))
    made.__defaults__ = tuple(map(value, arguments.defaults)) or None
    names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    made.__kwdefaults__ = {
        name: value(default) for name, default in zip(names, arguments.kw_defaults, strict=True) if default is not None
    } or None
    return made
