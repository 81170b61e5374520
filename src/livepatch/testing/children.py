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

from livepatch.errors import PatchError, counted, shortened

__all__ = ["Ended", "can_fork", "goes_on", "in_child"]

_STEP = b"."
"""What a child writes that goes on; what it gives in the end does not begin so."""
_writers: list[int] = []
"""In a child: where it tells."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a child told as plain values, or why it told nothing."""

    value: Any = None
    died: str = ""


def can_fork() -> bool:
    """Whether this platform has children that are copies."""
    return hasattr(os, "fork")


def in_child(function: Callable[[], object], timeout: float) -> Ended:
    """Run `function` in a copy of this process; it gives plain values, fit for JSON.

    It may take `timeout` seconds, and as many again whenever it says by :func:`goes_on` that it goes on.
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
        data, steps, late = _read(reader, timeout)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    status = 0
    with contextlib.suppress(ChildProcessError):  # a program may wait for any child of its own
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if late:
        after = f", after {counted(steps, 'step')}" if steps else ""
        return Ended(died=f"no end within {timeout:g} s{after}")
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
            _writers[:] = [writer]
            told = json.dumps(function())
        except BaseException as error:  # noqa: BLE001  # nothing may leave the child but by its end
            told = json.dumps({"raised": shortened(f"{type(error).__qualname__}: {error}", 2000)})
        data = told.encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def goes_on() -> None:
    """In a child: say that another step was made, which may have taken its own time."""
    for writer in _writers:
        os.write(writer, _STEP)


def _read(reader: int, timeout: float) -> tuple[bytes, int, bool]:
    """What the child tells until it ends, how many steps it has made before that, and whether one took too long."""
    told = b""
    until = time.monotonic() + timeout
    while (left := until - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        part = os.read(reader, 65_536)
        if not part:
            value = told.lstrip(_STEP)
            return value, len(told) - len(value), False
        told += part
        if not told.strip(_STEP):
            until = time.monotonic() + timeout
    return b"", len(told) - len(told.lstrip(_STEP)), True
