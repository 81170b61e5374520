"""What a migration is: a name and version of some state, and the functions that lead there and back."""

from __future__ import annotations

import collections
import inspect
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from livepatch.contents.identity import check_name
from livepatch.errors import PatchError, spelled
from livepatch.state.checkpoint import Checkpoint
from livepatch.state.touches import Touches

__all__ = ["Migration", "Objects", "migration_of"]

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_COPIED: tuple[type, ...] = (list, dict, set, frozenset, tuple, collections.deque, *_VIEWS)
"""What is copied in one step of the interpreter, so that other threads may change it meanwhile."""


class Objects:
    """The objects of a migration, as often as they are asked for."""

    def __init__(self, given: Iterable[object] | Callable[[], Iterable[object]]) -> None:
        self._given = given
        self._seen: list[Callable[[], object]] = []
        self.once = isinstance(given, Iterator)
        """Whether they can be had from their source only once."""

    def __iter__(self) -> Iterator[object]:
        given = self._given
        if not self.once:
            found = given() if callable(given) and not isinstance(given, Iterable) else given
            if not isinstance(found, Iterable):
                raise TypeError(f"objects gave {spelled(found)}, which cannot be gone through")
            # Not by asking its class: a proxy would run somebody's code between two items.
            yield from list(found) if type(found) in _COPIED else found
            return
        # What an iterator has given is not given again, and a patch may go in, out and in again.
        for reference in list(self._seen):
            known = reference()
            if known is not None:
                yield known
        for item in given:  # type: ignore[union-attr]  # an iterator
            self._seen.append(reference_to(item))
            yield item


def reference_to(item: object) -> Callable[[], object]:
    """What gives an object for as long as it lives; what cannot be referred to weakly is held."""
    if type(item).__weakrefoffset__:
        return weakref.ref(item)
    return _Held(item)


class _Held:
    __slots__ = ("_item",)

    def __init__(self, item: object) -> None:
        self._item = item

    def __call__(self) -> object:
        return self._item


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Migration:
    """One change of data: see :meth:`livepatch.Patch.migrate`.  `budget` is in seconds here."""

    name: str
    version: int
    up: Callable[..., object]
    down: Callable[..., object] | None
    check: Callable[..., object] | None = None
    objects: Objects | None = None
    lazy: bool = False
    of: tuple[type, ...] = ()
    follows: tuple[int, ...] = ()
    budget: float = 0.0001
    checkpoint: Checkpoint | None = None
    touches: Touches | None = None
    durable: bool = False
    loop: Any = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def is_whole(self) -> bool:
        """Whether ``up`` is called once, with nothing, and not for each object."""
        return self.objects is None and not self.lazy

    def comes_from(self, version: int) -> bool:
        """Whether ``up`` knows the way from that version."""
        return version in self.follows


def migration_of(
    name: object,
    version: object,
    up: object,
    down: object,
    check: object,
    objects: object,
    lazy: object,
    *,
    of: object,
    follows: object,
    budget: object,
    checkpoint: object,
    touches: object,
    durable: object,
    loop: object,
) -> Migration:
    """The migration that is described so.  Raises :class:`PatchError` or :class:`TypeError`, naming the argument."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {spelled(name)}")
    check_name("name", name)
    number = _version("version", version)
    for argument, flag in (("lazy", lazy), ("durable", durable)):
        if not isinstance(flag, bool):
            raise TypeError(f"{argument} must be True or False, not {spelled(flag)}")
    saved = Checkpoint.of(checkpoint)
    _check_function("up", up)
    if down is None and saved is None:
        raise TypeError(
            "down must be a function, not None: with checkpoint= it may be None, for what was saved comes back"
        )
    if down is not None:
        _check_function("down", down)
    if check is not None:
        _check_function("check", check)
    classes = _classes(of)
    if classes and not lazy:
        raise PatchError(
            "of is for lazy migrations",
            found="lazy=False",
            expected="lazy=True, or objects= instead",
            action="make it lazy, or name the objects with objects=",
        )
    if durable and (lazy or objects is not None):
        raise PatchError(
            f"migration {name} is durable and goes from object to object",
            found="lazy=True" if lazy else "objects=",
            expected="one up() for all: objects of this process are gone when it ends",
            action="let up go through what it changes itself; as a generator function it may yield between slices",
        )
    if loop is not None and not callable(loop) and not hasattr(loop, "call_soon_threadsafe"):
        raise TypeError(f"loop must be an asyncio event loop or a function that gives one, not {spelled(loop)}")
    return Migration(
        name=name,
        version=number,
        up=up,  # type: ignore[arg-type]  # checked above
        down=down,  # type: ignore[arg-type]  # checked above
        check=check,  # type: ignore[arg-type]  # checked above
        objects=None if objects is None else _objects(objects),
        lazy=bool(lazy),
        of=classes,
        follows=_follows(follows, number),
        budget=_budget(budget),
        checkpoint=saved,
        touches=Touches.of(touches),
        durable=bool(durable),
        loop=loop,
    )


def _version(argument: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {spelled(value)}")
    if not 0 < value < 2**63:
        raise PatchError(
            f"{argument} is no version of a state",
            found=spelled(value),
            expected="1 or more",
            action="count the versions of the state from 1",
        )
    return value


def _check_function(argument: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{argument} must be a function, not {spelled(value)}")
    if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError(f"{argument} must be a plain function: there may be no event loop to run a coroutine")


def _objects(value: object) -> Objects:
    if isinstance(value, (str, bytes)) or not (isinstance(value, Iterable) or callable(value)):
        raise TypeError(f"objects must be an iterable, a function that gives one, or None, not {spelled(value)}")
    return Objects(value)


def _classes(value: object) -> tuple[type, ...]:
    given = (value,) if isinstance(value, type) else value
    if given is None:
        return ()
    if not isinstance(given, (tuple, list)) or not given or not all(isinstance(each, type) for each in given):
        raise TypeError(f"of must be a class or a tuple of classes, not {spelled(value)}")
    return tuple(given)


def _follows(value: object, version: int) -> tuple[int, ...]:
    if value is None:
        return (version - 1,)
    given = (value,) if isinstance(value, int) else value
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(f"follows must be a version or several, not {spelled(value)}")
    versions = tuple(_version("follows", each) for each in given)
    if not versions or max(versions) >= version:
        raise PatchError(
            "follows holds no version from which to rise",
            found=spelled(value),
            expected=f"versions below {version}",
            action="name only versions that come before this one",
        )
    return versions


def _budget(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"budget must be a number of milliseconds, not {spelled(value)}")
    if not (math.isfinite(value) and 0 < value <= 10_000):
        raise PatchError(
            "budget is no time for a slice",
            found=spelled(value),
            expected="more than 0, at most 10,000 milliseconds",
            action="give the milliseconds that one slice may take, such as 5",
        )
    return value / 1000
