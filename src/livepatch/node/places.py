"""Where the control socket of a node lies: found by path, folder or pattern, and reached however long its path is."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from livepatch.errors import NodeError, spelled

__all__ = ["SOCKET", "is_socket", "reachable", "sockets"]

SOCKET = "control.sock"
"""What the socket is called in the folder of a store."""
_LONGEST = 107  # bytes that the system lets an address have
_MOST = 1000  # nodes that one command asks


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address for a socket at `path`: the path, or a short way to it.  Raises :class:`OSError`."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def is_socket(path: Path) -> bool:
    """Whether there is a socket."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def sockets(place: str) -> tuple[Path, ...]:
    """The control sockets that `place` names: a socket, a store, a folder of either, or a pattern for any of these.

    Raises :class:`NodeError` if there is none, or more than a command asks.
    """
    path = Path(place)
    if is_socket(path) or path.is_dir():
        found = list(_in(path))
    else:
        found = [each for name in sorted(glob.glob(place)) for each in _in(Path(name))]  # noqa: PTH207  # it may be absolute
    found = list(dict.fromkeys(found))
    if not found:
        raise NodeError(
            "there is no node",
            found=f"no control socket at {spelled(place)}",
            expected=f"the {SOCKET} of a running agent, its store, a folder of these, or a pattern",
            action="correct the path; livepatch.Agent opens the socket when it starts",
        )
    if len(found) > _MOST:
        raise NodeError(
            "there are too many nodes",
            found=f"{len(found)} control sockets at {spelled(place)}",
            expected=f"{_MOST} or fewer",
            action="name fewer of them at a time",
        )
    return tuple(found)


def _in(path: Path) -> Iterator[Path]:
    if is_socket(path):
        yield path
    elif is_socket(path / SOCKET):
        yield path / SOCKET
    elif path.is_dir():
        with contextlib.suppress(OSError):
            for each in sorted(path.iterdir()):
                if is_socket(each) and not each.name.startswith("."):
                    yield each
                elif is_socket(each / SOCKET):
                    yield each / SOCKET
