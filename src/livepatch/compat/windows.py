"""When patches may go in: windows of the week, and periods in which nothing does.  All in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from livepatch.contents.release import is_moment
from livepatch.errors import spelled

__all__ = ["DAYS", "Freeze", "Window", "is_open", "moment_of", "next_opening", "told_moment"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time of day at which patches may go in, in minutes after midnight, on some days.

    If `until` is not after `begin`, it ends on the next day; the day is that on which it begins.
    """

    days: tuple[str, ...]
    begin: int
    until: int
    source: str

    @property
    def minutes(self) -> int:
        """How long it is open."""
        return (self.until - self.begin - 1) % _DAY + 1

    def openings(self, now: datetime) -> Iterable[datetime]:
        """The moments at which it opened last, or will, from the day before on, for a week and a day."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(-1, 8):
            try:
                opening = midnight + timedelta(days=number, minutes=self.begin)
            except OverflowError:
                continue  # before the first year, or after the last one that there is
            if DAYS[opening.weekday()] in self.days:
                yield opening

    def __str__(self) -> str:
        days = "every day" if len(self.days) == len(DAYS) else ", ".join(self.days)
        return f"{days} {_clock(self.begin)} to {_clock(self.until)} UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A period in which no patch goes in: from one moment on, and before another."""

    begin: datetime
    until: datetime
    source: str
    reason: str = ""

    def covers(self, now: datetime) -> bool:
        """Whether it is on."""
        return self.begin <= now < self.until

    def __str__(self) -> str:
        return f"{told_moment(self.begin)} to {told_moment(self.until)}" + (f": {self.reason}" if self.reason else "")


def is_open(windows: Iterable[Window], now: datetime) -> bool:
    """Whether one of the windows is open."""
    return any(
        timedelta(0) <= now - opened < timedelta(minutes=window.minutes)
        for window in windows
        for opened in window.openings(now)
    )


def next_opening(windows: Iterable[Window], now: datetime) -> datetime:
    """When the first of them opens after that moment; in the very last week that there is, its end."""
    end = datetime.max.replace(tzinfo=UTC)
    return min((opening for window in windows for opening in window.openings(now) if opening > now), default=end)


def moment_of(text: str) -> datetime:
    """A moment such as ``2027-03-31T00:00:00Z``.  Raises :class:`ValueError`."""
    if not is_moment(text):
        raise ValueError(f"{spelled(text)} is no moment of UTC such as '2027-03-31T00:00:00Z'")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)


def told_moment(moment: datetime) -> str:
    """A moment as it is written."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
