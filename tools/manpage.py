"""Print the manual page of the command line, from its own parser: ``make man`` writes it to man/livepatch.1.

It is committed, so that a wheel has it wherever it is built; the tests hold it to what this prints.  What argparse
itself would print differs from one Python to the next, so nothing of that is used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from livepatch.cli.main import parser

_FILES = (
    ("livepatch.toml", "in the working directory: rules for patches, unless $LIVEPATCH_POLICY names others"),
    ("livepatch-store", "in the working directory: the store of livepatch run, unless --store names another"),
    ("STORE/control.sock", "the control socket of a node's agent, of mode 0600"),
)
_ENVIRONMENT = (
    ("LIVEPATCH_POLICY", "a file of rules for patches"),
    ("NO_COLOR", "if it is set, --color auto has no colours"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command with its words, such as ``livepatch trust init``."""

    words: str
    parser: argparse.ArgumentParser


def commands(of: argparse.ArgumentParser, words: str) -> Iterator[Command]:
    """Each command below a parser, in the order of its help, and the actions of one behind it."""
    for action in of._actions:  # noqa: SLF001  # argparse tells what it takes in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # the same
            for name, own in action.choices.items():
                yield Command(f"{words} {name}", own)
                yield from commands(own, f"{words} {name}")


def page() -> str:
    """The whole page, in the macros of man(7)."""
    whole = parser()
    lines = ['.TH LIVEPATCH 1 "" livepatch "User commands"', ".SH NAME"]
    lines += [rf"livepatch \- {_escaped('fix a flaw in a running Python process, and take the fix back')}"]
    lines += [".SH SYNOPSIS", r".B livepatch", r"\fICOMMAND\fR [\fIoptions\fR]"]
    lines += [".SH DESCRIPTION", *_text(whole.description or ""), ".SH COMMANDS"]
    for command in commands(whole, "livepatch"):
        lines += [f'.SS "{_escaped(command.words)}"', *_of_command(command)]
    _, _, codes = (whole.epilog or "").partition("exit status:\n")
    lines += [".SH EXIT STATUS", ".nf", *map(_escaped, codes.rstrip().splitlines()), ".fi"]
    for heading, rows in (("FILES", _FILES), ("ENVIRONMENT", _ENVIRONMENT)):
        lines.append(f".SH {heading}")
        for name, meaning in rows:
            lines += [".TP", rf"\fI{_escaped(name)}\fR", _escaped(meaning)]
    return "\n".join(lines) + "\n"


def _of_command(command: Command) -> Iterator[str]:
    own = command.parser
    actions = [each for each in own._actions if not isinstance(each, argparse._HelpAction)]  # noqa: SLF001  # as above
    told = [each for each in actions if not isinstance(each, argparse._SubParsersAction)]  # noqa: SLF001  # the same
    words = [rf"\fB{_escaped(command.words)}\fR"]
    words += [_shape(each) for each in told if each.required and each.option_strings]
    words += [r"[\fIoptions\fR]"] * any(not each.required and each.option_strings for each in told)
    words += [r"\fIACTION\fR"] * (len(told) < len(actions))
    words += [_shape(each) for each in told if not each.option_strings]
    yield from (".PP", " ".join(words), ".PP", *_text(own.description or ""))
    for each in told:
        if each.help is not argparse.SUPPRESS:
            yield from (".TP", _shape(each, whole=True), _escaped((each.help or "") % vars(each)))
    example, _, _ = (own.epilog or "").partition("\nexit status:")
    if example.startswith("for example:\n"):
        yield from (".PP", "For example:", ".PP", ".nf", *map(_escaped, example.splitlines()[1:]), ".fi")


def _shape(action: argparse.Action, *, whole: bool = False) -> str:
    """An option, or an argument, with its value: all its names, or the first that says something."""
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    values = " ".join(value) if isinstance(value, tuple) else value
    count = action.nargs if isinstance(action.nargs, int) and not isinstance(value, tuple) else 1
    shown = rf"\fI{_escaped(' '.join([values] * count))}\fR" if action.nargs != 0 and count else ""
    if action.nargs in ("?", "*", argparse.REMAINDER):
        shown = f"[{shown}]"
    names = action.option_strings if whole else action.option_strings[-1:]
    return ", ".join(rf"\fB{_escaped(name)}\fR {shown}".rstrip() for name in names) or shown


def _text(text: str) -> Iterator[str]:
    """Paragraphs; those with lines that are set in stay as they are."""
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        lines = paragraph.splitlines()
        kept = any(line.startswith(" ") for line in lines)
        yield from ([".PP"] if number else [])
        yield from ([".nf"] if kept else [])
        yield from map(_escaped, lines)
        yield from ([".fi"] if kept else [])


def _escaped(text: str) -> str:
    shown = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("'", r"\(aq")
    return rf"\&{shown}" if shown.startswith(".") else shown


if __name__ == "__main__":
    sys.stdout.write(page())
