"""What it costs to verify a patch file of 20 kB with two signatures, beside the two Ed25519 verifications alone."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from measure import Bar, Column, Row, Table, call_loop, take_turns

from livepatch.bundle import codec
from livepatch.bundle.envelope import PATCH_TYPE, Envelope, read_bundle
from livepatch.bundle.keys import PublicKey
from livepatch.bundle.signing import AUTHOR, REVIEWER, Holder, Role, sign
from livepatch.bundle.trustroot import ROOT, TrustRoot, clock, encode_root
from livepatch.contents.edits import FunctionEdit, ModuleEdit, Text

__all__ = ["tables"]

_SIZE = 20_000
_MOST_TIMES_BARE = 2.0


class _Key:
    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.key = PublicKey(self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


def _payload() -> bytes:
    """A patch of that many bytes: ten functions of plausible text."""
    chance = random.Random(20)

    def text(number: int) -> Text:
        words = ["".join(chance.choices(string.ascii_lowercase, k=7)) for _ in range(32)]
        body = "".join(f"    {word} = self.{word}\n" for word in words)
        return Text(source=f"def function_{number}(self):\n{body}", line=number + 1)

    functions = tuple(FunctionEdit(qualname=f"C.f{n}", before=text(n), after=text(n + 1)) for n in range(10))

    def encoded(summary: str) -> bytes:
        contents = codec.Contents(
            id="CVE-2026-1234",
            package="nodeclient",
            versions="==2.1.0",
            summary=summary,
            flag="CVE-2026-1234",
            requires=(),
            edits=(ModuleEdit(module="nodeclient.peers", path="nodeclient/peers.py", functions=functions),),
            obstacles=(),
            plan=(),
        )
        return codec.encode(contents)

    data = encoded("x" * (_SIZE - len(encoded("")) - 2))  # the length of a long text takes two bytes more
    assert len(data) == _SIZE
    return data


def tables(*, quick: bool) -> Iterator[Table]:
    author, reviewer, root_key = _Key(), _Key(), _Key()
    keys = {"author": author, "reviewer": reviewer, "root": root_key}
    root = TrustRoot.parse(
        sign(
            encode_root(
                package="nodeclient",
                channel="stable",
                version=1,
                expires="2199-01-01T00:00:00Z",
                keys={each.key.id: Holder(each.key, name) for name, each in keys.items()},
                roles={
                    ROOT: Role((root_key.key.id,), 1),
                    AUTHOR: Role((author.key.id,), 1),
                    REVIEWER: Role((reviewer.key.id,), 1),
                },
            ),
            root_key,
        ).to_bytes()
    )
    payload = _payload()
    envelope = sign(sign(Envelope(payload_type=PATCH_TYPE, payload=payload), author), reviewer)
    data, message = envelope.to_bytes(), envelope.pae()
    one, two = author.private.public_key(), reviewer.private.public_key()
    first, second = (each.value for each in envelope.signatures)
    names = {
        "one": one, "two": two, "first": first, "second": second, "message": message,
        "read": read_bundle, "verify": root.verify, "now": clock, "data": data, "decode": codec.decode,
    }  # fmt: skip
    loops = {
        "bare": call_loop("one.verify(first, message); two.verify(second, message)", names),
        "verified": call_loop("verify(read(data), now())", names),
        "decoded": call_loop("decode(verify(read(data), now()))", names),
    }
    timed = take_turns([loops], turns=20 if quick else 200)
    rows = [
        ("two Ed25519 verifications of these bytes, keys loaded", "bare", None),
        ("read the file, and verify it: a VerifiedBundle", "verified", Bar("ratio", _MOST_TIMES_BARE)),
        ("the same, and decode the patch", "decoded", None),
    ]
    yield Table(
        title=f"A patch file of {_SIZE:,} bytes ({len(data):,} in its envelope) with two signatures",
        columns=[Column("us", "{:,.0f}"), Column("ratio", "{:.2f}")],
        rows=[
            Row(title, {"us": timed.ns(name) / 1000, "ratio": timed.ratio(name, to="bare")}, bar)
            for title, name, bar in rows
        ],
        note="us: microseconds, median. ratio: to the first row, median over turns in which all took part.",
    )
