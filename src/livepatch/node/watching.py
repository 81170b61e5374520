"""Whether the node is well: the watchdog that the agent owns, the rules that always hold, and the patches that soak."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from livepatch.errors import PatchError, spelled
from livepatch.health.judge import Verdict, Window, judge
from livepatch.health.probes import HealthProbe
from livepatch.health.rules import Rule, load_rules
from livepatch.health.series import Series
from livepatch.health.watchdog import Watchdog

__all__ = ["Watching", "checked_rules", "told"]

_SHOWN = 30  # readings of a series that are told
_MOST = 1000  # and of one that is asked for


class Watching:
    """A watchdog over `probes`, which are read every `interval` seconds, and `rules` for them.

    `rules` are :class:`livepatch.Rule` objects or the path of a file of them.  Those of a limit hold always.  Those
    that compare with a baseline, or are about the calls of a patch's functions, hold for what soaks.

    Raises :class:`TypeError`, :class:`PatchError` and :class:`PolicyError`, each naming what is wrong.
    """

    def __init__(self, probes: Iterable[HealthProbe] = (), rules: object = (), interval: float = 1.0) -> None:
        self.watchdog = Watchdog(probes, interval=interval)
        self.rules = checked_rules(rules)
        for rule in self.rules:
            if not rule.of_calls and not any(map(rule.covers, self.watchdog.probes)):
                raise PatchError(
                    "a rule of the agent has no probe",
                    found=f"a rule for {rule.probe}",
                    expected=f"a probe of the agent: {', '.join(self.watchdog.probes) or 'it has none'}",
                    action="correct the name, or give the agent the probe",
                )

    @property
    def standing(self) -> tuple[Rule, ...]:
        """The rules that hold always."""
        names = self.watchdog.probes
        return tuple(rule for rule in self.rules if not rule.compares and any(map(rule.covers, names)))

    def rest(self) -> None:
        """Something has ended: without probes there is nothing to read, unless something else soaks."""
        from livepatch.process.live import live

        watches = self.watchdog.status()["watches"]
        soaks = any(each["outcome"] is None and each["patch"] in live.records for each in watches)
        if not self.watchdog.probes and not soaks:
            self.watchdog.stop()

    def status(self) -> dict[str, Any]:
        """How the node is, as plain values."""
        status = self.watchdog.status()
        series = self.watchdog.series()
        now = time.monotonic()
        begun = self.watchdog.begun
        window = Window(now if begun is None else begun, self.watchdog.interval)
        own = [each for each in status["probes"] if each["name"] in self.watchdog.probes]
        judged = {each["name"]: series.get(each["name"], Series(each["name"], each["unit"])) for each in own}
        verdict = judge(judged, self.standing, window, now)
        for each in status["probes"]:
            each["values"] = series.get(each["name"], Series(each["name"])).to_dict(_SHOWN)["values"]
        return told(status, verdict)

    def readings(self, span: float) -> dict[str, Any]:
        """What each probe has shown in the last `span` seconds, as plain values: how old, and what, each reading is."""
        now = time.monotonic()
        shown = [(each, each.since(now - span)[-_MOST:]) for each in self.watchdog.series().values()]
        series = [
            {
                "name": each.name,
                "unit": each.unit,
                "ages": [round(now - point.at, 3) for point in points],
                "values": [point.value for point in points],
            }
            for each, points in shown
        ]
        return {"span": span, "interval": self.watchdog.interval, "series": series}


def told(status: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """How the node is: what its watchdog says, its rules, and what soaks, and what all of it comes to.  Pure.

    ``breach`` if a rule is broken, that of a soak too; else ``unknown`` if any rule or probe cannot tell, or nothing
    is read; else ``ok``.
    """
    soaks = [each["verdict"]["state"] for each in status["watches"] if each["verdict"] is not None]
    states = {*soaks, *(each.state for each in verdict.judged)}
    if not status["running"] or not status["probes"] or any(each["value"] is None for each in status["probes"]):
        states.add("unknown")
    return {
        "state": next((state for state in ("breach", "unknown") if state in states), "ok"),
        "running": status["running"],
        "interval": status["interval"],
        "probes": status["probes"],
        "rules": verdict.to_dict()["judged"],
        "soaks": status["watches"],
    }


def checked_rules(rules: object) -> tuple[Rule, ...]:
    """Those rules, or those in the file at that path."""
    if isinstance(rules, (str, os.PathLike)):
        return load_rules(rules)
    if isinstance(rules, (bytes, Rule)) or not isinstance(rules, Iterable):
        raise TypeError(f"rules must be livepatch.Rule objects, or the path of a file of rules, not {spelled(rules)}")
    found = tuple(rules)
    for each in found:
        if not isinstance(each, Rule):
            raise TypeError(f"rules must hold livepatch.Rule objects, not {spelled(each)}")
    return found
