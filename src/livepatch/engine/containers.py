"""Dicts, lists, sets and tuples on the way from one side to the other: entries that stay, go, come and change places.

A live container may hold more than the before side gave it, because the program has put it there since; that stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from livepatch.engine.anatomy import PLAIN
from livepatch.engine.graph import Difference, Table, shown_key, table
from livepatch.engine.places import contents_of, item_of, items_of, member_of, refuses_stores, wanted_contents
from livepatch.engine.refusal import Refusal
from livepatch.engine.relink import CannotFollow
from livepatch.engine.stack import ABSENT

if TYPE_CHECKING:
    from livepatch.engine.following import Follower

__all__ = ["differs", "follow_dict", "follow_list", "follow_set", "follow_tuple", "refill"]

_AHEAD = 50  # items among which one that has moved is looked for


def follow_dict(follower: Follower, live: Any, before: Any, after: Any, path: str) -> None:
    """Take the entries of a live dict to the after side, in place."""
    mine, was, shall = table(follower.sides, follower.alike, *map(items_of, (live, before, after)))
    entries: Table = {}
    changed: list[object] = []
    for token, (key, value) in shall.items():
        old = mine.get(token, (key, ABSENT))
        held = was.get(token, (key, ABSENT))[1]
        new = follower.follow(old[1], held, value, f"{path}[{shown_key(key)}]")
        if new is ABSENT:
            continue  # taken out by the program itself, and the same on both sides
        entries[token] = (old[0] if token in mine else follower.relink(key, path), new)
        if new is not old[1]:
            changed.append(token)
    gone = [token for token in was if token not in shall and token in mine]
    for token in gone:
        follower.must_correspond(mine[token][1], was[token][1], f"{path}[{shown_key(mine[token][0])}]")
    entries.update((token, pair) for token, pair in mine.items() if token not in entries and token not in gone)
    if not changed and not gone and list(was) == list(shall):
        return
    order = list(mine)
    at_end = gone == order[len(order) - len(gone) :] if gone else True
    stays = [token for token in shall if token in was] == [token for token in was if token in shall]
    added = [token for token in shall if token not in was]
    appended = list(shall)[len(shall) - len(added) :] == added
    plain = at_end and stays and appended and not (gone and added)
    if plain and all(refuses_stores(item_of(live, entries[t][0])) is None for t in changed):
        for token in changed:
            key, new = entries[token]
            follower.write(item_of(live, key, f"{path}[{shown_key(key)}]"), new, shall[token][1], path)
        for token in gone:
            key = mine[token][0]
            follower.write(item_of(live, key, f"{path}[{shown_key(key)}]"), ABSENT, ABSENT, path)
        return
    refill(follower, live, list(entries.values()), after, path)


def follow_list(follower: Follower, live: Any, before: Any, after: Any, path: str) -> None:
    """Take the items of a live list to the after side, in place."""
    mine, was, shall = ([*list.__iter__(each)] for each in (live, before, after))
    _must_correspond_items(follower, mine, was, path)
    if len(was) == len(shall) and not _moved(follower, was, shall):
        for i, (held, old, new) in enumerate(zip(mine, was, shall, strict=False)):
            value = follower.follow(held, old, new, f"{path}[{i}]")
            if value is not held:
                follower.write(item_of(live, i, f"{path}[{i}]"), value, new, f"{path}[{i}]")
        return
    items = [*_aligned(follower, mine, was, shall, path), *mine[len(was) :]]
    refill(follower, live, [(item,) for item in items], after, path)


def _must_correspond_items(follower: Follower, mine: list[object], was: list[object], path: str) -> None:
    if len(mine) < len(was):
        raise differs(path, Difference("", f"{len(mine)} items", f"at least {len(was)}"))
    for i, (held, old) in enumerate(zip(mine, was, strict=False)):
        follower.must_correspond(held, old, f"{path}[{i}]", root=False)


def _moved(follower: Follower, was: list[object], shall: list[object]) -> bool:
    """Whether items are at other places on the after side, rather than others at the same places."""
    changed = [i for i, pair in enumerate(zip(was, shall, strict=True)) if not follower.same(*pair)]
    return any(
        follower.same(was[i], shall[j])
        for at, i in enumerate(changed)
        for j in changed[max(0, at - _AHEAD) : at + _AHEAD]
        if i != j
    )


def _aligned(follower: Follower, mine: list[object], was: list[object], shall: list[object], path: str) -> list[object]:
    """The items of the after side, those that the before side has too as the live ones."""
    items, at, left = [], 0, set(range(len(was)))
    for i, item in enumerate(shall):
        place = next((j for j in range(at, min(len(was), at + _AHEAD)) if follower.stays(was[j], item)), None)
        if place is None:
            items.append(follower.relink(item, f"{path}[{i}]"))
        else:
            if type(item) not in PLAIN:
                follower.relink.know(item, mine[place])
            items.append(mine[place])
            left.discard(place)
            at = place + 1
    for i in left:
        # Its place is taken: what the program has put into it since would be lost.
        follower.must_correspond(mine[i], was[i], f"{path}[{i}]", more=False)
    return items


def refill(follower: Follower, live: object, items: Iterable[tuple[object, ...]], after: object, path: str) -> None:
    """Give a container all that it shall hold, in one store."""
    slot = contents_of(live, path)
    refused = refuses_stores(slot)
    value = wanted_contents(slot, items) if refused is None else after
    follower.write(slot, value, after, path)


def follow_set(follower: Follower, live: set[Any], before: set[Any], after: set[Any], path: str) -> None:
    """Take the members of a live set to the after side, in place."""
    pairs = [[(element, element) for element in set.__iter__(each)] for each in (live, before, after)]
    mine, was, shall = table(follower.sides, follower.alike, *pairs)
    for token, (element, _) in shall.items():
        if token not in was and token not in mine:
            new = follower.relink(element, path)
            follower.write(member_of(live, new, f"{path}{{{shown_key(element)}}}"), new, element, path)
    for token in was:
        if token not in shall and token in mine:
            element = mine[token][0]
            follower.write(member_of(live, element, f"{path}{{{shown_key(element)}}}"), ABSENT, ABSENT, path)


def follow_tuple(follower: Follower, live: Any, before: Any, after: Any, path: str) -> object:
    """What shall stand in the place of a live tuple: itself, if all of its items stay."""
    mine, was, shall = ([*tuple.__iter__(each)] for each in (live, before, after))
    if len(mine) != len(was):
        raise differs(path, Difference("", f"{len(mine)} items", f"{len(was)}"))
    if len(was) == len(shall) and not _moved(follower, was, shall):
        items = [follower.follow(*each, f"{path}[{i}]") for i, each in enumerate(zip(mine, was, shall, strict=True))]
        if all(new is held for new, held in zip(items, mine, strict=True)):
            return live
    else:
        _must_correspond_items(follower, mine, was, path)
        items = _aligned(follower, mine, was, shall, path)
    return tuple(items) if type(live) is tuple else tuple.__new__(type(live), items)


def differs(path: str, difference: Difference) -> CannotFollow:
    """The error for a live value that is not what the before side gives."""
    return CannotFollow(
        Refusal(
            "value-differs-from-before",
            f"{path}{difference.path} is {difference.found}",
            f"{difference.expected}, as the source gives it that the patch was made for",
            "find out what set it; build with only= and without it, or restart, if the program itself computes it",
        )
    )
