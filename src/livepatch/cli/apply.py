"""``livepatch apply``: a patch file goes into running nodes, now and at each of their starts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from livepatch.cli.nodes import (
    Outcome,
    add_node,
    add_way,
    ask_each,
    asker,
    confirmed,
    found_nodes,
    seconds,
    show_status,
    tell,
)
from livepatch.cli.output import Style, add_color, add_json, print_lines
from livepatch.errors import IncompatibleError, NodeError, PatchError

if TYPE_CHECKING:
    from livepatch.node.protocol import Soak

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "apply a patch file to running nodes"
DESCRIPTION = """\
Hand the patch in FILE to the agents of running nodes.  Each verifies it by its own trust
root, compares it with the code in its memory, switches, and applies it again at its next
start.  Whatever is refused leaves the node, and what it is wished to run, as they were.

Several nodes are all asked first whether it fits, and if it does not fit one, none gets it.
Then they get it one after the other, and none behind one that fails.

With --soak it goes in dormant, then live under the watch of the node's probes and rules, and
stays if the node is well with it; else it is taken back, and the exit status is 1."""
EXAMPLE = """\
livepatch apply fix.lpatch --node /var/lib/client/livepatch --soak 600
livepatch apply fix.lpatch --mode "at(1200000)" --node "/var/lib/*/livepatch"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    add_node(parser)
    parser.add_argument(
        "--mode", default="on", metavar="MODE", help="on, off, shadow, split(5%%) or at(1200), in quotes (default: on)"
    )
    parser.add_argument(
        "--consistency",
        choices=("immediate", "chain", "quiescent"),
        help="what calls see that are under way; by default what the patch needs",
    )
    parser.add_argument(
        "--replaces", action="append", default=[], metavar="ID", help="a patch whose place it takes; may be repeated"
    )
    parser.add_argument(
        "--approval", action="append", default=[], metavar="FILE", help="an approval of the patch; may be repeated"
    )
    parser.add_argument(
        "--soak", type=seconds, metavar="SECONDS", help="watch it for so long, and keep it if all is well"
    )
    parser.add_argument(
        "--before", type=seconds, metavar="SECONDS", help="with --soak: measure a baseline for so long (default: 60)"
    )
    parser.add_argument("--rules", metavar="FILE", help="with --soak: rules besides those of the node, a TOML file")
    add_way(parser)
    parser.add_argument("--keep-going", action="store_true", help="ask the other nodes as well if one refuses")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Apply it.  Whether all nodes took it."""
    from livepatch.bundle.disk import read, read_for_trust
    from livepatch.node.failures import report_of
    from livepatch.node.protocol import LIMITS, Apply, Check

    soak = _soak(given)
    file = read(given.file)
    approvals = [read_for_trust(each, LIMITS.approval, "the approval") for each in given.approval]
    paths = found_nodes(given.node)
    if not given.yes or len(paths) > 1:
        looking = Check(mode=given.mode, replaces=tuple(given.replaces), timeout=given.timeout)
        looked = ask_each(paths, asker(looking, given, file, *approvals))
        refused = [each for each in map(_judged, looked) if each.error is not None]
        if refused and not given.keep_going:
            return tell(given, tuple(refused), lambda *_: None, asked=len(paths))
        reports = [each.result["report"] for each in looked if each.result is not None]
        confirmed(given, f"the patch in {given.file}", any(each["protected"] for each in reports))
    request = soak or Apply(
        mode=given.mode,
        consistency=given.consistency or "",
        replaces=tuple(given.replaces),
        timeout=given.timeout,
        drain=given.wait,
    )
    outcomes = ask_each(paths, asker(request, given, file, *approvals), stop=not given.keep_going, fine=_stays)

    def show(told: dict[str, Any], style: Style) -> None:
        warnings = [each for each in report_of(told["report"]).findings if each.severity == "warning"]
        print_lines(style("yellow", f"{each}") for each in warnings)
        if soak is None:
            show_status(told, style)
            return
        print_lines([style("green" if _stays(told) else "red", told["text"])])
        if not told["kept"]:
            print_lines([style("yellow", "the store does not say so yet; see its health and status")])

    return tell(given, outcomes, show, asked=len(paths), fine=_stays)


def _stays(told: dict[str, Any]) -> bool:
    """Whether a node has the patch for good."""
    return "soak" not in told or (told["soak"]["stage"] == "passed" and bool(told["kept"]))


def _soak(given: argparse.Namespace) -> Soak | None:
    """The request for a soak, if that is what is wanted."""
    from livepatch.node.protocol import Soak

    if given.soak is None:
        extra = [name for name in ("before", "rules") if getattr(given, name) is not None]
    else:
        extra = [name for name, usual in (("mode", "on"), ("replaces", [])) if getattr(given, name) != usual]
    if extra or given.soak == 0:
        raise PatchError(
            "that cannot soak",
            found=", ".join(f"--{name}" for name in extra) or "--soak 0",
            expected="--soak with a time above 0, perhaps --before and --rules, and neither --mode nor --replaces",
            action="correct the options; nothing was done",
        )
    if given.soak is None:
        return None
    from livepatch.health.rules import load_rules, written_rules

    return Soak(
        during=given.soak,
        before=60.0 if given.before is None else given.before,
        rules=written_rules(load_rules(given.rules)) if given.rules is not None else "",
        consistency=given.consistency or "",
        timeout=given.timeout,
    )


def _judged(looked: Outcome) -> Outcome:
    """A report by which the patch may not go in, as the error that an apply would raise."""
    from livepatch.node.failures import report_of

    if looked.result is None:
        return looked
    try:
        report = report_of(looked.result.get("report", {}))
    except NodeError as error:
        return Outcome(path=looked.path, error=error)
    return looked if report.ok else Outcome(path=looked.path, error=IncompatibleError(report))
