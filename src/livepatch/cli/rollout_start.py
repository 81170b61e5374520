"""``livepatch rollout start``: begin a rollout in the fleet's store."""

from __future__ import annotations

import argparse
from pathlib import Path

from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.cli.stores import add_store, add_who, opened
from livepatch.cli.trusting import add_trust, trust_of
from livepatch.errors import counted

__all__ = ["add_actions"]

_DESCRIPTION = """\
Puts the plan, the inventory, the patch file and its approvals into the fleet's store, and
says that the rollout may start.  It is refused for what `plan` refuses it for, if a flag or
the id was used before, if the file is another patch than the plan's, and to who is no
promoter.  A process of `run` takes it up from there.  Twice is harmless."""
_LARGEST_APPROVAL = 2 << 20


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``start``."""
    start = actions.add_parser("start", help="begin a rollout", description=_DESCRIPTION, allow_abbrev=False)
    start.add_argument("plan", metavar="PLAN", help="the plan, a TOML file")
    start.add_argument("--inventory", metavar="FILE", required=True, help="the nodes, a JSON file")
    start.add_argument("--patch", metavar="FILE", required=True, help="the patch file, signed as the nodes ask")
    start.add_argument(
        "--approval", metavar="FILE", action="append", default=[], help="an approval; may be given more than once"
    )
    add_trust(start)
    add_who(start)
    add_store(start)
    add_json(start)
    start.set_defaults(act=_start)


def _start(given: argparse.Namespace) -> bool:
    from livepatch.bundle import disk
    from livepatch.fleet import inventory, planfile
    from livepatch.fleet.beginning import Files, begin
    from livepatch.govern.rulefiles import read_rules

    trust = trust_of(given)
    if trust is not None:
        from livepatch.bundle.load import load

        load(given.patch, trust=trust)
    files = Files(
        plan=read_rules(Path(given.plan), given.plan, planfile.NOUN),
        inventory=read_rules(
            Path(given.inventory), given.inventory, "inventory", kind="a JSON file", most=inventory.LARGEST
        ),
        patch=disk.read(given.patch),
        approvals=[disk.read_for_trust(each, _LARGEST_APPROVAL, "the approval") for each in given.approval],
        plan_source=given.plan,
        inventory_source=given.inventory,
    )
    with opened(given) as store:
        planned = begin(store, files, who=given.who)
    rollout = planned.rollout
    if given.json:
        print_json({"rollout": rollout.id, "who": given.who, "nodes": len(planned.nodes)})
    else:
        nodes = counted(len(planned.nodes), "node")
        print_lines([visible(f"rollout {rollout.id} may start, on {nodes}; livepatch rollout run takes it up")])
    return True
