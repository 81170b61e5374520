"""The public call that classifies a patch beside this process."""

from __future__ import annotations

import os
import sys

from livepatch.bundle.trust import require_admitted
from livepatch.compat.policy import Policy
from livepatch.compat.protected import built
from livepatch.errors import spelled
from livepatch.govern.classification import Classification, classified
from livepatch.govern.criteria import criteria_of
from livepatch.govern.guarding import graph_of_process, touched_by
from livepatch.govern.policies import check_policy, policy_in_force
from livepatch.govern.recording import note
from livepatch.govern.risk import assess
from livepatch.govern.severity import severity_of
from livepatch.patch import Patch
from livepatch.process.arguments import check_seconds
from livepatch.process.examining import examine
from livepatch.process.live import live
from livepatch.process.public import opened

__all__ = ["classify"]


def classify(
    patch: Patch | str | os.PathLike[str],
    *,
    cvss: str = "",
    exploitability: str | None = None,
    exposure: str | None = None,
    criteria: str | os.PathLike[str] | None = None,
    policy: str | os.PathLike[str] | None = None,
    trust: object = None,
    timeout: float = 30.0,
) -> Classification:
    """Say which way a fix should go: as a hot-patch, as one that needs a quorum, or as a full update.

    What can be, is taken from the patch and this process: whether it fits, whether consensus is touched, what becomes
    of data, how much changes, and how many functions come to call it.  What nobody can measure is declared: `cvss`, a
    vector as advisories have it; `exploitability`, ``"none"``, ``"proof-of-concept"`` or ``"active"``; `exposure`,
    ``"physical"``, ``"local"``, ``"adjacent"`` or ``"network"``.  A vector may tell the last two as well.

    `criteria` is the path of a TOML file (docs/classification.md) in the place of livepatch's own.  `policy`, `trust`,
    `timeout`: see :func:`livepatch.apply`.  Where a record is kept, the decision is noted in it.

    `patch` may be the path of a patch file.  Changes nothing; statements of a built patch are run as for
    :func:`livepatch.check`.  Raises :class:`TypeError` if it is no patch, :class:`PolicyError` for a vector, a word or
    a file that cannot be read, :class:`BundleError` for no patch file, :class:`TrustError` for one that nobody answers
    for, and :class:`TransitionError` if another switch does not end within `timeout` seconds.
    """
    check_seconds("timeout", timeout)
    check_policy(policy)
    patch = opened(patch, trust, "classified")
    require_admitted(patch, trust)
    by = criteria_of(criteria)
    if not isinstance(cvss, str):
        raise TypeError(f"cvss must be a str, not {spelled(cvss)}")
    severity = severity_of(cvss) if cvss else None

    def body() -> Classification:
        rules = policy_in_force(policy)
        live.wait_for_settled(timeout)
        # By no rules: what policy asks for is no reason why a patch would not fit.
        governed, found = examine(live, patch, (), callers=False, policy=Policy())
        touched = touched_by(found, sys.modules)
        packages = frozenset(
            top
            for place in touched
            for name in (place.label, *(name for name, _ in place.functions))
            if (top := name.partition(":")[0].partition(".")[0]) in sys.modules
        )
        graph, _ = built(lambda: graph_of_process(rules.packages | packages, packages))
        risk = assess(
            patch,
            fits=governed.report.ok,
            touched=touched,
            graph=graph,
            policy=rules,
            place="this process",
            severity=severity,
            exploitability=exploitability,
            exposure=exposure,
        )
        made = classified(patch.id, patch.package, patch.versions, risk, by)
        note("classified", patch, decision=made.decision, decided_by=[each.name for each in made.decided_by])
        return made

    return live.transact(timeout, body)
