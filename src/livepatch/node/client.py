"""Ask a node over its control socket: what comes back is the result, or raised, as in the node's own process."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from livepatch.errors import NodeError, shortened, spelled
from livepatch.node import failures
from livepatch.node.places import reachable
from livepatch.node.protocol import LENGTH, LIMITS, Request, length_of, read_answer, request_bytes

__all__ = ["Node"]

_CONNECTING = 5.0  # seconds
_MARGIN = 30.0  # seconds that a node may take beyond what it is asked to wait
_CHUNK = 1 << 20


class Node:
    """A running node, by the path of its control socket.  A context manager.

    Raises :class:`NodeError` if nobody listens there.
    """

    def __init__(self, path: str | os.PathLike[str], *, margin: float = _MARGIN) -> None:
        self.path = Path(path)
        self._margin = margin
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_CONNECTING)
            with reachable(self.path) as address:
                self._socket.connect(address)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise NodeError(
                "the node cannot be reached",
                found=f"{spelled(str(self.path))}: {shortened(str(error), 200)}",
                expected="the control socket of a running agent, and the right to use it",
                action="see that the node runs, and ask as the user that it runs as",
            ) from error

    def ask(
        self,
        request: Request,
        parts: tuple[bytes, ...] = (),
        *,
        on_progress: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> dict[str, Any]:
        """Ask for one thing, and wait for the result.

        Raises what the node raised, and :class:`NodeError` if no answer can be had: then the message says whether
        anything may have been done.
        """
        data = request_bytes(request, parts)
        wait = getattr(request, "timeout", 0.0) + getattr(request, "drain", 0.0) + self._margin
        end = time.monotonic() + wait
        try:
            self._socket.settimeout(self._margin)
            self._socket.sendall(data)
        except OSError as error:
            return self._refused(error)
        while True:
            kind, value = self._answer(end, wait)
            if kind == "result":
                return value
            if kind == "error":
                raise failures.rebuilt(value)
            end = max(end, time.monotonic() + self._margin)  # it is at work, though that may take longer than was asked
            if on_progress is not None:
                on_progress(value)

    def _refused(self, error: OSError) -> dict[str, Any]:
        """A node that takes no more of a request may have said why."""
        try:
            kind, value = self._answer(time.monotonic() + 1.0, 1.0)
        except NodeError:
            raise _lost(f"it took {shortened(str(error), 100)}", "nothing was done") from error
        raise failures.rebuilt(value) if kind == "error" else _lost("an answer to half a request", "see its status")

    def _answer(self, end: float, wait: float) -> tuple[str, dict[str, Any]]:
        length = length_of(self._receive(LENGTH, end, wait), LIMITS.answer, "this answer")
        return read_answer(self._receive(length, end, wait))

    def _receive(self, count: int, end: float, wait: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                chunk = self._socket.recv(min(count - len(data), _CHUNK))
            except TimeoutError as error:
                raise _lost(f"no answer for {wait:g} s", "it may still be done: see its status") from error
            except OSError as error:
                raise _lost(shortened(str(error), 200), "it may have been done: see its status") from error
            if not chunk:
                raise _lost("the end of the connection", "it may have been done: see its status")
            data += chunk
        return bytes(data)

    def close(self) -> None:
        """Let the node go on."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _lost(found: str, after: str) -> NodeError:
    return NodeError(
        "the node did not answer",
        found=found,
        expected="a result, or an error",
        action=f"see that the node runs, then ask again; {after}",
    )
