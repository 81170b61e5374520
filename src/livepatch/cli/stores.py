"""What the commands share that use a fleet's store: where it is, and in whose name something is said there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from livepatch.errors import PatchError

if TYPE_CHECKING:
    from livepatch.fleet.opening import Where
    from livepatch.fleet.state import Store

__all__ = ["add_access", "add_store", "add_who", "opened", "where_of"]


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add ``--store``, and how one gets in."""
    parser.add_argument(
        "--store",
        metavar="STORE",
        help="the fleet's store: the path of a file, or nats://HOST:PORT[/BUCKET] or tls://HOST:PORT[/BUCKET], several "
        "servers with commas (default: $LIVEPATCH_FLEET)",
    )
    add_access(parser)


def add_access(parser: argparse.ArgumentParser, of: str = "a server") -> None:
    """Add how one gets into a store that is a server."""
    parser.add_argument("--credentials", metavar="FILE", default="", help=f"of {of}: the NATS credentials")
    parser.add_argument("--ca", metavar="FILE", default="", help="certificates that the server's must be signed by")
    parser.add_argument("--certificate", metavar="FILE", default="", help="one's own certificate, if the server asks")
    parser.add_argument("--store-key", metavar="FILE", default="", help="and its private key")


def where_of(given: argparse.Namespace) -> Where:
    """Where the store is.  Raises :class:`PatchError` if nobody says so."""
    from livepatch.fleet.opening import Where, default_store

    store = given.store or default_store()
    if not store:
        raise PatchError(
            "it is not said where the fleet's store is",
            found="no --store, and no $LIVEPATCH_FLEET",
            expected="the path of a file, or nats://HOST:PORT",
            action="name it with --store",
        )
    return Where(
        store=store,
        credentials=given.credentials,
        ca=given.ca,
        certificate=given.certificate,
        key=given.store_key,
    )


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Store]:
    """The store, while the block lasts.  Raises :class:`StateError`, and what `where_of` does."""
    store = where_of(given).opened()
    try:
        yield store
    finally:
        store.close()


def add_who(parser: argparse.ArgumentParser) -> None:
    """Add ``--as``: in whose name."""
    from livepatch.govern import surroundings

    parser.add_argument(
        "--as", dest="who", metavar="NAME", default=surroundings.user(), help="who says so (default: this user's name)"
    )
