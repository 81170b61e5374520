"""``livepatch``: which command, and what its end means."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from livepatch.cli import (
    apply,
    approve,
    attach,
    attack,
    attest,
    audit,
    build,
    callers,
    cancel,
    check,
    classify,
    docs,
    doctor,
    drill,
    flag,
    graph,
    health,
    init,
    keygen,
    lint,
    policy,
    replay,
    revert,
    rollout,
    run,
    seal,
    show,
    sign,
    simulate,
    status,
    trust,
    unseal,
    verify,
    watch,
)
from livepatch.cli.output import OutputGoneError, in_line, in_options, told_error
from livepatch.errors import (
    AuditError,
    BundleError,
    IncompatibleError,
    LivepatchError,
    NodeError,
    PatchError,
    PolicyError,
    StateError,
)

__all__ = ["main", "parser"]

FINE, REFUSED, UNUSABLE, UNANSWERED = 0, 1, 2, 3
INTERRUPTED = 130  # as a shell tells it of a process that SIGINT has ended

_COMMANDS = (
    *(init, build, show, lint, check, classify, replay, attack, docs),
    *(keygen, sign, approve, attest, verify, trust, policy, seal, unseal),
    *(apply, flag, status, watch, revert, cancel, health, drill, doctor, attach),
    *(callers, graph, audit),
    run,
    *(rollout, simulate),
)
_CODES = """\
exit status:
  0  done; the patch fits; there is nothing to find; the record holds
  1  the patch does not fit, is not signed as the trust root asks, was refused, tells what
     it should not, or is for a full update; no patch may go in now; a key or a trust root
     is of no use; there is no such path; the record does not hold; a probe finds a hole
     open, or shows nothing; a replay shows what is not declared; an attack succeeds;
     a node is not known to be well, or was not with a patch that soaked; a drill fails;
     a rollout must not start, or did not get everywhere when simulated
  2  wrong usage, or a file that cannot be read or written
  3  a node does not answer: nobody listens, or it takes too long
  130  it was interrupted (Ctrl-C)
"""


_WARNING = 30  # as the standard library numbers it


@contextlib.contextmanager
def _events_apart() -> Iterator[None]:
    """The command is the program here, so it says where events go: warnings to standard error, and no others."""
    import structlog

    if structlog.is_configured():
        yield
        return
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(_WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


def _example(lines: str) -> str:
    return "for example:\n" + "".join(f"  {line}\n" for line in lines.splitlines())


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong with arguments; a name among them may come from anyone, by a pattern of the shell."""

    def error(self, message: str) -> NoReturn:
        super().error(in_line(message))


def parser() -> argparse.ArgumentParser:
    """What the command line takes: all commands, each with its description, an example and what its end means."""
    whole = _Parser(
        prog="livepatch",
        description="Make, look into and check patch files for running Python processes, and apply them there.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        name = command.__name__.rpartition(".")[2]
        own = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=f"{_example(command.EXAMPLE)}\n{_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run, name=name)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.  Errors of livepatch go to standard error, without a traceback."""
    whole = parser()
    _complete(whole)
    given = whole.parse_args(arguments)
    try:
        with _events_apart():
            fits: bool = given.run(given)
        return FINE if fits else REFUSED
    except IncompatibleError as error:
        return _failed(given.name, error, REFUSED)
    except NodeError as error:
        return _failed(given.name, error, UNANSWERED)
    except (AuditError, BundleError, PatchError, PolicyError, StateError) as error:
        return _failed(given.name, error, UNUSABLE)
    except LivepatchError as error:
        return _failed(given.name, error, REFUSED)
    except OutputGoneError as error:
        _write_no_more()
        if not error.why:  # whoever read the output has seen enough
            return FINE
        told = f"the output cannot be written; found: {error.why}; expected: a file or pipe with room"
        sys.stderr.write(f"livepatch {given.name}: {told}; do: what was asked may be done; send the output elsewhere\n")
        return UNUSABLE
    except KeyboardInterrupt:
        _write_no_more()
        told = "interrupted; found: Ctrl-C, or a SIGINT; expected: the command's own end"
        sys.stderr.write(f"livepatch {given.name}: {told}; do: see what is done (livepatch status), and ask again\n")
        return INTERRUPTED


def _write_no_more() -> None:
    """Not even at exit, where what is left would be written."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it may be closed, or in the place of another
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complete(parser: argparse.ArgumentParser) -> None:
    """If it is the shell that asks, what could come next on its line; by the extra ``cli``."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser)


def _failed(command: str, error: LivepatchError, status: int) -> int:
    text = told_error(error)
    head, _, _ = text.partition("; found: ")
    for part in (head, error.action):
        text = text.replace(part, in_options(part)) if part else text
    sys.stderr.write(f"livepatch {command}: {text}\n")
    return status
