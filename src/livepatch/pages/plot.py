"""A plot of what was read over time, as an SVG that stands in a page.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from livepatch.pages.html import text

__all__ = ["Limit", "plot"]

_WIDTH, _HEIGHT, _EDGE = 600.0, 100.0, 5.0
_TICK = 6.0  # how high the mark of a reading is of which nothing is known


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a rule compares with, how that stands (``ok``, ``breach`` or ``unknown``), and the rule."""

    value: float
    state: str
    rule: str


def plot(
    name: str, readings: Sequence[tuple[float, float | None]], *, span: float, limits: Iterable[Limit] = ()
) -> str:
    """The `readings` of the last `span` seconds, oldest first: each so many seconds old, with a value or none.

    Known ones that follow each other are joined by a line, and one alone is a dot.  Where nothing is known there is a
    mark at the lower edge.  `limits` are lines across.
    """
    shown = [(age, value) for age, value in readings if 0 <= age <= span]
    lines = list(limits)
    values = [value for _, value in shown if value is not None] + [each.value for each in lines]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)

    def place(age: float, value: float) -> tuple[str, str]:
        # Parts before differences: those of two large values of either sign may be none that a float has.
        part = value / (high - low) - low / (high - low) if high - low > 0 else 0.5
        return f"{_WIDTH * (1 - age / span):.1f}", f"{_HEIGHT - _EDGE - part * (_HEIGHT - 2 * _EDGE):.1f}"

    made = [_across(place(0, each.value)[1], each) for each in lines]
    made += [_joined([place(age, value) for age, value in piece]) for piece in _pieces(shown)]
    marks = "".join(f"M{place(age, low)[0]},{_HEIGHT:g}v-{_TICK:g}" for age, value in shown if value is None)
    if marks:
        made.append(f"<path d='{marks}'><title>nothing is known</title></path>")
    return (
        f"<svg viewBox='0 0 {_WIDTH:g} {_HEIGHT:g}' preserveAspectRatio=none role=img aria-label='{text(name)}'>"
        f"{''.join(made)}</svg>"
    )


def _pieces(readings: Iterable[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """The known readings, cut where one is not known."""
    found: list[list[tuple[float, float]]] = [[]]
    for age, value in readings:
        if value is not None:
            found[-1].append((age, value))
        elif found[-1]:
            found.append([])
    return [piece for piece in found if piece]


def _joined(places: Sequence[tuple[str, str]]) -> str:
    if len(places) == 1:
        return f"<circle cx='{places[0][0]}' cy='{places[0][1]}' r=2 />"
    return f"<polyline points='{' '.join(f'{x},{y}' for x, y in places)}'/>"


def _across(y: str, limit: Limit) -> str:
    title = f"<title>{text(limit.rule)}</title>"
    return f"<line class='limit {text(limit.state)}' x1=0 x2={_WIDTH:g} y1='{y}' y2='{y}'>{title}</line>"
