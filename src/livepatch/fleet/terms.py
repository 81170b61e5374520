"""What a node has to know of a rollout to take its own part: which file, whose turn is when, and what to measure.

They are written once, when a rollout starts, and never change.  The plan and the inventory lie beside them as files,
for the controllers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.contents.identity import check_distribution, check_name
from livepatch.errors import PatchError, StateError
from livepatch.fleet.cohorts import PLACES, Cut
from livepatch.fleet.planning import Planned
from livepatch.fleet.state import LARGEST, check_digest, key_of, names_in

__all__ = ["Terms", "terms_in", "terms_of"]

_MOST = 100_000  # names of nodes, and values of one trait
_STAGES = 1000
_LONGEST = 250  # characters of a name as it is spelled in a key
_SHORTEST, _SELDOM = 0.1, 60.0  # seconds over which a node averages what it measures
_TRAITS = ("region", "version", "label")
_PLACE = re.compile(r"[0-9a-f]{1,17}")
_REFUSE = refusing(
    StateError,
    "the terms of a rollout cannot be read; nothing has changed",
    "see who can write to the store; livepatch takes nothing that it would not have written",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a rollout asks of a node.

    `patch` and `digest` are the patch's id and digest, `file` is the digest of the file that it comes in, and
    `approvals` those of files of approvals.  `cuts` say who is in which stage, and `soaks` how long each soaks.
    `metrics` are what the gates ask for, averaged over `every` seconds.  `plan` and `inventory` are digests of files.
    """

    rollout: str
    patch: str
    digest: str
    file: str
    package: str
    plan: str
    inventory: str
    approvals: tuple[str, ...] = ()
    consensus: bool = False
    cuts: tuple[Cut, ...]
    soaks: tuple[float, ...]
    metrics: tuple[str, ...] = ()
    every: float = _SELDOM

    def encoded(self) -> bytes:
        """As they stand in a store."""
        stages = [
            {
                "below": f"{cut.below:x}",
                "nodes": sorted(map(key_of, cut.nodes)),
                "where": {trait: [*map(key_of, values)] for trait, values in cut.where.items()},
                "soak": round(soak * 1000),
            }
            for cut, soak in zip(self.cuts, self.soaks, strict=True)
        ]
        fields = {
            "type": "terms", "format": 1, "rollout": self.rollout, "patch": self.patch, "digest": self.digest,
            "file": self.file, "package": self.package, "plan": self.plan, "inventory": self.inventory,
            "approvals": list(self.approvals), "consensus": self.consensus, "stages": stages,
            "metrics": list(self.metrics), "every": round(self.every * 1000),
        }  # fmt: skip
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def terms_of(planned: Planned, *, file: str, approvals: tuple[str, ...], plan: str, inventory: str) -> Terms:
    """The terms of a planned rollout, whose files are in the store by these digests."""
    rollout = planned.rollout
    shortest = min(stage.soak for stage in rollout.stages) / rollout.judging.looks
    return Terms(
        rollout=rollout.id,
        patch=rollout.patch.id,
        digest=rollout.patch.digest,
        file=file,
        package=rollout.patch.package,
        plan=plan,
        inventory=inventory,
        approvals=approvals,
        consensus=rollout.patch.consensus,
        cuts=planned.cuts,
        soaks=tuple(round(stage.soak, 3) for stage in rollout.stages),
        metrics=tuple(dict.fromkeys(gate.metric for gate in rollout.gates)),
        every=round(min(max(shortest / 4, _SHORTEST), _SELDOM), 3),
    )


def terms_in(data: bytes, rollout: str) -> Terms:
    """The terms of that rollout in the value of a key.  Raises :class:`StateError`."""
    fields = read_object(data, most=LARGEST, brackets=5 * _STAGES, refuse=_REFUSE)
    fields.exactly("type", "terms")
    fields.exactly("format", 1)
    fields.exactly("rollout", rollout)
    told = {name: fields.text(name, 71, _check_digest) for name in ("digest", "file", "plan", "inventory")}
    patch = fields.text("patch", 128, lambda value: check_name("patch", value))
    package = fields.text("package", 200, check_distribution)
    approvals = fields.texts("approvals", 100, 71)
    for each in approvals:
        check_digest(each)
    consensus = fields.truth("consensus")
    stages = [_stage(each) for each in fields.records("stages", _STAGES)]
    metrics = fields.texts("metrics", 1000, 200)
    every = fields.number("every", 1, round(_SELDOM * 1000)) / 1000
    fields.end()
    return Terms(
        rollout=rollout,
        patch=patch,
        package=package,
        **told,
        approvals=approvals,
        consensus=consensus,
        cuts=tuple(cut for cut, _ in stages),
        soaks=tuple(soak for _, soak in stages),
        metrics=metrics,
        every=every,
    )


def _stage(fields: Fields) -> tuple[Cut, float]:
    below = fields.text("below", 17)
    if not _PLACE.fullmatch(below) or int(below, 16) > PLACES:
        raise fields.error("below", "no place", f"a hexadecimal number up to {PLACES:x}")
    nodes = frozenset(names_in(each)[0] for each in fields.texts("nodes", _MOST, _LONGEST))
    told = fields.record("where")
    where: Mapping[str, tuple[str, ...]] = {
        trait: tuple(names_in(each)[0] for each in told.texts(trait, _MOST, _LONGEST))
        for trait in told.names(len(_TRAITS))
        if trait in _TRAITS
    }
    told.end()
    soak = fields.number("soak", 0) / 1000
    fields.end()
    return Cut(below=int(below, 16), nodes=nodes, where=where), soak


def _check_digest(value: str) -> None:
    try:
        check_digest(value)
    except StateError as error:
        raise PatchError("no digest", found=error.found, expected=error.expected, action=error.action) from error
