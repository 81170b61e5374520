"""``livepatch doctor``: what could keep a process from being patched?"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from livepatch.cli.nodes import add_node, ask_each, asker, found_nodes, tell
from livepatch.cli.output import Ink, Style, add_color, add_json, print_json, print_lines

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "say what could keep a process from being patched"
DESCRIPTION = """\
Look at the interpreter, who traces or audits it, the store, the keys, the trust root and
the rules: of running nodes, or with --store and --trust of a node that is yet to start with
this interpreter.  Nothing is changed."""
EXAMPLE = """\
livepatch doctor --node /var/lib/client/livepatch
livepatch doctor --store /var/lib/client/livepatch --trust trust.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_node(parser, required=False)
    parser.add_argument("--store", metavar="DIR", help="the store of a node that does not run")
    parser.add_argument("--trust", metavar="FILE", help="its trust root")
    parser.add_argument("--policy", metavar="FILE", help="its rules, in addition to those in force")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Look.  Whether nothing is in the way."""
    if given.node:
        from livepatch.node.protocol import Doctor

        paths = found_nodes(given.node)
        outcomes = ask_each(paths, asker(Doctor(), given))
        return tell(given, outcomes, _show, asked=len(paths), fine=lambda told: bool(told["ok"]))
    from livepatch.bundle.disk import is_there
    from livepatch.bundle.trustroot import TrustRoot
    from livepatch.node import facts
    from livepatch.node.doctor import diagnose
    from livepatch.node.stored import StoreView

    folder = None
    if given.store is not None and is_there(given.store):
        view = StoreView(given.store)
        fallen = [each.id for each in view.wanted.fallen]
        folder = facts.folder(view.path, view.key_file, fallen)
    trust = None if given.trust is None else TrustRoot.load(given.trust)
    found = diagnose(facts.gather(store=folder, trust=trust, policy=given.policy, recorded=True))
    told = {
        "ok": all(each.severity != "error" for each in found),
        "python": platform.python_version(),
        "findings": [asdict(each) for each in found],
    }
    if given.json:
        print_json(told)
    else:
        _show(told, Style(given.color))
    return bool(told["ok"])


_INKS: Mapping[str, Ink] = {"error": "red", "warning": "yellow"}


def _show(told: dict[str, Any], style: Style) -> None:
    findings: Iterable[Mapping[str, str]] = told["findings"]
    first = "could be patched" if told["ok"] else "cannot be patched as it is"
    print_lines([style("green" if told["ok"] else "red", f"Python {told['python']}: {first}")])
    for each in findings:
        where = f" {each['target']}:" if each["target"] else ""
        text = f"  {each['severity']}: [{each['code']}]{where} found {each['found']}; expected {each['expected']}"
        print_lines([style(_INKS.get(each["severity"], "plain"), text), style("plain", f"    do: {each['action']}")])
