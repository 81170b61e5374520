"""Read a patch file."""

from __future__ import annotations

import os

from livepatch.bundle import codec, disk
from livepatch.bundle.trust import UNSIGNED, check_trust
from livepatch.errors import spelled
from livepatch.patch import Origin, Patch

__all__ = ["load"]


def load(path: str | os.PathLike[str], *, trust: object = None) -> Patch:
    """Read the patch file at `path` (16 MiB at most), strictly, and without compiling, importing or running any of it.

    The patch remembers its file (``patch.origin``), and :func:`livepatch.apply` refuses it with :class:`TrustError`
    unless somebody answers for it: ``trust=livepatch.UNSIGNED``, here or there, says that the caller does.

    Raises :class:`BundleError` for a file that cannot be read or is no patch file, saying what is wrong and where in
    it, and :class:`TypeError` for another `path` or `trust`.  Nothing in the process has changed, whatever happens.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or os.PathLike, not {spelled(path)}")
    vouched = check_trust(trust) is UNSIGNED
    data = disk.read(path)
    contents = codec.decode(data)
    patch = Patch(
        contents.id,
        package=contents.package,
        versions=contents.versions,
        summary=contents.summary,
        flag=contents.flag,
        requires=contents.requires,
        compatible_with=contents.compatible_with,
    )
    patch.edits, patch.obstacles, patch.plan = contents.edits, contents.obstacles, contents.plan
    patch.waivers, patch.round_trips, patch.needs = contents.waivers, contents.round_trips, contents.needs
    patch.pure = contents.pure
    patch.origin = Origin(path=os.fsdecode(path), digest=codec.digest(data), vouched=vouched)
    return patch
