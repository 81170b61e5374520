"""``livepatch docs``: the documents of a patch, for operators and for the world."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_trust, trust_of

if TYPE_CHECKING:
    from livepatch.documents.advisory import Advisory
    from livepatch.govern.classification import Classification
    from livepatch.patch import Patch

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "write the documents of a patch: advisory, OSV, OpenVEX, CSAF, deployment, runbook and more"
DESCRIPTION = """\
Write all documents about the patch in FILE, from the patch, from the one file with what
only people know (--about), and from the record, if there is one.  What is for the public
goes into DIR/public, and holds nothing that is under embargo."""
EXAMPLE = "livepatch docs fix.lpatch --about about.toml -o papers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    parser.add_argument("--about", required=True, metavar="TOML", help="what people know of the flaw and its fix")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--record", metavar="FOLDER", help="a record, for the review afterwards")
    parser.add_argument("--package-dir", metavar="DIR", help="the package, to classify the patch beside its sources")
    add_trust(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Write them."""
    from livepatch.bundle.load import load
    from livepatch.documents.advisory import read_advisory
    from livepatch.documents.dossier import Dossier, entries_about
    from livepatch.documents.writing import documents_of, write_documents
    from livepatch.govern.severity import plain_of, severity_of
    from livepatch.govern.telling import entries

    about = read_advisory(Path(given.about))
    if given.record:
        _must_hold(given.record)
    patch = load(given.file, trust=trust_of(given))
    dossier = Dossier(
        patch=patch,
        advisory=about,
        now=datetime.now(UTC).replace(microsecond=0),
        severity=severity_of(about.cvss) if about.cvss else None,
        cvss=plain_of(about.cvss) if about.cvss else None,
        classification=_classified(patch, about, given.package_dir) if given.package_dir else None,
        entries=entries_about(patch, entries(given.record)) if given.record else (),
    )
    documents = documents_of(dossier)
    written = write_documents(documents, given.output)
    if given.json:
        print_json(
            {
                "file": given.file,
                "digest": dossier.digest,
                "documents": [str(path) for path in written],
                "left_out": documents.left_out,
            }
        )
    else:
        print_lines(in_line(str(path)) for path in written)
        print_lines(in_line(f"not written: {path}: {why}") for path, why in documents.left_out.items())
    return True


def _must_hold(record: str) -> None:
    """Raise :class:`AuditError` for a record that somebody has changed: a review would tell that as it happened."""
    from livepatch.errors import AuditError
    from livepatch.govern.audit import verify

    found = verify(record, archived=True, clock_steps=True)
    if not found:
        raise AuditError(
            "the record does not hold, and so tells nothing",
            found="; ".join(map(str, found.flaws[:3])),
            expected="a record as livepatch wrote it",
            action="see livepatch audit verify, and find out who changed it; the other documents need no --record",
        )


def _classified(patch: Patch, about: Advisory, folder: str) -> Classification:
    from livepatch.cli.classify import classified_beside
    from livepatch.govern.criteria import default_criteria
    from livepatch.govern.policies import policy_in_force

    return classified_beside(
        patch,
        folder,
        criteria=default_criteria(),
        policy=policy_in_force(None),
        cvss=about.cvss,
        exploitability=about.exploitability or None,
        exposure=about.exposure or None,
    )
