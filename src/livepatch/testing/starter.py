"""The files that a client's repository begins with: a patch, the rules for patches, and a test of both."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from livepatch.errors import BundleError

__all__ = ["FILES", "write_starter"]

_PATCH = '''\
"""A patch to begin with.  It changes a small function of `packaging`, which is installed wherever livepatch is.

Put in its place the package, the versions and the function that yours is for; a patch file that livepatch builds from
two releases needs none of this, and is tested alike.
"""

from packaging.utils import canonicalize_name

import livepatch

fix = livepatch.Patch(
    "EXAMPLE-1",
    package="packaging",
    versions=">=24",
    summary="take no name for normalized that is longer than a file name may be",
)


@fix.replace("packaging.utils:is_normalized_name")
def is_normalized_name(name: str) -> bool:
    """Whether a name is as `canonicalize_name` would write it, and not too long."""
    return len(name) <= 255 and canonicalize_name(name) == name
'''

_POLICY = """\
# Which code no patch may change at once, and which is a protocol.  Every process that starts in this folder obeys it;
# elsewhere, name it in $LIVEPATCH_POLICY.  `livepatch policy test livepatch.toml` tells what it asks for.

[[protected]]
paths = ["packaging.version.*"]  # put in its place what all your nodes must judge alike
reason = "every node must order versions alike"
"""

_TEST = '''\
"""The patch goes in and out, does what it is for, and the policy holds."""

import sys
from pathlib import Path

import packaging.utils
import packaging.version
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from example_fix import fix  # noqa: E402  # the folder of patches comes first

POLICY = HERE.parent / "livepatch.toml"
LONG = "a" * 300


def probe():
    """What the flaw is tried with: it returns plain values."""
    return packaging.utils.is_normalized_name(LONG), packaging.utils.is_normalized_name("livepatch")


def test_it_fits_this_process(livepatch):
    report = livepatch.check(fix, policy=POLICY)
    assert report.ok, str(report)


def test_it_does_what_it_is_for(livepatch):
    switched = livepatch.assert_switches(fix, probe)
    assert (switched.off, switched.on) == ("(True, True)", "(False, True)")


def test_it_comes_and_goes(livepatch):
    livepatch.cycle(fix, 5, probe=probe)


@pytest.mark.livepatch(fix)
def test_usual_names_are_as_before(livepatch_mode):
    assert packaging.utils.is_normalized_name("livepatch"), livepatch_mode
    assert not packaging.utils.is_normalized_name("Livepatch"), livepatch_mode


def test_what_is_protected_stays(livepatch):
    wrong = livepatch.Patch("EXAMPLE-2", package="packaging", versions=">=24")
    wrong.replace("packaging.version:parse")(lambda version: packaging.version.Version("0"))
    with pytest.raises(livepatch.ProtectedError):
        livepatch.apply(wrong, policy=POLICY)
'''

FILES = {
    "livepatch.toml": _POLICY,
    "patches/example_fix.py": _PATCH,
    "patches/test_example_fix.py": _TEST,
}
"""What is written, by path below the repository."""


def write_starter(folder: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
    """Write the files of :data:`FILES` into `folder`, and give their paths.

    Raises :class:`BundleError` if one of them is there already, unless `force` says to replace it, or if one cannot be
    written.  Then no new file is left, and without `force` none that was there is changed.
    """
    root = Path(folder)
    paths = {root / name: text for name, text in FILES.items()}
    there = [path for path in paths if os.path.lexists(path)]
    if there and not force:
        raise _there_already(there)
    written: list[Path] = []
    try:
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w" if force else "x", encoding="utf-8") as file:
                written += [path] if path not in there else []
                file.write(text)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        if isinstance(error, FileExistsError) and Path(error.filename) in paths:
            raise _there_already([Path(error.filename)]) from error  # somebody was quicker
        raise BundleError(
            "the files cannot be written",
            found=f"{error.filename}: {error.strerror}",
            expected="a folder that can be written to",
            action="name another folder",
        ) from error
    return tuple(paths)


def _there_already(paths: list[Path]) -> BundleError:
    return BundleError(
        "nothing was written",
        found=f"{', '.join(map(str, paths))}, which is there already",
        expected="none of the files that are to be written",
        action="move it away, or replace it with --force, in code force=True",
    )
