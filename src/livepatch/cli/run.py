"""``livepatch run``: start a client that was never changed, with its node's patches in it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from livepatch.bundle.disk import is_there
from livepatch.cli.agents import add_agent, given_of
from livepatch.errors import PatchError, StateError, spelled

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "start a client with its node's patches in it"
DESCRIPTION = """\
Start COMMAND, a Python program, in the place of this one: the patches that the store in
DIR is wished to run go in before the program's own code does, each as its modules are
imported, and so they do in every Python process that the program starts.  The client
need not know of livepatch; livepatch has to be installed where the client is.

  livepatch run --store DIR --trust trust.json -- python -m client --port 8444

The program must not be started with -I, -E or -S, by which Python takes nothing from
outside.  A patch whose process dies within 10 seconds is left out at the next start."""
EXAMPLE = """\
livepatch run --store /var/lib/client/livepatch --trust trust.json -- \\
    python -m client --port 8444"""
_STORE = "livepatch-store"
_ISOLATED = "IES"
_TAKE_ONE = "WX"
_LONG_TAKES_ONE = "--check-hash-based-pycs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the program and its arguments, after --")
    parser.add_argument(
        "--store",
        default=_STORE,
        metavar="DIR",
        help=f"the node's directory (default: {_STORE}); it is made if missing",
    )
    add_agent(parser)


def run(given: argparse.Namespace) -> bool:
    """Become the program.  Raises what says why that cannot be."""
    from livepatch.node.boot import environment

    store = Path(given.store).absolute()
    told = given_of(given, store, pid=os.getpid())
    program = _program(given.command)
    _check_store(store)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, given.command, environment(told, os.environ))  # noqa: S606  # no shell, and none is wanted
    except OSError as error:
        raise PatchError(
            "the program cannot be started",
            found=f"{spelled(program)}: {error.strerror or error}",
            expected="a program, or a script that names its interpreter",
            action="correct the command; it comes after --",
        ) from error


def _check_store(store: Path) -> None:
    """What is wrong with it is better told here than in the program's own process."""
    from livepatch.node.boot import is_held
    from livepatch.node.stored import StoreView

    if not is_there(store):
        return
    StoreView(store).wanted  # noqa: B018  # reading it is what may fail
    if is_held(str(store)):
        raise StateError(
            "another process has the store",
            found=str(store),
            expected="a store of its own for each node",
            action="end that process, or choose another directory",
        )


def _program(command: list[str]) -> str:
    """The file of the program.  Raises :class:`PatchError` if there is none, or it would take nothing from outside."""
    found = shutil.which(command[0])
    if found is None:
        raise PatchError(
            "there is no such program",
            found=spelled(command[0]),
            expected="a program that can be started",
            action="correct the command; it comes after --",
        )
    for words in (command if _is_python(found) else [], _first_line(found)):
        flag = _isolated(words[1:])
        if words and _is_python(words[0]) and flag:
            raise PatchError(
                "the program would come up without patches",
                found=f"{Path(words[0]).name} with {flag}, by which it takes nothing from outside",
                expected="a Python that reads its environment and its site",
                action=f"leave {flag} out; or let the program make a livepatch.Agent itself",
            )
    return found


def _is_python(path: str) -> bool:
    return Path(path).name.startswith("python")


def _first_line(path: str) -> list[str]:
    """The interpreter that a script names, and what it is given."""
    try:
        with Path(path).open("rb") as file:
            line = file.readline(1000).decode("utf-8", "replace")
    except OSError:
        return []
    words = line[2:].split() if line.startswith("#!") else []
    return words[1:] if words and Path(words[0]).name == "env" else words


def _isolated(arguments: list[str]) -> str:
    """The option of a Python by which it takes nothing from its environment, if there is one."""
    skip = False
    for each in arguments:
        if skip:
            skip = False
            continue
        if each == _LONG_TAKES_ONE:
            skip = True
            continue
        if not each.startswith("-") or each in ("-", "--") or each.startswith("--"):
            return ""
        for place, letter in enumerate(each[1:], 1):
            if letter in "mc":
                return ""
            if letter in _TAKE_ONE:
                skip = place == len(each) - 1
                break
            if letter in _ISOLATED:
                return f"-{letter}"
    return ""
