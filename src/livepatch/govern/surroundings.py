"""Who acts, when and where, as an entry of the record says it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Here", "here", "origin", "started", "user", "version_of", "versions"]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(("livepatch", *parts)).encode()).hexdigest()[:16]


@functools.cache
def host() -> str:
    """An id of this machine: a hash, since the id that the system gives it is meant to stay on it."""
    return _short("host", _read("/etc/machine-id") or _read("/var/lib/dbus/machine-id") or platform.node())


@functools.cache
def boot() -> str:
    """An id of the machine's run: the monotonic clocks of all processes with the same one can be compared."""
    try:
        namespace = os.readlink("/proc/self/ns/time")  # noqa: PTH115  # a name, and no path
    except OSError:
        namespace = ""
    run = _read("/proc/sys/kernel/random/boot_id") or f"process {os.getpid()} {time.time_ns()}"
    return _short("boot", run, namespace)


def started(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was; ``None`` if there is none, or nobody says."""
    # The name of the program, in brackets, may hold anything.
    after_name = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(after_name[19]) if len(after_name) > 19 and after_name[0] not in "ZX" else None


_process: dict[int, dict[str, int]] = {}


def process() -> dict[str, int]:
    """What this process is: its id, and when it was started, in ticks since the machine was (0 if nobody says)."""
    pid = os.getpid()
    known = _process.get(pid)
    if known is None:
        known = {"pid": pid, "started": started(pid) or 0}
        _process.clear()
        _process[pid] = known
    return known


def utc(nanoseconds: int) -> str:
    """A time since the epoch as the record writes it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


class Here(NamedTuple):
    """Where an entry is written: ids of the machine and of its run, and the process."""

    host: str
    boot: str
    pid: int
    started: int


_here = Here("", "", 0, 0)


def here() -> Here:
    """Where this is."""
    global _here  # noqa: PLW0603  # asked before each entry, and another one in a child of a fork only
    if _here.pid != os.getpid():
        _here = Here(host(), boot(), *process().values())
    return _here


def origin() -> str:
    """The name of a record that was given none: C2SP asks for a URL without a scheme."""
    node = "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "-" for c in platform.node())
    return f"{node or 'localhost'}/livepatch"


@functools.cache
def user() -> str:
    """Who the process runs as."""
    try:
        import pwd

        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    except (ImportError, KeyError):
        return f"user {os.geteuid()}"


def version_of(distribution: str) -> str:
    """The version of a distribution that is installed, or ``""``."""
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
    text = found.read_text("METADATA")
    known = _metadata.get(distribution)
    if known is None or not text or known[0] != text:  # what is looked for each time is cheap, and reading it is not
        known = text or "", str(found.version)
        _metadata[distribution] = known
    return known[1]


_metadata: dict[str, tuple[str, str]] = {}
"""By distribution, its metadata and the version in them: as many as packages that are patched here."""


@functools.cache
def versions() -> dict[str, str]:
    """The versions of what acts."""
    return {"livepatch": version_of("livepatch"), "python": platform.python_version()}
