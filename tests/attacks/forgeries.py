"""Attacks on the trust in patch files, each as a call that must raise TrustError; run as a program, it tries them all.

The names are those of the TUF specification (section 1.5.2), and of what else is known to go wrong with signatures.
Run as a program, it patches a package with a good file first, then tries every attack under an audit hook, and prints
what each came to.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.signing import LATER, PAST, ROLES, key, root_envelope

import livepatch
from livepatch.bundle import codec
from livepatch.bundle.envelope import PATCH_TYPE, Envelope, Signature, UnverifiedBundle
from livepatch.bundle.signing import sign
from livepatch.bundle.trustroot import TrustRoot
from livepatch.contents.release import Release

PACKAGE = "nodeclient"
SIGNERS = ("alice", "carol", "erin")
Attack = Callable[[], object]
ATTACKS: dict[str, Callable[[Forge], Attack]] = {}
TOLD: dict[str, str] = {}
"""What the error says of each: one that is refused for another reason than its own proves nothing."""


class Forge:
    """What an attacker has: a good patch file, the public trust root, and keys of its own."""

    def __init__(self, folder: Path, payload: bytes) -> None:
        self.folder = folder
        self.payload = payload
        self._count = 0

    def envelope(self, *signers: str, contents: dict | None = None, **release) -> Envelope:
        """The good patch with changes, signed by those keys."""
        payload = self.payload
        if contents or release:
            read = codec.decode(UnverifiedBundle(payload))
            payload = codec.encode(dataclasses.replace(read, release=Release(**release), **(contents or {})))
        made = Envelope(payload_type=PATCH_TYPE, payload=payload)
        return functools.reduce(sign, map(key, signers), made)

    def file(self, data: bytes | Envelope) -> Path:
        self._count += 1
        path = self.folder / f"{self._count}.file"
        path.write_bytes(data.to_bytes() if isinstance(data, Envelope) else data)
        return path

    def root(self, *, state: bool = False, node: str = "", roles=ROLES, **changes) -> TrustRoot:
        """The trust root of this process; with a state of its own."""
        self._count += 1
        where = str(self.folder / f"{self._count}.state") if state else None
        path = self.file(root_envelope(roles, **changes))
        return TrustRoot.load(path, state=where, node=node)

    def apply(self, data: bytes | Envelope | Path, root: TrustRoot | None = None) -> Attack:
        path = data if isinstance(data, Path) else self.file(data)
        trust = root or self.root()
        return lambda: livepatch.apply(path, trust=trust)


def attack(name: str, told: str):
    def register(make: Callable[[Forge], Attack]) -> Callable[[Forge], Attack]:
        ATTACKS[name], TOLD[name] = make, told
        return make

    return register


# The ten of TUF


@attack("arbitrary software: no signature", "is not signed;")
def _(forge):
    return forge.apply(forge.payload)


@attack(
    "arbitrary software: keys of the attacker",
    "author: 0 of 1; security-reviewer: 0 of 1; operator: 0 of 1; 3 signatures",
)
def _(forge):
    return forge.apply(forge.envelope("mallory", "mallory-2", "mallory-3"))


@attack(
    "arbitrary software: keys of the attacker under the ids of trusted ones",
    "author: 0 of 1; security-reviewer: 0 of 1; operator: 0 of 1; 3 signatures",
)
def _(forge):
    own = forge.envelope("mallory", "mallory-2", "mallory-3")
    named = [Signature(key(name).key.id, each.value) for name, each in zip(SIGNERS, own.signatures, strict=True)]
    return forge.apply(dataclasses.replace(own, signatures=tuple(named)))


@attack("endless data: a file of a terabyte", "which is too large")
def _(forge):
    path = forge.file(b"{")
    os.truncate(path, 1 << 40)
    return forge.apply(path)


@attack("endless data: a device", "no regular file")
def _(forge):
    return forge.apply(Path("/dev/zero"))


@attack("endless data: nesting", "more than 66 objects and lists")
def _(forge):
    return forge.apply(b'{"payload":' + b"[" * 1_000_000)


@attack("endless data: a trust root of a terabyte", "more than 262144 bytes")
def _(forge):
    path = forge.file(b"{")
    os.truncate(path, 1 << 40)
    return lambda: livepatch.apply(forge.file(forge.envelope(*SIGNERS)), trust=TrustRoot.load(path))


@attack(
    "extraneous dependencies: a requirement that nobody signed",
    "author: 0 of 1; security-reviewer: 0 of 1; operator: 0 of 1; 3 signatures",
)
def _(forge):
    signed = forge.envelope(*SIGNERS)
    more = forge.envelope(contents={"requires": ("EVIL-1",)})
    return forge.apply(dataclasses.replace(signed, payload=more.payload))


@attack("fast-forward: a stolen key and the highest revision", "found: security-reviewer: 0 of 1; operator: 0 of 1; ")
def _(forge):
    return forge.apply(forge.envelope("alice", revision=2**31 - 1))


@attack("fast-forward: a trust root of the highest version", "not the next version")
def _(forge):
    root = forge.root(state=True)
    path = forge.file(root_envelope(version=2**31 - 1))
    good = forge.file(forge.envelope(*SIGNERS))
    return lambda: livepatch.apply(good, trust=TrustRoot.load(path, state=root.state))


@attack("indefinite freeze: a trust root that has expired", "the trust root has expired")
def _(forge):
    path = forge.file(root_envelope(expires=PAST))
    good = forge.file(forge.envelope(*SIGNERS))
    return lambda: livepatch.apply(good, trust=TrustRoot.load(path))


@attack("indefinite freeze: a trust root that has expired since it was loaded", "the trust root has expired")
def _(forge):
    return forge.apply(forge.envelope(*SIGNERS), TrustRoot.parse(root_envelope(expires=PAST).to_bytes()))


@attack("indefinite freeze: a clock that was set back", "the clock was set back")
def _(forge):
    root = forge.root(state=True)
    state = Path(root.state or "")
    state.write_text(json.dumps({**json.loads(state.read_text()), "time": "2198-01-01T00:00:00Z"}))
    return forge.apply(forge.envelope(*SIGNERS), root)


@attack("malicious mirror: an empty file", "is not signed;")
def _(forge):
    return forge.apply(b"")


@attack("malicious mirror: half a file", "no JSON")
def _(forge):
    data = forge.envelope(*SIGNERS).to_bytes()
    return forge.apply(data[: len(data) // 2])


@attack("malicious mirror: a page that says sorry", "is not signed;")
def _(forge):
    return forge.apply(b"<html>{}</html>")


@attack("malicious mirror: one bit of the payload", "operator: 0 of 1; 3 signatures")
def _(forge):
    signed = forge.envelope(*SIGNERS)
    flipped = bytearray(signed.payload)
    flipped[len(flipped) // 2] ^= 1
    return forge.apply(dataclasses.replace(signed, payload=bytes(flipped)))


@attack("mix-and-match: the signatures of another file", "operator: 0 of 1; 3 signatures")
def _(forge):
    other = forge.envelope(*SIGNERS, revision=2)
    return forge.apply(dataclasses.replace(forge.envelope(), signatures=other.signatures))


@attack(
    "mix-and-match: authors of one file, reviewers of another",
    "found: security-reviewer: 0 of 1; operator: 0 of 1; 2 signatures",
)
def _(forge):
    one, other = forge.envelope("alice"), forge.envelope("carol", "erin", revision=2)
    return forge.apply(dataclasses.replace(one, signatures=(*one.signatures, *other.signatures)))


@attack("mix-and-match: two files of one revision", "another patch under the same id and revision")
def _(forge):
    root = forge.root(state=True)
    livepatch.load(forge.file(forge.envelope(*SIGNERS, revision=2)), trust=root)
    return forge.apply(forge.envelope(*SIGNERS, revision=2, contents={"summary": "another"}), root)


@attack("mix-and-match: two trust roots of one version", "not the one that was seen before")
def _(forge):
    root = forge.root(state=True)
    path = forge.file(root_envelope(expires="2198-01-01T00:00:00Z"))
    good = forge.file(forge.envelope(*SIGNERS))
    return lambda: livepatch.apply(good, trust=TrustRoot.load(path, state=root.state))


@attack("rollback: an older revision", "an older revision of the patch")
def _(forge):
    root = forge.root(state=True)
    livepatch.load(forge.file(forge.envelope(*SIGNERS, revision=2)), trust=root)
    return forge.apply(forge.envelope(*SIGNERS, revision=1), root)


@attack("rollback: an older trust root", "not the one that was seen before")
def _(forge):
    root = forge.root(state=True)
    root.rotate(root_envelope({**ROLES, "author": (1, "bob")}, version=2).to_bytes())
    return forge.apply(forge.envelope(*SIGNERS), root)


@attack("slow retrieval: a pipe that nobody writes to", "no regular file")
def _(forge):
    os.mkfifo(forge.folder / "pipe")
    return forge.apply(forge.folder / "pipe")


@attack("slow retrieval: a trust root behind a pipe", "no regular file")
def _(forge):
    os.mkfifo(forge.folder / "pipe-2")
    good = forge.file(forge.envelope(*SIGNERS))
    return lambda: livepatch.apply(good, trust=TrustRoot.load(forge.folder / "pipe-2"))


@attack("wrong software: a patch for another package", "a patch for otherclient")
def _(forge):
    return forge.apply(forge.envelope(*SIGNERS, contents={"package": "otherclient"}))


@attack("wrong software: a patch of another channel", "channel testing")
def _(forge):
    return forge.apply(forge.envelope(*SIGNERS, channel="testing"))


# What else is known to go wrong


@attack("a duplicated signature", "two signatures by the key")
def _(forge):
    signed = forge.envelope("alice", "carol")
    return forge.apply(dataclasses.replace(signed, signatures=(*signed.signatures, signed.signatures[1])))


@attack("a duplicated signature: to fill a threshold of two", "two signatures by the key")
def _(forge):
    signed = forge.envelope(*SIGNERS)
    double = dataclasses.replace(signed, signatures=(*signed.signatures, signed.signatures[2]))
    return forge.apply(double, forge.root(roles={**ROLES, "operator": (2, "erin", "frank")}))


@attack("one key under two ids: in the file", "operator: 1 of 2; 1 signature")
def _(forge):
    signed = forge.envelope(*SIGNERS)
    again = Signature(key("frank").key.id, signed.signatures[2].value)
    double = dataclasses.replace(signed, signatures=(*signed.signatures, again))
    return forge.apply(double, forge.root(roles={**ROLES, "operator": (2, "erin", "frank")}))


@attack("one key under two ids: in the trust root", "the id that its bytes give")
def _(forge):
    envelope = root_envelope({**ROLES, "operator": (2, "erin", "frank")})
    payload = json.loads(envelope.payload)
    payload["keys"][key("frank").key.id]["keyval"] = payload["keys"][key("erin").key.id]["keyval"]
    forged = dataclasses.replace(envelope, payload=json.dumps(payload).encode(), signatures=())
    path = forge.file(functools.reduce(sign, (key("root-1"), key("root-2")), forged))
    good = forge.file(forge.envelope(*SIGNERS))
    return lambda: livepatch.apply(good, trust=TrustRoot.load(path))


@attack("the author's own review", "an author's own do not count")
def _(forge):
    path = forge.file(root_envelope(holders={"carol": "alice"}))
    return forge.apply(forge.envelope(*SIGNERS), TrustRoot.load(path))


@attack("a signature over another payload type", "operator: 0 of 1; 3 signatures")
def _(forge):
    other = Envelope(payload_type="text/plain", payload=forge.payload)
    other = functools.reduce(sign, map(key, SIGNERS), other)
    return forge.apply(dataclasses.replace(other, payload_type=PATCH_TYPE))


@attack("another payload type", "what was signed is no patch")
def _(forge):
    other = Envelope(payload_type="text/plain", payload=forge.payload)
    return forge.apply(functools.reduce(sign, map(key, SIGNERS), other))


@attack("a replay on another node", "a patch for the nodes validator-7 only")
def _(forge):
    return forge.apply(forge.envelope(*SIGNERS, nodes=("validator-7",)), forge.root(node="validator-8"))


@attack("a replay on another package", "a patch for nodeclient")
def _(forge):
    return forge.apply(forge.envelope(*SIGNERS), forge.root(package="otherclient"))


@attack("an expired patch", "a patch that expired at")
def _(forge):
    return forge.apply(forge.envelope(*SIGNERS, expires=PAST))


@attack("a revoked key", "found: author: 0 of 1; 1 signature")
def _(forge):
    newer = forge.root(state=True).rotate(root_envelope({**ROLES, "author": (1, "bob")}, version=2).to_bytes())
    return forge.apply(forge.envelope(*SIGNERS), newer)


@attack("a patch loaded without trust, and applied", "nobody answers for")
def _(forge):
    loaded = livepatch.load(forge.file(forge.envelope(*SIGNERS)))
    return lambda: livepatch.apply(loaded)


@attack("a patch loaded with trust, changed, and applied", "not what was signed any more")
def _(forge):
    loaded = livepatch.load(forge.file(forge.envelope(*SIGNERS)), trust=forge.root())
    loaded.versions = ">=0"
    return lambda: livepatch.apply(loaded)


def main(folder: Path) -> None:
    """Print, as JSON, what the good file and each attack came to: errors, and what was compiled or imported."""
    sys.path.insert(0, str(folder / "old"))
    from nodeclient.mempool import Mempool

    original = Mempool.admit.__code__
    fix = livepatch.build(folder / "old", folder / "new", package=PACKAGE, id="CVE-2026-1234")
    forge = Forge(folder, fix.to_bytes())
    good = forge.apply(
        forge.envelope(*SIGNERS, expires=LATER, nodes=("validator-7",)), forge.root(state=True, node="validator-7")
    )
    good().revert()  # what is imported on first use

    armed = False
    seen: list[str] = []
    sys.addaudithook(lambda event, _: seen.append(event) if armed and event in ("compile", "exec", "import") else None)

    def tried(call: Attack) -> dict[str, object]:
        nonlocal armed
        seen.clear()
        armed = True
        try:
            call()
        except BaseException as error:
            errors = [kind.__name__ for kind in type(error).__mro__]
            return {
                "errors": errors,
                "message": str(error),
                "events": list(seen),
                "untouched": Mempool.admit.__code__ is original,
            }
        finally:
            armed = False
        return {"errors": [], "events": list(seen), "untouched": Mempool.admit.__code__ is original}

    calls = {name: make(forge) for name, make in ATTACKS.items()}
    results = {name: tried(call) for name, call in calls.items()}
    results["the good file"] = tried(good)
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
