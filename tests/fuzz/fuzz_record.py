"""Coverage-guided fuzzing of the reader of records, for as long as it is given.

    python -m pip install atheris          # CPython 3.11 to 3.13
    python tests/fuzz/fuzz_record.py -max_total_time=300 -max_len=8192 -rss_limit_mb=512 -timeout=10 [SEEDS]

Any exception but AuditError ends it with a traceback and leaves the input in a file beside; so does a record that is
said to hold with other bytes than the one that it starts from, or with a beginning of these; and one that a writer goes
on with, and that does not hold then.  Without SEEDS it starts from one small valid record.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

with atheris.instrument_imports(include=["livepatch"]):
    from livepatch.govern import audit
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402  # the path is set above
from tests.govern.records import data_of, fill, new_log, not_through, only_file  # noqa: E402  # the path is set above

from livepatch.errors import AuditError  # noqa: E402  # what it imports is not to be instrumented twice
from livepatch.govern import files  # noqa: E402

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Reader:
    """Puts bytes where a record lies, and reads it."""

    def __init__(self, folder: Path) -> None:
        log = new_log(folder, KEY)
        fill(log, 3)
        self.verifier = log.verifier
        self.path = only_file(folder)
        self.whole = data_of(self.path)

    def __call__(self, data: bytes) -> None:
        for path in self.path.parent.glob("record-*"):
            path.unlink()
        self.path.write_bytes(data)
        try:
            found = audit.verify(self.path.parent, key=self.verifier, deep=True)
        except AuditError:
            return
        signed = b"".join(line + b"\n" for line in data.split(b"\n")[: found.covered])
        assert not found.ok or self.whole.startswith(signed), "it is said to hold, with other lines"
        self.go_on()

    def go_on(self) -> None:
        """A writer refuses it, or makes it hold."""
        log = None
        try:
            log = new_log(self.path.parent, KEY)
            fill(log, 1)
        except AuditError:
            return
        finally:
            if log is not None:
                log.close()
        found = audit.verify(self.path.parent, key=self.verifier, deep=True)
        errors = [flaw for flaw in found.flaws if flaw.what != "clock-set-back"]
        assert not errors, "a writer went on with it"


def main() -> None:
    files.write_through, files.sync_folder = not_through, lambda _: None  # the disk is not what this is about
    arguments = list(sys.argv)
    folder = Path(tempfile.mkdtemp(prefix="record-"))
    reader = Reader(folder / "record")
    if not any(Path(each).is_dir() for each in arguments[1:]):
        seeds = folder / "seeds"
        seeds.mkdir()
        (seeds / "record").write_bytes(reader.whole)
        arguments.append(str(seeds))
    atheris.Setup(arguments, reader)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
