"""A plan file: the rollout that is written in it, read strictly from TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from livepatch.compat.tables import Table
from livepatch.contents.identity import check_distribution, check_name
from livepatch.errors import PatchError, spelled
from livepatch.fleet.rollout import (
    Activation,
    Comparison,
    Gate,
    Judging,
    Objective,
    OnFailure,
    Rollout,
    RolloutPatch,
    Stage,
    Threshold,
)

__all__ = ["NOUN", "SMALL", "rollout_in"]

NOUN = "rollout plan"
_TRAITS = ("region", "version", "label")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_YEAR = 366 * 24 * 60  # minutes
_MOST = 1_000_000  # nodes
_HIGHEST = 2**53
SMALL = 0.147  # the least effect that is not negligible, by Romano and others (2006)


def rollout_in(data: bytes, source: str) -> Rollout:
    """The rollout in the bytes of a plan file, not yet compared with any inventory.

    Raises :class:`PolicyError`, which says where in it and what is wrong: what is misspelt must not pass for a gate
    that always holds.
    """
    table = Table.read(data, source, NOUN)
    head = table.table("rollout", _head)
    if head is None:
        table.fail("rollout", "nothing", "a table [rollout] with id and promoters")
    patch = table.table("patch", _patch)
    if patch is None:
        table.fail("patch", "nothing", "a table [patch] with id, digest, package and versions")
    stages: tuple[Stage, ...] = table.tables("stage", _stage)
    if not stages:
        table.fail("stage", "none", "one or more tables [[stage]]")
    gates: tuple[Gate, ...] = table.tables("gate", _gate)
    judging = table.table("judging", _judging) or Judging()
    activation = table.table("activation", _activation)
    table.end()
    _agreeing(table, stages, gates)
    return Rollout(**head, patch=patch, stages=stages, gates=gates, judging=judging, activation=activation)


def _agreeing(table: Table, stages: tuple[Stage, ...], gates: tuple[Gate, ...]) -> None:
    names = [stage.name for stage in stages]
    for index, name in enumerate(names):
        if name in names[:index]:
            table.fail(f"stage[{index}].name", f"{spelled(name)} twice", "each name once")
    for index, gate in enumerate(gates):
        for name in gate.stages:
            if name not in names:
                table.fail(f"gate[{index}].stages", spelled(name), f"names of stages: {', '.join(names)}")
        if (type(gate), gate.metric) in [(type(other), other.metric) for other in gates[:index]]:
            table.fail(f"gate[{index}].metric", f"{spelled(gate.metric)} twice", "one gate of a kind for a metric")


def _head(table: Table) -> dict[str, Any]:
    promoters = table.names("promoters")
    if not promoters:
        table.fail("promoters", "nothing", "a list of those who may start and promote it, one or more")
    return {
        "id": _name(table, "id", needed=True),
        "promoters": promoters,
        "detection": _minutes(table, "detection-minutes", needed=True),
        "retraction": _minutes(table, "retraction-minutes", needed=True),
        "reach": _minutes(table, "reach-minutes") or 3600.0,
        "max_unavailable": table.count("max-unavailable", _MOST),
        "max_failed": table.count("max-failed", _MOST),
    }


def _patch(table: Table) -> RolloutPatch:
    name = _name(table, "id", needed=True)
    digest = table.text("digest")
    if not _DIGEST.fullmatch(digest):
        table.fail("digest", spelled(digest), "the patch's digest, as livepatch show --json prints it: sha256:…")
    package = table.text("package")
    try:
        check_distribution(package)
    except PatchError as error:
        table.fail("package", error.found, error.expected)
    versions = table.text("versions")
    try:
        versions = str(SpecifierSet(versions))
    except InvalidSpecifier:
        versions = ""
    if not versions:
        table.fail("versions", "no version specifier", "such as '>=2.1,<2.3' (PEP 440)")
    halts = table.flag("can-halt")
    return RolloutPatch(
        id=name,
        digest=digest,
        flag=_name(table, "flag") or name,
        package=package,
        versions=versions,
        can_halt=True if halts is None else halts,
        consensus=bool(table.flag("consensus")),
    )


def _stage(table: Table) -> Stage:
    name = _name(table, "name", needed=True)
    soak = _minutes(table, "soak-minutes", needed=True)
    percent = table.number("percent", 0, 100)
    count = table.count("count", _MOST)
    nodes = table.texts("nodes")
    where: Mapping[str, tuple[str, ...]] = table.table("where", _where) or {}
    if percent == 0:
        table.fail("percent", "0", "more than 0, up to 100")
    if sum((percent is not None, count > 0, bool(nodes))) > 1:
        table.fail("", "several of percent, count and nodes", "one of them at most")
    if nodes and where:
        table.fail("where", "nodes beside it", "either nodes by name, or a share of those that suit where")
    if len(set(nodes)) < len(nodes):
        table.fail("nodes", "a node twice", "each node once")
    if percent is None and not count and not nodes and not where:
        table.fail("", "nothing that says which nodes", "percent, count, nodes or where")
    return Stage(
        name=name,
        soak=soak,
        percent=percent,
        count=count or None,
        nodes=nodes,
        where=where,
        promotion="approved" if _word(table, "promotion", ("automatic", "approved")) == "approved" else "automatic",
    )


def _where(table: Table) -> Mapping[str, tuple[str, ...]]:
    found = {trait: values for trait in _TRAITS if (values := table.texts(trait))}
    if not found:
        table.fail("", "no condition", f"one or more of {', '.join(_TRAITS)}, each a list")
    return found


def _gate(table: Table) -> Gate:
    metric = _metric(table)
    stages = table.texts("stages")
    on_failure: OnFailure = "pause" if _word(table, "on-failure", ("abort", "pause")) == "pause" else "abort"
    least, most = (table.number(key, -_HIGHEST, _HIGHEST) for key in ("least", "most"))
    objective, left = table.number("objective", 0, 1), table.number("budget-left", 0, 1)
    worse, effect = _word(table, "worse", ("higher", "lower")), table.number("effect", 0, 1)
    kinds = (least is not None or most is not None, objective is not None or left is not None, bool(worse))
    if sum(kinds) != 1 or (effect is not None and not worse):
        table.fail(
            "",
            f"{sum(kinds)} kinds of conditions",
            "least or most; or objective and budget-left; or worse, with effect",
        )
    if worse:
        return Comparison(
            metric=metric,
            worse="higher" if worse == "higher" else "lower",
            effect=SMALL if effect is None else effect,
            stages=stages,
            on_failure=on_failure,
        )
    if kinds[0]:
        if least is not None and most is not None and least > most:
            table.fail("least", f"{least:g}, above most", f"{most:g} or less")
        return Threshold(metric=metric, least=least, most=most, stages=stages, on_failure=on_failure)
    if objective is None or objective == 1 or left is None:
        table.fail("objective", "one of objective and budget-left, or an objective of 1", "both, such as 0.999 and 0.5")
    return Objective(metric=metric, objective=objective, budget_left=left, stages=stages, on_failure=on_failure)


def _judging(table: Table) -> Judging:
    usual = Judging()
    alpha = table.number("alpha", 0.0001, 0.2)
    return Judging(
        alpha=usual.alpha if alpha is None else alpha,
        looks=table.count("looks", 100) or usual.looks,
        nodes=_least_nodes(table, usual.nodes),
    )


def _least_nodes(table: Table, usual: int) -> int:
    nodes = table.count("nodes", _MOST) or usual
    if nodes < 3:
        table.fail("nodes", str(nodes), "3 or more: fewer cannot be told from chance")
    return nodes


def _activation(table: Table) -> Activation:
    height = table.count("height", _HIGHEST)
    readiness = table.number("readiness", 0, 1)
    block = table.number("block-seconds", 0.001, 1e6)
    if not height:
        table.fail("height", "nothing", "the height at which the change begins, from 1")
    if readiness is None or readiness <= 2 / 3:
        table.fail("readiness", spelled(readiness), "more than two thirds, up to 1, such as 0.9")
    if block is None:
        table.fail("block-seconds", "nothing", "how many seconds a block takes")
    return Activation(
        height=height, readiness=readiness, margin=table.count("margin-blocks", _HIGHEST), block_seconds=block
    )


def _name(table: Table, key: str, *, needed: bool = False) -> str:
    value = table.text(key)
    if not value and not needed:
        return ""
    try:
        return check_name(key, value)
    except PatchError as error:
        table.fail(key, error.found if value else "nothing", error.expected)


def _metric(table: Table) -> str:
    """The name of a probe: as other names, in parts that ``/`` divides."""
    value = table.text("metric")
    try:
        for part in value.split("/"):
            check_name("metric", part)
    except PatchError as error:
        table.fail("metric", spelled(value) if value else "nothing", error.expected + ", in parts that / divides")
    return value


def _minutes(table: Table, key: str, *, needed: bool = False) -> float:
    """A duration in seconds, which the file has in minutes; 0 if there is none and none is needed."""
    value = table.number(key, 0, _YEAR)
    if value is None and needed:
        table.fail(key, "nothing", "a number of minutes")
    return 60.0 * (value or 0.0)


def _word(table: Table, key: str, known: tuple[str, ...]) -> str:
    """One of a few words; nothing without the key."""
    value = table.text(key)
    if value and value not in known:
        table.fail(key, spelled(value), f"one of {', '.join(known)}")
    return value
