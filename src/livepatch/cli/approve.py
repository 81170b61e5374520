"""``livepatch approve``: a signed approval of a patch file."""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_signer, signer_of
from livepatch.contents.words import CLASSES

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "approve a patch file, in a file of its own"
DESCRIPTION = """\
Write a signed approval of the patch in FILE: it names the digest of the patch, so that it
is of no use for another one.  In which role the key speaks is for the trust root to say,
and who must approve is for policy.  Look into the file before: livepatch show."""
EXAMPLE = "livepatch approve fix.lpatch --key carol --class hot-patch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    add_signer(parser)
    parser.add_argument("--class", dest="decision", choices=CLASSES, default="", help="what livepatch classify said")
    parser.add_argument("--emergency", action="store_true", help="say that it cannot wait; needs --reason")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; the record shows it")
    parser.add_argument("--expires", default="", metavar="MOMENT", help="until when it counts: 2027-03-31T00:00:00Z")
    parser.add_argument("-o", "--output", metavar="FILE", help="by default FILE.KEYID.approval")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Approve."""
    from livepatch.bundle.approval import approve, read_approval
    from livepatch.bundle.disk import read

    target = approve(
        given.file,
        key=signer_of(given),
        decision=given.decision,
        emergency=given.emergency,
        reason=given.reason,
        expires=given.expires,
        output=given.output,
    )
    made = read_approval(read(target))
    keyid = made.envelope.signatures[0].keyid
    if given.json:
        print_json(
            {
                "file": str(target), "patch": made.patch, "digest": made.digest, "keyid": keyid, "made": made.made,
                "expires": made.expires, "class": made.decision, "emergency": made.emergency, "reason": made.reason,
            }
        )  # fmt: skip
    else:
        what = "declared an emergency for" if made.emergency else "approved"
        print_lines([f"{what} {made.patch} ({made.digest}) in {in_line(str(target))}", f"by the key {keyid}"])
    return True
