"""What an attacker does to nodes of minichain 1.0.0: three flaws, each of which 1.0.1 closes."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

from network import PATIENCE, Network

FLOOD = 250
"""More transactions than any pool takes."""


def flood(network: Network, number: int) -> tuple[int, str]:
    """Fill the pool with transactions that no block will hold.  How many were taken, and what does Alice hear then?"""
    flooding = [("send", _payment("mallory", "bob", 1, nonce)) for nonce in range(1_000, 1_000 + FLOOD)]
    nonce = network.ask(number, "account", name="alice")["nonce"] + 1
    *answers, answer = network.ask_all(number, [*flooding, ("send", _payment("alice", "bob", 1, nonce))])
    return answers.count("taken"), answer


def _payment(sender: str, receiver: str, amount: int, nonce: int) -> dict[str, object]:
    return {"sender": sender, "receiver": receiver, "amount": amount, "nonce": nonce}


def steal(network: Network, number: int, amount: int = 1) -> str:
    """Pay somebody a negative amount."""
    nonce = network.ask(number, "account", name="mallory")["nonce"] + 1
    answer: str = network.ask(number, "send", **_payment("mallory", "alice", -amount, nonce))
    return answer


class Leech:
    """A peer that shakes hands, and then asks for the whole chain again and again on its one connection.

    `said` is what it says of what it speaks: anything at all.
    """

    def __init__(self, network: Network, number: int, name: str = "leech", said: object = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", network.p2p_port(number)), PATIENCE)
        self._stream = self._socket.makefile("rwb")
        hello = next(self._messages())
        self._send(kind="hello", version=1, network=hello["network"], name=name, livepatch=said)

    def ask(self, times: int) -> int:
        """Ask so often.  How many answers came?  The node may end the connection meanwhile."""
        answers = 0
        try:
            for _ in range(times):
                self._send(kind="get_blocks", start=1)
            for message in self._messages():
                answers += message["kind"] == "blocks"
                if answers == times:
                    break
        except (OSError, EOFError):
            pass  # the node has had enough
        return answers

    def close(self) -> None:
        """Go."""
        self._socket.close()
        with contextlib.suppress(OSError):  # what the node did not take any more
            self._stream.close()

    def _send(self, **message: object) -> None:
        data = json.dumps(message).encode()
        self._stream.write(len(data).to_bytes(4, "big") + data)
        self._stream.flush()

    def _messages(self) -> Iterator[dict[str, Any]]:
        while head := self._stream.read(4):
            yield json.loads(self._stream.read(int.from_bytes(head, "big")))
