"""Options that several commands take: whom to trust, and with which key to sign."""

from __future__ import annotations

import argparse
import getpass
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.errors import PatchError, TrustError

if TYPE_CHECKING:
    from livepatch.bundle.keys import Signer
    from livepatch.bundle.trustroot import TrustRoot

__all__ = ["add_passphrase", "add_signer", "add_trust", "answering", "passphrase_of", "signer_of", "trust_of"]


def add_trust(
    parser: argparse.ArgumentParser,
    *,
    required: bool = False,
    node: str = "what this node is called in files for certain nodes",
) -> None:
    """Add ``--trust``, ``--state`` and ``--node``, which that text explains."""
    parser.add_argument(
        "--trust", required=required, metavar="FILE", help="the trust root by whose keys the file must be signed"
    )
    parser.add_argument(
        "--state", metavar="FILE", help="remember the highest versions in this file, and refuse what is older"
    )
    parser.add_argument("--node", metavar="NAME", default="", help=node)


def trust_of(given: argparse.Namespace) -> TrustRoot | None:
    """The trust root of ``--trust``; nothing without.  Raises :class:`TrustError`."""
    if given.trust is None:
        for option in ("state", "node"):
            if getattr(given, option):
                raise PatchError(
                    f"--{option} says something about a trust root",
                    found="no --trust",
                    expected="both",
                    action="name the trust root with --trust",
                )
        return None
    from livepatch.bundle.trustroot import TrustRoot

    return TrustRoot.load(given.trust, state=given.state, node=given.node)


def answering(given: argparse.Namespace) -> object:
    """Who answers for a file: the trust root of ``--trust``, or whoever says ``--unsigned``.

    Raises :class:`PatchError` if both are given, and :class:`TrustError`.
    """
    from livepatch.bundle.trust import UNSIGNED

    trust = trust_of(given)
    if not given.unsigned:
        return trust
    if trust is not None:
        raise PatchError(
            "it is not said who answers for the file",
            found="--trust and --unsigned",
            expected="one",
            action="leave one of the two out",
        )
    return UNSIGNED


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add ``--passphrase-file``."""
    parser.add_argument(
        "--passphrase-file", metavar="FILE", help="read the passphrase from the first line of this file, of mode 0600"
    )


def add_signer(parser: argparse.ArgumentParser) -> None:
    """Add ``--key``, ``--passphrase-file``, ``--command`` and ``--public-key``."""
    parser.add_argument("--key", metavar="FILE", help="the private key to sign with, as keygen writes it")
    add_passphrase(parser)
    parser.add_argument(
        "--command",
        metavar="COMMAND",
        help="sign by this command instead, as for a key in a device: it gets the bytes to sign on its standard input "
        "and writes the 64 bytes of the signature to its standard output; no shell is used",
    )
    parser.add_argument("--public-key", metavar="FILE", help="with --command: the public key of its signatures, in PEM")


def signer_of(given: argparse.Namespace) -> Signer:
    """What signs.  Raises :class:`PatchError` for wrong options, and :class:`TrustError`."""
    from livepatch.bundle.keyfiles import KeyFile, is_encrypted, read_private, read_public

    by_command = (given.command, given.public_key)
    if (given.key is None) == (given.command is None) or None in by_command != (None, None):
        raise PatchError(
            "it is not said how to sign",
            found="neither a key nor a command, both, or a command without its public key",
            expected="--key FILE, or --command COMMAND --public-key FILE",
            action="name a key that livepatch keygen has drawn with --key, or the command of a device",
        )
    if given.command is not None:
        from livepatch.bundle.command import Command

        return Command(_words(given.command), read_public(given.public_key))
    passphrase = passphrase_of(given)
    if passphrase is None and is_encrypted(read_private(given.key)) and sys.stdin.isatty():
        passphrase = getpass.getpass(f"Passphrase of {given.key}: ")
    return KeyFile(given.key, passphrase)


def passphrase_of(given: argparse.Namespace) -> str | None:
    """The passphrase of ``--passphrase-file``; nothing without.  Raises :class:`TrustError`."""
    if given.passphrase_file is None:
        return None
    from livepatch.bundle.keyfiles import read_private

    try:
        line = read_private(given.passphrase_file).decode().partition("\n")[0]
    except UnicodeDecodeError:
        line = ""
    if not line:
        raise TrustError(
            "there is no passphrase in the file",
            found=str(Path(given.passphrase_file)),
            expected="a first line in UTF-8 that is not empty",
            action="correct the path",
        )
    return line


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise PatchError(
            "--command cannot be taken apart",
            found=str(error),
            expected="quotes that are closed",
            action="close the quotes",
        ) from error
    if not words:
        raise PatchError(
            "--command is empty",
            found="no program",
            expected="a program and what it is given",
            action="name the program that asks the device",
        )
    return words
