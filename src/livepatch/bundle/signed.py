"""Sign a patch file."""

from __future__ import annotations

import os

from livepatch.bundle import codec, disk
from livepatch.bundle.envelope import PATCH_TYPE, Envelope, SignedBundle, read_bundle
from livepatch.bundle.keys import PublicKey, Signer
from livepatch.bundle.signing import sign as sign_envelope
from livepatch.errors import spelled
from livepatch.govern.recording import Known, note

__all__ = ["sign", "signer_of"]


def sign(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str] | Signer,
    passphrase: str | None = None,
    output: str | os.PathLike[str] | None = None,
) -> PublicKey:
    """Add a signature to the patch file at `path`, or write the signed file to `output`; by which public key.

    `key` is the path of a private key, as ``livepatch keygen`` writes it, with a `passphrase` if it is encrypted, or
    anything with a ``key`` and a ``sign(message)``, such as a :class:`livepatch.bundle.command.Command`.  In which role
    the signature counts is for the trust root to say.  A signature by the same key is replaced.

    Raises :class:`BundleError` for a file that cannot be read, is no patch file, or cannot be written, and
    :class:`TrustError` for a key that cannot be used.  Then the file is unchanged.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or os.PathLike, not {spelled(path)}")
    signer = signer_of(key, passphrase)
    file = read_bundle(disk.read(path))
    plain = file.unverified() if isinstance(file, SignedBundle) else file
    contents = codec.decode(plain)  # nobody signs what nobody can read
    envelope = (
        file.envelope if isinstance(file, SignedBundle) else Envelope(payload_type=PATCH_TYPE, payload=file.payload)
    )
    signed = sign_envelope(envelope, signer)
    disk.write(path if output is None else output, signed.to_bytes())
    known = Known(digest=plain.digest, id=contents.id, package=contents.package, versions=contents.versions)
    note("signed", known, keyid=signer.key.id, signatures=len(signed.signatures))
    return signer.key


def signer_of(key: str | os.PathLike[str] | Signer, passphrase: str | None) -> Signer:
    """What signs: a path, as ``livepatch keygen`` writes a key there, or what is one already.

    Raises :class:`TrustError` for a key that cannot be used.
    """
    if passphrase is not None and not isinstance(passphrase, str):
        raise TypeError(f"passphrase must be a str or None, not a {type(passphrase).__name__}")
    if isinstance(key, (str, os.PathLike)):
        from livepatch.bundle.keyfiles import KeyFile

        return KeyFile(key, passphrase)
    if passphrase is not None:
        raise TypeError("passphrase is for the path of a key")
    if not (isinstance(getattr(key, "key", None), PublicKey) and callable(getattr(key, "sign", None))):
        raise TypeError(
            f"key must be the path of a private key (livepatch keygen), or have a key and a sign(message), "
            f"not {spelled(key) if not isinstance(key, bytes) else 'bytes'}"
        )
    return key
