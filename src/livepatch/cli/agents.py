"""Options of the commands that give a process an agent: what :class:`livepatch.Agent` takes, where it has a name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.bundle.disk import is_there
from livepatch.cli.nodes import seconds
from livepatch.cli.stores import add_access
from livepatch.cli.trusting import add_trust, trust_of
from livepatch.errors import PatchError, TrustError

if TYPE_CHECKING:
    from livepatch.node.given import Given

__all__ = ["add_agent", "given_of"]

_ROOT = "trust.json"


def add_agent(parser: argparse.ArgumentParser) -> None:
    """What the agent is given, but for its store."""
    add_trust(parser)
    parser.add_argument("--unsigned", action="store_true", help="take files that nobody has signed: you vouch for all")
    parser.add_argument("--policy", metavar="FILE", help="rules in addition to those in force")
    parser.add_argument(
        "--guard",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long the process has to live on after a patch went in (default: 10)",
    )
    parser.add_argument(
        "--probes",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="what is read of the node: a livepatch.HealthProbe, several, or a function that gives these, such as "
        "livepatch.health.probes:process_probes; may be given more than once",
    )
    parser.add_argument("--rules", metavar="FILE", help="what the probes must keep to: a file of health rules")
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="how often they are read (default: 1)"
    )
    parser.add_argument(
        "--height", metavar="MODULE:FUNCTION", default="", help="the function that tells the node's height, for at(…)"
    )
    parser.add_argument("--socket", metavar="PATH", help="the control socket (default: control.sock in the store)")
    parser.add_argument(
        "--uid",
        type=_number,
        action="append",
        default=[],
        metavar="UID",
        help="the id of a user who may control the node besides its own and root; may be given more than once",
    )
    parser.add_argument(
        "--max-pause", type=seconds, metavar="SECONDS", help="how long a search may hold up other threads"
    )
    parser.add_argument(
        "--max-rest",
        type=seconds,
        metavar="SECONDS",
        help="how long a change may rest for the program's threads altogether; 0 makes it at once (default: 20)",
    )
    parser.add_argument("--fleet", metavar="STORE", help="take part in the rollouts of the fleet whose store that is")
    parser.add_argument("--region", metavar="NAME", default="", help="of --fleet: where the node is")
    parser.add_argument(
        "--label", metavar="NAME", type=_label, action="append", default=[], help="of --fleet: what it is chosen by"
    )
    add_access(parser, of="--fleet, where it is a server")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a user")
    return int(text)


def _label(text: str) -> str:
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is no label: it is not in one line")
    return text


def given_of(given: argparse.Namespace, store: Path, *, pid: int = 0) -> Given:
    """What the options say, checked as far as that can be done here, with absolute paths.

    Raises :class:`PatchError`, :class:`PolicyError` and :class:`TrustError`; what has a name is looked up where the
    agent is.
    """
    from livepatch.govern.policies import policy_in_force
    from livepatch.node.given import Given

    if given.trust is None and not given.unsigned and is_there(store / _ROOT):
        given.trust = str(store / _ROOT)
    if (trust_of(given) is None) != given.unsigned:
        raise TrustError(
            "it is not said who answers for patches",
            found="a trust root and --unsigned" if given.unsigned else f"no trust root, and no {_ROOT} in the store",
            expected="one of the two",
            action="name the trust root with --trust, or vouch for every file yourself with --unsigned",
        )
    policy_in_force(given.policy)
    made = Given(
        store=str(store),
        trust=_absolute(given.trust),
        state=_absolute(given.state),
        node=given.node,
        policy=_absolute(given.policy),
        guard_ms=round(given.guard * 1000),
        pid=pid,
        probes="\n".join(given.probes),
        rules=_absolute(given.rules),
        interval_ms=round(given.interval * 1000),
        height=given.height,
        folder=str(Path.cwd()) if given.probes or given.height else "",
        socket=_absolute(given.socket),
        uids=" ".join(map(str, given.uid)),
        max_pause="" if given.max_pause is None else repr(given.max_pause),
        max_rest="" if given.max_rest is None else repr(given.max_rest),
        fleet=_place(given.fleet),
        region=given.region,
        labels="\n".join(given.label),
        credentials=_absolute(given.credentials),
        ca=_absolute(given.ca),
        certificate=_absolute(given.certificate),
        key=_absolute(given.store_key),
    )
    _check_health(given, made)
    _check_fleet(given, made)
    return made


def _check_health(given: argparse.Namespace, made: Given) -> None:
    from livepatch.health.rules import load_rules
    from livepatch.health.watchdog import check_interval
    from livepatch.node.named import check_name

    for option, names in (("--probes", given.probes), ("--height", [made.height] if made.height else [])):
        for name in names:
            check_name(option, name)
    check_interval(given.interval)
    rules = load_rules(made.rules) if made.rules else ()
    if not given.probes and any(not rule.of_calls for rule in rules):
        raise PatchError(
            "rules need probes",
            found="--rules without --probes",
            expected="the probes that the rules are about",
            action="name them, such as --probes livepatch.health.probes:process_probes",
        )


def _check_fleet(given: argparse.Namespace, made: Given) -> None:
    fleet = made.joined()
    if fleet is not None:
        if given.unsigned:
            raise PatchError(
                "a node in a fleet has a trust root",
                found="--fleet and --unsigned, by which whoever can write to the fleet's store could run anything here",
                expected="--trust",
                action="draw keys and make a trust root: livepatch keygen, livepatch trust init",
            )
        return
    said = [name for name in ("region", "label", "credentials", "ca", "certificate", "store-key")
            if getattr(given, name.replace("-", "_"))]  # fmt: skip
    if said:
        raise PatchError(
            f"--{said[0]} says something about a fleet",
            found="no --fleet",
            expected="both",
            action="name the fleet's store with --fleet",
        )


def _place(store: str | None) -> str:
    """The store of a fleet: an address, or a path."""
    return store if store and "://" in store else _absolute(store)


def _absolute(path: str | None) -> str:
    return "" if not path else str(Path(path).absolute())
