"""Sealed patch files: what is under embargo can be given out before, and only those read it whom it was sealed for.

The file is encrypted once, with a key of its own (ChaCha20-Poly1305); that key is sealed for each holder by HPKE
(RFC 9180: X25519, HKDF-SHA256, ChaCha20-Poly1305).  Sealing says nothing about who made the patch: what is inside is a
signed file as any other, and is verified when it is loaded.
"""

from __future__ import annotations

import binascii
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.bundle import codec, disk
from livepatch.bundle.envelope import LARGEST_FILE, SignedBundle, read_bundle
from livepatch.bundle.jsontext import read_object, refusing
from livepatch.bundle.sealkeys import SealKey, private_seal_key, read_seal_key
from livepatch.errors import BundleError, PatchError, TrustError, counted, spelled

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite

__all__ = ["seal", "unseal"]

_KIND, _FORMAT = "livepatch.sealed", 1
_INFO = b"livepatch.sealed 1"
_HOLDERS = 64
_KEY, _NONCE, _TAG = 32, 12, 16
_SEALED_KEY = 32 + _KEY + _TAG  # what HPKE sends before it, and the tag behind it
_LARGEST = (LARGEST_FILE + _TAG + 2) // 3 * 4 + (64 << 10)

_REFUSE = refusing(BundleError, "no readable sealed file", "get the file anew from whoever sealed it")


def seal(
    path: str | os.PathLike[str],
    holders: Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Seal the patch file at `path` for the holders of the public keys in these files, and give the path of the result.

    `output` is by default the path of the patch file with ``.sealed`` behind it; an older file there is replaced.

    Raises :class:`BundleError` for a file that is no patch file or cannot be written, :class:`TrustError` for a key
    that cannot be used, and :class:`PatchError` or :class:`TypeError` for other arguments.  Then nothing is written.
    """
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if isinstance(holders, (str, bytes, os.PathLike)):
        raise TypeError(f"holders must be an iterable of paths, not {spelled(holders)}")
    keys = {key.id: key for key in map(read_seal_key, holders)}
    if not 1 <= len(keys) <= _HOLDERS:
        raise PatchError(
            "a file is sealed for somebody", found=counted(len(keys), "key"), expected=f"1 to {_HOLDERS}",
            action="name the .pub files of those who shall read it",
        )  # fmt: skip
    plain = disk.read(path)
    _must_be_a_patch(plain)
    content, nonce = secrets.token_bytes(_KEY), secrets.token_bytes(_NONCE)
    suite = _suite()
    sealed = {keyid: suite.encrypt(content, key.loaded(), info=_INFO) for keyid, key in keys.items()}
    data = {
        "type": _KIND,
        "format": _FORMAT,
        "for": [{"keyid": keyid, "key": _text(each)} for keyid, each in sealed.items()],
        "nonce": _text(nonce),
        "data": _text(ChaCha20Poly1305(content).encrypt(nonce, plain, _bound(sealed))),
    }
    target = Path(f"{os.fspath(path)}.sealed" if output is None else output)
    disk.write(target, json.dumps(data).encode() + b"\n", "the sealed file", beside=path)
    return target


def unseal(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    passphrase: str | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the patch file that was sealed at `path`, byte for byte, to `output` with mode 0600, and give its path.

    `key` is the path of a private key for which it was sealed.  `output` is by default the path without ``.sealed``; an
    older file there is replaced.  That it could be unsealed does not say who made it: :func:`livepatch.load` verifies.

    Raises :class:`BundleError` for what is no sealed file, holds no patch file or cannot be written,
    :class:`PatchError` if it is not said where to write, and :class:`TrustError` for a file that cannot be read or was
    changed, and for a key that cannot be used or for which it was not sealed.  Then nothing is written.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    private = private_seal_key(key, passphrase)
    own = SealKey(private.public_key().public_bytes_raw()).id
    data = disk.read_for_trust(path, _LARGEST, "the sealed file")
    fields = read_object(data, most=_LARGEST, brackets=_HOLDERS + 2, refuse=_REFUSE)
    fields.exactly("type", _KIND)
    fields.exactly("format", _FORMAT)
    sealed: dict[str, bytes] = {}
    for each in fields.records("for", _HOLDERS):
        keyid = each.text("keyid", 64)
        if keyid in sealed:
            raise _REFUSE(f"the key {spelled(keyid)} twice", "each key once")
        sealed[keyid] = each.binary("key", _SEALED_KEY)
        each.end()
    nonce = fields.binary("nonce", _NONCE)
    encrypted = fields.binary("data", LARGEST_FILE + _TAG)
    fields.end()
    if own not in sealed:
        raise TrustError(
            "the file was not sealed for this key",
            found=f"the key {own[:16]}…, and {counted(len(sealed), 'other')}",
            expected="one of those for which it was sealed",
            action="take the right key, or ask for the file to be sealed for it",
        )
    try:
        content = _suite().decrypt(sealed[own], private, info=_INFO)
        plain = ChaCha20Poly1305(content).decrypt(nonce, encrypted, _bound(sealed))
    except (InvalidTag, ValueError) as error:
        raise TrustError(
            "the sealed file was changed",
            found="bytes that do not come from whoever sealed it",
            expected="the file as it was sealed",
            action="get the file anew from whoever sealed it",
        ) from error
    _must_be_a_patch(plain)
    name = os.fsdecode(path)
    if output is None and not name.endswith(".sealed"):
        raise PatchError(
            "it is not said where to write",
            found=spelled(name),
            expected="a name with .sealed at its end, or output=",
            action="pass output=",
        )
    target = Path(name.removesuffix(".sealed") if output is None else output)
    disk.write(target, plain, mode=0o600, beside=path)
    return target


def _must_be_a_patch(plain: bytes) -> None:
    """Raise :class:`BundleError` for what nobody could use: neither is it sealed, nor written where a patch should be.

    Nothing of it is compiled, and nobody has verified it.
    """
    file = read_bundle(plain)
    codec.decode(file.unverified() if isinstance(file, SignedBundle) else file)


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def _bound(sealed: Mapping[str, bytes]) -> bytes:
    """What the encryption covers besides the file: for whom it is, and the key as it was sealed for each."""
    return b"\n".join([_INFO, *(keyid.encode() + b" " + each.hex().encode() for keyid, each in sealed.items())])


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
