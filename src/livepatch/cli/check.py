"""``livepatch check``: would the patch fit what lies in that directory, or runs in that node?"""

from __future__ import annotations

import argparse
from typing import Any

from livepatch.cli.beside import add_package_dir, tree_in
from livepatch.cli.output import Style, add_color, add_json, print_json, print_report
from livepatch.cli.trusting import add_trust, trust_of
from livepatch.compat.screen import PROCESS

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "compare a patch file with the sources of a package, or with running nodes"
DESCRIPTION = """\
Compare the before side of the patch in FILE with the sources in DIR, without a live
process: nothing of either is imported or run.  Comments and layout do not count.
If there are rules about protected code or protocols, the report says what they come to.

That the sources agree says nothing about a process that runs other ones: the process
compares again, with the code in its memory, before it takes the patch.

Without --package-dir, --node says which running nodes compare it with the code in their
memory, by the trust root and the rules that each of them has.  Nothing of them changes."""
EXAMPLE = """\
livepatch check fix.lpatch --package-dir site-packages
livepatch check fix.lpatch --node /var/lib/client/livepatch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    parser.set_defaults(wrong=parser.error)
    add_package_dir(parser, required=False)
    parser.add_argument(
        "--at-height",
        type=_height,
        metavar="HEIGHT",
        help="judge it as a patch that goes live at this height, and not at once",
    )
    parser.add_argument(
        "--approval", action="append", default=[], metavar="FILE", help="an approval of the patch; may be repeated"
    )
    parser.add_argument(
        "--replaces",
        action="append",
        default=[],
        metavar="ID",
        help="with --node: a patch whose place it would take; may be repeated",
    )
    add_trust(
        parser,
        node="with --package-dir: what this node is called in files for certain nodes; without: a running node, or "
        "several, by control socket, store, folder or pattern",
    )
    add_color(parser)
    add_json(parser)


def _height(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no height: a whole number from 0")
    return int(text)


def run(given: argparse.Namespace) -> bool:
    """Compare.  Whether it fits."""
    if given.package_dir is None:
        return _ask_nodes(given)
    if given.replaces:
        given.wrong("--replaces is about a running node: name it with --node, without --package-dir")
    from livepatch.bundle.comparing import compare
    from livepatch.bundle.governing import govern_sources, graph_of_sources
    from livepatch.bundle.load import load
    from livepatch.compat.protected import ModeFacts
    from livepatch.govern.approving import approving_of, check_approvals
    from livepatch.govern.policies import policy_in_force

    trust = trust_of(given)
    patch = load(given.file, trust=trust)
    approving = approving_of(patch, check_approvals(given.approval), trust)
    tree = tree_in(given.package_dir, patch.package)
    mode = ModeFacts("on", "on") if given.at_height is None else ModeFacts("at", f"at({given.at_height})")
    rules = policy_in_force(given.policy)
    report = govern_sources(patch, tree, compare(patch, tree), rules, mode, graph_of_sources, approving)
    assert patch.origin is not None
    if given.json:
        where = {"file": given.file, "digest": patch.origin.digest, "package_dir": given.package_dir}
        print_json({**report.to_dict(), **where})
    else:
        print_report(report, Style(given.color), "these sources")
    return report.ok


def _ask_nodes(given: argparse.Namespace) -> bool:
    """Let running nodes compare.  Whether it fits all of them."""
    from livepatch.bundle.disk import read, read_for_trust
    from livepatch.cli.nodes import ask_each, asker, found_nodes, tell
    from livepatch.node.failures import report_of
    from livepatch.node.protocol import LIMITS, Check

    _must_ask_a_node(given)
    approvals = [read_for_trust(each, LIMITS.approval, "the approval") for each in given.approval]
    mode = "on" if given.at_height is None else f"at({given.at_height})"
    request = Check(mode=mode, replaces=tuple(given.replaces))
    paths = found_nodes([given.node])
    outcomes = ask_each(paths, asker(request, given, read(given.file), *approvals))

    def show(told: dict[str, Any], style: Style) -> None:
        print_report(report_of(told["report"]), style, PROCESS)

    return tell(given, outcomes, show, asked=len(paths), fine=lambda told: bool(told["report"]["ok"]))


def _must_ask_a_node(given: argparse.Namespace) -> None:
    """End the command unless it is said which nodes, and nothing that they know better."""
    own = [option for option in ("trust", "state", "policy") if getattr(given, option)]
    if own:
        given.wrong(f"--{own[0]} goes with --package-dir: a running node has its own trust root and rules")
    if not given.node:
        given.wrong("say what to compare it with: --package-dir DIR, or --node WHERE")
