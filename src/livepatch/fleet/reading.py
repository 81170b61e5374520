"""Plans, inventories and scenarios, from the files that they stand in."""

from __future__ import annotations

from pathlib import Path

from livepatch.fleet import inventory, planfile, scenario
from livepatch.fleet.inventory import Inventory
from livepatch.fleet.rollout import Rollout
from livepatch.fleet.scenario import Scenario
from livepatch.govern.rulefiles import read_rules

__all__ = ["read_inventory", "read_plan", "read_scenario"]


def read_plan(path: Path) -> Rollout:
    """The rollout in a plan file.  Raises :class:`PolicyError`."""
    return planfile.rollout_in(read_rules(path, str(path), planfile.NOUN), str(path))


def read_inventory(path: Path) -> Inventory:
    """The nodes in an inventory.  Raises :class:`PolicyError`."""
    data = read_rules(path, str(path), "inventory", kind="a JSON file", most=inventory.LARGEST)
    return inventory.inventory_in(data, str(path))


def read_scenario(path: Path) -> Scenario:
    """The scenario of a simulation.  Raises :class:`PolicyError`."""
    return scenario.scenario_in(read_rules(path, str(path), scenario.NOUN), str(path))
