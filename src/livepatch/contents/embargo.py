"""What of a patch nobody is told before a date: how the hole is used, where it is, and who found it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from livepatch.contents.release import is_moment
from livepatch.errors import PatchError, spelled

__all__ = ["Embargo", "check_line", "check_until"]

_LONGEST_LINE = 500  # characters
_LONGEST_TEXT = 64 << 10  # bytes
_MOST_PATHS = 1000
_TELLING, _LINE = 4, 8  # characters below which a text, and a line of several, is found everywhere by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Embargo:
    """What nobody is told before `until`, a moment of UTC such as ``"2026-12-01T00:00:00Z"``.

    `proof_of_concept` is text of any number of lines, up to 64 KiB; `affected_paths` and `reporter` are in one line
    each.  Any of them may be empty; the sources of the patch's probes are under the same embargo.  They lie in the
    patch file, for those who have it, and show in no ``repr``, event, status, record, report, error or document before
    the moment.
    Raises :class:`PatchError` or :class:`TypeError`, which quote none of them.
    """

    until: str
    proof_of_concept: str = field(default="", repr=False)
    affected_paths: tuple[str, ...] = field(default=(), repr=False)
    reporter: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        paths = self.affected_paths
        values: list[tuple[str, object, type]] = [
            ("until", self.until, str),
            ("proof_of_concept", self.proof_of_concept, str),
            ("reporter", self.reporter, str),
            ("affected_paths", paths, tuple),
        ]
        values += [("each of affected_paths", path, str) for path in paths] if type(paths) is tuple else []
        for name, value, kind in values:
            if type(value) is not kind:
                raise TypeError(f"{name} must be of type {kind.__name__}, not {type(value).__qualname__}")
        check_until(self.until)
        size = len(self.proof_of_concept.encode(errors="replace"))
        if size > _LONGEST_TEXT or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in self.proof_of_concept):
            raise _unusable(
                "proof_of_concept", f"a text of {len(self.proof_of_concept)} characters", "UTF-8, up to 64 KiB"
            )
        if len(paths) > _MOST_PATHS or len(set(paths)) != len(paths) or not all(paths):
            raise _unusable("affected_paths", f"{len(paths)} of them", f"up to {_MOST_PATHS}, each once, none empty")
        for line in (*paths, self.reporter):
            check_line(line)

    def is_over(self, now: datetime) -> bool:
        """Whether all of it may be told.  `now` knows its time zone."""
        return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") >= self.until

    def told_by(self, text: str) -> tuple[str, ...]:
        """The fields of which something stands in a text, in whatever case."""
        told = text.casefold()
        return tuple(dict.fromkeys(name for name, secret in self._telling() if secret in told))

    def _telling(self) -> Iterator[tuple[str, str]]:
        every = [("proof_of_concept", line) for line in self.proof_of_concept.splitlines()]
        every += [("affected_paths", path) for path in self.affected_paths]
        for name, text in (*every, ("reporter", self.reporter)):
            secret = text.strip().casefold()
            if len(secret) >= (_LINE if name == "proof_of_concept" else _TELLING):
                yield name, secret


def check_until(text: str) -> None:
    """Raise :class:`PatchError` unless it is a moment."""
    if not is_moment(text):
        raise PatchError(
            "until is no moment",
            found=spelled(text),
            expected="a moment of UTC such as '2026-12-01T00:00:00Z'",
            action="write the moment in UTC, with a Z at its end",
        )


def check_line(text: str) -> None:
    """Raise :class:`PatchError` unless it is one line, or empty.  The text is not quoted."""
    if len(text) > _LONGEST_LINE or not text.isprintable():
        raise _unusable("a field", f"a text of {len(text)} characters", f"up to {_LONGEST_LINE} in one line")


def _unusable(what: str, found: str, expected: str) -> PatchError:
    return PatchError(
        f"{what} cannot be put under embargo", found=found, expected=expected, action="shorten or correct it"
    )
