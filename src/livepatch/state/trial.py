"""``up`` on trial: in a forked child, on some of the live objects, to see what it does beyond what is declared.

The child has a copy of all memory, so nothing that it does to objects is seen here; it writes to one pipe and ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import time
import warnings
from collections.abc import Iterator

from livepatch.compat.report import Finding
from livepatch.compat.rows import row
from livepatch.errors import StateError
from livepatch.patch import Patch
from livepatch.state.migration import Migration
from livepatch.state.ways import WHOLE, Ways, said

__all__ = ["boundary_findings"]

_OBJECTS = 8
_LONGEST = 5.0  # seconds that the child may take
_MOST = 60_000  # characters that it may tell


def boundary_findings(patch: Patch) -> Iterator[Finding]:
    """What the migrations that declare what they touch do beyond that, as far as a trial tells."""
    for migration in patch.migrations:
        if migration.touches is None:
            continue
        why = _why_not(migration)
        told = _tried(migration) if not why else None
        if told is None or told.startswith("!"):
            yield row(
                "info",
                "boundary-unchecked",
                migration,
                f"a migration that was not tried: {why or (told or '!it did not end in time')[1:]}",
                "a trial of up on some objects, in a child of this process",
                "nothing; apply compares some objects and goes back if up goes beyond what it declares",
            )
        elif told:
            yield row(
                "error",
                "boundary-crossed",
                migration,
                told,
                "changes of what touches= says it modifies or archives only",
                "correct up, or declare what it does",
            )


def _why_not(migration: Migration) -> str:
    if migration.durable:
        return "what it changes outlives processes, so a trial would be no trial"
    if migration.objects is not None and migration.objects.once:
        return "its objects can be had only once"
    if migration.lazy and migration.objects is None:
        return "its objects are not known before they are used"
    if not hasattr(os, "fork"):
        return "this platform cannot fork"
    return ""


def _tried(migration: Migration) -> str | None:
    """What a child tells: nothing, what is crossed, or after a ``!`` why it could not try.

    ``None`` if it did not end.
    """
    reader, writer = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads: the child takes nothing that they hold
            child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return f"!{error.strerror or error}"
    if child == 0:
        _in_child(migration, writer)
    os.close(writer)
    try:
        return _read(reader)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # a program may wait for any child of its own
            os.waitpid(child, 0)


def _in_child(migration: Migration, writer: int) -> None:
    try:
        told = _run(migration)
    except BaseException as error:  # noqa: BLE001  # nothing may leave the child but by its end
        told = f"!{said(error)}"
    try:
        os.write(writer, json.dumps(told[:_MOST]).encode())
    finally:
        os._exit(0)


def _run(migration: Migration) -> str:
    ways = Ways(migration, None)
    items = [WHOLE] if migration.objects is None else list(itertools.islice(migration.objects, _OBJECTS))
    for item in items:
        begun = ways.begin(item)
        try:
            for _ in ways.up(begun):
                pass
        except StateError as error:
            return error.found
    return "" if items else "!there are no objects now"


def _read(reader: int) -> str | None:
    until = time.monotonic() + _LONGEST
    data = b""
    while (left := until - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
        part = os.read(reader, 65_536)
        if not part:
            break
        data += part
    try:
        return str(json.loads(data))
    except ValueError:
        return None
