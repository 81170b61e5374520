"""What the commands share that ask running nodes: which, one after the other, and what came of it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepatch.cli.output import Style, in_line, print_json, print_lines, told_error, visible
from livepatch.errors import LivepatchError, NodeError, PolicyError, counted

if TYPE_CHECKING:
    from livepatch.node.client import Node
    from livepatch.node.protocol import Request

__all__ = [
    "Outcome",
    "add_node",
    "add_way",
    "ask_each",
    "asker",
    "confirmed",
    "found_nodes",
    "patches_of",
    "seconds",
    "show_status",
    "soak_line",
    "tell",
    "understood",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of asking one node: a result or an error."""

    path: Path
    result: dict[str, Any] | None = None
    error: LivepatchError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        if self.error is None:
            return {"node": str(self.path), "result": self.result}
        from livepatch.node.failures import plain

        return {"node": str(self.path), "error": plain(self.error)}


def add_node(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--node``."""
    parser.add_argument(
        "--node",
        required=required,
        action="append",
        metavar="WHERE",
        help="a running node: its control socket or store; or several: a folder of these, or a pattern in quotes; "
        "may be given more than once",
    )


def add_way(parser: argparse.ArgumentParser) -> None:
    """Add ``--timeout``, ``--wait`` and ``--yes``: how a change is made."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for another switch to end, or for a quiescent moment (default: 30)",
    )
    parser.add_argument(
        "--wait",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait, once it is live, until no call is left on the other side (default: 10)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before something is done to protected code")


def seconds(text: str) -> float:
    """A number of seconds, for an option."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 86400")
    return value


def found_nodes(places: Iterable[str]) -> tuple[Path, ...]:
    """The control sockets, each once.  Raises :class:`NodeError` if a place has none."""
    from livepatch.node.places import sockets

    return tuple(dict.fromkeys(path for place in places for path in sockets(place)))


def ask_each(
    paths: Iterable[Path],
    ask: Callable[[Node], dict[str, Any]],
    *,
    stop: bool = False,
    fine: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> tuple[Outcome, ...]:
    """Ask one node after the other; with `stop`, none behind one that raises, does not answer or is not fine."""
    from livepatch.node.client import Node

    found = []
    for path in paths:
        try:
            with Node(path) as node:
                result = ask(node)
            found.append(Outcome(path=path, result=result))
            with understood():
                if stop and not fine(result):
                    break
        except LivepatchError as error:
            found.append(Outcome(path=path, error=error))
            if stop:
                break
    return tuple(found)


def tell(
    given: argparse.Namespace,
    outcomes: tuple[Outcome, ...],
    show: Callable[[dict[str, Any], Style], None],
    *,
    asked: int,
    fine: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> bool:
    """Print what came of it; whether all is fine.

    With one node its error is raised; with several, each is told on standard error, and :class:`NodeError` is raised if
    nothing but answers is missing.
    """
    if given.json:
        print_json({"nodes": [each.to_dict() for each in outcomes]})
    style = Style("never" if given.json else given.color)
    for each in outcomes:
        if each.result is not None and not given.json:
            if asked > 1:
                print_lines([style("bold", f"{each.path}:")])
            with understood():
                show(each.result, style)
    errors = [(each.path, each.error) for each in outcomes if each.error is not None]
    if not errors:
        _complain(given, errors, asked - len(outcomes))
        with understood():
            return all(each.result is not None and fine(each.result) for each in outcomes)
    if asked == 1:
        raise errors[0][1]
    _complain(given, errors, asked - len(outcomes))
    if all(isinstance(error, NodeError) for _, error in errors):
        raise NodeError(
            f"{len(errors)} of {asked} nodes did not answer",
            found=", ".join(str(path) for path, _ in errors[:10]),
            expected="an answer of each",
            action="see that they run, and ask again",
        )
    return False


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """A result that has not what it should have comes from something else than a node of this release."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, LivepatchError):
            raise
        raise NodeError(
            "the node's answer is not understood",
            found=f"{type(error).__name__}: {error}",
            expected="what this release of livepatch answers",
            action="ask with the livepatch that the node has",
        ) from error


def _complain(given: argparse.Namespace, errors: Iterable[tuple[Path, LivepatchError]], spared: int) -> None:
    for path, error in errors:
        sys.stderr.write(f"livepatch {given.name}: {in_line(str(path))}: {told_error(error)}\n")
    if spared:
        sys.stderr.write(f"livepatch {given.name}: nothing was done to {counted(spared, 'other node')}\n")


def patches_of(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The applied patches of all those nodes that answer."""
    from livepatch.node.protocol import Status

    outcomes = ask_each(paths, lambda node: node.ask(Status()))
    return [patch for each in outcomes if each.result is not None for patch in each.result["patches"]]


def show_status(told: Mapping[str, Any], style: Style) -> None:
    """How one patch stands, on one line."""
    status = told.get("status")
    if status is None:
        print_lines([style("plain", f"{told['id']}: not in the process, and no more in the set of its next start")])
    else:
        print_lines([style("green" if status["drained"] else "yellow", status["text"])])


def soak_line(soak: Mapping[str, Any]) -> str:
    """How a patch stands that soaks."""
    verdict = soak["verdict"]
    if verdict is None:
        return f"{soak['patch']} soaks: {soak['stage']}"
    reasons = [each for each in verdict["judged"] if each["state"] == verdict["state"] != "ok"]
    why = "; ".join(f"{each['probe']}: {each['why']}" for each in reasons[:3])
    return f"{soak['patch']} soaks: {soak['stage']}, {soak['readings']} readings, {verdict['state']}" + (
        f": {why}" if why else ""
    )


def confirmed(given: argparse.Namespace, what: str, protected: bool) -> None:
    """Let a person say yes to what touches protected code.  Raises :class:`PolicyError` unless somebody does."""
    if given.yes or not protected:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"{in_line(what)} touches protected code. Go on? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise PolicyError(
        f"{what} touches protected code, and nobody said yes",
        found="no --yes",
        expected="a yes at the terminal, or --yes",
        action="look at it with livepatch check or status, then say --yes; nothing was done",
    )


def progress_of(given: argparse.Namespace) -> Callable[[Mapping[str, Any]], None] | None:
    """Shows on a terminal what still drains."""
    if given.json or not sys.stderr.isatty():
        return None

    def show(told: Mapping[str, Any]) -> None:
        soak = told.get("soak")
        if "at_work_ms" in told:
            text = f"the node is at work, for {told['at_work_ms'] / 1000:.0f} s by now"
        else:
            text = visible(soak_line(soak) if soak else str(told.get("status", {}).get("text", "")))
        sys.stderr.write(f"\r\x1b[2K{text[:200]}")
        sys.stderr.flush()

    return show


def asker(request: Request, given: argparse.Namespace, *parts: bytes) -> Callable[[Node], dict[str, Any]]:
    """Asks a node for that, and shows progress."""
    show = progress_of(given)

    def ask(node: Node) -> dict[str, Any]:
        try:
            return node.ask(request, parts, on_progress=show)
        finally:
            if show is not None:
                sys.stderr.write("\r\x1b[2K")

    return ask
