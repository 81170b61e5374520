"""What a command prints.  A patch file may come from anyone: nothing in it gets to steer the terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Literal

from livepatch.bundle import codec
from livepatch.bundle.trust import targets
from livepatch.compat.report import Report
from livepatch.compat.screen import HEIGHT, WIDTH, Weight, screen
from livepatch.errors import IncompatibleError, LivepatchError, RolloutError
from livepatch.patch import Patch

__all__ = [
    "OutputGoneError",
    "Style",
    "add_color",
    "add_json",
    "aside",
    "described",
    "in_line",
    "in_options",
    "is_told",
    "print_json",
    "print_lines",
    "print_report",
    "told_error",
    "visible",
]

Ink = Literal["plain", "bold", "red", "green", "cyan", "yellow"]
_INKS: dict[Ink, str] = {"plain": "", "bold": "1", "red": "31", "green": "32", "cyan": "36", "yellow": "33"}


class OutputGoneError(Exception):
    """Nobody reads the output any more; or it cannot be written, and `why`."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


def visible(text: str) -> str:
    """The text with everything spelled out that a terminal would obey or hide: controls, and marks of direction."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def in_line(name: str) -> str:
    """A name that somebody else may have chosen, such as that of a file, made visible: it does not end the line."""
    return visible(name).replace("\n", "\\n").replace("\t", "\\t")


def told_error(error: LivepatchError) -> str:
    """What an error says: in one line, unless it is a report, or a list of reasons, with lines of its own."""
    text = str(error)
    if isinstance(error, IncompatibleError):
        return visible(str(_advised(error.report)))
    return visible(text) if isinstance(error, RolloutError) else in_line(text)


class Style:
    """Colours, or none: ``auto`` has them on a terminal only, and not where ``NO_COLOR`` is set."""

    def __init__(self, when: Literal["auto", "always", "never"]) -> None:
        told_not_to = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._coloured = when == "always" or (when == "auto" and is_terminal and not told_not_to)

    def __call__(self, ink: Ink, text: str) -> str:
        """A line of that text, made visible."""
        shown = visible(text)
        return f"\x1b[{_INKS[ink]}m{shown}\x1b[0m" if self._coloured and _INKS[ink] else shown


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """What code of others prints meanwhile goes to standard error: standard output is for what the command says."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output.  Raises :class:`OutputGoneError`."""
    text = "".join(f"{line}\n" for line in lines)
    if sys.stdout is None:
        raise OutputGoneError("standard output is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputGoneError from error
    except (OSError, ValueError) as error:
        raise OutputGoneError(getattr(error, "strerror", None) or str(error)) from error


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object, its names sorted, in ASCII."""
    print_lines([json.dumps(value, indent=2, sort_keys=True)])


_ARGUMENT = re.compile(r"\b(height|only|output|package|replaces|trust|versions)=(?!\w)")
_OTHERWISE = {
    "approvals=": "--approval",
    "trust=livepatch.TrustRoot.load(path)": "--trust FILE",
    "trust=livepatch.UNSIGNED": "--unsigned",
}


def in_options(text: str) -> str:
    """Advice in the words of the command line: ``--only`` for what is ``only=`` in a call."""
    for argument, option in _OTHERWISE.items():
        text = text.replace(argument, option)
    return _ARGUMENT.sub(r"--\1", text)


def _advised(report: Report) -> Report:
    """The report with its advice in the words of the command line; what was found stays as it is."""
    rows = [replace(row, expected=in_options(row.expected), action=in_options(row.action)) for row in report.findings]
    return replace(report, findings=tuple(rows))


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_color(parser: argparse.ArgumentParser) -> None:
    """Add ``--color``."""
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="auto: on a terminal only (the default)"
    )


_WEIGHTS: dict[Weight, Ink] = {"fits": "green", "refused": "red", "error": "red", "warning": "yellow", "next": "bold"}


def print_report(report: Report, style: Style, place: str) -> None:
    """Print a report on one screen: as large as the terminal, if it goes to one."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    size = shutil.get_terminal_size((WIDTH, HEIGHT)) if is_terminal else os.terminal_size((WIDTH, HEIGHT))
    # The prompt that follows takes a line of its own.
    lines = screen(_advised(report), width=size.columns, height=size.lines - is_terminal, place=place)
    print_lines(style(_WEIGHTS.get(line.weight, "plain"), line.text) for line in lines)


def _signatures(patch: Patch) -> list[dict[str, Any]]:
    """Who signed, as the envelope says, and in which role each signature counts under the trust root, if any does."""
    if patch.origin is None or patch.origin.signed is None:
        return []
    roles = {keyid: role for role, keyids in patch.origin.signers.items() for keyid in keyids}
    return [{"keyid": each.keyid, "role": roles.get(each.keyid)} for each in patch.origin.signed.envelope.signatures]


def is_told(patch: Patch) -> bool:
    """Whether the patch was under an embargo that is over."""
    return patch.embargo is not None and patch.embargo.is_over(datetime.now(UTC))


def _embargoed(patch: Patch, *, told: bool) -> dict[str, Any]:
    probes = [
        {"name": each.name, "safe": each.safe, **({"source": each.source} if told else {})} for each in patch.probes
    ]
    if patch.embargo is None:
        return {"embargo": None, "probes": probes}
    return {"embargo": asdict(patch.embargo) if told else {"until": patch.embargo.until}, "probes": probes}


def described(patch: Patch, file: str, digest: str, *, embargoed: bool = False) -> dict[str, Any]:
    """All that a patch file holds, and what it is known by, as plain values.

    What is under embargo is there after its date only, or if that is asked for.
    """
    return {
        "file": file,
        "digest": digest,
        "format": codec.format_of(patch),
        "verified": patch.origin is not None and patch.origin.verified,
        "id": patch.id,
        "package": patch.package,
        "versions": patch.versions,
        "summary": patch.summary,
        "flag": patch.flag,
        "requires": list(patch.requires),
        "release": asdict(patch.release),
        "signatures": _signatures(patch),
        "owners": asdict(patch.owners),
        **_embargoed(patch, told=embargoed or is_told(patch)),
        "compatible_with": patch.compatible_with,
        "needs": asdict(patch.needs),
        "waivers": [asdict(waiver) for waiver in patch.waivers],
        "round_trips": [asdict(each) for each in patch.round_trips],
        "snapshots": [asdict(each) for each in patch.snapshots],
        "pure": list(patch.pure),
        "targets": list(targets(patch)),
        "edits": [asdict(edit) for edit in patch.edits],
        "obstacles": [asdict(obstacle) for obstacle in patch.obstacles],
        "plan": [asdict(entry) for entry in patch.plan],
    }
