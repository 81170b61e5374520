"""The page that shows how nodes stand: patches, health and record.  Pure: plain values in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from livepatch.errors import shortened
from livepatch.pages.html import badge, cell, document, moment, table, text
from livepatch.pages.plot import Limit, plot

__all__ = ["page"]

_PLOTS = 100  # of one node: a rule for all functions of a patch may be about many
_LONGEST = 300  # characters of a detail in the record
_HIDDEN = frozenset({"checkpoint", "key", "subtrees", "torn"})
"""What only machines read of a record."""


def page(told: Mapping[str, Any]) -> str:
    """The page of what :func:`livepatch.node.looking.look` gives."""
    sections = [_section(number, each) for number, each in enumerate(told["nodes"], 1)]
    names = ", ".join(name for name, _, _ in sections)
    states = [state for _, state, _ in sections]
    state = next((each for each in ("breach", "unknown") if each in states), "ok" if states else "unknown")
    return document(
        f"{names or 'no node'}: {state}",
        *(html for _, _, html in sections),
        "" if sections else "<h1>There is no node</h1>",
        f"<p>As of {moment(told['at'])}.</p>",
    )


def _section(number: int, node: Mapping[str, Any]) -> tuple[str, str, str]:
    """One node: its name, how it is, and the HTML.  What comes from something else than a node is told as an error."""
    where = str(node["where"])
    try:
        if node["error"] is None:
            return _node(number, node)
        why = str(node["error"]["message"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        why = f"the node's answer is not understood: {type(error).__name__}; ask with the livepatch that the node has"
    shown = f"<h1>{text(where)} {badge('unknown', 'unknown', name=f'state-{number}')}</h1>"
    return where, "unknown", f"{shown}<p class=failed>{text(why)}</p>"


def _node(number: int, node: Mapping[str, Any]) -> tuple[str, str, str]:
    status, health = node["status"], node["health"]
    name, state = str(status["node"]), str(health["state"])
    about = (
        f"Process {status['pid']} since {moment(status['started'])}, Python {status['python']}, "
        f"livepatch {status['livepatch']}, {node['where']}"
    )
    return name, state, "".join((
        f"<h1>{text(name)} {badge(state, state, name=f'state-{number}')}</h1><p>{text(about)}</p>",
        "<h2>Patches</h2>", _patches(number, status), _calls(status["patches"]), _others(status["processes"]),
        "<h2>Health</h2>", _health(number, health), _plots(node), "<h2>Record</h2>", _record(number, node),
    ))  # fmt: skip


# Patches


def _patches(number: int, status: Mapping[str, Any]) -> str:
    rows = [
        [
            cell(each["id"]), cell(each["state"], each["state"]), cell(each["mode"]),
            cell("" if each["since"] is None else moment(each["since"])), cell(len(each["targets"])),
            cell(len(each["frames"]) + each["units"] or ""), cell("; ".join(_remarks(each))),
        ]
        for each in status["patches"]
    ]  # fmt: skip
    applied = {each["id"] for each in status["patches"]}
    for each in status["wanted"]:
        if each["id"] not in applied:
            waits = f"waits for {', '.join(each['waits_for'])}" if each["waits_for"] else ""
            why = "; ".join(filter(None, (each["reason"], waits)))
            rows.append([cell(each["id"]), cell(each["state"], each["state"]), cell(each["mode"]),
                         *[cell("")] * 3, cell(why)])  # fmt: skip
    for each in status["fell"]:
        why = f"left out since {each['at']}: the process died too soon after it had gone in"
        rows.append([cell(each["id"]), cell("left out", "failed"), *[cell("")] * 4, cell(why)])
    if not rows:
        return f"<p id=patches-{number}>No patch is applied.</p>"
    heads = ("patch", "", "mode", "since", "targets", "on the other side", "")
    return table(heads, rows, name=f"patches-{number}")


def _remarks(patch: Mapping[str, Any]) -> Iterator[str]:
    """What else is to be said of a patch that is in."""
    if patch["foreign"]:
        yield f"changed by others: {', '.join(patch['foreign'])}"
    if patch["left"]:
        yield f"left on the other side: {', '.join(patch['left'])}"
    if patch["troubles"]:
        yield f"{patch['troubles']} calls undecided: {patch['trouble']}"
    if patch["tripped"]:
        yield f"tripped {patch['tripped']} times"
    yield from (f"state {each['name']} at version {each['version']}" for each in patch["migrations"])
    if patch["protected"]:
        yield "touches protected code"


def _calls(patches: Iterable[Mapping[str, Any]]) -> str:
    """The calls that a switch still waits for."""
    rows = [
        [
            cell(patch["id"]), cell(each["function"]), cell(f"{each['file']}:{each['line']}"), cell(each["holder"]),
            cell("" if each["since"] is None else moment(each["since"])),
            cell("never leaves by itself: restart it", "failed") if each["endless"] else cell(""),
        ]
        for patch in patches
        for each in patch["frames"]
    ]  # fmt: skip
    if not rows:
        return ""
    return "<h3>Calls on the other side</h3>" + table(("patch", "function", "at", "held by", "since", ""), rows)


def _others(processes: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [
            cell(each["pid"]),
            cell(", ".join(f"{name} {how}" for name, how in each["standings"].items()) or "no patch"),
            cell("lags behind", "wait") if each["lags"] else cell(""),
        ]
        for each in processes
    ]
    return "<h3>Other processes</h3>" + table(("process", "runs", ""), rows) if rows else ""


# Health


def _health(number: int, health: Mapping[str, Any]) -> str:
    found = ""
    if not health["probes"]:
        found = "<p class=unknown>No probe is read, so nothing is known.</p>"
    elif not health["running"]:
        found = "<p class=unknown>The watchdog does not run.</p>"
    if health["rules"]:
        found += _judged(health["rules"], f"rules-{number}")
    for each in health["soaks"]:
        told = f"{each['patch']} soaks: {each['stage']}, {each['mode']}, {each['readings']} readings"
        found += f"<h3>{text(told)}</h3>"
        if each["outcome"] is not None:
            found += f"<p class='{text(each['outcome']['outcome'])}'>{text(each['outcome']['why'])}</p>"
        if each["verdict"] is not None:
            found += _judged(each["verdict"]["judged"])
    return found


def _judged(judged: Iterable[Mapping[str, Any]], name: str = "") -> str:
    rows = (
        [
            cell(each["probe"]), cell(each["state"], each["state"]), cell(_number(each["value"], each["unit"])),
            cell(_number(each["limit"], each["unit"])), cell(each["why"]), cell(each["rule"]),
        ]
        for each in judged
    )  # fmt: skip
    return table(("probe", "", "newest", "threshold", "", "rule"), rows, name=name)


def _plots(node: Mapping[str, Any]) -> str:
    """What each probe has shown, with the thresholds of the rules that are about it."""
    told, health = node["readings"], node["health"]
    if told is None:
        return f"<p class=unknown>{text(node['no_readings'])}</p>"
    if not told["series"]:
        return ""
    verdicts = [soak["verdict"] for soak in health["soaks"] if soak["verdict"] is not None]
    judged = [*health["rules"], *(each for verdict in verdicts for each in verdict["judged"])]
    unknown = {each["name"]: each["why"] or "it gave nothing" for each in health["probes"] if each["value"] is None}
    made = []
    for series in told["series"][:_PLOTS]:
        limits = [
            Limit(float(each["limit"]), str(each["state"]), str(each["rule"]))
            for each in judged
            if each["probe"] == series["name"] and each["limit"] is not None
        ]
        readings = [
            (float(age), None if value is None else float(value))
            for age, value in zip(series["ages"], series["values"], strict=True)
        ]
        made.append(
            f"<figure><figcaption>{text(_caption(series, unknown.get(series['name'])))}</figcaption>"
            f"{plot(series['name'], readings, span=float(told['span']), limits=limits)}</figure>"
        )
    more = len(told["series"]) - _PLOTS
    return (
        f"<p>The last {told['span'] / 60:g} minutes; thresholds are dashed.</p><div class=plots>{''.join(made)}</div>"
        + (f"<p>And {more} more.</p>" if more > 0 else "")
    )


def _caption(series: Mapping[str, Any], unknown: str | None) -> str:
    known = [value for value in series["values"] if value is not None]
    spread = f", {_number(min(known))} to {_number(max(known))}" if known else ""
    newest = _number(known[-1], series["unit"]) if known else "nothing"
    newest = newest if unknown is None else f"unknown, {unknown}"
    return f"{series['name']}: {newest}{spread}"


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.6g} {unit}".rstrip()


# The record


def _record(number: int, node: Mapping[str, Any]) -> str:
    if node["record"] is None:
        return f"<p class=unknown>{text(node['no_record'])}</p>"
    inks = {"failed": "failed", "done": "ok"}
    rows = (
        [
            cell(each["index"]), cell(f"{each['at'][:19]}Z"), cell(each["event"]),
            cell(each["phase"], inks.get(each["phase"], "")), cell(each.get("patch", {}).get("id", "")),
            cell(each["who"]), cell(_details(each["details"])),
        ]
        for each in reversed(node["record"])
    )  # fmt: skip
    made = table(("", "at", "event", "", "patch", "by", ""), rows, name=f"record-{number}")
    return f"{made}<p>The newest entries; whether the record holds, <code>livepatch audit verify</code> says.</p>"


def _details(details: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in details.items() if name not in _HIDDEN and value not in ("", [], {})}
    return shortened(", ".join(f"{name} {_plain(value)}" for name, value in shown.items()), _LONGEST)


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
