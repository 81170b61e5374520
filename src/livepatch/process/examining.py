"""The survey of this process for a patch, and what the judgements and the rules in force make of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from livepatch.compat.approvals import NOBODY, Approving
from livepatch.compat.checks import PatchFacts, judge, standing_findings
from livepatch.compat.drift import names_of_needed
from livepatch.compat.policy import Policy
from livepatch.compat.report import by_weight
from livepatch.contents.changes import Addition, Attachment
from livepatch.engine.environment import observe
from livepatch.engine.facts import Survey
from livepatch.engine.loaded import Loaded
from livepatch.engine.modes import Mode
from livepatch.engine.pace import breathe
from livepatch.engine.survey import survey
from livepatch.govern.guarding import Governed, govern, graph_of_process
from livepatch.patch import Patch
from livepatch.process import distribution

if TYPE_CHECKING:
    from livepatch.process.live import Live

__all__ = ["examine"]


def examine(
    live: Live,
    patch: Patch,
    replaced: Iterable[str],
    *,
    callers: bool,
    policy: Policy,
    mode: Mode = "on",
    max_pause: float | None = None,
    approving: Approving = NOBODY,
    moment: datetime | None = None,
) -> tuple[Governed, Survey]:
    """Survey the process for `patch`, and judge what was found, by the rules in force too.  Changes nothing."""
    stack = live.state.stack.only(lambda slot: slot.owner is not None)
    gone = frozenset(replaced)
    places = [c.owner if isinstance(c, (Addition, Attachment)) else c.target for c in patch.changes]
    holder = next((r.id for r in live.records.values() if r.flag == patch.flag and r.id != patch.id), None)
    staying = [record for record in live.records.values() if record.id not in gone]
    provided = {name for record in staying for name in record.provides}
    facts = PatchFacts(
        id=patch.id,
        flag=patch.flag,
        package=patch.package,
        versions=patch.versions,
        already_applied=patch.id in live.records and patch.id not in gone,
        flag_taken_by=None if holder in gone else holder,
        replaces_unknown=tuple(sorted(gone - live.records.keys())),
        changes=len(patch.changes) + len(patch.edits) + len(patch.obstacles) + len(patch.migrations),
        requires_missing=tuple(name for name in patch.requires if name not in provided),
        needs=patch.needs,
    )
    breathe()
    named = [*(place.module for place in places), *(e.module for e in patch.edits if e.module in live.modules)]
    installed = distribution.look_up(patch.package, named, live.modules, names_of_needed(patch.needs))
    breathe()
    # Statements of a patch are run only in the release that they were taken from.
    fits = all(finding.severity != "error" for finding in standing_findings(facts, installed))
    loaded = Loaded()
    try:
        found = survey(
            patch.id,
            patch.changes,
            stack,
            live.modules,
            edits=() if facts.already_applied else patch.edits,
            statements=fits,
            obstacles=patch.obstacles,
            replaced=gone,
            callers=callers,
            max_pause=max_pause,
            loaded=loaded,
        )
    finally:
        if loaded.names:
            live.loads.append((patch.id, loaded))
    breathe()
    report = judge(facts, installed, observe(), found)
    breathe()
    report = replace(report, findings=by_weight([*report.findings, *live.states.findings(patch, found.values)]))
    return govern(patch, policy, mode, report, found, installed.installed, graph_of_process, approving, moment), found
