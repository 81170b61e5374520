"""Who answers for a patch file.  A file is never trusted by itself: nothing of it is compiled or run until it is."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Final

from livepatch.compat.report import Finding, Report, by_weight
from livepatch.errors import TrustError, spelled
from livepatch.patch import Patch

__all__ = ["UNSIGNED", "Unsigned", "check_trust", "is_admitted", "require_admitted", "targets", "unadmitted"]


class Unsigned(enum.Enum):
    """The type of :data:`UNSIGNED`, which says: "I vouch for this patch file myself".  It proves nothing."""

    UNSIGNED = "I vouch for this file myself"

    def __repr__(self) -> str:
        return "livepatch.UNSIGNED"


UNSIGNED: Final = Unsigned.UNSIGNED
"""``trust=livepatch.UNSIGNED`` says "I vouch for this file myself": for tests, and files verified by other means.

For :func:`livepatch.load`, :func:`livepatch.check` and :func:`livepatch.apply`.  It asks for nothing, proves nothing:
the source in the file becomes code of this process, and its statements are run at the next check.
"""


def check_trust(trust: object) -> Unsigned | None:
    """What was passed as ``trust``.  Raises :class:`TypeError` unless it is something that is accepted."""
    if trust is None or isinstance(trust, Unsigned):
        return trust
    raise TypeError(f"trust must be None or livepatch.UNSIGNED, which vouches for the file, not {spelled(trust)}")


def is_admitted(patch: Patch, trust: object) -> bool:
    """Whether somebody answers for the patch: whoever made it in this process, or vouches for the file it came from.

    Raises :class:`TypeError` for a `trust` that says nothing here.
    """
    origin = patch.origin
    if origin is None:
        if trust is not None:
            raise TypeError("trust is for patch files; a Patch made in the process is the process's own code")
        return True
    return check_trust(trust) is UNSIGNED or origin.verified or origin.vouched


def require_admitted(patch: Patch, trust: object) -> None:
    """Raise :class:`TrustError` unless the patch :func:`is_admitted`.  Nothing of it was compiled by then."""
    if not is_admitted(patch, trust):
        raise TrustError(
            f"patch {patch.id} comes from a file that nobody answers for; nothing of it was compiled",
            found=_unverified(patch),
            expected=_EXPECTED,
            action=_ACTION,
        )


def unadmitted(patch: Patch, modules: dict[str, ModuleType]) -> Report:
    """The report on a patch that is not admitted: that, and what its metadata alone tell."""
    # A command that only shows a file needs nothing of what changes a process.
    from livepatch.compat.versions import version_findings
    from livepatch.process import distribution

    finding = Finding(
        code="unverified",
        severity="error",
        target="",
        found=_unverified(patch) + "; nothing of it was compiled, so its code was not compared",
        expected=_EXPECTED,
        action=_ACTION,
    )
    installed = distribution.look_up(patch.package, (edit.module for edit in patch.edits), modules)
    return Report(
        patch_id=patch.id,
        package=patch.package,
        versions=patch.versions,
        targets=targets(patch),
        findings=by_weight([finding, *version_findings(patch.package, patch.versions, installed)]),
    )


def targets(patch: Patch) -> tuple[str, ...]:
    """What the edits of a patch are made to, as they say themselves."""
    named: list[str] = []
    for edit in patch.edits:
        named += [edit.module] if edit.whole is not None else []
        named += [f"{edit.module}:{function.qualname}" for function in edit.functions]
        named += [f"{edit.module}:{name.qualname}" for name in edit.names]
    return tuple(dict.fromkeys(named))


_EXPECTED = "a signature by keys of a trust root, or a caller who vouches for the file"
_ACTION = (
    "this version reads no signatures yet: verify the file by other means and its digest with them, "
    "then pass trust=livepatch.UNSIGNED"
)


def _unverified(patch: Patch) -> str:
    assert patch.origin is not None
    return f"no verified signature on {spelled(patch.origin.path)} ({patch.origin.digest})"
