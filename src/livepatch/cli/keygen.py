"""``livepatch keygen``: a new key."""

from __future__ import annotations

import argparse
import getpass
import sys

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_passphrase, passphrase_of
from livepatch.errors import PatchError, TrustError

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "draw a key to sign patch files or trust roots with"
DESCRIPTION = """\
Draw an Ed25519 key: the private part into FILE, which its owner alone may read
(mode 0600, PEM, PKCS #8), and the public part into FILE.pub.  No file is overwritten.
With --seal it is an X25519 key, to which patch files can be encrypted (livepatch seal)."""
EXAMPLE = "livepatch keygen alice --encrypt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="where the private key goes")
    parser.add_argument("--encrypt", action="store_true", help="ask for a passphrase and encrypt the private key")
    parser.add_argument("--seal", action="store_true", help="an X25519 key to seal files for, and not one that signs")
    add_passphrase(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Draw."""
    from livepatch.bundle.keyfiles import make_key
    from livepatch.bundle.sealkeys import make_seal_key

    passphrase = passphrase_of(given)
    if passphrase is None and given.encrypt:
        passphrase = _asked()
    key = make_seal_key(given.file, passphrase) if given.seal else make_key(given.file, passphrase)
    facts = {
        "private_key": given.file,
        "public_key": f"{given.file}.pub",
        "keyid": key.id,
        "encrypted": passphrase is not None,
    }
    if given.json:
        print_json(facts)
    else:
        print_lines([f"wrote {in_line(given.file)} and {in_line(given.file)}.pub", f"key id {key.id}"])
    return True


def _asked() -> str:
    if not sys.stdin.isatty():
        raise PatchError(
            "there is nobody to ask for a passphrase",
            found="a standard input that is no terminal",
            expected="a terminal, or --passphrase-file",
            action="write the passphrase into a file of mode 0600 and name it with --passphrase-file",
        )
    one = getpass.getpass("Passphrase: ")
    if one != getpass.getpass("The same again: "):
        raise TrustError("the passphrases differ", found="two texts", expected="one", action="try again")
    return one
