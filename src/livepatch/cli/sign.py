"""``livepatch sign``: one more signature on a patch file."""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_signer, signer_of

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "add a signature to a patch file"
DESCRIPTION = """\
Sign the patch in FILE, which says for whom it is given out and until when.  The file
becomes a DSSE envelope, or gets one more signature; a signature by the same key is
replaced.  In which role a key signs, and how many must, is for the trust root to say.
Look into the file before you sign it: livepatch show."""
EXAMPLE = "livepatch sign fix.lpatch --key alice"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    add_signer(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; by default the same")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Sign."""
    from livepatch.bundle.load import load
    from livepatch.bundle.signed import sign

    path = given.output or given.file
    key = sign(given.file, key=signer_of(given), output=path)
    patch = load(path)
    assert patch.origin is not None
    assert patch.origin.signed is not None
    signers = [each.keyid for each in patch.origin.signed.envelope.signatures]
    if given.json:
        print_json({"file": path, "digest": patch.origin.digest, "id": patch.id, "keyid": key.id, "keyids": signers})
    else:
        print_lines(
            [
                f"signed {patch.id} ({patch.origin.digest}) in {in_line(path)}",
                f"by the key {key.id}, with {len(signers)} in all",
            ]
        )
    return True
