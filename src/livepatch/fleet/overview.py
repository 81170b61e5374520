"""How a rollout stands, as people want to see it: its stages, its nodes, what was judged, and what has become of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from livepatch.errors import StateError
from livepatch.fleet.beginning import planned_in, terms_at
from livepatch.fleet.chronicle import judgements, passages
from livepatch.fleet.keys import heard_of, lease_key, node_key, retired_key
from livepatch.fleet.planning import Planned
from livepatch.fleet.running import directive_of
from livepatch.fleet.standing import Directive
from livepatch.fleet.state import Store
from livepatch.fleet.wire import report_in

__all__ = ["in_words", "overview", "stage_states"]

_STATES = ("applied", "failed", "original", "dormant", "armed", "silent", "retired")
"""How a node may stand here: as it has reported, or silent, if nothing is heard of it, or retired."""


def overview(store: Store, rollout: str) -> dict[str, Any]:
    """How it stands, as plain values; times are seconds of the epoch.

    Raises :class:`StateError`, also if there is no rollout of that id.
    """
    terms = terms_at(store, rollout)
    planned = planned_in(store, terms)
    directive = directive_of(store, rollout) or Directive(rollout=rollout)
    nodes = _nodes(store, planned, directive)
    lease = store.get(lease_key(rollout))
    return {
        "rollout": rollout,
        "at": time.time(),
        "patch": {"id": terms.patch, "digest": terms.digest, "package": terms.package},
        "promoters": list(planned.rollout.promoters),
        "steered": lease is not None,
        **{name: value for name, value in asdict(directive).items() if name != "rollout"},
        "looks": planned.rollout.judging.looks,
        "stages": _stages(planned, directive, nodes),
        "nodes": nodes,
        "judged": [asdict(each) for each in judgements(store, rollout)],
        "record": [
            {
                "at": each.at,
                "revision": each.directive.revision,
                "phase": each.directive.phase,
                "opened": each.directive.opened,
                "look": each.directive.look,
                "paused": each.directive.paused,
                "why": each.directive.why,
            }
            for each in passages(store, rollout)
        ],
    }


def _nodes(store: Store, planned: Planned, directive: Directive) -> list[dict[str, Any]]:
    rollout = planned.rollout.id
    heard = {entry.key: entry.value for entry in store.entries(heard_of(rollout)) if entry.value is not None}
    found = []
    for node, stage in zip(planned.nodes, planned.stages, strict=True):
        told: dict[str, Any] = {"id": node.id, "stage": planned.rollout.stages[stage].name, "order": None, "why": ""}
        data = heard.get(node_key(rollout, node.id))
        if retired_key(rollout, node.id) in heard:
            found.append({**told, "state": "retired", "behind": False})
            continue
        if data is None:
            found.append({**told, "state": "silent", "behind": directive.phase != "planned"})
            continue
        try:
            report = report_in(data, node.id)
        except StateError as error:
            found.append({**told, "state": "silent", "why": error.found, "behind": True})
            continue
        behind = report.order < directive.order
        found.append({**told, "state": report.condition, "order": report.order, "why": report.why, "behind": behind})
    return found


def _stages(planned: Planned, directive: Directive, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[str]] = {stage.name: Counter() for stage in planned.rollout.stages}
    for node in nodes:
        counts[node["stage"]][node["state"]] += 1
    states = stage_states(directive, len(planned.cuts))
    return [
        {
            "name": stage.name,
            "state": state,
            "nodes": size,
            "weight": weight,
            "soak_seconds": stage.soak,
            "promotion": stage.promotion,
            **{name: counts[stage.name][name] for name in _STATES},
        }
        for stage, state, size, weight in zip(
            planned.rollout.stages, states, planned.sizes, planned.weights, strict=True
        )
    ]


def stage_states(directive: Directive, stages: int) -> list[str]:
    """What has become of each stage: ``waits``, ``opens``, ``soaks``, ``passed``, or ``taken back``."""
    if directive.phase in ("aborting", "reverted"):
        return ["taken back" if number < directive.opened else "waits" for number in range(stages)]
    newest = directive.opened - 1
    found = []
    for number in range(stages):
        if number > newest:
            found.append("waits")
        elif number < newest or directive.passed or directive.phase in ("finishing", "complete"):
            found.append("passed")
        else:
            found.append("opens" if directive.since is None else "soaks")
    return found


def in_words(told: Mapping[str, Any]) -> str:
    """How a rollout stands, in one line."""
    phase = f"{told['phase']}, paused" if told["paused"] else str(told["phase"])
    why = f": {told['why']}" if told["why"] else ""
    return f"rollout {told['rollout']}: {phase}{why}"
