"""One connection to a node's control socket: its requests come in, are answered, and meanwhile it is told of them.

Who asks hears again and again that the node is at work, however long that takes: so a node that works on a patch for
minutes, beside all else that it does, is told from one that hangs.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from livepatch.errors import LivepatchError, NodeError
from livepatch.node import failures
from livepatch.node.protocol import LENGTH, Limits, Request, answer_bytes, length_of, read_head
from livepatch.node.pulse import Pulse

__all__ = ["Connection", "Peer", "Tell", "error_bytes"]

_CHUNK = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who connected, as the system says."""

    pid: int
    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Who that is, for the record."""
        try:
            import pwd

            return f"user {pwd.getpwuid(self.uid).pw_name}"
        except (ImportError, KeyError):
            return f"user {self.uid}"


Tell = Callable[[Mapping[str, Any]], bool]
"""Tells who asked of progress; false if nobody listens any more."""


class Serving(Protocol):
    """Whom a connection belongs to: the control socket."""

    @property
    def limits(self) -> Limits:
        """What a message may hold, and last."""

    @property
    def pulse(self) -> Pulse:
        """By what those who ask are told that their requests are worked on."""

    def hold(self, size: int) -> None:
        """Let a connection hold so many bytes.  Raises :class:`NodeError` if others hold too many."""

    def let_go(self, size: int) -> None:
        """They are held no more."""

    def answer(self, request: Request, parts: tuple[bytes, ...], peer: Peer, tell: Tell) -> bytes:
        """The last answer to a request: what was done, or why not."""

    def rests(self, connection: Connection) -> bool:
        """A connection has been answered; whether it may ask again."""

    def leave(self, connection: Connection) -> None:
        """A connection has ended."""


class _GoneError(Exception):
    """Who asked is not there any more, or takes too long."""


class Connection:
    """One connection, and its thread."""

    def __init__(self, accepted: socket.socket, peer: Peer, control: Serving) -> None:
        self.socket = accepted
        self.idle = True
        """Whether it may go without anything being lost that was asked for."""
        self.since = time.monotonic()
        self.thread = threading.Thread(target=self._serve, name="livepatch-control-connection", daemon=True)
        self._peer = peer
        self._control = control
        self._limits = control.limits
        self._sending = threading.Lock()
        self._sent = time.monotonic()
        self._began: float | None = None

    def drop(self) -> None:
        """End it, from another thread."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        try:
            patience = self._limits.receiving  # who connects has something to ask
            while self._one(patience):
                patience = self._limits.idle
        except (OSError, ValueError, _GoneError):
            pass  # it has gone, or was dropped: the other side knows
        finally:
            self._control.leave(self)

    def _one(self, patience: float) -> bool:
        """Answer one request; whether another may follow."""
        first = self._receive(1, time.monotonic() + patience, may_end=True)
        if not first:
            return False
        end = time.monotonic() + self._limits.receiving
        held = 0
        try:
            length = length_of(first + self._receive(LENGTH - 1, end), self._limits.head, "this request")
            head = read_head(self._receive(length, end), self._limits)
            size = sum(head.parts)
            self._control.hold(size)
            held = size
            parts = tuple(self._receive(each, end) for each in head.parts)
            self.idle = False
            self._begin_work()
            try:
                answer = self._control.answer(head.request, parts, self._peer, self._tell)
            finally:
                self._end_work()
            self._send(answer)
        except LivepatchError as error:
            # What follows on this connection cannot be told from what belonged to this request.
            self._send(error_bytes(error))
            self._linger()
            return False
        finally:
            self._control.let_go(held)
        return self._control.rests(self)

    def _receive(self, count: int, end: float, *, may_end: bool = False) -> bytes:
        """So many bytes, before that moment.  Nothing is set aside for bytes that have not come."""
        data = bytearray()
        while len(data) < count:
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            chunk = self.socket.recv(min(count - len(data), _CHUNK))
            if not chunk:
                if may_end and not data:
                    return b""
                raise _GoneError
            data += chunk
            if time.monotonic() >= end and len(data) < count:
                raise _GoneError
        return bytes(data)

    def _send(self, data: bytes) -> None:
        with self._sending:
            self.socket.settimeout(self._limits.sending)
            self.socket.sendall(data)
            self._sent = time.monotonic()

    def _begin_work(self) -> None:
        self._began = time.monotonic()
        self._control.pulse.begin(self)

    def _end_work(self) -> None:
        self._control.pulse.end(self)
        with self._sending:  # nothing is told of it behind its answer
            self._began = None

    def tell_of_work(self) -> None:
        """Say that the request is worked on, unless something was told just now.  For another thread; never waits."""
        if not self._sending.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            if self._began is None or now - self._sent < self._limits.pulse:
                return
            data = answer_bytes("progress", {"at_work_ms": round((now - self._began) * 1000)})
            self.socket.settimeout(0)
            if self.socket.send(data) < len(data):
                self.drop()  # nothing that follows could be read
            self._sent = now
        except (OSError, ValueError):
            pass  # it takes up nothing, or has gone: who answers finds out
        finally:
            self._sending.release()

    def _linger(self) -> None:
        """Let the answer arrive: where bytes are left unread, closing would take it back."""
        self.socket.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 1.0
        for _ in range(64):
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            if not self.socket.recv(_CHUNK):
                return

    def _tell(self, progress: Mapping[str, Any]) -> bool:
        """Tell of progress.  Who only waits for more of it may be crowded out by others."""
        try:
            self._send(answer_bytes("progress", progress, self._limits))
        except (OSError, ValueError):
            return False
        self.idle, self.since = True, time.monotonic()
        return True


def error_bytes(error: BaseException) -> bytes:
    """An error as the last answer."""
    told = failures.plain(error)
    try:
        return answer_bytes("error", told)
    except NodeError as too_long:
        return answer_bytes("error", failures.plain(too_long))
