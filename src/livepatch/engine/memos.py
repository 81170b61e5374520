"""What the process keeps of values that change, and no statement computes again.  Nothing live is written to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from types import ModuleType

from livepatch.contents.edits import Memo
from livepatch.engine.caches import Cache, keeps_in_instances
from livepatch.engine.counterparts import Sides
from livepatch.engine.graph import Comparison, shown
from livepatch.engine.heap import objects_of
from livepatch.engine.locate import mangled
from livepatch.engine.namespaces import is_class, namespace_of, with_subclasses
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.stack import ABSENT
from livepatch.errors import counted

__all__ = ["cache_of", "hidden_of_the_old", "instances", "kept_of_the_old", "objects_keep", "objects_lack"]


def instances(classes: Iterable[type]) -> dict[type, int]:
    """How many objects of each class, or of one derived from it, there are.  Walks the heap once."""
    families = {cls: with_subclasses(cls) for cls in classes}
    kinds = {id(each): each for family in families.values() for each in family}
    count = Counter(id(type(item)) for item in objects_of(*kinds.values()))
    return {cls: sum(count[id(each)] for each in family) for cls, family in families.items()}


def kept_of_the_old(
    memo: Memo,
    owner: ModuleType | type,
    name: str,
    expected: object,
    sides: Sides,
    stated: Collection[str] = (),
) -> Refusal | None:
    """The observation that a process has already computed something from the old value, or by the old function.

    `expected` is what the source alone gives, or ``ABSENT``.  Of a class, those derived from it count as well, but for
    those that say themselves what they have: `stated` are such places, as ``module:qualified.name``.
    """
    for space in with_subclasses(owner) if is_class(owner) else [owner]:
        value = namespace_of(space).get(mangled(name, owner.__name__) if is_class(owner) else name, ABSENT)
        if value is ABSENT or _is_empty(value) or value is expected:
            continue
        if space is not owner and is_class(space) and f"{space.__module__}:{space.__qualname__}.{name}" in stated:
            continue
        if _is_as_made(value, expected) and Comparison(sides, live=True, more=False).holds(value, expected):
            continue
        where = f"{space.__module__}:{space.__qualname__}.{name}" if is_class(space) else f"{space.__name__}:{name}"
        told = f"{where} holds {_shown(value)}, which this process"
        expectation = "nothing there yet, or what the source itself puts there"
        if memo.of in sides.elsewhere:  # a function, which follows
            return Refusal(
                "answers-kept",
                f"{told} may have from the old {memo.of}",
                expectation,
                f"empty {where} once the patch is in, and again after a revert, where an old answer does harm",
            )
        return Refusal(
            "computed-from-old",
            f"{told} has computed from {memo.of}",
            expectation,
            f"empty or delete {where} at a moment when nothing uses it, or restart",
        )
    return None


def _is_as_made(value: object, expected: object) -> bool:
    """Whether there may be no more in a place than what the source puts there, which is `expected`."""
    if type(value) is defaultdict and type(expected) is defaultdict:
        return len(value) <= len(expected)  # what it lacks it gets from its function, and tells nobody
    return expected is not ABSENT


def hidden_of_the_old(memo: Memo, where: str, value: object, expected: object, sides: Sides) -> Refusal | None:
    """The observation that a function keeps, out of sight, what may have come of the old side.

    It keeps no patch out: nothing tells for sure that it is an answer.
    """
    if _is_empty(value) or (expected is not ABSENT and Comparison(sides, live=True, more=False).holds(value, expected)):
        return None
    return Refusal(
        "answers-kept",
        f"{where} holds {_shown(value)}, which this process may have from the old {memo.of}",
        "nothing there yet, or what the source itself puts there",
        f"empty {where}, or have the function made anew, once the patch is in, and again after a revert, "
        "where an old answer does harm",
    )


def _is_empty(value: object) -> bool:
    """Whether there is nothing in a container."""
    kind = type(value)
    if value is None or kind in (str, bytes):
        return value is None
    try:
        return hasattr(kind, "__len__") and hasattr(kind, "__iter__") and kind.__len__(value) == 0
    except Exception:  # noqa: BLE001  # it is of the program's own kind
        return False


def _shown(value: object) -> str:
    if isinstance(value, (dict, list, set)) and type(value) in (dict, list, set):
        return counted(len(value), "item")
    return shown(value)


def cache_of(place: Place) -> Cache | None:
    """The cache that stands at a place, if one does."""
    holder = place.value
    kind = type(holder)
    label = f"{kind.__module__}.{kind.__qualname__}"
    if hasattr(kind, "cache_clear"):
        return Cache(label, holder)
    inner = getattr(holder, "__func__", None) if kind in (staticmethod, classmethod) else None
    if inner is not None and hasattr(type(inner), "cache_clear"):
        return Cache(f"{type(inner).__module__}.{type(inner).__qualname__}", inner)
    if is_class(place.owner) and keeps_in_instances(kind):
        return Cache(label, holder, place.owner, place.name)
    return None


def objects_lack(count: int, name: str, of: str, entered: Sequence[str]) -> Refusal:
    """The observation that objects hold what they took from a table before the new entries were there."""
    more = f" and {len(entered) - 3} more" if len(entered) > 3 else ""
    return Refusal(
        "old-value-held",
        f"{count} objects took {name} from {of} when they were made, without {', '.join(entered[:3])}{more}, "
        "which new code may look for there",
        "no objects, or such as were made with the new entries",
        "let go of them before the patch goes in, so that they are made anew after it; or restart",
    )


def objects_keep(count: int, name: str, of: str) -> Refusal:
    """The observation that objects hold what they took from a value that changes."""
    return Refusal(
        "objects-keep-old",
        f"{count} objects took {name} from {of} when they were made, and keep it",
        "objects that were made with the new value",
        "make them anew, or set the attribute on each, where the old value is what is wrong",
    )
