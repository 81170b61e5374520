"""A target's path to the live functions behind it, through wrappers, descriptors and closures.

A name is looked up statically: no descriptor is asked, no ``__getattr__`` runs.  What it holds may be the function, or
something around it; the function that the *source* defines at that path is known by its code's qualified name and its
module, however many decorators lie in between.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeGuard

from livepatch.contents.changes import Target
from livepatch.engine.code import nested_codes
from livepatch.engine.functions import code_of
from livepatch.engine.heap import functions_of
from livepatch.engine.namespaces import functions_behind, is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.refusal import Place, Refusal, inherited, missing, several, without_match
from livepatch.engine.source import lines_of
from livepatch.engine.syntax import syntax_of

__all__ = ["Found", "definitions_of", "find", "is_definition", "mangled", "resolve"]

# How far a wrapper is looked into.  A decorator's closure may hold an application, and that the whole heap.
_MOST_OBJECTS = 5_000
_ACCESSORS = {"fget": "fget", "fset": "fset", "fdel": "fdel", "getter": "fget", "setter": "fset", "deleter": "fdel"}


@dataclass(frozen=True, slots=True)
class Found:
    """The live function behind a target, and what was passed through on the way to it.

    `via` are the wrappers, outermost first.  `outer` is, for a nested function, the function whose code makes it, and
    `constant` then the code object that each of its instances has; `function` may be ``None`` while there is none.
    """

    place: Place
    function: FunctionType | None
    via: tuple[object, ...] = ()
    outer: Found | None = None
    constant: CodeType | None = None
    alias_of: str = ""

    @property
    def code(self) -> CodeType:
        """The code that a new call of the target runs."""
        if self.function is not None:
            return code_of(self.function)
        assert self.constant is not None
        return self.constant

    @property
    def owner_class(self) -> type | None:
        """The class that the target is a member of."""
        return self.place.owner if is_class(self.place.owner) else None


def mangled(name: str, class_name: str) -> str:
    """The name under which a class body stores `name`."""
    stripped = class_name.lstrip("_")
    if name.startswith("__") and not name.endswith("__") and stripped:
        return f"_{stripped}{name}"
    return name


def resolve(target: Target, modules: dict[str, ModuleType]) -> Place | Refusal:
    """Where `target` is.  A missing last name gives a :class:`Place` with no owner if it may be held elsewhere."""
    module: object = modules.get(target.module)
    if module is None:
        return Refusal(
            "module-not-imported",
            f"no module {target.module!r} in this process",
            "a module that is imported",
            f"import {target.module} before the patch is applied, or correct the name",
        )
    if not is_module(module):
        return Refusal(
            "not-a-module",
            f"sys.modules[{target.module!r}] is a {type(module).__qualname__}",
            "a module object",
            "name the module that defines the target",
        )
    owner: ModuleType | type = module
    value: object = module
    name = ""
    segments = target.qualname.split(".") if target.qualname else []
    for i, segment in enumerate(segments):
        if segment == "<locals>":
            break
        if is_a(value, property) and segment in _ACCESSORS:
            return Place(target, module, owner, name, value, _ACCESSORS[segment])
        if i:
            if not is_class(value):
                return Refusal(
                    "not-a-class",
                    f"{'.'.join(segments[:i])} is a {type(value).__qualname__}",
                    "a class before each further name",
                    "name the class and the method as the source defines them",
                )
            owner = value
        name = mangled(segment, owner.__name__) if is_class(owner) else segment
        if is_class(owner):
            owner = _stated_in(owner, name, target.qualname, module)
        if name not in namespace_of(owner):
            from_base = inherited(owner, name)
            if from_base is not None:
                return from_base
            if i == len(segments) - 1:
                return Place(target, module, None, name, owner)
            return missing(target, owner, name)
        value = namespace_of(owner)[name]
    return Place(target, module, owner, name, value)


def _stated_in(owner: type, name: str, qualname: str, module: ModuleType) -> type:
    """The class that has a member as the source states it.

    It is a base of the class where a decorator has put a class of the same name on top of the one that it was given, or
    the source states a second class on top of the first; a class that somebody has put there in memory is no such one.
    """
    if not any(base is not owner and _bears_the_name(base, owner) for base in owner.__mro__):
        return owner
    if not _is_put_together(module, owner.__qualname__):
        return owner
    found = owner
    for base in owner.__mro__:
        if base is not owner and not _bears_the_name(base, owner):
            continue
        if name in namespace_of(base):
            value = namespace_of(base)[name]
            if not is_function(value) or value.__code__.co_qualname == qualname:
                return base
            found = found if name in namespace_of(found) else base
    return found


def _is_put_together(module: ModuleType, qualname: str) -> bool:
    """Whether the module's file states a class with decorators of a package, or more than once."""
    filename = str(getattr(module, "__file__", None) or "")
    try:
        tree = syntax_of("".join(lines_of(filename, {}) if filename.endswith(".py") else []))
    except (SyntaxError, ValueError, RecursionError):
        return False
    bodies: list[list[ast.stmt]] = [tree.body]
    stated: list[ast.ClassDef] = []
    for part in qualname.split("."):
        nodes = [node for body in bodies for statement in body for node in ast.walk(statement)]
        stated = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == part]
        bodies = [node.body for node in stated]
    return len(stated) > 1 or any(_is_of_a_package(each, module) for node in stated for each in node.decorator_list)


def _is_of_a_package(decorator: ast.expr, module: ModuleType) -> bool:
    """Whether a decorator is none of the standard library, which puts no class on top of another."""
    root: ast.expr = decorator
    while isinstance(root, (ast.Call, ast.Attribute)):
        root = root.func if isinstance(root, ast.Call) else root.value
    value = namespace_of(module).get(root.id) if isinstance(root, ast.Name) else None
    home = value.__name__ if is_module(value) else getattr(value, "__module__", None)
    return str(home).partition(".")[0] not in sys.stdlib_module_names


def _bears_the_name(base: type, owner: type) -> bool:
    return (base.__qualname__, base.__module__) == (owner.__qualname__, owner.__module__)


def find(
    target: Target, modules: dict[str, ModuleType], pick: Callable[[FunctionType], bool] | None = None
) -> Found | Refusal:
    """The function that the source defines at `target`.  `pick` chooses among several of that name."""
    place = resolve(target, modules)
    if isinstance(place, Refusal):
        return place
    if "<locals>" in target.qualname:
        return _find_nested(target, modules, pick)
    expected = _source_name(target.qualname, place)
    if place.owner is None:
        holder = place.value
        assert isinstance(holder, (ModuleType, type))
        return _find_held_elsewhere(place, expected, pick) or missing(target, holder, place.name)
    start = place.value
    if is_a(start, property):
        accessor = place.accessor or "fget"
        start = getattr(start, accessor)
        if start is None:
            return Refusal(
                "no-such-accessor",
                f"property {expected} has no {accessor}",
                "an accessor that exists",
                f"replace one of {', '.join(n for n in ('fget', 'fset', 'fdel') if getattr(place.value, n))}, "
                f"or put a property with more of them in its place with set('{target.module}:{expected}', …)",
            )
    if is_class(start):
        return Refusal(
            "is-a-class",
            f"{target} is a class",
            "a function or method",
            "give a class body to replace its methods, or name one method",
        )
    matches = _behind(start, expected, target.module)
    found = _choose(place, matches, pick)
    if found is None and not is_function(start):
        # A decorator may have kept the function for itself and left something else under its name.
        found = _find_held_elsewhere(place, expected, pick)
    if found is not None:
        return found
    refusal = without_match(place, start, expected)
    if refusal is not None:
        return refusal
    function: Any = start.__func__ if is_a(start, staticmethod) or is_a(start, classmethod) else start
    return Found(place, function, alias_of=f"{function.__globals__.get('__name__')}:{function.__code__.co_qualname}")


def _source_name(qualname: str, place: Place) -> str:
    """The qualified name that the compiler gave the definition: private names unmangled, no accessor."""
    parts = qualname.split(".")
    if place.accessor:
        parts.pop()
    if is_class(place.owner) and len(parts) > 1:
        prefix = mangled("__", place.owner.__name__)
        if parts[-1].startswith(prefix) and parts[-1] == place.name:
            parts[-1] = parts[-1][len(prefix) - 2 :]
    return ".".join(parts)


Match = tuple[FunctionType, tuple[object, ...]]


def _behind(start: object, expected: str, module: str) -> list[Match]:
    """Functions called `expected` that are `start` or within it, nearest first, each with the wrappers on the way."""
    seen = {id(start)}
    queue: deque[tuple[object, tuple[object, ...]]] = deque([(start, ())])
    matches: list[Match] = []
    while queue and len(seen) < _MOST_OBJECTS:
        value, via = queue.popleft()
        if is_definition(value, expected, module):
            matches.append((value, via))
        for inner in _inside(value):
            if id(inner) not in seen:
                seen.add(id(inner))
                queue.append((inner, via if is_a(value, CellType, dict, tuple, list) else (*via, value)))
    return matches


def is_definition(value: object, qualname: str, module: str) -> TypeGuard[FunctionType]:
    """Whether `value` is a function that the source of `module` defines as `qualname`."""
    return is_function(value) and value.__code__.co_qualname == qualname and value.__globals__.get("__name__") == module


_OPAQUE = (ModuleType, type, CodeType, str, bytes, int, float, complex, type(None))


def _inside(value: object) -> Iterable[object]:
    """What may hold the decorated function inside a wrapper."""
    if is_function(value):
        return _inside_function(value)
    if is_a(value, *_OPAQUE):
        return ()
    if type(value) is CellType:
        return _cell(value)
    if type(value) is MethodType:
        return (value.__func__,)
    return (inner for inner in gc.get_referents(value) if not is_a(inner, *_OPAQUE))


def _inside_function(function: FunctionType) -> Iterator[object]:
    yield from (inner for inner in vars(function).values() if not is_a(inner, *_OPAQUE))
    for cell in function.__closure__ or ():
        yield from _cell(cell)
    yield from (inner for inner in function.__defaults__ or () if not is_a(inner, *_OPAQUE))
    yield from (inner for inner in (function.__kwdefaults__ or {}).values() if not is_a(inner, *_OPAQUE))


def _cell(cell: CellType) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()  # not yet bound


def _choose(place: Place, matches: list[Match], pick: Callable[[FunctionType], bool] | None) -> Found | Refusal | None:
    if not matches:
        return None
    distinct: dict[CodeType, Match] = {}
    for function, via in matches:
        distinct.setdefault(code_of(function), (function, via))
    if len(distinct) > 1 and pick is not None:
        distinct = {code: match for code, match in distinct.items() if pick(match[0])} or distinct
    if len(distinct) > 1 and is_function(place.value):
        # What __wrapped__ leads to is the definition; others of that name came along in a registry.
        *_, inner = functions_behind(place.value)
        distinct = {code: match for code, match in distinct.items() if match[0] is inner} or distinct
    if len(distinct) > 1:
        return several(place.target, [match[0] for match in distinct.values()])
    function, via = next(iter(distinct.values()))
    return Found(place, function, via)


def _find_held_elsewhere(
    place: Place, expected: str, pick: Callable[[FunctionType], bool] | None
) -> Found | Refusal | None:
    """A function whose name its module does not keep: a handler that a decorator put into a registry."""
    return _choose(place, [(function, ()) for function in _definitions(place, expected)], pick)


def definitions_of(place: Place) -> list[FunctionType]:
    """All live functions that the source defines at a place, whoever holds them.  Walks the heap."""
    return _definitions(place, _source_name(place.target.qualname, place))


def _definitions(place: Place, expected: str) -> list[FunctionType]:
    return [f for f in functions_of(place.module) if is_definition(f, expected, place.target.module)]


def _find_nested(
    target: Target, modules: dict[str, ModuleType], pick: Callable[[FunctionType], bool] | None
) -> Found | Refusal:
    """A function that another one makes: known by its code among the constants of the outer one."""
    before, _, rest = target.qualname.rpartition(".<locals>.")
    outer = find(Target(target.module, before), modules)
    if isinstance(outer, Refusal):
        return outer
    constants = [c for c in _own_constants(outer.code) if c.co_qualname == f"{outer.code.co_qualname}.<locals>.{rest}"]
    if not constants:
        names = sorted({c.co_qualname.rpartition("<locals>.")[2] for c in _own_constants(outer.code)})
        return Refusal(
            "no-such-name",
            f"{before} makes no {rest!r}; it makes {', '.join(names) or 'no function'}",
            f"{target} to exist",
            "correct the name; the outer function itself can be replaced as a whole",
        )
    if len(constants) > 1 and pick is not None:
        shells = {
            FunctionType(c, vars(outer.place.module), closure=tuple(CellType() for _ in c.co_freevars)): c
            for c in constants
        }
        constants = [c for shell, c in shells.items() if pick(shell)] or constants
    if len(constants) > 1:
        shown = ", ".join(f"line {c.co_firstlineno}" for c in constants)
        return Refusal(
            "ambiguous",
            f"{before} makes {len(constants)} different functions {rest!r}: {shown}",
            "one, or expect= with the fingerprint of one of them",
            f"replace {before} as a whole",
        )
    place = Place(target, outer.place.module, outer.place.owner, rest, None)
    return Found(place, None, outer=outer, constant=constants[0])


def _own_constants(code: CodeType) -> Iterator[CodeType]:
    """The functions that this code makes, those in its class bodies included, but not those that they make."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            if ".<locals>." not in constant.co_qualname.removeprefix(code.co_qualname + ".<locals>."):
                yield from (
                    c
                    for c in nested_codes(constant)
                    if c.co_qualname.count("<locals>") == constant.co_qualname.count("<locals>")
                )
