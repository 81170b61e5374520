"""Coverage-guided fuzzing of the reader of patch files, for as long as it is given.

    python -m pip install atheris          # CPython 3.11 to 3.13
    python tests/fuzz/fuzz_bundle.py -max_total_time=300 -max_len=4096 -rss_limit_mb=512 -timeout=10 [SEEDS]

Any exception but BundleError, and any file that is read but would be written with other bytes, ends it with a traceback
and leaves the input in a file beside.  Without SEEDS it starts from one small valid file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

with atheris.instrument_imports(include=["livepatch"]):
    from livepatch.bundle import codec
    from livepatch.bundle.envelope import UnverifiedBundle
from tests.bundle.patches import of_every_part  # noqa: E402  # the path is set above

from livepatch.errors import BundleError  # noqa: E402  # what it imports is not to be instrumented twice


def read(data: bytes) -> None:
    """What is read has exactly these bytes."""
    try:
        contents = codec.decode(UnverifiedBundle(data))
    except BundleError:
        return
    assert codec.encode(contents) == data


if __name__ == "__main__":
    arguments = sys.argv
    if all(argument.startswith("-") for argument in arguments[1:]):
        seeds = Path(tempfile.mkdtemp(prefix="livepatch-fuzz-"))
        (seeds / "valid.lpatch").write_bytes(codec.encode(of_every_part()))
        arguments = [*arguments, str(seeds)]
    atheris.Setup(arguments, read)
    atheris.Fuzz()
