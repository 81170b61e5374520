"""The page that shows how a rollout stands.  Pure: plain values in, HTML out.  It has no script, and asks nothing else.

Everything in it may come from anyone, names of nodes and reasons above all, and is text there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

__all__ = ["POLICY", "page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: show itself, with its own styles."""

_EVERY = 2  # seconds until the browser asks again
_SHOWN = 1000  # nodes; there may be many more
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .2rem .8rem .2rem .3rem; }
th { border-bottom: 1px solid #8c959f; } td { border-bottom: 1px solid #eaeef2; vertical-align: top; }
.nodes { display: flex; flex-wrap: wrap; gap: 4px; padding: 0; list-style: none; }
.nodes li { padding: 0 .5rem; border-radius: 4px; background: #eaeef2; }
.applied, .passed, .fine, .complete { background: #aceebb !important; }
.failed, .bad, .aborting { background: #ffcecb !important; }
.silent, .wait, .reverted { background: #fae17d !important; } .dormant, .armed { background: #b6e3ff !important; }
.phase { padding: .1rem .6rem; border-radius: 4px; background: #b6e3ff; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #d1d7e0; }
  li, .phase, td[class] { color: #1b1f24; } }
"""


def page(told: Mapping[str, Any]) -> str:
    """The page of what :func:`livepatch.fleet.overview.overview` gives."""
    phase = f"{told['phase']}, paused" if told["paused"] else told["phase"]
    patch = told["patch"]
    why = f"<p id=why>{_text(told['why'])}</p>" if told["why"] else ""
    acts = told["steered"] or told["phase"] in ("complete", "reverted")
    steered = "" if acts else "<p class=silent>No controller acts: livepatch rollout run</p>"
    return "".join((
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv=refresh content="{_EVERY}"><meta name=viewport content="width=device-width">',
        f"<title>{_text(told['rollout'])}: {_text(phase)}</title><style>{_STYLE}</style>",
        f"<h1>{_text(told['rollout'])} <span id=phase class='phase {_text(told['phase'])}'>{_text(phase)}</span></h1>",
        f"<p>Patch {_text(patch['id'])} for {_text(patch['package'])}, {_text(patch['digest'])}</p>{why}{steered}",
        "<h2>Stages</h2>", _stages(told["stages"]),
        "<h2>Nodes</h2>", _nodes(told["nodes"], told["stages"]),
        "<h2>Gates</h2>", _gates(told["judged"], told["looks"]),
        "<h2>Record</h2>", _record(told["record"]),
        f"<p>As of {_moment(told['at'])}.</p></html>",
    ))  # fmt: skip


def _stages(stages: Iterable[Mapping[str, Any]]) -> str:
    names = ("applied", "dormant", "armed", "original", "failed", "silent", "retired")
    rows = (
        [
            _cell(stage["name"]), _cell(stage["state"], stage["state"]), _cell(stage["nodes"]),
            _cell(f"{stage['weight']:.1%}"), _cell(f"{stage['soak_seconds'] / 60:g} min"), _cell(stage["promotion"]),
            *(_cell(stage[name], name if stage[name] and name in ("applied", "failed", "silent") else "")
              for name in names),
        ]
        for stage in stages
    )  # fmt: skip
    return _table(("stage", "", "nodes", "weight", "soak", "promotion", *names), rows)


def _nodes(nodes: list[Mapping[str, Any]], stages: Iterable[Mapping[str, Any]]) -> str:
    found = []
    for stage in stages:
        its = [node for node in nodes[:_SHOWN] if node["stage"] == stage["name"]]
        items = "".join(
            f"<li class='{_text(node['state'])}' title='{_text(_about(node))}'>{_text(node['id'])}</li>" for node in its
        )
        found.append(f"<h3>{_text(stage['name'])}</h3><ul class=nodes>{items}</ul>")
    more = f"<p>And {len(nodes) - _SHOWN} more.</p>" if len(nodes) > _SHOWN else ""
    told = [
        [_cell(node["id"]), _cell(node["state"], node["state"]), _cell(node["why"])] for node in nodes if node["why"]
    ]
    return "".join(found) + more + (_table(("node", "", "why"), told[:_SHOWN]) if told else "")


def _about(node: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (node["state"], "behind" if node["behind"] else "", node["why"])))


def _gates(judged: Iterable[Mapping[str, Any]], looks: int) -> str:
    rows = [
        [
            _cell(_moment(look["at"])), _cell(look["opened"]), _cell(f"{look['look']} of {looks}"),
            _cell(answer["verdict"], answer["verdict"]), _cell(answer["why"]),
            _cell(_spread(answer["treated"])), _cell(_spread(answer["untreated"])),
        ]
        for look in reversed(list(judged))
        for answer in look["answers"]
    ]  # fmt: skip
    return _table(("at", "stage", "look", "verdict", "", "nodes with the patch", "nodes without"), rows)


def _spread(values: Mapping[str, float]) -> str:
    if not values:
        return "no data"
    ordered = sorted(values.values())
    return f"{len(ordered)}: {ordered[0]:.3g} to {ordered[-1]:.3g}, {ordered[len(ordered) // 2]:.3g} in the middle"


def _record(passed: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        [
            _cell(_moment(each["at"])), _cell(each["revision"]), _cell(each["phase"], each["phase"]),
            _cell(each["opened"]), _cell(each["look"]), _cell("paused" if each["paused"] else ""), _cell(each["why"]),
        ]
        for each in reversed(list(passed))
    )  # fmt: skip
    return _table(("at", "revision", "phase", "stage", "look", "", "why"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{_text(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object, kind: str = "") -> str:
    return f"<td class='{_text(kind)}'>{_text(value)}</td>" if kind else f"<td>{_text(value)}</td>"


def _text(value: object) -> str:
    """As text, with what would hide or turn round what stands beside it spelled out."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return escape(shown, quote=True)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
