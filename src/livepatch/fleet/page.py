"""The page that shows how a rollout stands.  Pure: plain values in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from livepatch.pages.html import badge, cell, document, moment, table, text

__all__ = ["page"]

_SHOWN = 1000  # nodes; there may be many more


def page(told: Mapping[str, Any]) -> str:
    """The page of what :func:`livepatch.fleet.overview.overview` gives."""
    phase = f"{told['phase']}, paused" if told["paused"] else told["phase"]
    patch = told["patch"]
    why = f"<p id=why>{text(told['why'])}</p>" if told["why"] else ""
    acts = told["steered"] or told["phase"] in ("complete", "reverted")
    steered = "" if acts else "<p class=silent>No controller acts: livepatch rollout run</p>"
    return document(
        f"{told['rollout']}: {phase}",
        f"<h1>{text(told['rollout'])} {badge(phase, told['phase'])}</h1>",
        f"<p>Patch {text(patch['id'])} for {text(patch['package'])}, {text(patch['digest'])}</p>{why}{steered}",
        "<h2>Stages</h2>", _stages(told["stages"]),
        "<h2>Nodes</h2>", _nodes(told["nodes"], told["stages"]),
        "<h2>Gates</h2>", _gates(told["judged"], told["looks"]),
        "<h2>Record</h2>", _record(told["record"]),
        f"<p>As of {moment(told['at'])}.</p>",
    )  # fmt: skip


def _stages(stages: Iterable[Mapping[str, Any]]) -> str:
    names = ("applied", "dormant", "armed", "original", "failed", "silent", "retired")
    rows = (
        [
            cell(stage["name"]), cell(stage["state"], stage["state"]), cell(stage["nodes"]),
            cell(f"{stage['weight']:.1%}"), cell(f"{stage['soak_seconds'] / 60:g} min"), cell(stage["promotion"]),
            *(cell(stage[name], name if stage[name] and name in ("applied", "failed", "silent") else "")
              for name in names),
        ]
        for stage in stages
    )  # fmt: skip
    return table(("stage", "", "nodes", "weight", "soak", "promotion", *names), rows)


def _nodes(nodes: list[Mapping[str, Any]], stages: Iterable[Mapping[str, Any]]) -> str:
    found = []
    for stage in stages:
        its = [node for node in nodes[:_SHOWN] if node["stage"] == stage["name"]]
        items = "".join(
            f"<li class='{text(node['state'])}' title='{text(_about(node))}'>{text(node['id'])}</li>" for node in its
        )
        found.append(f"<h3>{text(stage['name'])}</h3><ul class=nodes>{items}</ul>")
    more = f"<p>And {len(nodes) - _SHOWN} more.</p>" if len(nodes) > _SHOWN else ""
    told = [[cell(node["id"]), cell(node["state"], node["state"]), cell(node["why"])] for node in nodes if node["why"]]
    return "".join(found) + more + (table(("node", "", "why"), told[:_SHOWN]) if told else "")


def _about(node: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (node["state"], "behind" if node["behind"] else "", node["why"])))


def _gates(judged: Iterable[Mapping[str, Any]], looks: int) -> str:
    rows = [
        [
            cell(moment(look["at"])), cell(look["opened"]), cell(f"{look['look']} of {looks}"),
            cell(answer["verdict"], answer["verdict"]), cell(answer["why"]),
            cell(_spread(answer["treated"])), cell(_spread(answer["untreated"])),
        ]
        for look in reversed(list(judged))
        for answer in look["answers"]
    ]  # fmt: skip
    return table(("at", "stage", "look", "verdict", "", "nodes with the patch", "nodes without"), rows)


def _spread(values: Mapping[str, float]) -> str:
    if not values:
        return "no data"
    ordered = sorted(values.values())
    return f"{len(ordered)}: {ordered[0]:.3g} to {ordered[-1]:.3g}, {ordered[len(ordered) // 2]:.3g} in the middle"


def _record(passed: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        [
            cell(moment(each["at"])), cell(each["revision"]), cell(each["phase"], each["phase"]),
            cell(each["opened"]), cell(each["look"]), cell("paused" if each["paused"] else ""), cell(each["why"]),
        ]
        for each in reversed(list(passed))
    )  # fmt: skip
    return table(("at", "revision", "phase", "stage", "look", "", "why"), rows)
