"""A call graph as text, as a picture, and as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepatch.compat.calls.answers import CallGraph
    from livepatch.compat.calls.model import Edge

__all__ = ["dot", "plain", "text_tree"]

_MOST_BRANCHES = 50
"""Edges of one function that a tree shows."""


def text_tree(graph: CallGraph, name: str, *, callers: bool, depth: int, certain: bool) -> str:
    """A tree of what a function calls, or of its callers; each function is unfolded once."""
    lines = [name]
    unfolded: set[str] = set()

    def below(one: str, indent: str, left: int) -> None:
        unfolded.add(one)
        edges = graph.callers(one) if callers else graph.callees(one)
        merged = _merged([edge for edge in edges if edge.certain or not certain], callers=callers)
        for i, (other, (edge, times)) in enumerate(merged.items()):
            last = i == len(merged) - 1
            if i == _MOST_BRANCHES and len(merged) > _MOST_BRANCHES + 1:
                lines.append(f"{indent}└─ and {len(merged) - i} more")
                break
            again = other in unfolded and bool(graph.callers(other) if callers else graph.callees(other))
            lines.append(f"{indent}{'└─' if last else '├─'} {other}  {_described(edge, times)}{' …' * again}")
            if left > 1 and not again:
                below(other, f"{indent}{'   ' if last else '│  '}", left - 1)
        if not callers:
            lines.extend(f"{indent}   ?? {unknown.what}, line {unknown.line}" for unknown in graph.unknown(one))

    below(name, "", depth)
    return "\n".join(lines)


def _merged(edges: list[Edge], *, callers: bool) -> dict[str, tuple[Edge, int]]:
    merged: dict[str, tuple[Edge, int]] = {}
    for edge in edges:
        other = edge.caller if callers else edge.callee
        first, times = merged.get(other, (edge, 0))
        merged[other] = first, times + 1
    return merged


def _described(edge: Edge, times: int) -> str:
    parts = [*([] if edge.certain else ["perhaps"]), edge.how, f"line {edge.line}"]
    if times > 1:
        parts.append(f"{times} places")
    return f"({', '.join(parts)})"


def _chosen(graph: CallGraph, names: Iterable[str] | None, *, certain: bool) -> tuple[list[str], list[Edge]]:
    chosen = list(dict.fromkeys(graph.functions if names is None else names))
    among = set(chosen)
    edges = [e for one in chosen for e in graph.callees(one) if e.callee in among and (e.certain or not certain)]
    return chosen, edges


def dot(graph: CallGraph, names: Iterable[str] | None, *, certain: bool) -> str:
    """Graphviz: possible edges are dashed, what is not looked into is grey."""
    chosen, edges = _chosen(graph, names, certain=certain)
    lines = ["digraph calls {", "  rankdir=LR;", '  node [shape=box, fontname="monospace"];']
    for one in chosen:
        colour = ", color=grey, fontcolor=grey" if graph.functions[one].kind == "outside" else ""
        lines.append(f"  {_quoted(one)} [label={_quoted(one)}{colour}];")
    styles: dict[tuple[str, str], tuple[bool, str]] = {}
    for edge in edges:
        key = edge.caller, edge.callee
        if key not in styles or (edge.certain and not styles[key][0]):
            styles[key] = edge.certain, edge.how
    for (caller, callee), (sure, how) in styles.items():
        label = "" if how == "call" else f"label={_quoted(how)}"
        style = "" if sure else "style=dashed"
        attributes = ", ".join(part for part in (style, label) if part)
        lines.append(f"  {_quoted(caller)} -> {_quoted(callee)}{f' [{attributes}]' if attributes else ''};")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def plain(graph: CallGraph, names: Iterable[str] | None, *, certain: bool) -> dict[str, Any]:
    """Functions, edges and unknown calls as plain values."""
    chosen, edges = _chosen(graph, names, certain=certain)
    return {
        "functions": [asdict(graph.functions[one]) for one in chosen],
        "edges": [asdict(edge) for edge in edges],
        "unknown": [asdict(unknown) for one in chosen for unknown in graph.unknown(one)],
    }
