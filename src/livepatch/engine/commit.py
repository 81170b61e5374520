"""The only file that writes to live objects.

All stores of a plan are made in one pass of the interpreter's own C code: ``deque(starmap(setattr, …), maxlen=0)`` runs
no bytecode between two stores, so no other thread can see some of them without the others.  That holds while nothing
written in Python hooks a store, and while the build has a global interpreter lock; :mod:`livepatch.engine.environment`
says whether it does.
"""

from __future__ import annotations

import collections
import functools
import gc
import itertools
import operator
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from livepatch.engine.namespaces import is_a, namespace_of
from livepatch.engine.places import slot_of, stores, value_of
from livepatch.engine.stack import ABSENT, Write
from livepatch.errors import TransitionError

__all__ = ["commit", "restore", "slot_of", "value_of"]

# On CPython 3.11 a collection may run inside an allocation, so also between two stores; later ones defer it.
_COLLECTS_INSIDE = sys.version_info < (3, 12)


def commit(
    writes: Sequence[Write],
    record: tuple[object, str, object],
    then: Sequence[Callable[[], object]] = (),
    first: Iterable[object] = (),
) -> float:
    """Make all `writes` in one step that no other thread can see half done; give the seconds that it took.

    `first` is an iterator of the interpreter's own C code that is run through at the beginning of the same step: if it
    raises, nothing has changed.  `record` is an (object, attribute, value) that is stored in the same step, so that
    what we believe and what is true cannot part; `then` are builtin callables, such as the ``cache_clear`` of an
    ``lru_cache``, called at its end.
    Whatever is raised, every slot and the record hold again what they held before.
    """
    owner, name, value = record
    believed = getattr(owner, name)
    attributes, items, gone_attributes, gone_items = [(owner, name, value)], [], [], []
    others: list[tuple[object, ...]] = []
    sizes: list[tuple[dict[int, None], Callable[[], int]]] = []
    for write in writes:
        target = write.slot.owner
        if target is None:
            continue
        if write.slot.kind == "module":
            namespace = namespace_of(target)  # type: ignore[arg-type]  # a module, by the slot's kind
            if write.after is ABSENT:
                gone_items.append((namespace, write.slot.name))
            else:
                items.append((namespace, write.slot.name, write.after))
        elif not _is_attribute(write):
            if write.slot.kind == "contents":
                length: Any = dict.__len__ if is_a(target, dict) else list.__len__
                size = functools.partial(length, target)
                sizes.append((_Size({size(): None}), size))
            others += stores(write.slot, target, write.before, write.after)
        elif write.after is ABSENT:
            gone_attributes.append((target, write.slot.name))
        else:
            attributes.append((target, write.slot.name, write.after))
    # The record goes last of the attributes: a store that is refused leaves it as it was.
    attributes.append(attributes.pop(0))
    steps = itertools.chain(
        # What is refilled as a whole must not have grown since it was looked at.
        map(operator.getitem, [known for known, _ in sizes], map(operator.call, [size for _, size in sizes])),
        first,
        itertools.starmap(setattr, attributes),
        itertools.starmap(operator.setitem, items),
        itertools.starmap(delattr, gone_attributes),
        itertools.starmap(operator.delitem, gone_items),
        itertools.starmap(operator.call, others),
        map(operator.call, then),
    )
    collecting = _COLLECTS_INSIDE and gc.isenabled()
    try:
        if collecting:
            gc.disable()
        begun = time.perf_counter()
        collections.deque(steps, maxlen=0)
        return time.perf_counter() - begun
    except BaseException:
        restore(writes)
        setattr(owner, name, believed)
        raise
    finally:
        if collecting:
            gc.enable()


def restore(writes: Sequence[Write]) -> None:
    """Put back what `writes` replaced, wherever they went through.

    Raises :class:`TransitionError` if a store is refused; the others are made all the same.
    """
    refused = []
    for write in reversed(writes):
        owner = write.slot.owner
        if owner is None or value_of(write.slot) is not write.after:
            continue
        try:
            for call, *arguments in stores(write.slot, owner, write.after, write.before):
                call(*arguments)  # type: ignore[operator]  # a store: something to call, and its arguments
        except Exception as error:  # noqa: BLE001  # whatever refuses one store, the others go on
            refused.append(f"{write.slot}: {error}")
    if refused:
        raise TransitionError(
            "what was there before could not be put back everywhere",
            found="; ".join(refused),
            expected="every store that was made can be undone",
            action="restart this process",
        )


def _is_attribute(write: Write) -> bool:
    return write.slot.kind in ("function", "class")


class _Size(dict[int, None]):
    """The one size that is known; for any other it raises."""

    __slots__ = ()

    def __missing__(self, size: int) -> None:
        raise TransitionError(
            "a container was changed by others at the moment of the switch",
            found=f"{size} items",
            expected=f"{next(iter(self))} items, as an instant before",
            action="try again",
        )
