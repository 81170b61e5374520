"""What the record costs: an entry beside a bare append and fdatasync, a verification, and a tripwire."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from measure import Bar, Column, Row, Table, call_loop, take_turns

import livepatch
from livepatch.govern import audit, files, tripwires
from livepatch.govern.log import Log

__all__ = ["tables"]

_MOST_RATIO = 1.3
_MOST_US = 10.0  # 100,000 entries a second
_ORIGIN = "node7.example.com/livepatch"


def _entry(number: int) -> dict[str, object]:
    patch = {"digest": "sha256:" + "a" * 64, "id": "CVE-2026-1234", "package": "nodeclient", "versions": "==2.1.*"}
    details = {"flag": "transaction-size", "mode": "on", "number": number, "replaces": []}
    return {"event": "applied", "who": "alice", "phase": "intent", "patch": patch, "details": details}


def _append(folder: Path, rounds: int) -> Table:
    """All write the same bytes to the same disk, in turns."""
    key = Ed25519PrivateKey.generate()
    log = Log(folder / "record", key, _ORIGIN)
    log.append(_entry(0))
    (segment,) = files.segments(log.folder)
    data = b"".join(segment.read().splitlines(True)[-2:])
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def plain(_: int) -> None:
        os.write(bare, data)
        os.fdatasync(bare)

    ahead, asked, signed = (os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600) for name in "abc")
    room = dict.fromkeys((ahead, asked, signed), 0)

    def into_room(number: int, file: int = ahead) -> None:
        offset = number * len(data)
        if offset + len(data) > room[file]:
            room[file] = files.set_aside(file, offset, files.ROOM)
        os.pwrite(file, data, offset)
        os.fdatasync(file)

    def asked_into_room(number: int) -> None:
        os.fstat(asked)
        into_room(number, asked)

    def signed_into_room(number: int) -> None:
        key.sign(data[:120])
        into_room(number, signed)

    def entry(number: int) -> None:
        log.append(_entry(number))

    contenders: dict[str, Callable[[int], None]] = {
        "an entry with its checkpoint": entry,
        "a bare append": plain,
        "a bare write into room set aside": into_room,
        "the same, asked for its times before": asked_into_room,
        "a signature, and a write into room": signed_into_room,
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    time.sleep(0.1)  # names that were given just now are asked for one by one
    for number in range(rounds):
        order.append(order.pop(0))
        for name in order:
            begun = time.perf_counter()
            contenders[name](number)
            taken[name].append((time.perf_counter() - begun) * 1e6)
    for file in (bare, ahead, asked, signed):
        os.close(file)
    with mock.patch.object(files, "write_through", os.pwrite):
        before_disk = _processor_us(entry)
    log.close()
    signing = _processor_us(lambda _: key.sign(bytes(120)))
    # A turn in which somebody else got the processor or the disk says nothing of either.
    quick = {name: statistics.quantiles(taken[name], n=10)[0] for name in contenders}
    rows = [
        Row(
            name,
            {
                "µs": quick[name],
                "to bare": quick[name] / quick["a bare append"],
                "median µs": statistics.median(taken[name]),
            },
            Bar("to bare", _MOST_RATIO) if contenders[name] is entry else None,
        )
        for name in contenders
    ]
    own = {"processor µs": before_disk, "to signature": before_disk / signing}
    rows.append(Row("an entry that waits for no disk", own))
    rows.append(Row("its signature alone", {"processor µs": signing, "to signature": 1.0}))
    columns = (
        Column("µs", "{:.0f}"),
        Column("to bare", "{:.2f}"),
        Column("median µs", "{:.0f}"),
        Column("processor µs", "{:.0f}"),
        Column("to signature", "{:.2f}"),
    )
    title = f"An entry of the record, on the disk: {len(data)} bytes and fdatasync; the quickest tenth of {rounds}"
    bare_us, room_us = quick["a bare append"], quick["a bare write into room set aside"]
    spared = _MOST_RATIO - room_us / bare_us
    enough = (quick["an entry with its checkpoint"] - room_us) / spared if spared > 0 else float("inf")
    note = f"The bar is held from a disk on which a bare append takes {enough:.0f} µs, if room spares as much there."
    return Table(title, columns, rows, note)


def _processor_us(call: Callable[[int], object], rounds: int = 2_000) -> float:
    """Microseconds of processor time that a call takes, in the quickest tenth."""
    taken = []
    for number in range(rounds):
        begun = time.thread_time_ns()
        call(number)
        taken.append((time.thread_time_ns() - begun) / 1e3)
    return statistics.quantiles(taken, n=10)[0]


def _verify(folder: Path, entries: int, rounds: int) -> Table:
    key = Ed25519PrivateKey.generate()
    log = Log(folder / "long", key, _ORIGIN)
    with mock.patch.object(files, "write_through", os.pwrite):  # the disk is not what this is about
        for number in range(entries):
            log.append(_entry(number))
    log.close()
    rows = []
    for name, deep, times in (
        ("the chain and the newest checkpoint", False, rounds),
        ("every signature as well", True, 1),
    ):
        best = float("inf")
        for _ in range(times):
            begun = time.process_time()
            assert audit.verify(folder / "long", key=log.verifier, deep=deep).ok
            best = min(best, time.process_time() - begun)
        figures = {"µs an entry": best / entries * 1e6, "entries a second": entries / best}
        rows.append(Row(name, figures, None if deep else Bar("µs an entry", _MOST_US)))
    columns = (Column("µs an entry", "{:.1f}"), Column("entries a second", "{:,.0f}"))
    note = "Each entry has a checkpoint, so there are twice as many lines.  Processor time; the best of the rounds."
    return Table(f"Verifying a record of {entries:,} entries", columns, rows, note)


def _tripwire(turns: int) -> Table:
    with mock.patch.object(tripwires, "emit"):
        names = {"f": livepatch.tripwire}
        loops = {"livepatch.tripwire": call_loop('f("CVE-2026-1234", peer="203.0.113.9")', names)}
        timed = take_turns([loops], turns)
    rows = [Row(name, {"ns": timed.ns(name)}) for name in loops]
    return Table("A call of a tripwire", (Column("ns", "{:.0f}"),), rows)


def tables(*, quick: bool = False) -> Iterator[Table]:
    # Beside the other files of whoever runs this: a folder for temporary ones may have no disk behind it.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-record-") as name:
        folder = Path(name)
        yield _append(folder, 30 if quick else 400)
        yield _verify(folder, 1_000 if quick else 10_000, 3 if quick else 9)
    yield _tripwire(20 if quick else 200)
