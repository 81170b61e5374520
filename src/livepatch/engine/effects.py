"""Whether statements that were run apart from the live modules left something of theirs in live registries.

A decorator, a metaclass or a constructor may enter what it is given into a dict or list of the program.  What other
threads put there meanwhile is none of ours, so entries that were made by our statements are told by what they are, and
only those count.  Where there is no other thread, whatever has changed was changed by the statements, and is put back.

A new entry of a dict, which nothing of the old release makes, is one that the patch can bring: a handler that a
decorator enters, a type that ``functools.singledispatch`` is to know.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.pace import is_alone, paced

__all__ = ["Entered", "Registries"]

_CONTAINERS = (dict, list, set)
_LARGEST = 50_000  # entries: what is larger holds the program's data, and a copy of it would cost too much
Label = str


@dataclass(frozen=True, slots=True)
class Entered:
    """An entry that statements have made in a live dict, and that has been taken out again."""

    label: Label
    container: Any
    key: object
    value: object
    forget: Callable[[], object] | None
    """What empties the cache of the answers that were found in the dict, if there is one."""


class Registries:
    """The containers that the modules, classes and module-level objects of some packages hold, as they are now."""

    def __init__(self, modules: Mapping[str, ModuleType], packages: Iterable[str]) -> None:
        tops = frozenset(packages)
        self._alone = is_alone()
        self._kept: list[tuple[_Place, Any]] = []
        """Each with what is in it now."""
        self._old: set[int] = set()
        """The ids of those into which statements of the old release enter something."""
        self._names: list[tuple[ModuleType | type, dict[str, Any]]] = []
        seen: set[int] = set()
        for name, module in paced(list(modules.items())):
            if name.partition(".")[0] in tops and is_module(module):
                if self._alone:
                    self._names += [(each, dict(namespace_of(each))) for each in _owners(name, module)]
                for place in _containers(name, module):
                    if id(place.container) not in seen and len(place.container) <= _LARGEST:
                        seen.add(id(place.container))
                        self._kept.append((place, place.container.copy()))

    def note_old(self, scratch: Iterable[Mapping[str, object]], classes: Iterable[type] = ()) -> None:
        """See into which of them the statements of the old release, run in `scratch`, have entered something."""
        spaces = _spaces(scratch, classes)
        self._old |= {id(each.container) for each, before in paced(self._kept) if _came(each.container, before, spaces)}

    def entered(self, scratch: Iterable[Mapping[str, object]], classes: Iterable[type] = ()) -> list[Entered]:
        """Take out the new entries of dicts that came from the namespaces `scratch`, and give them."""
        spaces = _spaces(scratch, classes)
        found = []
        for place, before in paced(self._kept):
            held = place.container
            if place.is_names or not is_a(held, dict) or id(held) in self._old:
                continue
            new = [key for key in _came(held, before, spaces) if dict.get(before, key, _NOTHING) is _NOTHING]
            taken = [(key, dict.pop(held, key, _NOTHING)) for key in new]  # others may have been quicker
            found += [
                Entered(place.label, held, key, value, place.forget) for key, value in taken if value is not _NOTHING
            ]
        return found

    def clean(self, scratch: Iterable[Mapping[str, object]], classes: Iterable[type] = ()) -> list[Label]:
        """Take out what came from the namespaces `scratch`, and name the containers where it was.

        `classes` are those that were made there.
        """
        spaces = _spaces(scratch, classes)
        found = []
        alone = self._alone and is_alone()
        for place, before in paced(self._kept):
            if _cleaned(place.container, before, spaces):
                found.append(place.label)
            if alone:
                _put_back(place.container, before)
        for owner, names in self._names if alone else ():
            _put_names_back(owner, names)
        return found


def _spaces(scratch: Iterable[Mapping[str, object]], classes: Iterable[type]) -> set[int]:
    return {id(space) for space in scratch} | {id(made) for made in classes}


def _owners(name: str, module: ModuleType) -> Iterator[ModuleType | type]:
    yield module
    for value in list(namespace_of(module).values()):
        if is_class(value) and value.__module__ == name:
            yield value


class _Place(NamedTuple):
    """A container, and how it is found."""

    label: Label
    container: Any
    forget: Callable[[], object] | None = None
    is_names: bool = False
    """Whether it is what an object has for its attributes."""


def _containers(name: str, module: ModuleType) -> Iterator[_Place]:
    for attribute, value in list(namespace_of(module).items()):
        yield from _held(f"{name}:{attribute}", value)
        if is_class(value) and value.__module__ == name:
            for member, inner in list(namespace_of(value).items()):
                yield from _held(f"{name}:{attribute}.{member}", inner)
                called = inner.dispatcher if type(inner) is functools.singledispatchmethod else inner
                if is_function(called):
                    yield from _behind(f"{name}:{attribute}.{member}", called, 2)
        elif is_function(value):
            yield from _behind(f"{name}:{attribute}", value, 2)
        elif not is_a(value, type, ModuleType, *_CONTAINERS):
            own = _instance_names(value)
            if own is not None:
                yield _Place(f"{name}:{attribute}", own, is_names=True)
                for member, inner in list(own.items()):
                    yield from _held(f"{name}:{attribute}.{member}", inner)


def _behind(
    label: Label, function: FunctionType, depth: int, forget: Callable[[], object] | None = None
) -> Iterator[_Place]:
    """The containers of a function's closure, and of those of the functions that it holds."""
    names = vars(function)
    if type(names.get("registry")) is MappingProxyType:  # functools.singledispatch
        forget = names.get("_clear_cache", forget)
    held = list(names.values())
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not yet bound
            held.append(cell.cell_contents)
    for value in held:
        if is_function(value) and depth:
            yield from _behind(label, value, depth - 1, forget)
        else:
            yield from _held(label, value, forget)


def _held(label: Label, value: object, forget: Callable[[], object] | None = None) -> Iterator[_Place]:
    if type(value) in _CONTAINERS or (is_a(value, *_CONTAINERS) and type(value).copy is _copy_of(value)):  # type: ignore[attr-defined]
        yield _Place(label, value, forget)


def _copy_of(value: object) -> object:
    return next(kind.copy for kind in _CONTAINERS if is_a(value, kind))


def _instance_names(value: object) -> dict[str, Any] | None:
    try:
        names = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return names if type(names) is dict else None


def _came(container: Any, before: Any, spaces: set[int]) -> list[Any]:
    """What came into a container from those namespaces: keys of a dict, indexes of a list, members of a set."""
    if is_a(container, dict):
        items = list(dict.items(container))
        new = [(key, value) for key, value in items if dict.get(before, key, _NOTHING) is not value]
        return [key for key, value in new if _is_from(value, spaces) or _is_from(key, spaces)]
    if is_a(container, list):
        known = {id(item) for item in before}
        return [i for i, item in enumerate(container) if id(item) not in known and _is_from(item, spaces)]
    return [item for item in container - before if _is_from(item, spaces)]


def _cleaned(container: Any, before: Any, spaces: set[int]) -> bool:
    """Take out of a container what is from those namespaces; whether there was any."""
    came = _came(container, before, spaces)
    for each in reversed(came):
        if is_a(container, list):
            list.__delitem__(container, each)
        elif is_a(container, set):
            set.discard(container, each)
        elif (had := dict.get(before, each, _NOTHING)) is _NOTHING:
            dict.pop(container, each, None)
        else:
            dict.__setitem__(container, each, had)
    return bool(came)


def _put_back(container: Any, before: Any) -> None:
    """Let a container hold what it held, if it does not."""
    if is_a(container, dict):
        items = list(dict.items(container))
        if len(items) == len(before) and all(dict.get(before, k, _NOTHING) is v for k, v in items):
            return
        dict.clear(container)
        dict.update(container, before)
    elif is_a(container, list):
        if len(container) != len(before) or any(a is not b for a, b in zip(container, before, strict=False)):
            list.__setitem__(container, slice(None), before)
    elif container != before:
        set.clear(container)
        set.update(container, before)


def _put_names_back(owner: ModuleType | type, names: dict[str, Any]) -> None:
    """Let the names of a module or class stand for what they did; modules that were imported meanwhile stay."""
    now = namespace_of(owner)
    changed = {name: value for name, value in names.items() if now.get(name, _NOTHING) is not value}
    came = [name for name, value in now.items() if name not in names and not is_module(value)]
    for name, value in changed.items():
        if is_class(owner):
            type.__setattr__(owner, name, value)
        else:
            vars(owner)[name] = value
    for name in came:
        if is_class(owner):
            type.__delattr__(owner, name)
        else:
            del vars(owner)[name]


_NOTHING = object()
_DEEP = 4


def _is_from(value: object, spaces: set[int], depth: int = _DEEP) -> bool:
    """Whether a value was made by statements that ran in one of the namespaces."""
    if is_function(value):
        return id(value.__globals__) in spaces
    if is_class(value):
        return id(value) in spaces or any(
            is_function(member) and id(member.__globals__) in spaces for member in namespace_of(value).values()
        )
    if depth == 0:
        return False
    if isinstance(value, (MethodType, staticmethod, classmethod)):
        return _is_from(value.__func__, spaces, depth - 1)
    if type(value) in (tuple, list, set, frozenset):
        return any(_is_from(item, spaces, depth - 1) for item in list(value)[:50])  # type: ignore[call-overload]
    if is_a(value, property):
        return any(_is_from(f, spaces, depth - 1) for f in (value.fget, value.fset, value.fdel))
    wrapped = getattr(value, "__wrapped__", None) if isinstance(value, FunctionType) else None
    if wrapped is not None:
        return _is_from(wrapped, spaces, depth - 1)
    return is_class(type(value)) and type(value).__module__ != "builtins" and _is_from(type(value), spaces, 0)
