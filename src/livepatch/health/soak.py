"""The public call that lets a patch soak: apply, observe for a time under guard, then settle or go back."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from livepatch.engine.modes import is_off
from livepatch.errors import PatchError, PolicyError, spelled
from livepatch.health.judge import BASELINES
from livepatch.health.probes import HealthProbe
from livepatch.health.rules import MEASURES, Rule
from livepatch.health.soaking import Soak, Soaked
from livepatch.health.stages import Course
from livepatch.health.watchdog import Watchdog
from livepatch.patch import Patch
from livepatch.process.applied import Applied
from livepatch.process.arguments import check_hook
from livepatch.process.public import apply

__all__ = ["soak"]

_BASELINE = 60.0  # seconds


def soak(
    patch: Patch | str | os.PathLike[str] | Applied,
    *,
    rules: Iterable[Rule],
    probes: Iterable[HealthProbe] = (),
    before: float | None = None,
    during: float = 600.0,
    interval: float = 1.0,
    unknown: float = math.inf,
    watchdog: Watchdog | None = None,
    on_end: Callable[[Soaked], object] | None = None,
    **options: Any,
) -> Soak:
    """Let a patch into the process for good only if the node stays well with it; else take it back.

    The patch goes in dormant, for `before` seconds of a baseline: by default 60 if a rule compares with one.  Then it
    goes live, and for `during` seconds (perhaps ``math.inf``) a watchdog reads `probes` every `interval` seconds and
    judges them by `rules`.  At the first breach it is reverted.  At the end it stays if the verdict is ok, and is
    reverted if that is unknown, as it is if the verdict is unknown for more than `unknown` seconds at a time.  All
    times are in seconds.

    Rules may speak of ``"TARGET/calls"`` (calls in a second), ``"TARGET/errors"`` (the share of them that raised) and
    ``"TARGET/latency"`` (seconds, on average): then the calls of the patch's functions are measured, before and during.

    With a `watchdog` that runs, its probes, its interval and what it has read before are used.  `patch` may be one that
    is applied already: if its mode is off it goes live after the baseline, and there is none for one that is live.
    `on_end` is called once, in the watchdog's thread, with what came of it; what it raises is only logged.
    `options` are those of :func:`livepatch.apply`, but for its mode.

    Returns at once.  Raises what :func:`livepatch.apply` does, :class:`PolicyError` for a patch of protected code that
    is not applied yet, :class:`TypeError`, and :class:`PatchError` for what could never be met, such as a rule without
    a probe; then nothing has changed, and nothing watches.
    """
    kept = _checked_rules(rules)
    if before is None:
        before = _BASELINE if any(rule.compares for rule in kept) else 0.0
    course = Course(_seconds("before", before), _seconds("during", during), _seconds("unknown", unknown))
    _check_options(patch, options)
    check_hook("on_end", on_end)
    watching = _watching(watchdog, probes, interval)
    if isinstance(patch, Applied) and not is_off(patch.mode):
        course = replace(course, before=0.0)
    _check_rules(kept, course, watching)
    own = watchdog is None
    applied = patch if isinstance(patch, Applied) else apply(patch, mode="off", **options)
    try:
        if applied is not patch and applied.report.protected:
            raise PolicyError(
                f"patch {applied.id} touches protected code, and cannot soak from off to on",
                found="a switch at a moment of this node's own",
                expected="one at a height that all nodes know",
                action="apply it with mode=livepatch.at(height, source), and let what that gives soak",
            )
        if own:
            watching.start()
        made = Soak(applied, kept, course, watching, stops=own, on_end=on_end)
        made.begin()
    except BaseException:
        if own:
            watching.stop()
        if applied is not patch:
            applied.revert()
        raise
    return made


def _watching(watchdog: Watchdog | None, probes: Iterable[HealthProbe], interval: float) -> Watchdog:
    if watchdog is None:
        return Watchdog(probes, interval=interval)
    if not isinstance(watchdog, Watchdog):
        raise TypeError(f"watchdog must be a livepatch.Watchdog, not {spelled(watchdog)}")
    if tuple(probes) or interval != 1.0:
        raise _wrong("a watchdog, and probes or an interval beside it", "one or the other", "give the watchdog those")
    if not watchdog.running:
        raise _wrong("a watchdog that does not run", "one that does", "start it")
    return watchdog


def _check_options(patch: object, options: dict[str, Any]) -> None:
    if "mode" in options:
        raise _wrong("a mode", "none: it goes from off to on", "leave it out")
    if "replaces" in options:  # they would be gone before the new one is live, and after it was taken back
        raise _wrong(
            "a patch that replaces others", "one that is put beside or on top of them", "leave them where they are"
        )
    if not isinstance(patch, Applied):
        return
    if options:
        raise _wrong(f"{', '.join(options)} for a patch that is applied", "none", "leave them out")
    if patch.reverted:
        raise _wrong(f"patch {patch.id}, which was reverted", "one that is applied", "apply it")


def _wrong(found: str, expected: str, action: str) -> PatchError:
    return PatchError("that cannot soak", found=found, expected=expected, action=action)


def _seconds(argument: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {spelled(value)}")
    most = threading.TIMEOUT_MAX if argument == "before" else math.inf
    if not (value > 0 if argument == "during" else value >= 0) or value > most:  # NaN too
        raise PatchError(
            f"{argument} is no number of seconds",
            found=spelled(value),
            expected="above 0" if argument == "during" else "0 or more",
            action="give another number of seconds",
        )
    return float(value)


def _checked_rules(rules: object) -> tuple[Rule, ...]:
    if isinstance(rules, (str, bytes, Rule)) or not isinstance(rules, Iterable):
        raise TypeError(f"rules must be livepatch.Rule objects, or what load_rules gives, not {spelled(rules)}")
    every = tuple(rules)
    for rule in every:
        if not isinstance(rule, Rule):
            raise TypeError(f"rules must hold livepatch.Rule objects, not {spelled(rule)}")
    if not every:
        raise _wrong("no rules", "one or more: without any nothing is ever known", "say what the node must keep to")
    return every


def _check_rules(rules: tuple[Rule, ...], course: Course, watchdog: Watchdog) -> None:
    for rule in rules:
        if not rule.of_calls and not any(map(rule.covers, watchdog.probes)):
            raise _wrong(
                f"a rule for {rule.probe}, of which there is no probe",
                f"one of {', '.join(watchdog.probes) or 'none'}, or TARGET/{', TARGET/'.join(MEASURES)}",
                "correct the name, or add the probe",
            )
        needed = BASELINES[rule.shifts is not None]
        if rule.compares and course.before < (needed + 1) * watchdog.interval:
            raise _wrong(
                f"the rule {rule}, and a baseline of {course.before:g} s",
                f"one of {needed + 1} readings or more: {(needed + 1) * watchdog.interval:g} s",
                "make before longer or the interval shorter; for a patch that is live, use above or below",
            )
