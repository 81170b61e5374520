"""The only file that writes to live objects.

All stores of a plan are made in one pass of the interpreter's own C code: ``deque(map(setattr, …), maxlen=0)`` runs no
bytecode between two stores, so no other thread can see some of them without the others.  That holds while nothing
written in Python hooks a store, and while the build has a global interpreter lock; :mod:`livepatch.engine.environment`
says whether it does.
"""

from __future__ import annotations

import collections
import gc
import itertools
import operator
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from livepatch.engine.namespaces import is_function, is_module, namespace_of
from livepatch.engine.stack import ABSENT, Slot, Write
from livepatch.errors import TransitionError

__all__ = ["commit", "restore", "slot_of", "value_of"]

# On CPython 3.11 a collection may run inside an allocation, so also between two stores; later ones defer it.
_COLLECTS_INSIDE = sys.version_info < (3, 12)


def slot_of(owner: object, name: str, label: str = "") -> Slot:
    """The slot for an attribute of a live function, class or module."""
    kind: Literal["function", "class", "module"]
    if is_function(owner):
        kind = "function"
    elif is_module(owner):
        kind = "module"
    else:
        kind = "class"
    return Slot(weakref.ref(owner), id(owner), kind, name, label)


def value_of(slot: Slot) -> object:
    """What a slot holds now: its raw value, no descriptor asked; :data:`ABSENT` if it does not exist."""
    owner = slot.owner
    if owner is None:
        return ABSENT
    if slot.kind == "function":
        return getattr(owner, slot.name)
    return namespace_of(owner).get(slot.name, ABSENT)  # type: ignore[arg-type]  # a class or module, by the slot's kind


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
        elif write.after is ABSENT:
            gone_attributes.append((target, write.slot.name))
        else:
            attributes.append((target, write.slot.name, write.after))
    # The record goes last of the attributes: a store that is refused leaves it as it was.
    attributes.append(attributes.pop(0))
    steps = itertools.chain(
        first,
        map(setattr, *_columns(attributes, 3)),
        map(operator.setitem, *_columns(items, 3)),
        map(delattr, *_columns(gone_attributes, 2)),
        map(operator.delitem, *_columns(gone_items, 2)),
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
            _store(owner, write.slot, write.before)
        except Exception as error:  # noqa: BLE001  # whatever refuses one store, the others go on
            refused.append(f"{write.slot}: {error}")
    if refused:
        raise TransitionError(
            "what was there before could not be put back everywhere",
            found="; ".join(refused),
            expected="every store that was made can be undone",
            action="restart this process",
        )


def _store(owner: object, slot: Slot, value: object) -> None:
    if slot.kind == "module":
        namespace: Any = namespace_of(owner)  # type: ignore[arg-type]  # a module, by the slot's kind
        if value is ABSENT:
            operator.delitem(namespace, slot.name)
        else:
            operator.setitem(namespace, slot.name, value)
    elif value is ABSENT:
        delattr(owner, slot.name)
    else:
        setattr(owner, slot.name, value)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> tuple[tuple[object, ...], ...]:
    return tuple(zip(*rows, strict=True)) or ((),) * width
