"""What the items of both trees say, each read once: an item of a file that is the same in both is in both."""

from __future__ import annotations

from livepatch.bundle.entries import entries_called
from livepatch.bundle.items import Item
from livepatch.bundle.outcome import left_behind
from livepatch.bundle.receivers import Handed, calls_in, handed_over, receivers
from livepatch.bundle.refs import Refs, refs_of

__all__ = ["Syntax"]

Chain = tuple[str, ...]

_LAYOUT = b" \t\f\r\n\\"


class Syntax:
    """What can be told of an item without the tree around it.  Items are known by their ids: they must stay."""

    def __init__(self) -> None:
        self._refs: dict[int, Refs] = {}
        self._left_behind: dict[int, frozenset[str]] = {}
        self._entries: dict[int, tuple[Chain, ...]] = {}
        self._handed: dict[int, tuple[Handed, ...]] = {}
        self._calls: dict[int, tuple[Chain, ...]] = {}
        self._receivers: dict[int, tuple[tuple[Chain, Chain], ...]] = {}

    def refs(self, item: Item) -> Refs:
        """What it uses."""
        found = self._refs.get(id(item))
        if found is None:
            found = self._refs[id(item)] = refs_of(item)
        return found

    def left_behind(self, item: Item) -> frozenset[str]:
        """The identifiers of what a function gives back or stores where others may find it."""
        found = self._left_behind.get(id(item))
        if found is None:
            found = self._left_behind[id(item)] = left_behind(item.node)
        return found

    def entries_called(self, item: Item) -> tuple[Chain, ...]:
        """The names of containers of which a statement, or a call of a function, calls what they hold."""
        found = self._entries.get(id(item))
        if found is None:
            found = self._entries[id(item)] = tuple(entries_called(item.node)) if _may_call_entries(item) else ()
        return found

    def handed_over(self, item: Item) -> tuple[Handed, ...]:
        """What all calls in it are given."""
        found = self._handed.get(id(item))
        if found is None:
            found = self._handed[id(item)] = tuple(handed_over(item.node, everywhere=True))
        return found

    def calls_in(self, item: Item) -> tuple[Chain, ...]:
        """The names of what it calls when it runs."""
        found = self._calls.get(id(item))
        if found is None:
            found = self._calls[id(item)] = tuple(calls_in(item.node))
        return found

    def receivers(self, item: Item) -> tuple[tuple[Chain, Chain], ...]:
        """The methods, and their objects, that it calls for what they do."""
        found = self._receivers.get(id(item))
        if found is None:
            found = self._receivers[id(item)] = tuple(receivers(item.node))
        return found


def _may_call_entries(item: Item) -> bool:
    """Whether there is a loop, or a call of an entry or of what a call gives: one bracket right behind another."""
    if item.kind == "class" or "for" in item.words or b"#" in item.raw:
        return True
    text = item.raw.translate(None, _LAYOUT)
    return b")(" in text or b"](" in text
