"""Where somebody set the clock back: UTC held against the entry before, and against the clock that nobody sets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from livepatch.govern.audit import Flaw, Kind, Part, Severity
from livepatch.govern.entries import AFTER, MARK

__all__ = ["set_back"]

_SLACK_NS = 2_000_000_000  # what a clock may be corrected by unremarked,
_SLEW = 1000  # and a thousandth of the time that has gone by: twice what adjtime does


def set_back(parts: Sequence[Part], *, clock_steps: bool) -> list[Flaw]:
    """Where UTC fell behind, in a record whose lines are known to be what was signed."""
    flaws = []
    minutes: dict[bytes, int] = {}
    # The clock as it would be if it had only gone on since it was furthest ahead: small steps back add up.
    ahead_utc, ahead_boot, ahead_ticks = 0, b"", 0
    for part in parts:
        for number, line in enumerate(part.lines):
            if line.startswith(MARK, AFTER.stop):
                continue
            try:
                # Where entries.CLOCKS finds them, and some times as fast.
                minute = line[82:98]
                begun = minutes.get(minute)
                if begun is None:
                    minutes[minute] = begun = _minute(minute)
                utc = begun + int(line[99:101] + line[102:108]) * 1000
                boot, ticks = line[128:144], int(line[161 : line.find(b"}", 161)])
            except ValueError:
                facts = {"found": "a line without times, signed with the node's key", "expected": "an entry"}
                flaws.append(_at(part, number, "edited", "error", **facts))
                continue
            gone = max(0, ticks - ahead_ticks) if boot == ahead_boot else 0
            behind = ahead_utc + gone - utc
            if behind > _SLACK_NS + gone // _SLEW:
                flaws.append(
                    _at(
                        part,
                        number,
                        "clock-set-back",
                        "warning" if clock_steps else "error",
                        found=f"{line[82:109].decode()}, {behind / 1e9:.1f} s behind the entries before",
                        expected="a clock that goes on; --clock-steps if it was corrected",
                    )
                )
                ahead_utc, ahead_boot, ahead_ticks = utc, boot, ticks
            elif behind <= 0:
                ahead_utc, ahead_boot, ahead_ticks = utc, boot, ticks
            elif boot != ahead_boot:
                ahead_boot, ahead_ticks = boot, ticks
    return flaws


def _at(part: Part, number: int, what: Kind, severity: Severity, *, found: str, expected: str) -> Flaw:
    return Flaw(
        what=what,
        severity=severity,
        first=part.start + number,
        last=part.start + number,
        file=part.name,
        line=number + 1,
        found=found,
        expected=expected,
    )


def _minute(text: bytes) -> int:
    """Nanoseconds since the epoch."""
    return int(datetime.fromisoformat(f"{text.decode()}:00+00:00").timestamp()) * 1_000_000_000
