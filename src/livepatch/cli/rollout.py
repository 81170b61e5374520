"""``livepatch rollout``: a patch goes to many nodes in stages, is watched, and is taken back if it does harm."""

from __future__ import annotations

import argparse

from livepatch.cli import rollout_plan, rollout_run, rollout_say, rollout_start, rollout_watch

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "roll a patch out to many nodes in stages: plan, start, run, watch, pause, promote, abort, resume"
DESCRIPTION = """\
plan PLAN tells what a plan comes to, and start PLAN begins it in the fleet's store.  Any
number of `run` processes steer what is in the store, of which one acts at a time.  status
and watch show how it stands.  pause, promote, resume, abort and retire say what is wanted."""
EXAMPLE = "livepatch rollout start plan.toml --inventory nodes.json --patch fix.lpatch --store fleet.db"

_ACTIONS = (rollout_plan, rollout_start, rollout_run, rollout_watch, rollout_say)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = parser.add_subparsers(title="what to do", metavar="ACTION", required=True)
    for each in _ACTIONS:
        each.add_actions(actions)


def run(given: argparse.Namespace) -> bool:
    """Do what the action does."""
    done: bool = given.act(given)
    return done
