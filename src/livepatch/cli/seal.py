"""``livepatch seal``: encrypt a patch file to those who may read it."""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "encrypt a patch file to those who may read it before its embargo ends"
DESCRIPTION = """\
Encrypt the patch in FILE to the holders of public keys, as keygen --seal draws them.  Each
of them, and nobody else, gets the very file back: livepatch unseal.  Sealing says nothing
about who made the patch: sign it before."""
EXAMPLE = "livepatch seal fix.lpatch --to erin-seal.pub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    parser.add_argument(
        "--to", action="append", required=True, metavar="FILE", help="a public key to seal for; may be repeated"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="by default FILE.sealed")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Seal."""
    from livepatch.bundle.sealed import seal
    from livepatch.bundle.sealkeys import read_seal_key

    target = seal(given.file, given.to, output=given.output)
    keyids = list(dict.fromkeys(read_seal_key(path).id for path in given.to))
    if given.json:
        print_json({"file": str(target), "keyids": keyids})
    else:
        print_lines([f"sealed in {in_line(str(target))}", *(f"  for the key {keyid}" for keyid in keyids)])
    return True
