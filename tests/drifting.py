"""The kinds of drift, each with what `check` must say of it.

A kind draws one drift: other texts of the files that are imported, another environment, or something that is done to
the process.  It draws nothing where the package has no place for it, or where the compiler gives the same code.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

from tests.drifts import Fixed, Specimen, code_in, definitions, found, shape, span, spliced
from tests.mutants import Function, Site, sites_of

import livepatch
from livepatch.process import examining

CODE = frozenset({"before-differs", "changed-in-memory", "upgraded-on-disk"})
GONE = frozenset({"no-such-name", "inherited", "not-a-class", "behind-wrapper", "native", "not-callable", "ambiguous"})


@dataclass
class Drift:
    """One thing about the process that is not what the patch was built for."""

    what: str
    target: str = ""
    """Of which change of the patch it must be told; empty: of none."""
    texts: dict[str, str] = field(default_factory=dict)
    optimize: int = -1
    act: Callable[[Specimen, pytest.MonkeyPatch], None] = lambda specimen, patching: None


Draw = Callable[[Specimen, random.Random], Drift | None]


@dataclass(frozen=True)
class Kind:
    """A kind of drift, with the codes of which one must be told, and the severity that is the least."""

    name: str
    draw: Draw
    codes: frozenset[str]
    severity: str = "error"


KINDS: list[Kind] = []


def kind(name: str, *codes: str, severity: str = "error", among: frozenset[str] = frozenset()):
    def register(draw: Draw) -> Draw:
        KINDS.append(Kind(name, draw, among | frozenset(codes), severity))
        return draw

    return register


# Another text of the target


def _changed(specimen: Specimen, one: Fixed, edits: list, what: str, *, defaults: bool = False) -> Drift | None:
    """The drift of the file with some edits, if that is a program, and other code (or `defaults`) than before."""
    text = spliced(specimen.texts[one.path], edits)
    new, old = code_in(text, str(specimen.old / one.path), one.qualname), specimen.function(one).code
    if new is None or old is None or (not defaults and shape(new) == shape(old)):
        return None
    return Drift(f"{one.qualname}: {what}", str(one), {one.path: text})


def _pick(specimen: Specimen, rng: random.Random, wanted: Callable[[Function], object] = lambda function: True):
    fitting = [one for one in specimen.fixed if wanted(specimen.function(one))]
    return rng.choice(fitting) if fitting else None


def _text_of_site(site: Site) -> tuple[ast.AST, str] | None:
    """The node that has to be written anew for a site, and its text with the change."""
    node = site.node
    if isinstance(node, ast.arg):
        return None  # as a parameter, below
    if not hasattr(node, "lineno") or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return None
    site.set(site.new)
    try:
        text = ast.unparse(node)
    except (ValueError, TypeError):
        return None
    finally:
        site.set(site.old)
    return node, f"({text})" if isinstance(node, ast.expr) else text


def _site(name: str) -> Draw:
    def draw(specimen: Specimen, rng: random.Random) -> Drift | None:
        one = _pick(specimen, rng)
        if one is None:
            return None
        function = specimen.function(one)
        sites = [site for site in sites_of(function.node, rng) if site.kind == name]
        site = rng.choice(sites) if sites else None
        written = _text_of_site(site) if site else None
        if site is None or written is None:
            return None
        if site.default is not None and not isinstance(site.default, ast.Constant):
            return None  # a name: another value of it is told as a doubt
        site.set(site.new)
        wanted = ast.dump(function.node)
        site.set(site.old)
        drift = _changed(specimen, one, [(*span(written[0]), written[1])], written[1], defaults=name == "default")
        if drift is None:
            return None
        return drift if any(ast.dump(node) == wanted for node in definitions(drift.texts[one.path])) else None

    return draw


for _name in ("operator", "constant", "name", "default"):
    kind(_name, among=CODE)(_site(_name))


def _positional(function: Function) -> list[ast.arg]:
    return [*function.node.args.posonlyargs, *function.node.args.args]


def _end_of_last(function: Function, back: int = 1) -> tuple[int, int]:
    """Where the last positional parameter ends, or one before it, with its default."""
    arguments, defaults = _positional(function), function.node.args.defaults
    default = defaults[-back] if len(defaults) >= back else None
    return span(default or arguments[-back])[1]


@kind("parameter added", among=CODE)
def parameter_added(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng)
    if one is None:
        return None
    end = _end_of_last(specimen.function(one))
    optional = rng.random() < 0.5 or specimen.function(one).node.args.defaults
    return _changed(specimen, one, [(end, end, ", drifted=None" if optional else ", drifted")], "takes `drifted`")


@kind("parameter removed", among=CODE)
def parameter_removed(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng, lambda function: len(function.node.args.args) > 1)
    if one is None:
        return None
    function = specimen.function(one)
    gone = _positional(function)[-1].arg
    return _changed(specimen, one, [(_end_of_last(function, 2), _end_of_last(function), "")], f"takes no {gone}")


@kind("parameter renamed", among=CODE)
def parameter_renamed(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng)
    if one is None:
        return None
    node = specimen.function(one).node
    argument = rng.choice(_positional(specimen.function(one)))
    begin = span(argument)[0]
    edits = [(begin, (begin[0], begin[1] + len(argument.arg.encode())), f"{argument.arg}_drifted")]
    edits += [
        (*span(each), f"{argument.arg}_drifted")
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and each.id == argument.arg
    ]
    return _changed(specimen, one, edits, f"{argument.arg} is {argument.arg}_drifted")


def _first_statement(function: Function) -> tuple[int, str]:
    """The line above which another statement may be put, and its indentation."""
    node = function.node
    first = node.body[1 if ast.get_docstring(node, clean=False) is not None and len(node.body) > 1 else 0]
    line = min([first.lineno, *(each.lineno for each in getattr(first, "decorator_list", ()))])
    return line, " " * first.col_offset


@kind("kind of function", among=CODE)
def function_kind(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng)
    if one is None:
        return None
    function = specimen.function(one)
    if isinstance(function.node, ast.FunctionDef) and rng.random() < 0.5:
        begin = span(function.node)[0]
        return _changed(specimen, one, [(begin, begin, "async ")], "is a coroutine")
    line, indent = _first_statement(function)
    return _changed(specimen, one, [((line, 0), (line, 0), f"{indent}if 0: yield\n")], "is a generator")


@kind("statement added", among=CODE)
def statement_added(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng)
    if one is None:
        return None
    line, indent = _first_statement(specimen.function(one))
    return _changed(specimen, one, [((line, 0), (line, 0), f"{indent}drifted = None\n")], "drifted = None")


@kind("statement removed", among=CODE)
def statement_removed(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng, lambda function: len(function.node.body) > 1)
    if one is None:
        return None
    statement = rng.choice(specimen.function(one).node.body[1:])
    return _changed(specimen, one, [(*span(statement), "pass")], f"without line {statement.lineno}")


@kind("target gone", among=GONE)
def target_gone(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng, lambda function: not function.node.decorator_list)
    if one is None:
        return None
    node = specimen.function(one).node
    place = span(node)[0]
    width = len("async def " if isinstance(node, ast.AsyncFunctionDef) else "def ")
    begin = (place[0], place[1] + width)
    edit = (begin, (begin[0], begin[1] + len(node.name.encode())), "drifted_away")
    text = spliced(specimen.texts[one.path], [edit])
    return Drift(f"{one.qualname}: has another name", str(one), {one.path: text})


# Decorators and bases


def _decorated(specimen: Specimen, one: Fixed, decorator: str, instead_of: ast.expr | None = None) -> Drift | None:
    node = specimen.function(one).node
    if instead_of is not None:
        return _changed(specimen, one, [(*span(instead_of), decorator)], f"@{decorator}", defaults=True)
    line = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    text = f"{' ' * node.col_offset}@{decorator}\n"
    return _changed(specimen, one, [((line, 0), (line, 0), text)], f"@{decorator}", defaults=True)


WRAPPING = (
    "__import__('functools').lru_cache(maxsize=None)",
    "__import__('contextlib').contextmanager",
    "lambda inner: __import__('functools').wraps(inner)(lambda *args, **named: inner(*args, **named))",
    "lambda inner: __import__('functools').partial(inner)",
)


@kind("decorator added", "decorators-differ", "kind-changed", "not-a-class", severity="warning")
def decorator_added(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng)
    return None if one is None else _decorated(specimen, one, rng.choice(WRAPPING))


@kind("decorator removed", "decorators-differ", "kind-changed", "not-a-class", severity="warning", among=CODE)
def decorator_removed(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng, lambda function: function.node.decorator_list)
    if one is None:
        return None
    decorator = rng.choice(specimen.function(one).node.decorator_list)
    (line, column), end = span(decorator)
    return _changed(specimen, one, [((line, column - 1), end, "")], f"no @{ast.unparse(decorator)}", defaults=True)


@kind("kind of method", "kind-changed", "not-a-class")
def method_kind(specimen: Specimen, rng: random.Random) -> Drift | None:
    methods = [one for one in specimen.fixed if "." in one.qualname]
    if not methods:
        return None
    one = rng.choice(methods)
    decorators = specimen.function(one).node.decorator_list
    names = {"staticmethod", "classmethod", "property"}
    if not decorators:
        return _decorated(specimen, one, rng.choice(sorted(names)))
    has = ast.unparse(decorators[0])
    return _decorated(specimen, one, rng.choice(sorted(names - {has})), decorators[0]) if has in names else None


def _with_bases(specimen: Specimen, rng: random.Random, change: Callable[[list[str]], list[str] | None]):
    methods = [one for one in specimen.fixed if specimen.class_of(one) is not None]
    if not methods:
        return None
    one = rng.choice(methods)
    node: Any = specimen.class_of(one)
    bases = change([ast.unparse(base) for base in node.bases])
    if bases is None or getattr(node, "type_params", None):
        return None
    first = node.body[0]
    line = min([first.lineno, *(each.lineno for each in getattr(first, "decorator_list", ()))])
    if line == node.lineno:
        return None
    listed = [*bases, *(ast.unparse(keyword) for keyword in node.keywords)]
    head = f"class {node.name}({', '.join(listed)}):\n"
    drift = _changed(specimen, one, [(span(node)[0], (line, 0), head)], head.strip(), defaults=True)
    if drift is not None:
        drift.what = f"{one.qualname}: {head.strip()}"
        drift.target = f"{one.module}:{one.qualname.rpartition('.')[0]}"
    return drift


@kind("base class added", "bases-differ", severity="warning")
def base_added(specimen: Specimen, rng: random.Random) -> Drift | None:
    return _with_bases(specimen, rng, lambda bases: [*bases, "type('Drifted', (), {})"])


@kind("base class removed", "bases-differ", severity="warning")
def base_removed(specimen: Specimen, rng: random.Random) -> Drift | None:
    return _with_bases(specimen, rng, lambda bases: bases[:-1] if bases else None)


@kind("base class exchanged", "bases-differ", severity="warning")
def base_exchanged(specimen: Specimen, rng: random.Random) -> Drift | None:
    def change(bases: list[str]) -> list[str] | None:
        return [*bases[:-1], f"__import__('types').new_class('Drifted', ({bases[-1]},))"] if bases else None

    return _with_bases(specimen, rng, change)


@kind("return annotation", "return-annotation", severity="warning")
def return_annotation(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng, lambda function: function.node.returns is not None)
    if one is None:
        return None
    returns = specimen.function(one).node.returns
    assert returns is not None
    return _changed(specimen, one, [(*span(returns), "'drifted'")], "-> drifted", defaults=True)


# What is done to the functions in memory


def _act(one: Fixed, what: str, act: Callable[[Specimen, pytest.MonkeyPatch], None]) -> Drift:
    return Drift(f"{one.qualname}: {what}", str(one), act=act)


def _plain(specimen: Specimen, rng: random.Random) -> Fixed | None:
    return _pick(specimen, rng, lambda function: not function.node.decorator_list)


def _owner(one: Fixed) -> tuple[Any, str]:
    path, _, name = one.qualname.rpartition(".")
    owner = found(one.module, path)[0] if path else sys.modules[one.module]
    if path and name.startswith("__") and not name.endswith("__"):
        name = f"_{path.rpartition('.')[2].lstrip('_')}{name}"
    return owner, name


@kind("code stored in memory", among=CODE)
def code_stored(specimen: Specimen, rng: random.Random) -> Drift | None:
    drift = _site(rng.choice(["operator", "constant", "name"]))(specimen, rng)
    if drift is None:
        return None
    one = next(each for each in specimen.fixed if str(each) == drift.target)
    code = code_in(drift.texts[one.path], str(specimen.old / one.path), one.qualname)
    old = specimen.function(one).code
    if code is None or old is None or code.co_freevars != old.co_freevars:
        return None

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        function: Any = found(one.module, one.qualname)[1]
        function.__code__ = code

    return _act(one, f"stored {drift.what}", act)


@kind("default stored in memory", among=CODE)
def default_stored(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _pick(specimen, rng)
    if one is None:
        return None

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        function: Any = found(one.module, one.qualname)[1]
        function.__defaults__ = (*(function.__defaults__ or (None,))[:-1], "drifted")
        if function.__kwdefaults__ and rng.random() < 0.5:
            function.__kwdefaults__ = dict.fromkeys(function.__kwdefaults__, "drifted")

    constants = [each for each in specimen.function(one).node.args.defaults[-1:] if not isinstance(each, ast.Constant)]
    return None if constants else _act(one, "default 'drifted'", act)


@kind("wrapped in memory", "decorators-differ", severity="warning")
def wrapped_in_memory(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _plain(specimen, rng)
    if one is None:
        return None

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        owner, name = _owner(one)
        inner: Any = found(one.module, one.qualname)[1]
        setattr(owner, name, functools.wraps(inner)(lambda *args, **named: inner(*args, **named)))

    return _act(one, "wrapped", act)


@kind("replaced in memory", "made-by-factory", "decorators-differ", severity="warning", among=CODE | GONE)
def replaced_in_memory(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _plain(specimen, rng)
    if one is None:
        return None
    value = rng.choice([lambda *args, **named: None, len, SimpleNamespace(), None])
    return _act(one, f"replaced by {value!r:.20}", lambda specimen, patching: setattr(*_owner(one), value))


@kind("deleted in memory", "decorators-differ", severity="warning", among=GONE)
def deleted_in_memory(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _plain(specimen, rng)
    if one is None:
        return None
    return _act(one, "deleted", lambda specimen, patching: delattr(*_owner(one)))


@kind("class replaced in memory", "inherited", "no-such-name")
def class_replaced(specimen: Specimen, rng: random.Random) -> Drift | None:
    methods = [one for one in specimen.fixed if one.qualname.count(".") == 1]
    if not methods:
        return None
    one = rng.choice(methods)

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        owner, _ = _owner(one)
        space = {"__module__": owner.__module__, "__qualname__": owner.__qualname__}
        setattr(sys.modules[one.module], owner.__name__, type(owner)(owner.__name__, (owner,), space))

    return _act(one, "of a class in whose place a subclass stands", act)


@kind("module replaced in memory", "not-a-module")
def module_replaced(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = rng.choice(specimen.fixed)

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        sys.modules[one.module] = SimpleNamespace(**vars(sys.modules[one.module]))  # type: ignore[assignment]

    return _act(one, "in what is no module", act)


@kind("module not imported", "not-in-process", severity="info")
def module_missing(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = rng.choice(specimen.fixed)

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        del sys.modules[one.module]

    return Drift(f"{one.module} is not imported", one.module, act=act)


@kind("file changed after the import", among=CODE)
def file_changed(specimen: Specimen, rng: random.Random) -> Drift | None:
    drift = _site(rng.choice(["operator", "constant", "name"]))(specimen, rng)
    if drift is None:
        return None
    (path,) = drift.texts

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        (specimen.old / path).write_text(specimen.texts[path], encoding="utf-8")

    return dataclasses.replace(drift, act=act, what=f"{drift.what}, and its file upgraded")


# Around the target: what the fix calls, and who calls it


@kind("callee signature", "callee-differs", severity="warning")
def callee_signature(specimen: Specimen, rng: random.Random) -> Drift | None:
    """A function that the fix calls takes one more argument, without a default."""
    drawn = []
    for one in specimen.fixed:
        functions = specimen.files[one.path].functions
        for call in _certain_calls(specimen.function(one).node):
            match call.func:
                case ast.Name(id=name):
                    called = name
                case ast.Attribute(value=ast.Name(id="self"), attr=name) if "." in one.qualname:
                    called = f"{one.qualname.rpartition('.')[0]}.{name}"
                case _:
                    continue
            index = next((i for i, each in enumerate(functions) if each.qualname == called), None)
            if index is not None and not functions[index].node.decorator_list:
                callee = Fixed(one.module, one.path, index, called)
                if callee not in specimen.fixed:
                    drawn.append((one, callee))
    if not drawn:
        return None
    caller, callee = rng.choice(drawn)
    function = specimen.function(callee)
    if not _positional(function) or function.node.args.defaults:
        return None
    end = _end_of_last(function)
    drift = _changed(specimen, callee, [(end, end, ", drifted")], "takes `drifted`")
    return drift and dataclasses.replace(drift, target=str(caller), what=f"{caller.qualname} calls {drift.what}")


def _certain_calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls whose failure nothing awaits."""
    if isinstance(node, ast.Call) and not any(isinstance(each, ast.Starred) for each in node.args):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.Try, ast.With, ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _certain_calls(child)


def new_caller(specimen: Specimen, one: Fixed) -> Drift:
    """A module of nobody's package calls a function as it was."""
    arguments = ", ".join(["None"] * len(_positional(specimen.function(one))))
    name = one.qualname

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        text = f"from {one.module} import {name}\ndef caller():\n    return {name}({arguments})\n"
        (specimen.old / f"{specimen.top}_caller.py").write_text(text)
        patching.delitem(sys.modules, f"{specimen.top}_caller", raising=False)
        importlib.invalidate_caches()
        importlib.import_module(f"{specimen.top}_caller")

    return Drift(f"{specimen.top}_caller:caller calls {name}({arguments})", str(one), act=act)


# The installation


def _installed(what: str, version: str, *, more: str = "", name: str = "", target: str = "") -> Drift:
    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        specimen.write_metadata("old", version, more, name)

    return Drift(what, target, act=act)


@kind("version", "version-out-of-range")
def version(specimen: Specimen, rng: random.Random) -> Drift | None:
    other = rng.choice(["0.0.1", f"{specimen.version}.7", "0.1rc1", "99.1"])
    return _installed(f"version {other}", other, target=specimen.name)


@kind("version that is none", "version-unreadable")
def version_unreadable(specimen: Specimen, rng: random.Random) -> Drift | None:
    other = rng.choice(["", "of today", "1..2"])
    return _installed(f"version {other!r}", other, target=specimen.name)


@kind("local version", "local-version", severity="warning")
def local_version(specimen: Specimen, rng: random.Random) -> Drift | None:
    other = f"{specimen.version}+{rng.choice(['local', 'hotfix.2'])}"
    return _installed(f"version {other}", other, target=specimen.name)


@kind("version in memory", "version-disagrees")
def version_in_memory(specimen: Specimen, rng: random.Random) -> Drift | None:
    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        sys.modules[specimen.top].__version__ = "0.0.1"  # type: ignore[attr-defined]

    return Drift("__version__ is 0.0.1", specimen.top, act=act)


@kind("not installed", "not-installed")
def not_installed(specimen: Specimen, rng: random.Random) -> Drift | None:
    return _installed("another distribution", specimen.version, name="drifted-away", target=specimen.name)


@kind("dependency", "dependency-differs", severity="warning")
def dependency(specimen: Specimen, rng: random.Random) -> Drift | None:
    other = rng.choice(["1.0", "0.9.1", None])

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        specimen.write_needed(other)

    return Drift(f"dependency {other or 'missing'}", specimen.needed, act=act)


# The interpreter


def _environment(what: str, target: str = "", **facts: object) -> Drift:
    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        patching.setattr(examining, "observe", lambda seen=examining.observe: dataclasses.replace(seen(), **facts))

    return Drift(what, target, act=act)


@kind("interpreter", "python-unsupported", severity="warning")
def interpreter(specimen: Specimen, rng: random.Random) -> Drift | None:
    return _environment("Python 3.10", specimen.name, python=(3, 10, rng.randrange(9)))


@kind("interpreter without its lock", "free-threaded")
def no_lock(specimen: Specimen, rng: random.Random) -> Drift | None:
    return _environment("no lock", has_gil=False)


@kind("interpreter flag -O", "asserts-stripped", severity="warning")
def optimized(specimen: Specimen, rng: random.Random) -> Drift | None:
    return _environment("-O", str(specimen.fixed[0]), optimize=rng.choice([1, 2]))


@kind("tools", "tools-active", severity="warning")
def tools(specimen: Specimen, rng: random.Random) -> Drift | None:
    facts: dict[str, object] = rng.choice([{"tracing": "a.tracer"}, {"profiling": "a.profiler"}])
    return _environment("a tool is attached", **facts)


@kind("optimised bytecode", among=CODE)
def optimised_bytecode(specimen: Specimen, rng: random.Random) -> Drift | None:
    # Without docstrings the code has another first constant, from 3.11 on only where there is one.
    one = _pick(specimen, rng, lambda function: ast.get_docstring(function.node))
    return None if one is None else Drift(f"{one.qualname}: compiled with -OO", str(one), optimize=2)


# Other patches


@kind("another patch on the function", among=CODE)
def another_patch(specimen: Specimen, rng: random.Random) -> Drift | None:
    one = _plain(specimen, rng)
    if one is None:
        return None

    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        livepatch.apply(specimen.other(one))

    return _act(one, "another patch is on it", act)


@kind("flag taken", "flag-taken")
def flag_taken(specimen: Specimen, rng: random.Random) -> Drift | None:
    def act(specimen: Specimen, patching: pytest.MonkeyPatch) -> None:
        other = livepatch.Patch(
            "OTHER", package=specimen.name, versions=f"=={specimen.version}", flag=specimen.patch.flag
        )
        other.add(specimen.fixed[0].module, DRIFTED=rng.random())
        livepatch.apply(other)

    return Drift("another patch has the flag", act=act)


@kind("applied already", "already-applied")
def applied_already(specimen: Specimen, rng: random.Random) -> Drift | None:
    return Drift("the patch is applied", act=lambda specimen, patching: [livepatch.apply(specimen.patch)] and None)
