"""The control socket of a node: who may connect, how much they may send and how long they may take.

All of it runs on threads of its own, so it works while the node's event loop is busy or stuck.  A client that is slow,
huge, half there or hostile costs a connection for some seconds, and the node nothing: what a message may hold and how
long it may take is in :class:`~livepatch.node.protocol.Limits`.  Where there are too many, the one that has been idle
for longest goes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from livepatch.errors import LivepatchError, NodeError, PolicyError, shortened, spelled
from livepatch.events import emit
from livepatch.govern.files import is_still
from livepatch.node.connection import Connection, Peer, Tell, error_bytes
from livepatch.node.places import reachable
from livepatch.node.protocol import LIMITS, Limits, Request, answer_bytes
from livepatch.node.pulse import Pulse

__all__ = ["Answer", "Control"]

_CREDENTIALS = struct.Struct("3i")
_HELD = 64 << 20  # bytes of parts that all connections together may hold
_TIRED = 0.1  # seconds until it is tried again to accept, where the system has no room for a connection


Answer = Callable[[Request, tuple[bytes, ...], Peer, Tell], Mapping[str, Any]]
"""Does what is asked and gives the result, or raises."""


class Control:
    """The socket at `path`, whose requests `answer` answers, each in a thread of its own, for those users alone.

    Raises :class:`NodeError` if it cannot be opened, such as where another process listens; then nothing has changed.
    """

    def __init__(self, path: Path, answer: Answer, *, uids: Iterable[int], limits: Limits = LIMITS) -> None:
        self.path = path
        self._answer = answer
        self._uids = frozenset(uids)
        self._limits = limits
        self._lock = threading.Lock()
        self._pulse = Pulse(limits.pulse)
        self._connections: list[Connection] = []
        self._held = 0
        self._closed = False
        self._listener = _listener(path, 0o600 if self._uids <= {0, os.geteuid()} else 0o666)
        found = path.lstat()
        self._made = found.st_dev, found.st_ino
        self._listens = os.fstat(self._listener.fileno())
        _open.add(self)
        self._thread = threading.Thread(target=self._accept, name="livepatch-control", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Take no more requests, and wait so many seconds for those that are being answered.  Twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle = [each for each in self._connections if each.idle]
            threads = [self._thread, *(each.thread for each in self._connections)]
        _open.discard(self)
        is_ours = is_still(self._listener.fileno(), self._listens)
        if is_ours:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        else:
            self._listener.detach()  # the program has closed it, and may have opened another file in its place
            self._wake()
        self._forget_path()
        for each in idle:
            each.drop()
        end = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(end - time.monotonic(), 0))
        self._pulse.close(end - time.monotonic())
        self._listener.close()  # nothing, if it was detached

    def _wake(self) -> None:
        """Who accepts still waits at what was closed."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as caller, reachable(self.path) as address:
            caller.setblocking(False)
            caller.connect(address)

    def _forget_path(self) -> None:
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._made:
                self.path.unlink()

    def after_fork(self) -> None:
        """In a child: the socket is the parent's.  What is closed here stays open there."""
        self._lock = threading.Lock()
        self._pulse = Pulse(self._limits.pulse)
        self._closed = True
        for connection in self._connections:
            connection.socket.close()
        self._connections = []
        if is_still(self._listener.fileno(), self._listens):
            self._listener.close()
        else:
            self._listener.detach()

    # Connections

    def _accept(self) -> None:
        while not self._closed and is_still(self._listener.fileno(), self._listens):
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                if not self._closed:
                    time.sleep(_TIRED)
                continue
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        """Give a connection a thread, or say why not.  Never waits."""
        try:
            peer = _peer_of(accepted)
        except OSError:
            accepted.close()
            return
        if peer.uid not in self._uids:
            emit("control_refused", level="warning", uid=peer.uid, pid=peer.pid)
            _refuse(
                accepted,
                PolicyError(
                    "this user may not control the node",
                    found=f"uid {peer.uid}",
                    expected="uid " + ", ".join(map(str, sorted(self._uids))),
                    action="ask as one of these users, or have the agent started with uids=",
                ),
            )
            return
        connection = Connection(accepted, peer, self)
        with self._lock:
            oldest = self._crowded_out()
            full = len(self._connections) >= self._limits.connections
            if not full and not self._closed:
                self._connections.append(connection)
        if oldest is not None:
            oldest.drop()
        if full or self._closed:
            _refuse(accepted, _busy(f"{self._limits.connections} connections with a request under way"))
            return
        try:
            connection.thread.start()
        except RuntimeError:  # no room for a thread
            self.leave(connection)

    def _crowded_out(self) -> Connection | None:
        """Which connection makes room for another: the one that has been idle for longest."""
        if len(self._connections) < self._limits.connections:
            return None
        oldest = min((each for each in self._connections if each.idle), key=lambda each: each.since, default=None)
        if oldest is not None:
            self._connections.remove(oldest)
        return oldest

    def rests(self, connection: Connection) -> bool:
        """A connection has been answered; whether it may ask again."""
        with self._lock:
            connection.idle, connection.since = True, time.monotonic()
            return not self._closed

    def leave(self, connection: Connection) -> None:
        """A connection has ended."""
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)
        connection.socket.close()

    # What connections ask for

    def hold(self, size: int) -> None:
        """Let a connection hold so many bytes.  Raises :class:`NodeError` if others hold too many."""
        with self._lock:
            if self._held + size > _HELD:
                raise _busy(f"{self._held} bytes of other requests")
            self._held += size

    def let_go(self, size: int) -> None:
        """They are held no more."""
        with self._lock:
            self._held -= size

    def answer(self, request: Request, parts: tuple[bytes, ...], peer: Peer, tell: Tell) -> bytes:
        """The last answer to a request: what was done, or why not."""
        try:
            return answer_bytes("result", self._answer(request, parts, peer, tell), self._limits)
        except LivepatchError as error:
            return error_bytes(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told; the node goes on
            emit("control_failed", level="error", request=request.verb, error=type(error).__qualname__)
            return error_bytes(error)

    @property
    def pulse(self) -> Pulse:
        """By what those who ask are told that their requests are worked on."""
        return self._pulse

    @property
    def limits(self) -> Limits:
        """What a message may hold, and last."""
        return self._limits


def _busy(found: str) -> NodeError:
    return NodeError(
        "the node is busy with other requests",
        found=found,
        expected="room for another",
        action="ask again in a moment; nothing was done",
    )


def _refuse(accepted: socket.socket, error: LivepatchError) -> None:
    """Say why a connection is refused, if that can be said at once."""
    with contextlib.suppress(OSError):
        accepted.setblocking(False)
        accepted.send(error_bytes(error))
        accepted.shutdown(socket.SHUT_WR)
    accepted.close()


def _peer_of(accepted: socket.socket) -> Peer:
    told = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(told)
    return Peer(pid=pid, uid=uid, gid=gid)


# The socket itself


def _listener(path: Path, mode: int) -> socket.socket:
    """A socket that listens at `path`: nobody can connect before it has its mode, and an old one goes in one step."""
    if not hasattr(socket, "SO_PEERCRED"):
        raise NodeError(
            "a control socket cannot be kept safe on this system",
            found="no SO_PEERCRED, which tells who connects",
            expected="Linux",
            action="start the agent with socket=None; the store serves without it",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.parent / f".livepatch-{os.urandom(8).hex()}.sock"
    try:
        _must_be_private(path.parent)
        with reachable(beside) as address:
            listener.bind(address)
        beside.chmod(mode)
        listener.listen(64)
        _must_be_free(path)
        beside.replace(path)
    except (OSError, ValueError, NodeError) as error:
        listener.close()
        with contextlib.suppress(OSError, ValueError):
            beside.unlink()
        if isinstance(error, NodeError):
            raise
        raise NodeError(
            "the control socket cannot be opened",
            found=f"{spelled(str(path))}: {shortened(str(error), 200)}",
            expected="a path in a folder that this process may write to",
            action="give another socket=, or see to the folder",
        ) from error
    return listener


def _must_be_private(folder: Path) -> None:
    found = folder.stat()
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        raise NodeError(
            "the control socket would lie where anybody can put another in its place",
            found=f"{spelled(str(folder))}, which everybody may write to",
            expected="a folder of this user's own",
            action=f"chmod o-w {folder}, or give another socket=",
        )


def _must_be_free(path: Path) -> None:
    """Nothing is there, or a socket on which nobody listens any more."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(found.st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, reachable(path) as address:
            probe.settimeout(1.0)
            try:
                probe.connect(address)
            except (ConnectionRefusedError, FileNotFoundError):
                return
            except OSError:
                pass  # somebody listens, and is busy
    raise NodeError(
        "the control socket cannot be opened",
        found=f"{spelled(str(path))}, "
        + ("on which a process listens" if stat.S_ISSOCK(found.st_mode) else "no socket"),
        expected="nothing there, or the socket of a process that has ended",
        action="end that process's agent, or give another socket=",
    )


_open: weakref.WeakSet[Control] = weakref.WeakSet()


def _after_fork() -> None:
    for control in list(_open):
        control.after_fork()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
