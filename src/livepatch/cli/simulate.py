"""``livepatch simulate``: what would a rollout come to?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.errors import PatchError, counted, spelled

if TYPE_CHECKING:
    from livepatch.fleet.inventory import Inventory
    from livepatch.fleet.planning import Planned
    from livepatch.fleet.rollout import Rollout
    from livepatch.fleet.scenario import Scenario
    from livepatch.fleet.simulated import Moment, Outcome

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "simulate a rollout: how long it takes, whom a bad patch harms, and whether it stops"
DESCRIPTION = """\
Run the controller, the cohorts and the judging of a rollout plan on simulated nodes, network
and time.  The same seed gives the same result."""
EXAMPLE = "livepatch simulate plan.toml --rollouts 100 --degradation 0.25"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("plan", metavar="PLAN", help="the plan, a TOML file")
    parser.add_argument("--inventory", metavar="FILE", help="the nodes, a JSON file; by default they are made up")
    parser.add_argument("--scenario", metavar="FILE", help="network, nodes, and what the patch does; a TOML file")
    parser.add_argument("--nodes", type=int, metavar="N", help="how many nodes are made up")
    parser.add_argument("--degradation", type=float, metavar="SHARE", help="how much worse the patch makes metrics")
    parser.add_argument("--rollouts", type=int, default=1, metavar="N", help="how many; by default 1")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="by default 1; rollouts have it and the next")
    parser.add_argument("--page", metavar="FILE", help="write a page with plots, an HTML file")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Simulate.  Whether the patch got everywhere, every time."""
    from livepatch.fleet.reading import read_inventory, read_plan
    from livepatch.fleet.simulated import summary

    rollout, scenario = read_plan(Path(given.plan)), _scenario(given)
    there = read_inventory(Path(given.inventory)) if given.inventory else None
    course: list[Moment] = []
    planned, outcomes = _outcomes(given, rollout, scenario, there, course if given.page else None)
    found = summary(outcomes)
    if given.json:
        print_json({"file": given.plan, "rollout": rollout.id, "seed": given.seed, **found})
    else:
        print_lines(map(visible, _lines(given, rollout, outcomes, found)))
    if given.page:  # at last: what was worked out is told already, should the page not be written
        from livepatch.bundle import disk
        from livepatch.fleet.simulated_page import page

        written = page({**found, "seed": given.seed}, planned, outcomes, course)
        disk.write(given.page, written.encode(), "the page", beside=_itself(given))
    return all(outcome.phase == "complete" for outcome in outcomes)


def _itself(given: argparse.Namespace) -> str:
    """The file of those that were given in whose place the page would come, if there is one."""
    files = [each for each in (given.inventory, given.scenario) if each]
    there = [each for each in files if Path(given.page).exists() and Path(given.page).samefile(each)]
    return str(there[0] if there else given.plan)


def _scenario(given: argparse.Namespace) -> Scenario:
    from dataclasses import replace

    from livepatch.fleet.reading import read_scenario
    from livepatch.fleet.scenario import Scenario

    limits = {"rollouts": (1, 100_000), "nodes": (1, 1_000_000), "degradation": (0, 1000)}
    for name, (least, most) in limits.items():
        value = getattr(given, name)
        if value is not None and not least <= value <= most:
            raise PatchError(
                f"--{name} cannot be so",
                found=spelled(value),
                expected=f"{least} to {most}",
                action="give another number",
            )
    made = read_scenario(Path(given.scenario)) if given.scenario else Scenario()
    told = {name: getattr(given, name) for name in ("nodes", "degradation")}
    return replace(made, **{name: value for name, value in told.items() if value is not None})


def _outcomes(
    given: argparse.Namespace,
    rollout: Rollout,
    scenario: Scenario,
    there: Inventory | None,
    course: list[Moment] | None,
) -> tuple[Planned, list[Outcome]]:
    """All outcomes, and the plan of the first, of which `course` gets what happens."""
    from livepatch.fleet.planning import plan
    from livepatch.fleet.scenario import generated
    from livepatch.fleet.simulate import simulate

    first: Planned | None = None
    outcomes = []
    for seed in range(given.seed, given.seed + given.rollouts):
        nodes = there or generated(scenario, rollout, seed)
        planned = plan(rollout, nodes)
        its = course if first is None else None
        first = first or planned
        outcomes.append(simulate(planned, scenario, seed=seed, height=nodes.height or 0, course=its))
    assert first is not None
    return first, outcomes


def _lines(
    given: argparse.Namespace, rollout: Rollout, outcomes: list[Outcome], found: dict[str, Any]
) -> Iterator[str]:
    endings = ", ".join(f"{number} {phase}" for phase, number in found["endings"].items())
    yield f"rollout {rollout.id}, {counted(len(outcomes), 'time')} from seed {given.seed}: {endings}"
    names = [stage.name for stage in rollout.stages]
    for stage, number in found["stopped_at"].items():
        where = f"at stage {stage} ({names[int(stage) - 1]})" if int(stage) else "before it began"
        yield f"  stopped {where}: {number}"
    spreads = {
        "seconds_to_complete": "until all nodes had it",
        "seconds_to_revert": "until no node had it any more, after the stop",
        "nodes_harmed": "nodes harmed before the stop",
    }
    for key, words in spreads.items():
        its = found[key]
        if its is not None:
            unit = " s" if key.startswith("seconds") else ""
            yield f"  {words}: {its['median']:.0f}{unit} in the middle, {its['most']:.0f}{unit} at most"
    if found["chain_split"]:
        yield f"  of the weight, {found['chain_split']:.1%} disagreed with the rest at the worst"
    if found["weight_halted"]:
        yield f"  of the weight, {found['weight_halted']:.1%} stood still at the worst"
    reasons = list(dict.fromkeys(outcome.why for outcome in outcomes if outcome.phase in ("reverted", "paused")))
    yield from (f"  because: {why}" for why in reasons[:3])
