"""The review afterwards: what the record says of a patch, how long it took, and what fired."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from livepatch.documents.dossier import Dossier, moment_in
from livepatch.documents.people import document, items

__all__ = ["review"]

_HIDDEN = ("signed", "checked", "opened")


def review(dossier: Dossier) -> str:
    """The timeline, time to patch, time to revert, and what fired."""
    entries = [e for e in dossier.entries if e["event"] not in _HIDDEN]
    applied, reverted = dossier.done("applied"), dossier.done("reverted", "rolled_back")
    known = dossier.advisory.timeline
    begun = known[0].at if known else dossier.advisory.published
    times = []
    if applied:
        first = moment_in(applied[0])
        times.append(f"From the first word of the flaw to the first patch: {_length(first - begun)}.")
        times.append(f"From the advisory to the first patch: {_length(first - dossier.advisory.published)}.")
        later = [moment_in(each) for each in reverted if moment_in(each) >= first]
        times += [f"From the patch to its revert: {_length(later[0] - first)}."] if later else ["It was not reverted."]
    fired = [e for e in dossier.entries if e["event"] in ("tripwire", "breach") or _is_alarm(e)]
    failed = [e for e in dossier.entries if e["phase"] == "failed"]
    timeline = [(each.at, each.what) for each in known]
    timeline += [(moment_in(e), _told(e)) for e in entries]
    return document(
        f"Review: {dossier.patch.id}",
        ("Times", items(times) or "It was never applied beside this record."),
        ("What fired", items(_line(e) for e in fired) or "Nothing."),
        ("What failed", items(_line(e) for e in failed) or "Nothing."),
        ("Timeline", items(f"{at:%Y-%m-%dT%H:%M:%SZ}: {what}" for at, what in sorted(timeline))),
        ("What is not yet known", items(dossier.advisory.unknown) or "Nobody has said what is not yet known."),
    )


def _is_alarm(entry: Mapping[str, Any]) -> bool:
    """Whether a probe has found the hole open, or nothing."""
    return entry["event"] == "verified" and entry.get("details", {}).get("ok") is False


def _line(entry: Mapping[str, Any]) -> str:
    return f"{moment_in(entry):%Y-%m-%dT%H:%M:%SZ}: {_told(entry)}"


def _told(entry: Mapping[str, Any]) -> str:
    phase = "" if entry["phase"] in ("done", "noted") else f" ({entry['phase']})"
    error = entry.get("details", {}).get("error", "")
    told = f"{entry['event']}{phase} by {entry['who']}, process {entry['process']['pid']}"
    return f"{told}: {error}" if error else told


def _length(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    if seconds < 0:
        return f"{_length(-time)} before"
    hours, rest = divmod(seconds, 3600)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{rest // 60} min"] * bool(rest // 60)
    return " ".join(parts) or f"{seconds} s"
