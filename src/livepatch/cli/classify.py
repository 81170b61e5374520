"""``livepatch classify``: hot-patch, hot-patch with a quorum, or full update?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from livepatch.cli.beside import add_package_dir, tree_in
from livepatch.cli.output import Style, add_color, add_json, print_json, print_lines
from livepatch.cli.trusting import add_trust, trust_of
from livepatch.govern.severity import EXPLOITABILITY, EXPOSURE

if TYPE_CHECKING:
    from livepatch.compat.policy import Policy
    from livepatch.govern.classification import Classification
    from livepatch.govern.criteria import Criteria
    from livepatch.patch import Patch

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "classified_beside", "run"]

SUMMARY = "say which way a fix should go: as a hot-patch, with a quorum, or as a full update"
DESCRIPTION = """\
Classify the patch in FILE beside the sources in DIR, without a live process: nothing of
either is imported or run.  What can be is measured; how grave the flaw is, is declared.
The gravest class of all criteria that are met decides, and each of them is named."""
EXAMPLE = """\
livepatch classify fix.lpatch --package-dir site-packages \\
    --cvss CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    add_package_dir(parser)
    parser.add_argument("--cvss", default="", metavar="VECTOR", help="a CVSS vector of version 2, 3.0, 3.1 or 4.0")
    parser.add_argument("--exploitability", choices=EXPLOITABILITY, help="what is known of attacks")
    parser.add_argument("--exposure", choices=EXPOSURE, help="from where an attack comes")
    parser.add_argument("--criteria", metavar="FILE", help="criteria in the place of livepatch's own")
    add_trust(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Classify.  Whether the fix may go in live."""
    from livepatch.bundle.load import load
    from livepatch.govern.criteria import criteria_of
    from livepatch.govern.policies import policy_in_force

    criteria = criteria_of(given.criteria)
    patch = load(given.file, trust=trust_of(given))
    found = classified_beside(
        patch,
        given.package_dir,
        criteria=criteria,
        policy=policy_in_force(given.policy),
        cvss=given.cvss,
        exploitability=given.exploitability,
        exposure=given.exposure,
    )
    assert patch.origin is not None
    if given.json:
        where = {"file": given.file, "digest": patch.origin.digest, "package_dir": given.package_dir}
        print_json({**found.to_dict(), **where})
    else:
        first, *rest = str(found).split("\n")
        style = Style(given.color)
        print_lines([style("bold", first), *(style("plain", line) for line in rest)])
    return found.decision != "full-update"


def classified_beside(
    patch: Patch,
    folder: str,
    *,
    criteria: Criteria,
    policy: Policy,
    cvss: str,
    exploitability: str | None,
    exposure: str | None,
) -> Classification:
    """Classify a patch beside the sources in a folder.  Raises :class:`BundleError` if there are none."""
    from livepatch.bundle.comparing import compare
    from livepatch.bundle.governing import files_of, graph_of_sources, touched_in
    from livepatch.compat.protected import built
    from livepatch.govern.classification import classified
    from livepatch.govern.risk import assess
    from livepatch.govern.severity import severity_of

    severity = severity_of(cvss) if cvss else None
    tree = tree_in(folder, patch.package)
    files = files_of(tree)
    graph, _ = built(lambda: graph_of_sources(files))
    risk = assess(
        patch,
        fits=compare(patch, tree).ok,
        touched=touched_in(patch, files),
        graph=graph,
        policy=policy,
        place="these sources",
        severity=severity,
        exploitability=exploitability,
        exposure=exposure,
    )
    return classified(patch.id, patch.package, patch.versions, risk, criteria)
