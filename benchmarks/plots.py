"""Draws tables: curves by what grows, or bars beside a peer; one SVG for each, the same for the same figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from measure import Table

__all__ = ["draw"]

_WIDE = 7.0  # inches
_SETTINGS = {"svg.hashsalt": "livepatch", "svg.fonttype": "none", "font.size": 9.0, "axes.spines.top": False,
             "axes.spines.right": False}  # fmt: skip
_GREY = "#8a8f98"  # on white and on black


def draw(tables: Sequence[Table], folder: Path, about: str) -> list[Path]:
    """Draw each table that has ratios, or curves, into `folder`; `about` says by what they were measured."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(_SETTINGS):
        for table in tables:
            rows = sum(_ratio(table) in row.figures for row in table.rows)
            if not rows:
                continue
            figure = Figure(figsize=(_WIDE, 3.2 if table.curve else 1.1 + 0.26 * rows), layout="constrained")
            axes = figure.subplots()
            (_curve if table.curve else _bars)(axes, table)
            axes.set_title(table.title, loc="left", fontsize=10, color=_GREY)
            figure.text(1, 0, about, ha="right", va="bottom", fontsize=6, color=_GREY)
            for part in (axes.xaxis, axes.yaxis):
                part.label.set_color(_GREY)
            axes.tick_params(colors=_GREY, which="both")
            for spine in axes.spines.values():
                spine.set_color(_GREY)
            path = folder / f"{_slug(table.title)}.svg"
            figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            written.append(path)
    return written


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[0-9,.]*[0-9]", "", title.lower())).strip("-")[:60]


def _ratio(table: Table) -> str:
    """The figure that is drawn: the first that compares."""
    names = [column.figure for column in table.columns]
    return next((name for name in names if "to " in name or "ratio" in name), "")


def _curve(axes: Any, table: Table) -> None:
    """Each action by what grows, both axes logarithmic, beside a line of what would grow as that does."""
    for column in table.columns:
        if column.figure.endswith(" ms"):
            points = [(row.figures[table.curve], row.figures[column.figure]) for row in table.rows]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=column.figure.removesuffix(" ms"))
    axes.set(xscale="log", yscale="log", xlabel=table.curve, ylabel="ms")
    axes.grid(which="major", color=_GREY, alpha=0.25)
    axes.legend(frameon=False, labelcolor=_GREY)


def _bars(axes: Any, table: Table) -> None:
    """A bar for each contender, and a mark where the most is that it may come to."""
    name = _ratio(table)
    rows = [row for row in table.rows if name in row.figures][::-1]
    places = range(len(rows))
    values = [row.figures[name] for row in rows]
    axes.barh(places, values, height=0.6, color=["#cf222e" if row.passed is False else "#0969da" for row in rows])
    axes.set_yticks(places, [row.name for row in rows])
    style = next(column.style for column in table.columns if column.figure == name)
    for place, value, row in zip(places, values, rows, strict=True):
        axes.text(value, place, f" {style.format(value)}", va="center", color=_GREY, fontsize=8)
        if row.bar is not None and row.bar.figure == name:
            axes.plot([row.bar.most] * 2, [place - 0.4, place + 0.4], color=_GREY, linewidth=2)
    axes.set_xlabel(name)
