"""The facts that :mod:`livepatch.node.doctor` judges, as this process finds them.  Changes nothing."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from livepatch.bundle.remembered import newest
from livepatch.bundle.trust import UNSIGNED
from livepatch.bundle.trustroot import TrustRoot, clock
from livepatch.compat.windows import moment_of
from livepatch.engine.environment import observe
from livepatch.errors import LivepatchError
from livepatch.govern.policies import policy_in_force
from livepatch.govern.recording import in_use
from livepatch.node.doctor import Facts, Folder, Trusted

__all__ = ["folder", "gather"]


def gather(
    *,
    store: Folder | None = None,
    trust: object = None,
    policy: str | os.PathLike[str] | None = None,
    uids: Iterable[int] = (),
    recorded: bool | None = None,
) -> Facts:
    """All that is known of this process.  Raises :class:`TrustError` for the state of a trust root, unread."""
    return Facts(
        environment=observe(),
        frozen=gc.get_freeze_count(),
        store=store,
        trust=_trusted(newest(trust)) if isinstance(trust, TrustRoot) else None,
        vouches=trust is UNSIGNED,
        policy=_unreadable(policy),
        recorded=in_use() is not None if recorded is None else recorded,
        uids=tuple(sorted(set(uids) - {0, os.geteuid()})),
    )


def folder(path: Path, key: Path, died: Iterable[str] = (), aside: Iterable[str] = ()) -> Folder:
    """What is known of the store at `path`, whose node has that key; `died` and `aside` are ids of patches."""
    try:
        about = os.statvfs(path)
        free, writable = about.f_bavail * about.f_frsize, os.access(path, os.W_OK | os.X_OK)
    except OSError:
        free, writable = 0, False
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError:
        mode = None
    return Folder(path=str(path), writable=writable, free=free, key_mode=mode, died=tuple(died), aside=tuple(aside))


def _trusted(root: TrustRoot) -> Trusted:
    left = moment_of(root.expires) - moment_of(clock())
    return Trusted(package=root.package, version=root.version, expires=root.expires, days=left.total_seconds() / 86400)


def _unreadable(policy: str | os.PathLike[str] | None) -> str:
    try:
        policy_in_force(policy)
    except LivepatchError as error:
        return error.found
    return ""
