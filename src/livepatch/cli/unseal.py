"""``livepatch unseal``: the patch file that was sealed for this key."""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_passphrase, passphrase_of

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "decrypt a patch file that was sealed for a key"
DESCRIPTION = """\
Write the patch file that was sealed in FILE, byte for byte.  That it can be unsealed does
not say who made it: livepatch verify."""
EXAMPLE = "livepatch unseal fix.lpatch.sealed --key erin-seal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the sealed file")
    parser.add_argument("--key", required=True, metavar="FILE", help="the private key for which it was sealed")
    add_passphrase(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="by default FILE without .sealed")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Unseal."""
    from livepatch.bundle.sealed import unseal

    target = unseal(given.file, key=given.key, passphrase=passphrase_of(given), output=given.output)
    if given.json:
        print_json({"file": str(target)})
    else:
        print_lines([f"wrote {in_line(str(target))}"])
    return True
