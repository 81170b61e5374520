"""A store by what an operator writes: the path of a file, or the address of a NATS server."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import Any

from livepatch.errors import StateError, spelled
from livepatch.fleet.state import Store

__all__ = ["Where", "default_store"]

_SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a fleet's store is, and how one gets in.

    `store` is the path of a file, or ``nats://host:4222`` or ``tls://host:4222``, several of them with commas; with
    ``/name`` behind it, another bucket than ``livepatch``.  `credentials` is a file of NATS credentials; `ca` one of
    the certificates that the server's is signed by; `certificate` and `key` are one's own, for a server that asks.
    """

    store: str
    credentials: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __str__(self) -> str:
        """Without a password that may stand in an address."""
        return ",".join(_shown(each) for each in self.store.split(",")) if self.is_server else self.store

    @property
    def is_server(self) -> bool:
        """Whether it is a server, and not a file."""
        scheme, divided, _ = self.store.partition("://")
        return bool(divided) and scheme in _SCHEMES

    def opened(self, *, only: str = "") -> Store:
        """The store, opened; of a server perhaps `only` the keys that begin so.  Raises :class:`StateError`."""
        options = [name for name in ("credentials", "ca", "certificate", "key") if getattr(self, name)]
        if not self.is_server:
            if options or "://" in self.store:
                raise StateError(
                    "the store cannot be used",
                    found=f"{self.store if '://' in self.store else 'a file'}"
                    + (f", and {', '.join(options)}" if options else ""),
                    expected="the path of a file, or nats://HOST:PORT or tls://HOST:PORT, which have such options",
                    action="correct the address",
                )
            from livepatch.fleet.onefile import OneFile

            return OneFile(self.store)
        from livepatch.fleet.nats import NatsStore

        servers, bucket = [], "livepatch"
        for each in self.store.split(","):
            scheme, _, rest = each.partition("://")
            address, _, name = rest.partition("/")
            servers.append(f"{scheme}://{address}")
            bucket = name or bucket
        given: dict[str, Any] = {}
        if self.credentials:
            given["user_credentials"] = self.credentials
        if self.store.startswith("tls") or self.ca or self.certificate:
            given["tls"] = self._tls()
        return NatsStore(servers, bucket=bucket, only=only, **given)

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key or None)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise StateError(
                "a certificate cannot be read",
                found=f"{', '.join(spelled(each) for each in (self.ca, self.certificate, self.key) if each)}: {error}",
                expected="files of PEM",
                action="correct the paths",
            ) from error
        return context


def _shown(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def default_store() -> str:
    """What ``$LIVEPATCH_FLEET`` says, or nothing."""
    return os.environ.get("LIVEPATCH_FLEET", "")
