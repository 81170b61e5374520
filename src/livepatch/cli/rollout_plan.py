"""``livepatch rollout``: what a plan comes to on the nodes there are, before it starts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.errors import counted

if TYPE_CHECKING:
    from livepatch.fleet.inventory import Inventory
    from livepatch.fleet.planning import Planned, Problem
    from livepatch.fleet.rollout import Gate, Rollout

__all__ = ["add_actions", "told"]

_DESCRIPTION = """\
Reads a rollout plan and an inventory of nodes strictly, puts each node into its stage, and
tells every reason for which the rollout must not start.  Nothing is started."""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plan``."""
    plan = actions.add_parser("plan", help="tell what a plan comes to", description=_DESCRIPTION, allow_abbrev=False)
    plan.add_argument("plan", metavar="PLAN", help="the plan, a TOML file")
    plan.add_argument("--inventory", metavar="FILE", required=True, help="the nodes, a JSON file")
    plan.add_argument(
        "--used", metavar="FLAG=ROLLOUT", action="append", default=[], help="a flag of an earlier rollout"
    )
    plan.add_argument("--nodes", action="store_true", help="tell the stage of each node")
    add_json(plan)
    plan.set_defaults(act=_plan)


def _plan(given: argparse.Namespace) -> bool:
    """Tell what the plan comes to.  Whether it may start."""
    from livepatch.fleet.planning import examine
    from livepatch.fleet.reading import read_inventory, read_plan

    rollout, inventory = read_plan(Path(given.plan)), read_inventory(Path(given.inventory))
    planned, problems = examine(rollout, inventory, used=_used(given.used))
    if given.json:
        print_json(_plain(given, rollout, inventory, planned, problems))
        return not problems
    patch = f"patch {rollout.patch.id} for {rollout.patch.package} {rollout.patch.versions}"
    lines = [f"rollout {rollout.id}: {patch}, to {counted(len(inventory.nodes), 'node')} of {inventory.source}"]
    lines += _stages(planned) if planned else []
    if given.nodes and planned:
        names = [stage.name for stage in rollout.stages]
        lines += [f"  {node.id}: {names[at]}" for node, at in zip(planned.nodes, planned.stages, strict=True)]
    lines += [f"refused: {problem}" for problem in problems]
    lines += [] if problems else ["it may start, by " + " or ".join(rollout.promoters)]
    print_lines(map(visible, lines))
    return not problems


def _used(given: list[str]) -> dict[str, str]:
    return {flag: rollout or "unknown" for flag, _, rollout in (each.partition("=") for each in given)}


def _stages(planned: Planned) -> list[str]:
    rollout, reached, lines = planned.rollout, 0, []
    for number, (stage, size, weight) in enumerate(zip(rollout.stages, planned.sizes, planned.weights, strict=True)):
        reached += size
        more = f"{counted(size, 'node')} more ({weight:.1%} of the weight), {reached} in all"
        lines.append(f"  {number + 1}. {stage.name}: {more}; soak {stage.soak / 60:g} min, then {stage.promotion}")
        lines += [f"       {told(gate)}" for gate in rollout.gates_of(number)]
    if rollout.activation:
        its = rollout.activation
        lines.append(
            f"  active at height {its.height}, if {its.readiness:.1%} of the weight is ready {its.margin} blocks before"
        )
    return lines


def told(gate: Gate) -> str:
    """A gate in words."""
    from livepatch.fleet.rollout import Objective, Threshold

    if isinstance(gate, Threshold):
        bounds = [
            f"{word} {bound:g}" for word, bound in (("least", gate.least), ("most", gate.most)) if bound is not None
        ]
        words = f"{gate.metric} at {' and at '.join(bounds)}"
    elif isinstance(gate, Objective):
        words = f"{gate.metric}: {gate.budget_left:.0%} of the error budget of {gate.objective:g} left"
    else:
        words = f"{gate.metric} not {gate.worse} than without the patch (effect {gate.effect:g})"
    return f"{words}; else {gate.on_failure}"


def _plain(
    given: argparse.Namespace,
    rollout: Rollout,
    inventory: Inventory,
    planned: Planned | None,
    problems: tuple[Problem, ...],
) -> dict[str, Any]:
    from dataclasses import asdict

    made: dict[str, Any] = {
        "file": given.plan,
        "inventory": given.inventory,
        "rollout": rollout.id,
        "patch": asdict(rollout.patch),
        "nodes": len(inventory.nodes),
        "may_start": not problems,
        "problems": [asdict(problem) for problem in problems],
        "stages": [],
    }
    if planned:
        rows = zip(rollout.stages, planned.sizes, planned.weights, strict=True)
        made["stages"] = [
            {
                "name": stage.name,
                "nodes": size,
                "weight": weight,
                "soak_seconds": stage.soak,
                "promotion": stage.promotion,
            }
            for stage, size, weight in rows
        ]
        names = [stage.name for stage in rollout.stages]
        made["stage_of"] = {node.id: names[at] for node, at in zip(planned.nodes, planned.stages, strict=True)}
    return made
