"""Read a patch file."""

from __future__ import annotations

import os

from livepatch.bundle import codec, disk
from livepatch.bundle.envelope import VerifiedBundle, read_bundle
from livepatch.bundle.trust import Unsigned, admitted, check_trust, origin_of, settle
from livepatch.errors import TrustError, spelled
from livepatch.govern.recording import note
from livepatch.patch import Patch

__all__ = ["load", "load_for"]


def load(path: str | os.PathLike[str], *, trust: object = None) -> Patch:
    """Read the patch file at `path` (16 MiB at most), strictly, and without compiling, importing or running any of it.

    With a ``trust=livepatch.TrustRoot.load(path)`` the file must be signed as that trust root asks, for this package,
    channel and node, and still be valid; :class:`TrustError` says what is missing.  Without, the patch can be looked
    at, and :func:`livepatch.apply` refuses it unless somebody answers for it: a trust root there, or
    ``trust=livepatch.UNSIGNED``, here or there, which says that the caller does.  ``patch.origin`` tells which it is.

    Raises :class:`BundleError` for a file that cannot be read or is no patch file, saying what is wrong and where in
    it, and :class:`TypeError` for another `path` or `trust`.  Nothing in the process has changed, whatever happens.
    Where a record is kept (:func:`livepatch.record_to`), a :class:`TrustError` stands in it.
    """
    return load_for("loaded", path, trust)


def load_for(event: str, path: str | os.PathLike[str], trust: object) -> Patch:
    """The same for another purpose, as which a refusal is recorded."""
    try:
        return _read(path, trust)
    except TrustError as error:
        note(event, None, error, file=os.fsdecode(path))
        raise


def _read(path: str | os.PathLike[str], trust: object) -> Patch:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or os.PathLike, not {spelled(path)}")
    given = check_trust(trust)
    name = os.fsdecode(path)
    file = read_bundle(disk.read(path))
    bundle = admitted(file, given, name)
    contents = codec.decode(bundle)
    if isinstance(bundle, VerifiedBundle):
        assert given is not None
        assert not isinstance(given, Unsigned)
        settle(given, bundle, contents)
    patch = Patch(
        contents.id,
        package=contents.package,
        versions=contents.versions,
        summary=contents.summary,
        flag=contents.flag,
        requires=contents.requires,
        compatible_with=contents.compatible_with,
        owners=contents.owners,
    )
    patch.edits, patch.obstacles, patch.plan = contents.edits, contents.obstacles, contents.plan
    patch.waivers, patch.round_trips, patch.needs = contents.waivers, contents.round_trips, contents.needs
    patch.snapshots, patch.pure, patch.release = contents.snapshots, contents.pure, contents.release
    patch.embargo, patch.probes = contents.embargo, contents.probes
    patch.origin = origin_of(file, bundle, name, given)
    return patch
