"""Round trips, made before anything is live: what the old side writes the new one reads, and the other way.

The new side answers one thread, and only while that says so; all other calls get the old side, as before.  So the
examples go through the live functions as they call each other, however deep the change lies.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from types import ModuleType

from livepatch.compat.contracts import Proof, round_trip_differs, round_trip_failed, unexercised
from livepatch.compat.report import Finding, Report, by_weight
from livepatch.contents.claims import MOST_VALUES, RoundTrip, Snapshot, check_plain_function
from livepatch.engine.comparing import Outcome, compared, spelled_outcome
from livepatch.engine.facts import Survey
from livepatch.engine.modes import At
from livepatch.engine.stack import Layer
from livepatch.errors import PatchError, TransitionError, spelled
from livepatch.govern.guarding import Governed
from livepatch.patch import Patch
from livepatch.process.fitting import check_fits
from livepatch.process.live import Live
from livepatch.process.switching import Switching

__all__ = ["prove"]

_LOOK = 0.05  # seconds between two looks whether it was cancelled
_SIDE = ("old", "new")
_Function = Callable[..., object]
_Rows = Callable[[], Iterator[Finding]]
_MOST_ROWS = 3  # findings of one round trip: one example tells as much as a thousand


class _Trial:
    """Who gets the new side at this moment: the thread that makes the round trips, while it says so."""

    def __init__(self) -> None:
        self.thread = 0
        self.new = False
        self.asked = 0
        """How often a function of the patch was called for the new side."""

    def height(self) -> int:
        """1 for the calls that get the new side, and 0 for all others."""
        if self.new and threading.get_ident() == self.thread:
            self.asked += 1
            return 1
        return 0

    def side(self, function: Callable[..., object], value: object, *, new: bool) -> Outcome:
        """What a function gives on one of the sides."""
        self.new = new
        try:
            return Outcome(function(value))
        except BaseException as error:  # noqa: BLE001  # the program's code may fail in any way: that is the finding
            return Outcome(None, error)
        finally:
            self.new = False


def prove(live: Live, patch: Patch, governed: Governed, found: Survey, timeout: float) -> Report:
    """The report with what the round trips showed.  Called within a transaction; the process is as before afterwards.

    Raises :class:`TransitionError` if they do not end within `timeout` seconds.
    """
    trips = governed.round_trips
    trial = _Trial()
    # An id that no patch can have.
    layer = Layer(f"{patch.id} on trial", At(1, trial.height), dict(found.values), patch.flag)
    try:
        check_fits(layer.mode, layer, live.state.stack.push(layer, found.originals), patch, found.outliving)
    except PatchError as error:
        # What all calls share cannot differ between them.
        return _with(governed.report, [round_trip_failed(trips[0], "the new side cannot be tried", error.found)])
    ready: list[tuple[Proof, _Rows]] = []
    for trip in trips:
        try:
            ready.append((trip, _prepared(trip, trial)))
        except PatchError as error:
            return _with(governed.report, [round_trip_failed(trip, str(error), error.found)])
    rows: list[Finding] = []
    missed: list[Proof] = []

    def run() -> None:
        trial.thread = threading.get_ident()
        for trip, made in ready:
            trial.asked = 0
            rows.extend(_first(made()))
            if not trial.asked:
                missed.append(trip)

    live.on_trial(layer, found.originals, lambda: _in_a_thread(run, timeout, live.switching), timeout)
    if missed:
        rows.append(unexercised(missed))
    return _with(governed.report, rows)


def _with(report: Report, rows: list[Finding]) -> Report:
    kept = [finding for finding in report.findings if finding.code != "round-trips-to-come"]
    return replace(report, findings=by_weight([*rows, *kept]))


def _first(rows: Iterator[Finding]) -> list[Finding]:
    return [row for row, _ in zip(rows, range(_MOST_ROWS), strict=False)]


def _prepared(trip: Proof, trial: _Trial) -> _Rows:
    """What tries it, once its functions and examples are there.  Raises :class:`PatchError` if they are not."""
    if isinstance(trip, Snapshot):
        load = _function("load", trip.load)
        store = _function("store", trip.store) if trip.store else None
        examples = _values(trip.examples)
        return lambda: _snapshot(trip, load, store, examples, trial)
    encode, decode, values = _function("encode", trip.encode), _function("decode", trip.decode), _values(trip.values)
    return lambda: _round_trip(trip, encode, decode, values, trial)


def _round_trip(
    trip: RoundTrip, encode: _Function, decode: _Function, values: Iterable[object], trial: _Trial
) -> Iterator[Finding]:
    for index, value in enumerate(values):
        which = f"example {index + 1}"
        old = trial.side(encode, value, new=False)
        reference = trial.side(decode, old.value, new=False) if old.error is None else old
        if reference.error is not None:
            step = "encodes" if old.error is not None else "decodes"
            yield round_trip_failed(trip, f"{which}, which the old side {step} itself", spelled_outcome(reference))
            continue
        forward = trial.side(decode, old.value, new=True)
        yield from _judged(trip, f"{which}, encoded by the old side and decoded by the new", forward, reference)
        new = trial.side(encode, value, new=True)
        if new.error is not None:
            yield round_trip_failed(trip, f"{which}, encoded by the new side", spelled_outcome(new))
            continue
        back = trial.side(decode, new.value, new=False)
        yield from _judged(trip, f"{which}, encoded by the new side and decoded by the old", back, reference)


def _snapshot(
    trip: Snapshot, load: _Function, store: _Function | None, examples: Iterable[object], trial: _Trial
) -> Iterator[Finding]:
    for index, example in enumerate(examples):
        which = f"example {index + 1}"
        reference = trial.side(load, example, new=False)
        if reference.error is not None:
            yield round_trip_failed(trip, f"{which}, which the old side does not load", spelled_outcome(reference))
            continue
        new = trial.side(load, example, new=True)
        rows = list(_judged(trip, f"{which}, loaded by the new side", new, reference))
        yield from rows
        if store is None or rows:
            continue
        # Loaded anew for each step: what stores it may change it.
        for stores, loads in ((False, True), (True, False))[: 1 + trip.rollback]:
            stored = trial.side(store, trial.side(load, example, new=stores).value, new=stores)
            if stored.error is not None:
                yield round_trip_failed(trip, f"{which}, stored by the {_SIDE[stores]} side", spelled_outcome(stored))
                continue
            what = f"{which}, stored by the {_SIDE[stores]} side and loaded by the {_SIDE[loads]}"
            yield from _judged(trip, what, trial.side(load, stored.value, new=loads), reference)


def _judged(trip: Proof, what: str, gave: Outcome, expected: Outcome) -> Iterator[Finding]:
    if gave.error is not None:
        yield round_trip_failed(trip, what, spelled_outcome(gave))
        return
    alike, why = compared(expected, gave)
    if not alike:
        told = f"{spelled_outcome(gave)}{f' ({why})' if why else ''}"
        yield round_trip_differs(trip, what, told, spelled_outcome(expected))


def _in_a_thread(run: Callable[[], None], timeout: float, switching: Switching) -> None:
    """Run it in a thread of its own: no function of the patch is on its stack, and no unit of work in its context.

    Raises what it raises, and :class:`TransitionError` if it takes longer than `timeout` seconds, or is cancelled.
    """
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  # raised again below
            failed.append(error)

    thread = threading.Thread(target=guarded, name="livepatch-round-trips", daemon=True)
    thread.start()
    until = time.monotonic() + timeout
    while thread.is_alive() and time.monotonic() < until and not switching.cancelled:
        thread.join(min(_LOOK, max(until - time.monotonic(), 0)))
    if switching.cancelled:
        raise TransitionError(
            "the switch was cancelled while round trips were made",
            found="a call of cancel()",
            expected="that either side decodes what the other encodes",
            action="apply it again when it suits",
        )
    if thread.is_alive():
        raise TransitionError(
            f"the round trips did not end within {timeout:g} s",
            timeout=timeout,
            found="an example that takes longer",
            expected="functions that encode and decode, and return",
            action="give fewer examples, or a longer timeout; find out whether one of them never returns",
        )
    if failed:
        raise failed[0]


# From names to what they lead to


def _function(argument: str, given: str | Callable[..., object]) -> Callable[..., object]:
    found = _named(argument, given) if isinstance(given, str) else given
    if not callable(found):
        raise PatchError(
            f"{argument} is no function",
            found=spelled(found),
            expected="a function of one argument",
            action="name a function that takes one value",
        )
    check_plain_function(argument, found)
    return found


def _values(given: str | tuple[object, ...]) -> tuple[object, ...]:
    if not isinstance(given, str):
        return given
    found = _named("values", given)
    try:
        found = found() if callable(found) else found
        items = iter(found) if isinstance(found, Iterable) and not isinstance(found, (str, bytes)) else None
        values = tuple(item for item, _ in zip(items, range(MOST_VALUES + 1), strict=False)) if items else ()
    except Exception as error:
        raise PatchError(
            f"{given} gives no examples",
            found=f"{type(error).__qualname__}: {error}"[:200],
            expected="a list of values, or a function that gives one",
            action="correct what gives the examples",
        ) from error
    if not 0 < len(values) <= MOST_VALUES:
        count = f"more than {MOST_VALUES}" if values else "none"
        raise PatchError(
            f"{given} gives no examples",
            found=count,
            expected=f"1 to {MOST_VALUES} values in a list",
            action="give some examples, and not too many",
        )
    return values


def _named(argument: str, path: str) -> object:
    module, _, qualname = path.partition(":")
    try:
        found: object = sys.modules.get(module) or import_module(module)
        for name in qualname.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise PatchError(
            f"{argument} is not to be had",
            found=f"{path}: {type(error).__qualname__}: {error}"[:200],
            expected="a name in a module of the program",
            action="correct the path, or import what it needs",
        ) from error
    if isinstance(found, ModuleType):
        raise PatchError(
            f"{argument} names a module",
            found=path,
            expected="'package.module:name'",
            action="put the name in the module behind a colon",
        )
    return found
