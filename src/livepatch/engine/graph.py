"""Whether two graphs of objects are one: of live objects, and of those that a side's statements made."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from livepatch.engine.anatomy import (
    PLAIN,
    STATE,
    UNIQUE,
    attributes_of,
    cell_content,
    equal_plain,
    is_native,
    is_value,
    members_of,
    native_base,
    parts_of,
)
from livepatch.engine.code import same_code
from livepatch.engine.counterparts import Sides
from livepatch.engine.functions import code_of
from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.places import dict_of, items_of
from livepatch.engine.stack import ABSENT
from livepatch.errors import spelled

__all__ = [
    "Comparison",
    "Difference",
    "Table",
    "computed_since",
    "shown",
    "shown_key",
    "sides_part",
    "table",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two graphs part, and what stands there."""

    path: str
    found: str
    expected: str


def shown(value: object) -> str:
    """A value in a few words."""
    if value is ABSENT:
        return "nothing"
    if is_function(value) or is_class(value):
        return f"{value.__module__}:{value.__qualname__}"
    if is_a(value, re.Pattern):
        return f"the pattern {spelled(value.pattern)}"
    return spelled(value)


class Comparison:
    """Whether two graphs are one.  Good for one question; `difference` then says where they part.

    With `live`, the first is of live objects: it may have entries, items at the end and attributes that the second
    lacks, because the program has put them there since; and names whose values change stand for each other.  Without
    `more` it may not: what it is compared for is to be thrown away.
    """

    def __init__(
        self, sides: Sides, *, live: bool, more: bool = True, known: Iterable[tuple[object, object]] = ()
    ) -> None:
        """`known` are pairs that stand for each other whatever they hold; they must outlive the comparison."""
        self._sides = sides
        self._live = live
        self._more = live and more
        self._assumed: set[tuple[int, int]] = {(id(one), id(other)) for one, other in known}
        self._pairs: dict[tuple[str, int], int] = {}
        self._kept: list[object] = []
        self.difference: Difference | None = None

    def holds(self, one: object, other: object, *, root: bool = False) -> bool:
        """Whether the two are one; as a `root`, they are looked into even where one name stands for both."""
        try:
            return self._same(one, other, "", root=root)
        except RecursionError:
            return self._differ("", "values nested too deeply to compare", "what can be compared")

    def _differ(self, path: str, found: str, expected: str) -> bool:
        self.difference = self.difference or Difference(path, found, expected)
        return False

    def _same(self, one: object, other: object, path: str, *, root: bool = False) -> bool:
        if one is other:
            return True
        if (id(one), id(other)) in self._assumed:
            return True
        if self._sides.is_edited(one, other) or (not root and self._sides.is_one(one, other, changed=self._live)):
            return True
        if type(one) in PLAIN or type(other) in PLAIN:
            same = type(one) is type(other) and equal_plain(one, other)
            return same or self._differ(path, shown(one), shown(other))
        if type(one) is type(other) is CodeType:
            return same_code(one, other) or self._differ(path, shown(one), shown(other))
        self._assumed.add((id(one), id(other)))
        self._kept += (one, other)
        if is_function(one) and is_function(other):
            return self._functions(one, other, path)
        if is_class(one) and is_class(other):
            return self._classes(one, other, path)
        if is_module(one) or is_module(other):
            return self._modules(one, other, path)
        if not self._same_class(type(one), type(other), path):
            return self._differ(path, shown(one), shown(other))
        return self._instances(one, other, path)

    def _same_class(self, one: type, other: type, path: str) -> bool:
        if self._sides.is_same_class(one, other):
            return True
        if one.__qualname__ != other.__qualname__ or is_a(one, type) != is_a(other, type):
            return False
        return self._same(one, other, f"{path}.__class__")

    def _modules(self, one: object, other: object, path: str) -> bool:
        spaces = [namespace_of(each) if is_module(each) else None for each in (one, other)]
        same = None not in spaces and self._sides.space(spaces[0]) == self._sides.space(spaces[1])
        return same or self._differ(path, shown(one), shown(other))

    def _functions(self, one: FunctionType, other: FunctionType, path: str) -> bool:
        if self._sides.space(one.__globals__) != self._sides.space(other.__globals__):
            return self._differ(path, f"a function of {one.__module__}", f"one of {other.__module__}")
        if not same_code(code_of(one), code_of(other)):
            return self._differ(path, f"other code of {one.__qualname__}", f"that of {other.__qualname__}")
        cells = zip(one.__closure__ or (), other.__closure__ or (), strict=True)
        return (
            self._same(one.__defaults__, other.__defaults__, f"{path}.__defaults__")
            and self._same(one.__kwdefaults__, other.__kwdefaults__, f"{path}.__kwdefaults__")
            and all(
                self._same(cell_content(mine), cell_content(its), f"{path}<{name}>")
                for name, (mine, its) in zip(one.__code__.co_freevars, cells, strict=True)
            )
            and self._dicts((dict_of(one) or {}).items(), (dict_of(other) or {}).items(), path, form="{path}.{key}")
        )

    def _classes(self, one: type, other: type, path: str) -> bool:
        if one.__qualname__ != other.__qualname__ or one.__module__ != other.__module__:
            return self._differ(path, shown(one), shown(other))
        if is_native(one) or is_native(other):
            return self._differ(path, shown(one), shown(other))
        return (
            self._same_class(type(one), type(other), path)
            and self._same(one.__bases__, other.__bases__, f"{path}.__bases__")
            and self._dicts(
                members_of(one).items(), members_of(other).items(), path, form="{path}.{key}", ordered=False
            )
        )

    def _instances(self, one: Any, other: Any, path: str) -> bool:
        parts, others = parts_of(one), parts_of(other)
        base = native_base(type(one))
        if parts is None or others is None or base is not native_base(type(other)):
            return self._differ(path, f"{shown(one)}, which cannot be looked into", f"the very same as {shown(other)}")
        if base in STATE:
            # Locks are made unlocked; what they and counters are at is shown by the native types themselves.
            same = self._more or (repr(one) == repr(other) if base is itertools.count else _is_free(one))
            return same or self._differ(path, f"{shown(one)} that is in use", "one that is not")
        if type(one) in UNIQUE and not self._is_paired(one, other):
            return self._differ(path, f"another {shown(one)}", shown(other))
        if len(parts) != len(others):
            return self._differ(path, shown(one), shown(other))
        for (step, mine), (_, its) in zip(parts, others, strict=True):
            if not self._same(mine, its, f"{path}.{step}"):
                return False
        if base in PLAIN and not _equal_bases(base, one, other):
            return self._differ(path, shown(one), shown(other))
        return self._contents(one, other, path) and self._attributes(one, other, path)

    def _is_paired(self, one: object, other: object) -> bool:
        """Whether neither stands for another already."""
        mine = self._pairs.setdefault(("one", id(one)), id(other))
        its = self._pairs.setdefault(("other", id(other)), id(one))
        return mine == id(other) and its == id(one)

    def _attributes(self, one: object, other: object, path: str) -> bool:
        more = self._live and (self._more or is_value(type(one)))  # a value may keep its hash, say
        mine, its = attributes_of(one), attributes_of(other)
        if self._live:
            since = {name for name in its if name in mine and computed_since(mine[name], its[name])}
            mine, its = ({name: each[name] for name in each if name not in since} for each in (mine, its))
        return self._dicts(mine.items(), its.items(), path, form="{path}.{key}", ordered=False, more=more)

    def _contents(self, one: Any, other: Any, path: str) -> bool:
        if is_a(one, dict):
            return self._dicts(items_of(one), items_of(other), path)
        kind: Any
        for kind in (list, tuple, deque):
            if is_a(one, kind):
                return self._sequences([*_iter(kind, one)], [*_iter(kind, other)], path, tail=kind is not tuple)
        for kind in (set, frozenset):
            if is_a(one, kind):
                return self._sets([*_iter(kind, one)], [*_iter(kind, other)], path, more=kind is set)
        return True

    def _sequences(self, one: list[object], other: list[object], path: str, *, tail: bool) -> bool:
        if len(one) != len(other) and not (self._more and tail and len(one) > len(other)):
            return self._differ(path, f"{len(one)} items", f"{len(other)}")
        return all(self._same(mine, its, f"{path}[{i}]") for i, (mine, its) in enumerate(zip(one, other, strict=False)))

    def _dicts(
        self,
        one: Iterable[tuple[Any, Any]],
        other: Iterable[tuple[Any, Any]],
        path: str,
        *,
        form: str = "{path}[{key}]",
        ordered: bool = True,
        more: bool | None = None,
    ) -> bool:
        mine, its = table(self._sides, self._would_be, one, other)
        lacking = [pair[0] for token, pair in its.items() if token not in mine]
        if lacking:
            return self._differ(form.format(path=path, key=shown_key(lacking[0])), "nothing", "an entry")
        beyond = [pair[0] for token, pair in mine.items() if token not in its]
        if beyond and not (self._more if more is None else more):
            return self._differ(form.format(path=path, key=shown_key(beyond[0])), "an entry", "nothing")
        if ordered and not self._live and list(mine) != list(its):
            return self._differ(path, "another order of the entries", "the same")
        return all(
            self._same(mine[token][1], value, form.format(path=path, key=shown_key(key)))
            for token, (key, value) in its.items()
        )

    def _would_be(self, one: object, other: object) -> bool:
        """Whether the two are one, where it is no difference if they are not."""
        then = set(self._assumed), dict(self._pairs), self.difference
        if self._same(one, other, ""):
            return True
        self._assumed, self._pairs, self.difference = then
        return False

    def _sets(self, one: list[object], other: list[object], path: str, *, more: bool) -> bool:
        mine, its = table(self._sides, self._would_be, zip(one, one, strict=True), zip(other, other, strict=True))
        if its.keys() - mine.keys() or (mine.keys() - its.keys() and not (self._more and more)):
            return self._differ(path, f"other members ({len(one)})", f"these {len(other)}")
        return True


def sides_part(sides: Sides, before: object, after: object) -> bool:
    """Whether the sides have two objects there, and not two versions of one.

    It is so where the object of the before side goes on as it is under another name.
    """
    for key in sides.keys(before):
        stays = sides.after_at.get(key, sides.live_at.get(key, before))
        if stays is not after and (stays is before or Comparison(sides, live=False).holds(before, stays, root=True)):
            return True
    return False


def computed_since(live: object, before: object) -> bool:
    """Whether a live object has put a value in the place of a bare ``object()``, a mark for "not computed yet"."""
    return type(before) is object and type(live) is not object


Table = dict[object, tuple[Any, Any]]


def table(
    sides: Sides,
    alike: Callable[[object, object], bool],
    one: Iterable[tuple[Any, Any]],
    *others: Iterable[tuple[Any, Any]],
) -> tuple[Table, ...]:
    """Items of several dicts, in their order, each under what tells its key from others on any side.

    Keys that only their content tells apart (an object of a frozen dataclass, say) stand for each other if `alike`.
    """
    first: Table = {sides.token(key): (key, value) for key, value in one}
    tables = [first]
    for other in others:
        rest = {token: key for known in tables for token, (key, _) in known.items() if type(token) is int}
        made: Table = {}
        for key, value in other:
            token = sides.token(key)
            if type(token) is int and token not in rest and type(key) not in UNIQUE:
                same = (t for t, k in rest.items() if t not in made and type(k) not in UNIQUE and alike(k, key))
                token = next(same, token)
            made[token] = (key, value)
        tables.append(made)
    return tuple(tables)


def _iter(kind: Any, value: object) -> Iterator[object]:
    found: Iterator[object] = kind.__iter__(value)
    return found


def _is_free(lock: object) -> bool:
    return repr(lock).startswith("<unlocked")


def _equal_bases(base: type, one: Any, other: Any) -> bool:
    """Whether the plain values in two objects of a class derived from a plain type are equal."""
    if base in (int, str, bytes, float, complex):
        read: Any = {int: int.__int__, str: str.__str__, float: float.__float__}.get(base)
        kind: Any = base
        plain = [read(each) if read is not None else kind.__getnewargs__(each) for each in (one, other)]
        return repr(plain[0]) == repr(plain[1])
    return True


def shown_key(key: object) -> str:
    """A key in a few characters."""
    return key if type(key) is str else shown(key)
