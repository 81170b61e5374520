"""How a node belongs to a fleet: where the fleet's store is, and what the node is called and is like there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from livepatch.bundle.trustroot import TrustRoot
from livepatch.errors import PatchError, spelled
from livepatch.process.arguments import check_seconds, check_text

if TYPE_CHECKING:
    from livepatch.fleet.opening import Where

__all__ = ["Fleet", "joined"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet that a node belongs to, for :class:`livepatch.Agent`.

    `store` is the path of a store on this machine, or the address of a NATS server: ``nats://host:4222``, or
    ``tls://host:4222``, which `ca`, `credentials`, `certificate` and `key` are for (files, see
    :class:`livepatch.fleet.opening.Where`).  `node` is the node's id in inventories, by default the agent's name;
    `region` and `labels` are what stages may choose it by.  A report lives for `ttl` seconds: a node that is not heard
    of for so long is taken for gone.  `poll` is how often the store is asked in vain, in seconds.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    store: str
    _: KW_ONLY
    node: str = ""
    region: str = ""
    labels: Iterable[str] = ()
    ttl: float = 60.0
    poll: float = 5.0
    ca: str = ""
    credentials: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.labels, (str, bytes)) or not isinstance(self.labels, Iterable):
            raise TypeError(f"labels must be texts, such as ['spare'], not {spelled(self.labels)}")
        object.__setattr__(self, "labels", tuple(self.labels))
        texts = {name: getattr(self, name) for name in ("store", "node", "region", *_FILES)}
        for name, value in (*texts.items(), *(("labels", each) for each in self.labels)):
            check_text(name, value)
        for name, least in (("ttl", 1.0), ("poll", 0.05)):
            check_seconds(name, getattr(self, name))
            if not least <= getattr(self, name) <= _LONGEST:
                raise PatchError(
                    f"{name} is no number of seconds that will do",
                    found=spelled(getattr(self, name)),
                    expected=f"{least:g} to {_LONGEST:g}",
                    action="give another one",
                )
        if not self.store:
            raise PatchError(
                "a fleet has a store",
                found="an empty text",
                expected="the path of a file, or nats://HOST:PORT",
                action="say where it is",
            )

    @property
    def where(self) -> Where:
        """Where the store is, and how one gets in."""
        from livepatch.fleet.opening import Where

        return Where(store=self.store, **{name: getattr(self, name) for name in _FILES})


def joined(fleet: object, trust: object) -> Fleet:
    """The fleet that an agent is given, or where its store is, with whom the agent trusts.

    Raises :class:`TypeError` for what is neither, and :class:`PatchError` without a trust root.
    """
    if not isinstance(fleet, (Fleet, str, os.PathLike)):
        raise TypeError(f"fleet must be a livepatch.Fleet, or where its store is, not {spelled(fleet)}")
    if not isinstance(trust, TrustRoot):
        raise PatchError(
            "a node in a fleet has a trust root",
            found="trust=livepatch.UNSIGNED, by which whoever can write to the fleet's store could run anything here",
            expected="a livepatch.TrustRoot",
            action="draw keys and make a trust root: livepatch keygen, livepatch trust init",
        )
    return fleet if isinstance(fleet, Fleet) else Fleet(os.fsdecode(fleet))


_FILES = ("ca", "credentials", "certificate", "key")
_LONGEST = 86400.0
