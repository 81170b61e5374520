"""``livepatch rollout pause | resume | promote | abort | retire``: say what is wanted of a rollout."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, cast

from livepatch.cli.nodes import seconds
from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.cli.stores import add_store, add_who, opened
from livepatch.errors import NodeError, RolloutError

if TYPE_CHECKING:
    from livepatch.fleet.standing import Directive
    from livepatch.fleet.state import Store

__all__ = ["add_actions"]

_WORDS = {
    "pause": "keep the patch where it is, and open nothing more; everybody may",
    "resume": "go on after a pause, and let nodes that have failed try again; for promoters",
    "promote": "open the next stage of a plan that asks for approval; for promoters",
    "abort": "take the patch back everywhere, for good; everybody may",
}
_LOOK = 0.1  # seconds between two looks whether a controller has taken it up


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them."""
    for name, words in _WORDS.items():
        own = actions.add_parser(name, help=words, description=words, allow_abbrev=False)
        own.add_argument("rollout", metavar="ROLLOUT", help="the rollout's id")
        own.add_argument("--why", metavar="TEXT", default="", help="the reason, for those who look at it")
        _add_rest(own)
        own.set_defaults(act=_say, kind=name)
    words = "say that a node does not exist any more, so that the rollout ends without it; for promoters"
    own = actions.add_parser("retire", help=words, description=words, allow_abbrev=False)
    own.add_argument("rollout", metavar="ROLLOUT", help="the rollout's id")
    own.add_argument("node", metavar="NODE", help="the node's id")
    _add_rest(own)
    own.set_defaults(act=_retire)


def _add_rest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=seconds,
        default=20.0,
        metavar="SECONDS",
        help="how long to wait for a controller to take it up (default: 20)",
    )
    add_who(parser)
    add_store(parser)
    add_json(parser)


def _say(given: argparse.Namespace) -> bool:
    from livepatch.fleet.beginning import terms_at
    from livepatch.fleet.keys import commands_of
    from livepatch.fleet.running import directive_of, send
    from livepatch.fleet.standing import Command, Directive

    with opened(given) as store:
        terms_at(store, given.rollout)
        before = directive_of(store, given.rollout) or Directive(rollout=given.rollout)
        known = {entry.key for entry in store.entries(commands_of(given.rollout))}
        send(
            store,
            given.rollout,
            Command(kind=cast("Any", given.kind), who=given.who, order=before.order, why=given.why),
        )
        own = {entry.key for entry in store.entries(commands_of(given.rollout))} - known
        _wait_for(store, given, own)
        after = directive_of(store, given.rollout) or before
    if not _is_done(given.kind, before, after):
        raise RolloutError(
            f"{given.kind} was refused, and changes nothing",
            found=f"rollout {given.rollout}: {after.phase}{', paused' if after.paused else ''}, asked by {given.who}",
            expected="a promoter, and a rollout that this can be said to",
            action="see livepatch rollout status, and what livepatch rollout run has printed",
        )
    if given.json:
        print_json({"rollout": given.rollout, "kind": given.kind, "phase": after.phase, "paused": after.paused})
    else:
        print_lines([visible(f"{given.rollout}: {after.phase}{', paused' if after.paused else ''}")])
    return True


def _is_done(kind: str, before: Directive, after: Directive) -> bool:
    if kind == "abort":
        return after.phase in ("aborting", "reverted")
    if kind == "pause":
        return after.paused
    if kind == "resume":
        return after.attempt > before.attempt
    return after.opened > before.opened or (after.phase, after.height) != (before.phase, before.height)


def _retire(given: argparse.Namespace) -> bool:
    from livepatch.fleet.beginning import planned_in, terms_at
    from livepatch.fleet.running import retire

    with opened(given) as store:
        planned = planned_in(store, terms_at(store, given.rollout))
        if given.node not in planned.index or given.who not in planned.rollout.promoters:
            raise RolloutError(
                f"{given.node} is not retired",
                found=f"{given.node}, asked by {given.who}",
                expected=f"a node of the rollout's inventory, and {' or '.join(planned.rollout.promoters)}",
                action="correct the name, or let a promoter say so",
            )
        retire(store, given.rollout, given.node, given.who)
    if given.json:
        print_json({"rollout": given.rollout, "retired": given.node})
    else:
        print_lines([visible(f"{given.rollout}: {given.node} counts no more")])
    return True


def _wait_for(store: Store, given: argparse.Namespace, keys: set[str]) -> None:
    """Wait until a controller has taken them up, and with that deleted them.  Raises :class:`NodeError`."""
    until = time.monotonic() + given.wait
    while any(store.get(key) is not None for key in keys):
        if time.monotonic() > until:
            raise NodeError(
                f"no controller has taken it up within {given.wait:g} s; it lies in the store until one does",
                found="nobody who acts for the rollout",
                expected="a process of livepatch rollout run",
                action="start one, or see why those that run cannot use the store",
            )
        time.sleep(_LOOK)
