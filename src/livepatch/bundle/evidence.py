"""Evidence: somebody's signed word that a suite of tests ran against one very patch, and what came of it.

It is a DSSE envelope around an in-toto statement (https://in-toto.io/Statement/v1) with a test result as its predicate
(https://in-toto.io/attestation/test-result/v0.1), so that other tools make and read it, too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from livepatch.bundle import disk
from livepatch.bundle.envelope import Envelope, read_envelope
from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.bundle.keys import Signer
from livepatch.bundle.signed import signer_of
from livepatch.bundle.signing import sign as sign_envelope
from livepatch.contents.identity import check_name
from livepatch.contents.words import RESULTS
from livepatch.errors import PatchError, TrustError, spelled
from livepatch.govern.recording import note

__all__ = ["EVIDENCE_TYPE", "TestResult", "attest", "evidence_in"]

EVIDENCE_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
_LARGEST = 1 << 20
_BRACKETS = 200
_TESTS = 10_000
_DIGEST = re.compile(r"[0-9a-f]{64}")

_REFUSE = refusing(TrustError, "no readable evidence", "get the file anew from whoever ran the tests")


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What a statement says: the suites that ran, the result, and the digests of what they ran against."""

    __test__ = False

    digests: tuple[str, ...]
    suites: tuple[str, ...]
    result: str


def attest(
    path: str | os.PathLike[str],
    *,
    suite: str,
    key: str | os.PathLike[str] | Signer,
    passphrase: str | None = None,
    result: str = "PASSED",
    failed: Iterable[str] = (),
    url: str = "",
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a signed statement that a suite of tests ran against the patch file at `path`, and give its path.

    `result` is ``"PASSED"``, ``"WARNED"`` or ``"FAILED"``, `failed` names the tests that failed, and `url` is where
    more stands.  `key`, `passphrase`: see :func:`livepatch.sign`.  `output` is by default the path of the patch file,
    the name of the suite and ``.evidence``; an older file there is replaced, unless it is evidence about the very same
    patch by another key, or of a suite that ``FAILED`` and now did not: that somebody has to put aside.

    Raises :class:`PatchError` or :class:`TypeError` for a wrong argument, :class:`BundleError` for a file that is no
    patch file or cannot be written, and :class:`TrustError` for a key that cannot be used.  Then nothing is written.
    """
    from livepatch.bundle.load import load

    patch = load(path)
    assert patch.origin is not None
    for name, value in (("suite", suite), ("result", result), ("url", url)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {spelled(value)}")
    check_name("suite", suite)
    if result not in RESULTS:
        raise PatchError(
            "no result",
            found=spelled(result),
            expected=f"one of {', '.join(RESULTS)}",
            action="say how the suite ended",
        )
    names = [failed] if isinstance(failed, str) else list(failed)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"failed must be an iterable of texts, not {spelled(failed)}")
    if names and result != "FAILED":
        raise PatchError(
            "tests failed, and the result is another",
            found=result,
            expected="FAILED",
            action="leave the result out, or the tests",
        )
    if not (url.isascii() and url.isprintable() and len(url) <= 2000 and all(map(str.isascii, names))):
        raise PatchError(
            "no url, or no name of a test",
            found=spelled(url),
            expected="ASCII",
            action="write it in ASCII: a url with %",
        )
    plain = {
        "_type": _STATEMENT,
        "subject": [{"name": patch.id, "digest": {"sha256": patch.origin.digest.removeprefix("sha256:")}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "result": result,
            "configuration": [{"name": suite}],
            **({"url": url} if url else {}),
            **({"failedTests": names} if names else {}),
        },
    }
    envelope = Envelope(payload_type=EVIDENCE_TYPE, payload=json.dumps(plain, indent=1).encode())
    try:
        evidence_in(envelope)
    except TrustError as error:
        raise PatchError(
            "there can be no such evidence", found=error.found, expected=error.expected, action="correct it"
        ) from error
    signer = signer_of(key, passphrase)
    target = Path(f"{os.fspath(path)}.{suite}.evidence" if output is None else output)
    if output is None:
        _must_lose_nothing(target, patch.origin.digest, signer.key.id, result)
    disk.write(target, sign_envelope(envelope, signer).to_bytes(), "the evidence", beside=path)
    note("tested", patch, keyid=signer.key.id, suite=suite, result=result)
    return target


def _must_lose_nothing(target: Path, digest: str, keyid: str, result: str) -> None:
    """Raise :class:`PatchError` for a file in place of which less would be known of that patch."""
    try:
        data = disk.read_for_trust(target, _LARGEST * 2, "the evidence")
        envelope = read_envelope(data, payload=_LARGEST, refuse=_REFUSE)
        there = evidence_in(envelope)
    except TrustError:  # there is none, or nothing that says anything
        return
    signers = [each.keyid for each in envelope.signatures]
    if digest in there.digests and (keyid not in signers or (there.result == "FAILED" and result != "FAILED")):
        raise PatchError(
            "evidence about the same patch is there already, and would be lost",
            found=f"{spelled(str(target))}: {there.result}, by {', '.join(signers)}",
            expected="no file there, or one of the same key that says nothing worse",
            action="write to another file (output=), and keep both; or put that one aside",
        )


def evidence_in(envelope: Envelope) -> TestResult:
    """The test result in an envelope, whoever signed it.  Raises :class:`TrustError`.

    Fields that nobody asks for are ignored, as the specification of in-toto statements says.
    """
    fields = read_object(envelope.payload, most=_LARGEST, brackets=_BRACKETS, refuse=_REFUSE)
    fields.exactly("_type", _STATEMENT)
    fields.exactly("predicateType", _PREDICATE)
    digests = [_digest(each) for each in fields.records("subject", _BRACKETS)]
    predicate = fields.record("predicate")
    result = predicate.text("result", 10)
    if result not in RESULTS:
        raise _REFUSE(f"predicate.result: {spelled(result)}", f"one of {', '.join(RESULTS)}")
    suites = [each.text("name", 300) for each in predicate.records("configuration", _BRACKETS)]
    if "failedTests" in predicate.names(_BRACKETS) and predicate.texts("failedTests", _TESTS, 1000):
        result = "FAILED"
    return TestResult(digests=tuple(digests), suites=tuple(suites), result=result)


def _digest(subject: Fields) -> str:
    digests = subject.record("digest")
    if "sha256" not in digests.names(_BRACKETS):
        return ""  # of something that is no patch file
    return f"sha256:{digests.text('sha256', 64, _check_digest)}"


def _check_digest(text: str) -> None:
    if not _DIGEST.fullmatch(text):
        raise PatchError(
            "no digest", found=spelled(text), expected="64 small hexadecimal digits", action="make the evidence anew"
        )
