"""Something to run in a forked child: what it breaks, uses up or never ends is gone with the child."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livepatch.errors import PatchError, shortened

__all__ = ["Ended", "can_fork", "in_child"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a child told as plain values, or why it told nothing."""

    value: Any = None
    died: str = ""


def can_fork() -> bool:
    """Whether this platform has children that are copies."""
    return hasattr(os, "fork")


def in_child(function: Callable[[], object], timeout: float) -> Ended:
    """Run `function` in a copy of this process, for at most `timeout` seconds; it gives plain values, fit for JSON.

    What it raises is told as a string after ``raised``.  Nothing that it changes is changed here.
    """
    if not can_fork():
        raise PatchError(
            "this platform has no fork",
            found=os.name,
            expected="a platform with os.fork",
            action="run it elsewhere",
        )
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads: the child takes nothing that they hold
        child = os.fork()
    if child == 0:
        _be_the_child(function, writer)
    os.close(writer)
    try:
        data, late = _read(reader, time.monotonic() + timeout)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    status = 0
    with contextlib.suppress(ChildProcessError):  # a program may wait for any child of its own
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if late:
        return Ended(died=f"no end within {timeout:g} s")
    try:
        return Ended(value=json.loads(data))
    except ValueError:
        how = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return Ended(died=f"{how}, and told nothing")


def _be_the_child(function: Callable[[], object], writer: int) -> None:
    if "faulthandler" in sys.modules:
        sys.modules["faulthandler"].disable()  # how the child dies is told to whoever started it, and to nobody else
    try:
        try:
            told = json.dumps(function())
        except BaseException as error:  # noqa: BLE001  # nothing may leave the child but by its end
            told = json.dumps({"raised": shortened(f"{type(error).__qualname__}: {error}", 2000)})
        data = told.encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _read(reader: int, until: float) -> tuple[bytes, bool]:
    """What the child tells until it ends, and whether it was late."""
    parts: list[bytes] = []
    while (left := until - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        part = os.read(reader, 65_536)
        if not part:
            return b"".join(parts), False
        parts.append(part)
    return b"", True
