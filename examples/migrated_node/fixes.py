"""A fix that needs its data in another form: in memory a set for a list, and on the disk a reason beside each name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from nodeclient.peers import PEERS, Peer

import livepatch


def peer_fix() -> livepatch.Patch:
    """Look for a transaction in a set; what the peer has sent so far is put into one."""
    fix = livepatch.Patch("seen-set", package="nodeclient", versions="==2.1.*")

    @fix.replace("nodeclient.peers:Peer.__init__")
    def begin(self: Peer, name: str) -> None:
        self.name = name
        self.seen = set()  # type: ignore[assignment]  # the new form, for peers that come later

    @fix.replace("nodeclient.peers:Peer.take")
    def take(self: Peer, transaction: int) -> str:
        if transaction in self.seen:
            return "known"
        self.seen.add(transaction)  # type: ignore[attr-defined]  # a set by now
        return "taken"

    def up(peer: Peer) -> None:
        peer.seen = set(peer.seen)  # type: ignore[assignment]  # the new form

    def down(peer: Peer) -> None:
        peer.seen = sorted(peer.seen)

    fix.migrate(
        "peer-seen",
        version=1,
        up=up,
        down=down,
        check=lambda peer: isinstance(peer.seen, set),
        objects=lambda: PEERS,
        touches={"modifies": ["seen"], "leaves": ["name"]},
    )
    return fix


def bans_fix(folder: Path, *, dies: bool = False) -> livepatch.Patch:
    """Read a reason beside each name; the files get one.  If it `dies`, the process is killed after the first file."""
    fix = livepatch.Patch("ban-reasons", package="nodeclient", versions="==2.1.*")

    @fix.replace("nodeclient.peers:banned")
    def banned(folder: Path) -> list[str]:
        lines = [line for file in sorted(folder.glob("*.bans")) for line in file.read_text().splitlines()]
        return [line.partition(" ")[0] for line in lines]

    def rewrite(change: Callable[[str], str]) -> None:
        for file in sorted(folder.glob("*.bans")):
            text = "".join(change(line) + "\n" for line in file.read_text().splitlines())
            beside = file.with_suffix(".new")
            beside.write_text(text)
            beside.replace(file)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)

    def save() -> dict[str, str]:
        return {file.name: file.read_text() for file in sorted(folder.glob("*.bans"))}

    def restore(saved: dict[str, str]) -> None:
        for name, text in saved.items():
            (folder / name).write_text(text)

    fix.migrate(
        "bans-file",
        version=1,
        up=lambda: rewrite(lambda line: line if " " in line else f"{line} flood"),
        down=lambda: rewrite(lambda line: line.partition(" ")[0]),
        checkpoint=livepatch.Checkpoint(save, restore),
        durable=True,
    )
    return fix
