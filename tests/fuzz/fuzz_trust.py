"""Coverage-guided fuzzing of the readers of envelopes, trust roots and trust states, for as long as it is given.

    python -m pip install atheris          # CPython 3.11 to 3.13
    python tests/fuzz/fuzz_trust.py -max_total_time=300 -max_len=8192 -rss_limit_mb=512 -timeout=10 [SEEDS]

Any exception but TrustError ends it with a traceback and leaves the input in a file beside.  Without SEEDS it
starts from one valid file of each kind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "src")]

with atheris.instrument_imports(include=["livepatch"]):
    from livepatch.bundle.envelope import read_bundle
    from livepatch.bundle.remembered import Remembered, Seen, Signers
    from livepatch.bundle.trustroot import TrustRoot, clock
from tests.signing import patch_envelope, root_envelope, trust_root  # noqa: E402  # the path is set above

from livepatch.errors import TrustError  # noqa: E402  # what it imports is not to be instrumented twice

ROOT = root_envelope()


def of_payload(data: bytes) -> TrustRoot:
    return TrustRoot.parse_unsigned(dataclasses.replace(ROOT, payload=data).to_bytes())


def read(data: bytes) -> None:
    """Each reader says what is wrong, or reads."""
    for reader in (read_bundle, TrustRoot.parse, of_payload, Remembered.parse):
        with contextlib.suppress(TrustError):
            reader(data)


if __name__ == "__main__":
    arguments = sys.argv
    if all(argument.startswith("-") for argument in arguments[1:]):
        seeds = Path(tempfile.mkdtemp(prefix="livepatch-fuzz-"))
        (seeds / "patch").write_bytes(patch_envelope().to_bytes())
        (seeds / "root").write_bytes(ROOT.to_bytes())
        (seeds / "payload").write_bytes(ROOT.payload)
        signers = {"author": Signers(frozenset({"0" * 64}), 1)}
        seen = Seen(package="a", channel="b", id="c", revision=1, digest="", signers=signers)
        (seeds / "state").write_bytes(Remembered(time=clock(), roots=(trust_root(),), patches=(seen,)).to_bytes())
        arguments = [*arguments, str(seeds)]
    atheris.Setup(arguments, read)
    atheris.Fuzz()
