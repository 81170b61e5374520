"""What an agent is given by a command, in words and numbers: handed to the process that is to have it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# What an agent needs is imported where one is made: many a process that comes here has no use for it.
from livepatch.bundle.jsontext import read_object, refusing
from livepatch.errors import StateError
from livepatch.node.wanted import GUARD

if TYPE_CHECKING:
    from livepatch.bundle.trust import Unsigned
    from livepatch.bundle.trustroot import TrustRoot
    from livepatch.node.agent import Agent
    from livepatch.node.fleet import Fleet

__all__ = ["VARIABLE", "Given"]

VARIABLE = "LIVEPATCH_RUN"
"""The environment variable that says what ``livepatch run`` was given."""
_LONGEST = 2 * 4096  # digits of a path's bytes: it may hold any
_LARGEST = 15 * _LONGEST  # the system lets no variable be longer
_REFUSE = refusing(StateError, f"${VARIABLE} cannot be read", "start the node with livepatch run")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What ``livepatch run`` or ``attach`` was given, with absolute paths; an empty text is nothing.

    `trust` is the file of the trust root, `state` that of its state and `node` this node's name; without a trust root
    every file is vouched for.  `pid` is the process that is to have the store.  `probes` are names, and `labels` of the
    `fleet` texts, one on a line; those of `probes` and `height` may lie in `folder` as well.  `uids` are numbers with
    spaces between, and `max_pause` and `max_rest` are one.  The rest is as :class:`livepatch.Agent` and
    :class:`livepatch.Fleet` take it.
    """

    store: str
    trust: str = ""
    state: str = ""
    node: str = ""
    policy: str = ""
    guard_ms: int = int(GUARD * 1000)
    pid: int = 0
    probes: str = ""
    rules: str = ""
    interval_ms: int = 1000
    height: str = ""
    folder: str = ""
    socket: str = ""
    uids: str = ""
    max_pause: str = ""
    max_rest: str = ""
    fleet: str = ""
    region: str = ""
    labels: str = ""
    credentials: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def to_text(self) -> str:
        """As it is handed on."""
        fields: dict[str, str | int] = dataclasses.asdict(self)
        texts = {name: os.fsencode(value).hex() for name, value in fields.items() if isinstance(value, str)}
        return json.dumps({**fields, **texts}, sort_keys=True)

    @classmethod
    def parse(cls, handed: str) -> Given:
        """Read that strictly.  Raises :class:`StateError`."""
        fields = read_object(handed.encode("utf-8", "replace"), most=_LARGEST, brackets=1, refuse=_REFUSE)

        def text(name: str) -> str:
            spelled = fields.text(name, _LONGEST)
            try:
                return os.fsdecode(bytes.fromhex(spelled))
            except ValueError as error:
                raise fields.error(name, "a text that is not hexadecimal", "the bytes of a path, as digits") from error

        read: dict[str, Any] = {
            each.name: fields.number(each.name, 0) if each.type == "int" else text(each.name)
            for each in dataclasses.fields(cls)
        }
        fields.end()
        return cls(**read)

    def trusted(self) -> Unsigned | TrustRoot:
        """Who answers for files.  Raises :class:`TrustError`."""
        from livepatch.bundle.trust import UNSIGNED
        from livepatch.bundle.trustroot import TrustRoot

        return TrustRoot.load(self.trust, state=self.state or None, node=self.node) if self.trust else UNSIGNED

    def told_height(self) -> Callable[[], Any] | None:
        """Who tells the height, if somebody does.  Raises :class:`PatchError`."""
        if not self.height:
            return None
        from livepatch.node.named import findable, function_named

        with findable(self.folder):
            return function_named("--height", self.height)

    def agent(self) -> Agent:
        """The agent, which is still to be started.  Raises what :class:`livepatch.Agent` does, and for a wrong name."""
        from livepatch.node.agent import Agent
        from livepatch.node.named import findable, probes_named
        from livepatch.node.places import SOCKET

        with findable(self.folder):
            probes = probes_named("--probes", self.probes.split("\n")) if self.probes else ()
        return Agent(
            self.store,
            trust=self.trusted(),
            policy=self.policy or None,
            probes=probes,
            rules=self.rules or (),
            interval=self.interval_ms / 1000,
            height=self.told_height(),
            socket=self.socket or SOCKET,
            uids=[int(each) for each in self.uids.split()],
            guard=self.guard_ms / 1000,
            max_pause=float(self.max_pause) if self.max_pause else None,
            max_rest=float(self.max_rest) if self.max_rest else None,
            name=self.node,
            fleet=self.joined(),
        )

    def joined(self) -> Fleet | None:
        """The fleet that the node takes part in, if there is one.  Raises :class:`PatchError`."""
        if not self.fleet:
            return None
        from livepatch.node.fleet import Fleet

        return Fleet(
            self.fleet,
            region=self.region,
            labels=self.labels.split("\n") if self.labels else (),
            credentials=self.credentials,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
        )
