"""Peers with an inbox, which is a list in the old form and a dict in the new one."""

from __future__ import annotations

from types import ModuleType
from typing import Any

SOURCE = """
class Peer:
    def __init__(self, name):
        self.name = name
        self.inbox = [1, 2, 3]

    def size(self):
        return len(self.inbox)

    async def wait(self):
        return self.size()

    def each(self):
        yield from self.inbox

    @property
    def busy(self):
        return bool(self.inbox)

def both(one, /, *others, last=None, **more):
    return sum(peer.size() for peer in (one, last) if peer is not None)

def total():
    return sum(len(peer.inbox) for peer in PEERS)

class Bare:
    __slots__ = ("inbox",)
    def __init__(self):
        self.inbox = [1]
    def size(self):
        return len(self.inbox)

PEERS = []
"""


def up(peer: Any) -> None:
    if not isinstance(peer.inbox, dict):
        peer.inbox = dict.fromkeys(peer.inbox)


def down(peer: Any) -> None:
    peer.inbox = list(peer.inbox)


def new_form(peer: Any) -> bool:
    return isinstance(peer.inbox, dict)


def forms(node: ModuleType) -> set[type]:
    return {type(peer.inbox) for peer in node.PEERS}


def picture(node: ModuleType) -> list[object]:
    return [(peer, dict(vars(peer)), list(peer.inbox)) for peer in node.PEERS]
