"""One patch that is being watched, from its baseline to its end, and what came of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from livepatch.engine.measuring import Measured, MeasuredCalls
from livepatch.engine.modes import Mode, is_off, spelled_mode
from livepatch.engine.pace import urgent
from livepatch.errors import LivepatchError, TransitionError, shortened
from livepatch.events import emit
from livepatch.govern.recording import acting_as, note
from livepatch.health.judge import Verdict, Window, judge, lacking
from livepatch.health.rules import MEASURES, Rule
from livepatch.health.series import Point, Series
from livepatch.health.stages import Course, Stage, next_step
from livepatch.health.watchdog import Watchdog
from livepatch.process.applied import Applied, verify
from livepatch.process.switching import Consistency

__all__ = ["Soak", "Soaked"]

_LOCK = 0.25  # seconds that a switch waits for another one, before the next reading and the next try
_PATIENT = 30.0  # and the first, which a caller waits for
_MINUTE = 60.0
_SHOWN = 40  # readings of a series in an entry of the record


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What came of a soak.

    `outcome` is ``passed``, ``rolled-back`` or ``failed``: then the patch could not go live, or somebody else changed
    its mode or ended the watch, and `why` says what is there now.  `observed` is for how many seconds the patch was
    live under watch, in `readings` of the probes.  `detect_seconds` went by from going live to the verdict, and
    `restore_seconds` from the verdict until new calls had the old side; both are ``None`` unless it was rolled back.
    `series` is what the judged probes have shown.  `verified`: whether every place is as the patches say, at the end.
    """

    id: str
    outcome: Literal["passed", "rolled-back", "failed"]
    why: str
    verdict: Verdict | None
    observed: float
    readings: int
    detect_seconds: float | None
    restore_seconds: float | None
    series: tuple[Series, ...]
    verified: bool

    @property
    def ok(self) -> bool:
        """Whether the patch stays."""
        return self.outcome == "passed"

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["verdict"] = self.verdict.to_dict() if self.verdict is not None else None
        return {**plain, "series": [each.to_dict() for each in self.series]}

    def __str__(self) -> str:
        line = f"{self.id}: {self.outcome} after {self.observed:.3g} s and {self.readings} readings"
        if self.restore_seconds is not None and self.detect_seconds is not None:
            line += f", detected in {self.detect_seconds:.3g} s, restored in {self.restore_seconds:.3g} s"
        return f"{line}: {self.why}"


class _Calls:
    """The measured calls of a patch, from one reading to the next."""

    def __init__(self) -> None:
        self._last: dict[str, MeasuredCalls] = {}
        self._when = time.monotonic()

    def begin(self) -> None:
        """What is counted from here on is on another side."""
        self._last, self._when = {}, time.monotonic()

    def read(self, counted: Iterable[MeasuredCalls]) -> list[tuple[str, str, Point]]:
        """Readings of all targets."""
        now = time.monotonic()
        passed, self._when = now - self._when, now
        made = []
        for each in counted:
            last = self._last.get(each.target, MeasuredCalls(each.target, 0, 0, 0, 0.0))
            self._last[each.target] = each
            calls, ended = each.calls - last.calls, each.ended - last.ended
            values = {
                "calls": (calls / passed if passed > 0 else None, "calls/s"),
                "errors": ((each.errors - last.errors) / ended if ended else None, "share"),
                "latency": ((each.seconds - last.seconds) / ended if ended else None, "s"),
            }
            for name, (value, unit) in values.items():
                why = "no call has ended" if value is None else ""
                made.append((f"{each.target}/{name}", unit, Point(now, value, why)))
        return made


class Soak:
    """A patch under watch; made by :func:`livepatch.soak`.  What it does, it does in the watchdog's thread."""

    def __init__(
        self,
        applied: Applied,
        rules: tuple[Rule, ...],
        course: Course,
        watchdog: Watchdog,
        *,
        stops: bool,
        on_end: Callable[[Soaked], object] | None = None,
    ) -> None:
        self.applied = applied
        self.rules = rules
        self.course = course
        self.stage: Stage = "baseline"
        self.verdict: Verdict | None = None
        """The newest verdict, while the patch is live."""
        self.outcome: Soaked | None = None
        self._watchdog = watchdog
        self._stops = stops
        self._on_end = on_end
        self._measures = any(
            rule.covers(f"{target}/{name}") for rule in rules for target in applied.report.targets for name in MEASURES
        )
        self._ends_in: Mode = "on"
        self._mode: Mode = applied.mode
        self._calls = _Calls()
        self._sees = set(watchdog.probes)
        self._began = self._verdict_at = 0.0
        self._known: float | None = None
        self._baseline: dict[str, Series] = {}
        self._window: Window | None = None
        self._looks = self._readings = 0
        self._going = ""
        """Why it is to go back, if it is, and has not come to that yet."""
        self._restored: float | None = None
        self._asked = ""
        self._told: set[str] = set()
        self._over = threading.Event()

    @property
    def id(self) -> str:
        """The patch's id."""
        return self.applied.id

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self._over.is_set()

    def begin(self) -> None:
        """Begin with the baseline, or with the patch that is live.  Raises what a change of mode does."""
        now = time.monotonic()
        began = self._watchdog.begun
        if not is_off(self._mode):
            self._ends_in = self._mode
            if self._measures and self._mode == "on":
                self._set(Measured("on"), _PATIENT)
            self._live(None)
        elif self._measures:
            self._set(Measured("off"), _PATIENT)
            self._calls.begin()
            self._began = time.monotonic()
        else:  # what was read before counts
            self._began = max(now - self.course.before, began if began is not None else now)
        emit("soaking", patch=self.id, before_s=self.course.before, during_s=self.course.during, rules=len(self.rules))
        self._watchdog.attach(self)

    # From anywhere

    def wait(self, timeout: float | None = None) -> Soaked | None:
        """Wait up to `timeout` seconds for the end; what came of it, or ``None`` if it is not over yet."""
        self._over.wait(timeout)
        return self.outcome

    async def settled(self) -> Soaked:
        """Wait, in asyncio, for the end; what came of it."""
        while self.outcome is None:  # noqa: ASYNC110  # who ends it is another thread
            await asyncio.sleep(min(self._watchdog.interval, 0.05))
        return self.outcome

    def stop(self) -> None:
        """Have the patch taken back at the next reading, whatever the verdict.  Twice is harmless."""
        self._asked = "it was stopped"

    def status(self) -> dict[str, Any]:
        """How it stands, as plain values."""
        return {
            "patch": self.id,
            "stage": self.stage,
            "mode": spelled_mode(self.applied.mode),
            "readings": self._readings,
            "verdict": self.verdict.to_dict() if self.verdict is not None else None,
            "outcome": self.outcome.to_dict() if self.outcome is not None else None,
        }

    def __repr__(self) -> str:
        return f"<livepatch soak of {self.id}: {self.stage}>"

    # In the watchdog's thread

    def readings(self) -> list[tuple[str, str, Point]]:
        """The measured calls."""
        made = self._calls.read(self.applied.measured) if self._measures else []
        self._sees.update(name for name, _, _ in made)
        return made

    def look(self, now: float, *, hurry: bool) -> bool:
        """Judge, and do what is to be done; in a hurry, only go back.  Say whether it went on."""
        with acting_as("watchdog"):
            if self._going:
                self._go_back()
            elif self.applied.reverted:
                self._end("failed", "somebody reverted it meanwhile")
            elif self.applied.mode != self._mode:
                self._end("failed", f"somebody set its mode to {spelled_mode(self.applied.mode)} meanwhile")
            elif self._asked:
                self._turn_back(self._asked, now)
            else:
                return self._step(now, hurry=hurry)
        return False

    def abandoned(self) -> None:
        """Nobody looks any more."""
        if not self.over:
            self._end("failed", f"the watchdog was stopped; the mode is {spelled_mode(self.applied.mode)}")

    def left_behind(self) -> None:
        """In a child of a fork, where nobody looks: it is over here, and whoever waits in the child is told so."""
        self._over = threading.Event()  # the parent's may have been in use just then
        if self.outcome is None:
            why = f"the process was forked, and the watchdog is its parent's; the mode is {spelled_mode(self._mode)}"
            self.outcome = self._soaked("failed", why, verified=False)
            self.stage = "failed"
        self._over.set()

    def _step(self, now: float, *, hurry: bool) -> bool:
        if self.stage == "live":
            self._readings += 1
            self.verdict = judge(self._judged(), self.rules, self._in_window(), now)
            if self.verdict.state != "unknown":
                self._known = now
        short = ""
        if self.stage == "baseline" and now - self._began >= self.course.before:
            short = lacking(self._watchdog.series(self._covers), self.rules, (self._began, now))
        self._looks += 1
        step = next_step(
            self.stage,
            self.course,
            self._began,
            now,
            verdict=self.verdict,
            known=self._known,
            lacking=short,
            read=(self._readings if self.stage == "live" else self._looks) * self._watchdog.interval,
        )
        if step in ("go-live", "pass") and not hurry:
            if step == "pass":
                self._pass()
            else:
                self._go_live(now)
            return True
        if step == "roll-back" and self.stage == "live":
            self._break(now)
        elif step == "roll-back":
            self._turn_back(f"it did not go live, for its baseline will not do: {short}", now)
        return False

    def _covers(self, name: str) -> bool:
        """Whether it judges the series of that name: not one that another patch under the same watchdog reads."""
        return name in self._sees and any(rule.covers(name) for rule in self.rules)

    def _in_window(self) -> Window:
        assert self._window is not None
        return self._window

    def _judged(self) -> dict[str, Series]:
        """The series as of now, each after its baseline, which a long soak must not push out."""
        begun, made = self._in_window().begun, {}
        for name, each in self._watchdog.series(self._covers).items():
            base = self._baseline.get(name)
            kept = base.points if base is not None else ()
            made[name] = Series(name, each.unit, (*kept, *each.since(begun)))
        return made

    def _set(self, mode: Mode, timeout: float = _LOCK) -> None:
        if self.applied.mode != mode:
            self.applied.set_mode(mode, timeout=timeout, only_from=self._mode)
        self._mode = mode

    def _go_live(self, now: float) -> None:
        span = self._began, now
        self._baseline = {
            name: Series(name, each.unit, tuple(p for p in each.points if span[0] < p.at <= span[1]))
            for name, each in self._watchdog.series(self._covers).items()
        }
        try:
            self._set(Measured("on") if self._measures else "on")
        except TransitionError as error:
            # Another switch that drains, or an object that is in the way: for as long again, and a minute.
            if now - self._began < 2 * self.course.before + _MINUTE:
                return
            self._turn_back(f"it could not go live: {error}", now)
            return
        except LivepatchError as error:
            self._turn_back(f"it could not go live: {error}", now)
            return
        self._live(span)

    def _live(self, baseline: tuple[float, float] | None) -> None:
        self.stage = "live"
        self._began = time.monotonic()
        self._calls.begin()
        self._window = Window(self._began, self._watchdog.interval, baseline)

    def _pass(self) -> None:
        if self._ends_in != self._mode and self.applied.switching:
            return  # a call that holds the switch open holds this one up as well; until then it stays under watch
        try:
            self._set(self._ends_in)
        except LivepatchError as error:  # another switch is under way, say: at the next reading again
            self._tell_once("not_settled", error)
            return
        self._end("passed", "the verdict is ok")

    def _break(self, now: float) -> None:
        assert self.verdict is not None
        why = "; ".join(str(each) for each in self.verdict.reasons[:5])
        told = {
            "state": self.verdict.state,
            "probes": sorted({each.probe for each in self.verdict.reasons}),
            "detect_ms": round((now - self._began) * 1e3, 1),
            "readings": self._readings,
        }
        self._turn_back(why if self.verdict.state == "breach" else f"unknown never passes: {why}", now, told)

    def _turn_back(self, why: str, now: float, breach: dict[str, Any] | None = None) -> None:
        """Go back, at once or as soon as that can be, and then tell why.

        A log or a disk that hangs must not stand between a fault and its end.
        """
        self._going, self._verdict_at = shortened(why, 1000), now
        gone = self._is_back()
        if breach is not None:
            emit("breach", level="error", patch=self.id, **breach)
            note("breach", self.applied.patch, why=self._going, series=self._shown(), **breach)
        if gone:
            self._end_back()

    def _go_back(self) -> None:
        if self._is_back():
            self._end_back()

    def _end_back(self) -> None:
        self._end("rolled-back" if self._window is not None else "failed", self._going)

    def _shown(self) -> list[str]:
        if self.verdict is None or self._window is None:
            return []
        named = {each.probe for each in self.verdict.reasons}
        return [each.told(_SHOWN) for name, each in self._judged().items() if name in named]

    def _is_back(self) -> bool:
        """Take the patch out; whether that could be done.  Else it is tried at the next reading again."""
        with urgent():
            try:
                self._old_side()
                consistency: Consistency | None = "chain" if self.applied.consistency == "quiescent" else None
                self.applied.revert(consistency=consistency, timeout=_LOCK)
            except LivepatchError as error:
                if self._restored is None:  # else the old side is live, and only waits for calls of the new one
                    self._tell_once("not_rolled_back", error)
                return False
        self._restored = self._restored or time.monotonic()
        return True

    def _tell_once(self, event: str, error: LivepatchError) -> None:
        """Tell of what is tried again at each reading."""
        if event not in self._told:
            self._told.add(event)
            emit(event, level="error", patch=self.id, error=type(error).__qualname__)

    def _old_side(self) -> None:
        """If the switch to the new side still drains, turn it round: a revert would have to wait for those calls."""
        if is_off(self._mode) or self.applied.reverted or not self.applied.switching:
            return
        try:
            self.applied.cancel()
        except TransitionError:
            return  # it has settled meanwhile
        self._mode = self.applied.mode
        self._restored = time.monotonic()

    def _end(self, outcome: Literal["passed", "rolled-back", "failed"], why: str) -> None:
        try:
            found = verify().ok
        except LivepatchError:
            found = False
        self.outcome = self._soaked(outcome, why, verified=found)
        self.stage = outcome
        self._tell(self.outcome)
        if self._on_end is not None:
            try:
                self._on_end(self.outcome)
            except BaseException as error:  # noqa: BLE001  # the program's own code, in a thread that others need
                emit("callback_failed", level="error", patch=self.id, moment="on_end", error=type(error).__qualname__)
        self._over.set()
        if self._stops:
            # Not from its own thread, which is to end by itself.
            self._watchdog.stop()

    def _soaked(self, outcome: Literal["passed", "rolled-back", "failed"], why: str, *, verified: bool) -> Soaked:
        restored = self._restored if outcome == "rolled-back" else None
        live = self._window is not None
        return Soaked(
            id=self.id,
            outcome=outcome,
            why=why,
            verdict=self.verdict,
            observed=time.monotonic() - self._began if live else 0.0,
            readings=self._readings,
            detect_seconds=self._verdict_at - self._began if restored is not None else None,
            restore_seconds=restored - self._verdict_at if restored is not None else None,
            series=tuple(self._judged().values()) if live else (),
            verified=verified,
        )

    def _tell(self, soaked: Soaked) -> None:
        told: dict[str, Any] = {"outcome": soaked.outcome, "observed_ms": round(soaked.observed * 1e3, 1)}
        for name in ("detect", "restore"):
            seconds = getattr(soaked, f"{name}_seconds")
            if seconds is not None:
                told[f"{name}_ms"] = round(seconds * 1e3, 1)
        told |= {"readings": soaked.readings, "verified": soaked.verified}
        emit("soaked", level="info" if soaked.ok else "warning", patch=self.id, **told)
        if soaked.outcome == "rolled-back":
            note("rolled_back", self.applied.patch, why=soaked.why, series=self._shown(), **told)
