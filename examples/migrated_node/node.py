"""A node whose fix changes its data: in memory, and in files, where its process is killed in the middle of it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import structlog

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from fixes import bans_fix, peer_fix  # noqa: E402  # the path comes first
from nodeclient.peers import PEERS, Peer, banned  # noqa: E402

import livepatch  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def in_memory() -> None:
    """Open connections get the form that the fix needs, and get back what they had."""
    PEERS.extend(Peer(f"peer-{number}") for number in range(1000))
    peer = PEERS[0]
    peer.take(7)
    print("before:  ", peer.seen, peer.take(7))
    applied = livepatch.apply(peer_fix())
    print("patched: ", type(peer.seen).__name__, peer.take(7), peer.take(8))
    print("status:  ", *applied.status().migrations)
    PEERS.append(Peer("late"))
    print("late:    ", type(PEERS[-1].seen).__name__, PEERS[-1].take(9))
    applied.revert()
    print("reverted:", peer.seen, peer.take(8), PEERS[-1].seen, PEERS[-1].take(9))


def on_disk(folder: Path) -> None:
    """Files get the new form; a process that is killed half-way leaves nothing half."""
    (folder / "1.bans").write_text("eve\n")
    (folder / "2.bans").write_text("mallory\n")
    killed = subprocess.run([sys.executable, HERE / "node.py", "dies", folder], check=False, stderr=subprocess.PIPE)
    print("killed:  ", killed.returncode, *(file.read_text().strip() for file in sorted(folder.glob("*.bans"))))
    fix = bans_fix(folder)
    for found in livepatch.recover(folder / "state", [fix]).migrations:
        print("found:   ", found.outcome)
    print("files:   ", *(file.read_text().strip() for file in sorted(folder.glob("*.bans"))))
    applied = livepatch.apply(fix)
    print("patched: ", *(file.read_text().strip() for file in sorted(folder.glob("*.bans"))), banned(folder))
    applied.revert()
    print("reverted:", *(file.read_text().strip() for file in sorted(folder.glob("*.bans"))), banned(folder))


if sys.argv[1:2] == ["dies"]:
    place = Path(sys.argv[2])
    livepatch.recover(place / "state")
    livepatch.apply(bans_fix(place, dies=True))
else:
    in_memory()
    with tempfile.TemporaryDirectory() as made:
        on_disk(Path(made))
