# /// case
# id = "CVE-2021-33880"
# package = "websockets"
# vulnerable = "9.0.1"
# fixed = "9.1"
# what = "passwords are compared in a time that tells how much of one is right"
# shape = "async closures, with other variables"
# modules = ["websockets", "websockets.legacy.auth"]
# only = ["websockets.legacy.auth:basic_auth_protocol_factory"]
# ///
"""A comparison with == stops at the first difference."""

import asyncio

from websockets.legacy.auth import basic_auth_protocol_factory


class Watched(str):
    """A password that knows whether it was compared with ==."""

    __slots__ = ("compared",)
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        self.compared = True
        return str.__eq__(self, other)


def _allows(password: str, tried: str) -> bool:
    protocol = basic_auth_protocol_factory(realm="node", credentials=("me", password))
    return asyncio.run(protocol.keywords["check_credentials"]("me", tried))


def exploit() -> bool:
    password = Watched("secret")
    password.compared = False
    assert not _allows(password, "secres")
    return password.compared


def regression() -> None:
    assert _allows("secret", "secret")
    assert not _allows("secret", "other")
