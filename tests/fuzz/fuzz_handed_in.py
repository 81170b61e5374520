"""Coverage-guided fuzzing of the readers of what is handed in for a patch: approvals, evidence, sealed files, inputs.

    python -m pip install atheris          # CPython 3.11 to 3.13
    python tests/fuzz/fuzz_handed_in.py -max_total_time=300 -max_len=8192 -rss_limit_mb=512 -timeout=10 [SEEDS]

Any exception but the documented ones ends it with a traceback and leaves the input in a file beside; so does a sealed
file that is opened although it was changed.  Without SEEDS it starts from one valid file of each kind.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

with atheris.instrument_imports(include=["livepatch"]):
    from livepatch.bundle.approval import APPROVAL_TYPE, approval_in, approve, read_approval
    from livepatch.bundle.envelope import Envelope, read_envelope
    from livepatch.bundle.evidence import EVIDENCE_TYPE, attest, evidence_in
    from livepatch.bundle.sealed import seal, unseal
    from livepatch.bundle.sealkeys import make_seal_key
    from livepatch.replaying.inputs import read_inputs
from tests.signing import key, write_patch  # noqa: E402  # the path is set above

from livepatch.errors import BundleError, PatchError, TrustError  # noqa: E402  # not to be instrumented twice


def refuse(found: str, expected: str) -> Exception:
    return TrustError("no envelope", found=found, expected=expected, action="none")


class Readers:
    """Puts bytes where each kind of file lies, and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_seal_key(folder / "erin")
        patch = write_patch(folder / "fix.lpatch")
        approval = approve(patch, key=key("carol"), decision="hot-patch", output=folder / "other")
        evidence = attest(patch, suite="unit", key=key("erin"), output=folder / "other")
        self.files = {
            "approval payload": read_envelope(approval.read_bytes(), payload=1 << 20, refuse=refuse).payload,
            "evidence payload": read_envelope(evidence.read_bytes(), payload=1 << 20, refuse=refuse).payload,
            "approval": approve(patch, key=key("carol"), reason="it is attacked", emergency=True).read_bytes(),
            "evidence": attest(patch, suite="unit", key=key("erin"), result="FAILED", failed=["a"]).read_bytes(),
            "sealed": seal(patch, [folder / "erin.pub"]).read_bytes(),
            "inputs": b'{"target": "m:f", "args": [{"$hex": "00ff"}, {"$tuple": [1.5]}], "height": 7}\n',
            "maps": b"\x82\xa6target\xa3m:f\xa4args\x92\x01\xc4\x01\x00",
        }

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(TrustError):
            read_approval(data)
        with contextlib.suppress(TrustError):
            approval_in(Envelope(payload_type=APPROVAL_TYPE, payload=data))
        with contextlib.suppress(TrustError):
            evidence_in(Envelope(payload_type=EVIDENCE_TYPE, payload=data))
        with contextlib.suppress(TrustError):
            evidence_in(read_envelope(data, payload=1 << 20, refuse=refuse))
        path = self.folder / "data"
        path.write_bytes(data)
        with contextlib.suppress(PatchError):
            list(read_inputs(path))
        with contextlib.suppress(BundleError, TrustError):
            unseal(path, key=self.folder / "erin", output=self.folder / "out")
            written = (self.folder / "out").read_bytes()
            assert written == (self.folder / "fix.lpatch").read_bytes(), "it was changed, and was opened"


def main() -> None:
    arguments = list(sys.argv)
    folder = Path(tempfile.mkdtemp(prefix="livepatch-fuzz-"))
    readers = Readers(folder)
    if not any(Path(each).is_dir() for each in arguments[1:]):
        seeds = folder / "seeds"
        seeds.mkdir()
        for name, data in readers.files.items():
            (seeds / name).write_bytes(data)
        arguments.append(str(seeds))
    atheris.Setup(arguments, readers)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
