"""The page that shows what simulated rollouts came to, with plots.  Pure: plain values in, HTML out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from livepatch.errors import counted
from livepatch.fleet.planning import Planned
from livepatch.fleet.simulated import Moment, Outcome
from livepatch.pages.html import badge, cell, document, table, text
from livepatch.pages.plot import Limit, plot

__all__ = ["page"]

_COLUMNS = 600  # of a plot: what happens within one of them is shown by its least and its most


def page(told: Mapping[str, Any], planned: Planned, outcomes: Sequence[Outcome], course: Sequence[Moment]) -> str:
    """The page of some rollouts: `told` is their summary, and `course` is that of the first."""
    rollout = planned.rollout
    first, endings, nodes = outcomes[0], told["endings"], counted(len(planned.nodes), "node")
    ending = ", ".join(f"{number} {phase}" for phase, number in endings.items())
    kind = next((phase for phase in ("reverted", "paused") if phase in endings), "complete")
    title = f"{rollout.id}, simulated {counted(len(outcomes), 'time')} from seed {told['seed']}"
    stages = [
        [
            cell(stage.name),
            cell(count),
            cell(f"{stage.soak / 60:g} min"),
            cell(told["stopped_at"].get(str(number), 0), "reverted" if str(number) in told["stopped_at"] else ""),
        ]
        for number, (stage, count) in enumerate(zip(rollout.stages, _nodes_of(planned), strict=True), 1)
    ]
    return document(
        f"{title}: {ending}",
        f"<h1>{text(title)} {badge(ending, kind)}</h1>",
        f"<p>{text(f'Patch {rollout.patch.id} for {rollout.patch.package}, {nodes}')}</p>",
        "<h2>Stages</h2>",
        table(("stage", "nodes", "soak", "rollouts stopped in it"), stages, name="stages"),
        f"<h2>The first, {text(first.phase)}</h2>",
        f"<p>{text(first.why)}</p>" if first.why else "",
        _figures(_first(planned, course)),
        f"<h2>All {len(outcomes)}</h2>" if len(outcomes) > 1 else "",
        _figures(_all(outcomes)) if len(outcomes) > 1 else "",
        again=False,
    )


def _nodes_of(planned: Planned) -> list[int]:
    counts = [0] * len(planned.cuts)
    for stage in planned.stages:
        counts[stage] += 1
    return counts


def _figures(figures: Iterable[str]) -> str:
    return f"<div class=plots>{''.join(figures)}</div>"


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{text(caption)}</figcaption>{svg}</figure>"


# One rollout, over its time


def _first(planned: Planned, course: Sequence[Moment]) -> Iterator[str]:
    span = max((moment.at for moment in course), default=0.0)
    if not span:
        yield "<p class=unknown>Nothing has happened.</p>"
        return
    nodes, stages = len(planned.nodes), len(planned.cuts)
    shown: list[tuple[str, Callable[[Moment], float], float, Callable[[float], str]]] = [
        ("nodes with the patch", lambda moment: moment.applied, nodes, "{:.0f}".format),
        ("stages open", lambda moment: moment.opened, stages, "{:.0f}".format),
        ("weight that disagrees with the rest", lambda moment: moment.split, 1.0, "{:.1%}".format),
        ("weight that stands still", lambda moment: moment.halted, 1.0, "{:.1%}".format),
    ]
    for name, value_of, whole, written in shown:
        most = max(map(value_of, course))
        if not most and whole == 1.0:
            continue  # what did not happen
        limits = [Limit(0.0, "ok", written(0.0)), Limit(whole if whole > 1 else most, "ok", written(whole))]
        of = f" of {written(whole)}" if whole > 1 else ""
        caption = f"{name}: {written(most)}{of} at most, over {_long(span)}"
        yield _figure(caption, plot(name, _steps(course, value_of, span), span=span, limits=limits))


def _steps(
    course: Sequence[Moment], value_of: Callable[[Moment], float], span: float
) -> list[tuple[float, float | None]]:
    """The points of a line that stays where it is until something happens."""
    points = [(0.0, 0.0)]
    before = 0.0
    for moment in course:
        points.append((moment.at, before))
        before = value_of(moment)
        points.append((moment.at, before))
    points.append((span, before))
    return [(span - at, value) for at, value in _visible(points, span)]


def _visible(points: Iterable[tuple[float, float]], span: float) -> Iterator[tuple[float, float]]:
    """No more of them than can be seen: of each column the first, the least, the most and the last."""
    for _, group in groupby(points, key=lambda point: int(point[0] / span * _COLUMNS)):
        its = list(group)
        if len(its) <= 4:
            yield from its
        else:
            ends = (min(its, key=lambda point: point[1]), max(its, key=lambda point: point[1]))
            yield from (its[0], *sorted(ends), its[-1])


# Many rollouts, by how many of them


def _all(outcomes: Sequence[Outcome]) -> Iterator[str]:
    shown: list[tuple[str, list[float | None], Callable[[float], str]]] = [
        ("until all nodes had it", [each.to_complete for each in outcomes], _long),
        ("until no node had it any more, after the stop", [each.to_revert for each in outcomes], _long),
        ("nodes harmed before the stop", [float(each.harmed) for each in outcomes], "{:.0f}".format),
        ("weight that disagreed with the rest", [each.split or None for each in outcomes], "{:.1%}".format),
        ("weight that stood still", [each.halted or None for each in outcomes], "{:.1%}".format),
    ]
    for name, values, written in shown:
        known = sorted(value for value in values if value is not None)
        if not known or not known[-1]:
            continue
        caption = (
            f"{name}: {written(known[0])} to {written(known[-1])}, {written(known[len(known) // 2])} in the middle; "
            f"upwards, the share of {counted(len(known), 'rollout')} that came to no more"
        )
        yield _figure(caption, plot(name, _shares(known), span=known[-1], limits=_WHOLE))


_WHOLE = (Limit(0.0, "ok", "none"), Limit(1.0, "ok", "all"))


def _shares(known: Sequence[float]) -> list[tuple[float, float | None]]:
    """The points of the share of values that are no larger, from 0 to the largest."""
    span = known[-1]
    points: list[tuple[float, float | None]] = [(span, 0.0)]
    step = max(1, len(known) // _COLUMNS)
    for index in [*range(0, len(known), step), len(known) - 1]:
        points += [(span - known[index], points[-1][1]), (span - known[index], (index + 1) / len(known))]
    return points


def _long(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
