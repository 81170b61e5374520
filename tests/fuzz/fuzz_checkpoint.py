"""Coverage-guided fuzzing of the readers of checkpoints and keys of a record, for as long as it is given.

    python -m pip install atheris          # CPython 3.11 to 3.13
    python tests/fuzz/fuzz_checkpoint.py -max_total_time=300 -max_len=4096 -rss_limit_mb=512 -timeout=10 [SEEDS]

Any exception but AuditError ends it with a traceback and leaves the input in a file beside; so does a record that is
said to go on from something else than one of its own checkpoints.  Without SEEDS it starts from valid ones.
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
    from livepatch.govern import audit
    from livepatch.govern.entries import Checkpoint
    from livepatch.govern.notes import Note, Verifier, cosign
    from livepatch.govern.telling import consistency
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402  # the path is set above
from tests.govern.records import fill, new_log  # noqa: E402  # the path is set above

from livepatch.errors import AuditError  # noqa: E402  # what it imports is not to be instrumented twice

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Reader:
    """Hands bytes in as what was kept of a record elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        log = new_log(folder, KEY)
        kept = [log.checkpoint()]
        for _ in range(3):
            fill(log, 1)
            kept.append(log.checkpoint())
        log.close()
        self.verifier = log.verifier
        self.found = audit.verify(folder, key=self.verifier)
        self.own = {note.text for note in kept} | {Note.parse(self.found.checkpoint).text}
        witnessed = cosign(kept[0], "witness.example.com", KEY, 7)
        self.seeds = [*map(str, kept), str(witnessed), str(log.verifier)]

    def __call__(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        with contextlib.suppress(AuditError):
            Checkpoint.parse(text)
        with contextlib.suppress(AuditError):
            assert str(Verifier.parse(text)) == text.strip(), "a verifier key with two spellings"
        with contextlib.suppress(AuditError):
            if audit.verify(self.folder, key=self.verifier, checkpoints=[data]).ok:
                assert Note.parse(data).text in self.own, "it goes on from what it never was"
        with contextlib.suppress(AuditError):
            consistency(self.folder, data, self.found)
            assert Note.parse(data).text in self.own, "a proof from what it never was"


def main() -> None:
    arguments = list(sys.argv)
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
    reader = Reader(folder / "record")
    if not any(Path(each).is_dir() for each in arguments[1:]):
        seeds = folder / "seeds"
        seeds.mkdir()
        for number, seed in enumerate(reader.seeds):
            (seeds / str(number)).write_text(seed, encoding="utf-8")
        arguments.append(str(seeds))
    atheris.Setup(arguments, reader)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
