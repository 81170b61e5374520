"""An approval: somebody's signed word that one very patch may go in.

It is a DSSE envelope around JSON that names the digest of the patch, so that it is of no use for another one.  In which
role whoever signed it speaks is for the trust root to say.  The format is in docs/approvals.md.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from livepatch.bundle import disk
from livepatch.bundle.envelope import Envelope, read_envelope
from livepatch.bundle.jsontext import read_object, refusing
from livepatch.bundle.keys import Signer
from livepatch.bundle.signed import signer_of
from livepatch.bundle.signing import sign as sign_envelope
from livepatch.bundle.trustroot import clock
from livepatch.contents.identity import check_distribution, check_name
from livepatch.contents.words import CLASSES
from livepatch.errors import PatchError, TrustError, spelled
from livepatch.govern.recording import note

__all__ = ["APPROVAL_TYPE", "Statement", "approval_in", "approve", "read_approval"]

APPROVAL_TYPE = "application/vnd.livepatch.approval+json"
_KIND, _FORMAT = "livepatch.approval", 1
_LARGEST = 8 << 10
_REASON = 300  # characters

_REFUSE = refusing(TrustError, "no readable approval", "get the file anew from whoever approved the patch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an approval says, and the envelope that it came in.  `made` and `expires` are moments; no end if empty."""

    digest: str
    patch: str
    package: str
    made: str
    expires: str = ""
    decision: str = ""
    emergency: bool = False
    reason: str = ""
    envelope: Envelope


def approve(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str] | Signer,
    passphrase: str | None = None,
    decision: str = "",
    emergency: bool = False,
    reason: str = "",
    expires: str = "",
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Approve the patch file at `path`: write the signed approval to `output`, and give its path.

    `key`, `passphrase`: see :func:`livepatch.sign`.  `decision` is the class that whoever approves found for the patch
    (docs/classification.md).  With `emergency` it says that the patch cannot wait, for a `reason` that the record will
    show.  After `expires`, a moment of UTC, it does not count.  `output` is by default the path of the patch file, the
    first eight digits of the key's id and ``.approval``; an older file there is replaced.

    Raises :class:`PatchError` or :class:`TypeError` for a wrong argument, :class:`BundleError` for a file that is no
    patch file or cannot be written, and :class:`TrustError` for a key that cannot be used.  Then nothing is written.
    """
    from livepatch.bundle.load import load

    patch = load(path)
    assert patch.origin is not None
    signer = signer_of(key, passphrase)
    made = Statement(
        digest=patch.origin.digest,
        patch=patch.id,
        package=patch.package,
        made=clock(),
        expires=expires,
        decision=decision,
        emergency=emergency,
        reason=reason,
        envelope=Envelope(payload_type=APPROVAL_TYPE, payload=b""),
    )
    _check(made)
    envelope = sign_envelope(_encoded(made), signer)
    target = Path(f"{os.fspath(path)}.{signer.key.id[:8]}.approval" if output is None else output)
    disk.write(target, envelope.to_bytes(), "the approval", beside=path)
    note("approved", patch, keyid=signer.key.id, decision=decision, emergency=emergency, reason=reason)
    return target


def _check(made: Statement) -> None:
    for name, value in (("decision", made.decision), ("reason", made.reason), ("expires", made.expires)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {spelled(value)}")
    if not isinstance(made.emergency, bool):
        raise TypeError(f"emergency must be True or False, not {spelled(made.emergency)}")
    if made.emergency and not made.reason.strip():
        raise PatchError(
            "an emergency has no reason",
            found="no reason",
            expected="why the patch cannot wait",
            action="say why with --reason",
        )
    try:
        read_approval(_encoded(made).to_bytes())
    except TrustError as error:
        raise PatchError(
            "there can be no such approval", found=error.found, expected=error.expected, action="correct it"
        ) from error
    if made.expires and made.expires <= made.made:
        raise PatchError(
            "an approval would have expired",
            found=f"{made.expires}; it is {made.made}",
            expected="a moment to come",
            action="give a moment to come, or none",
        )


def _encoded(made: Statement) -> Envelope:
    plain = {
        "type": _KIND,
        "format": _FORMAT,
        "digest": made.digest,
        "patch": made.patch,
        "package": made.package,
        "made": made.made,
        "expires": made.expires,
        "class": made.decision,
        "emergency": made.emergency,
        "reason": made.reason,
    }
    return Envelope(payload_type=APPROVAL_TYPE, payload=json.dumps(plain, indent=1, sort_keys=True).encode())


def read_approval(data: bytes) -> Statement:
    """Read an approval, whoever signed it.  Raises :class:`TrustError`."""
    return approval_in(read_envelope(data, payload=_LARGEST, refuse=_REFUSE))


def approval_in(envelope: Envelope) -> Statement:
    """The approval in an envelope, whoever signed it.  Raises :class:`TrustError`."""
    if envelope.payload_type != APPROVAL_TYPE:
        raise _REFUSE(f"a payload of type {spelled(envelope.payload_type)}", f"one of type {APPROVAL_TYPE!r}")
    fields = read_object(envelope.payload, most=_LARGEST, brackets=2, refuse=_REFUSE)
    fields.exactly("type", _KIND)
    fields.exactly("format", _FORMAT)
    digest = fields.text("digest", 71)
    patch = fields.text("patch", 128, lambda text: check_name("id", text))
    package = fields.text("package", 128, check_distribution)
    made = fields.moment("made")
    expires = fields.moment("expires", empty=True)
    decision = fields.text("class", 40, _check_class)
    emergency = fields.truth("emergency")
    reason = fields.text("reason", _REASON, _check_line)
    if emergency and not reason.strip():
        raise fields.error("reason", "none, for an emergency", "why the patch cannot wait")
    fields.end()
    return Statement(
        digest=digest,
        patch=patch,
        package=package,
        made=made,
        expires=expires,
        decision=decision,
        emergency=emergency,
        reason=reason,
        envelope=envelope,
    )


def _check_class(text: str) -> None:
    if text and text not in CLASSES:
        raise PatchError(
            "no class",
            found=spelled(text),
            expected=f"one of {', '.join(CLASSES)}, or nothing",
            action="see what livepatch classify says",
        )


def _check_line(text: str) -> None:
    if not text.isprintable():
        raise PatchError(
            "no line of text",
            found=spelled(text),
            expected="one line without control characters",
            action="say it in one line",
        )
