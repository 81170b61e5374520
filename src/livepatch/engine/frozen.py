"""What ``gc.freeze()`` hides.  What is suspended there is found once, and known until more is frozen.

No walk of the collector's meets frozen objects, and to follow all references takes long: seconds on a large heap.  But
nothing that is made later is frozen, unless ``gc.freeze()`` is called again, and that shows in any later walk.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType

from livepatch.engine.heap import locals_on_the_stacks, reachable
from livepatch.engine.namespaces import is_function
from livepatch.engine.pace import courteous, paced
from livepatch.engine.tasks import Suspendable, asyncio_tasks, is_suspendable

__all__ = ["Frozen", "find", "known"]


class _Sign:
    """Something that only its holder refers to."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """What was suspended when it was looked for, frozen or not.

    A walk for what refers to `sign` meets `holder`, unless more has been frozen since the look began.
    """

    sign: object = field(default_factory=_Sign)
    holder: list[object] = field(default_factory=list)
    _items: list[weakref.ref[Suspendable]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.holder.append(self.sign)

    def add(self, item: Suspendable) -> None:
        """Remember it for as long as it lives."""
        self._items.append(weakref.ref(item))

    def alive(self) -> Iterator[Suspendable]:
        """Those that still live."""
        return (item for reference in self._items if (item := reference()) is not None)


_known: list[Frozen] = []


def known() -> Frozen | None:
    """What the last look has found."""
    return _known[-1] if _known else None


def find(codes: Collection[CodeType] = ()) -> list[FunctionType]:
    """Follow all references: learn what is suspended, and give the functions that have one of `codes`.

    At a pace that leaves the interpreter to the other threads.
    """
    wanted = {id(code) for code in codes}
    found = Frozen()
    functions = []
    with courteous():
        tasks = [whose.item for whose in asyncio_tasks().values()]
        for reached in paced(reachable(sys.modules, *tasks, *locals_on_the_stacks())):
            if is_suspendable(reached):
                found.add(reached)
            elif is_function(reached) and id(reached.__code__) in wanted:
                functions.append(reached)
    _known[:] = [found]
    return functions
