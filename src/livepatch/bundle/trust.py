"""Who answers for a patch file.  A file is never trusted by itself: nothing of it is compiled or run until it is."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import TYPE_CHECKING, Final

from livepatch.compat.report import Finding, Report, by_weight
from livepatch.errors import BundleError, TrustError, spelled
from livepatch.patch import Origin, Patch

if TYPE_CHECKING:
    from livepatch.bundle.codec import Contents
    from livepatch.bundle.envelope import SignedBundle, UnverifiedBundle, VerifiedBundle
    from livepatch.bundle.trustroot import TrustRoot
    from livepatch.contents.release import Release

__all__ = [
    "UNSIGNED",
    "Unsigned",
    "admitted",
    "check_trust",
    "origin_of",
    "refusal",
    "require_admitted",
    "settle",
    "targets",
    "unadmitted",
]


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


def check_trust(trust: object) -> Unsigned | TrustRoot | None:
    """What was passed as ``trust``.  Raises :class:`TypeError` unless it is something that is accepted."""
    if trust is None or isinstance(trust, Unsigned):
        return trust
    from livepatch.bundle.trustroot import TrustRoot

    if isinstance(trust, TrustRoot):
        return trust
    raise TypeError(
        "trust must be None or livepatch.UNSIGNED, which vouches for the file, or a livepatch.TrustRoot, "
        f"not {spelled(trust)}"
    )


# A file


def admitted(
    file: SignedBundle | UnverifiedBundle, trust: Unsigned | TrustRoot | None, path: str
) -> VerifiedBundle | UnverifiedBundle:
    """The bytes of the patch in a file that was read, verified if `trust` is a trust root.

    Raises :class:`TrustError` if the signatures are not those that it asks for.  Nothing of the patch was read by then.
    """
    from livepatch.bundle.envelope import SignedBundle, UnverifiedBundle

    if trust is None or isinstance(trust, Unsigned):
        vouched = trust is UNSIGNED
        return (
            file.unverified(vouched=vouched)
            if isinstance(file, SignedBundle)
            else UnverifiedBundle(file.payload, vouched)
        )
    from livepatch.bundle.trustroot import clock

    if isinstance(file, SignedBundle):
        return trust.verify(file, clock())
    raise _unsigned(path, file.digest)


def settle(root: TrustRoot, bundle: VerifiedBundle, contents: Contents) -> None:
    """Hold a verified patch to what it says of its own giving out, and remember its revision if there is a state.

    Raises :class:`TrustError`.
    """
    _settle(root, bundle, contents.id, contents.package, contents.release)


def _settle(root: TrustRoot, bundle: VerifiedBundle, patch_id: str, package: str, release: Release) -> None:
    from livepatch.bundle.trustroot import clock

    root.must_cover(package, release, clock())
    if root.state is not None:
        from livepatch.bundle.remembered import see_patch

        see_patch(root.state, root, patch_id, release, bundle)


def origin_of(
    file: SignedBundle | UnverifiedBundle,
    bundle: VerifiedBundle | UnverifiedBundle,
    path: str,
    trust: Unsigned | TrustRoot | None,
) -> Origin:
    """What a patch remembers of its file, and of the trust root that has verified it."""
    from livepatch.bundle.envelope import SignedBundle, VerifiedBundle

    signed = file if isinstance(file, SignedBundle) else None
    if isinstance(bundle, VerifiedBundle):
        assert trust is not None
        assert not isinstance(trust, Unsigned)
        return Origin(
            path=path,
            digest=bundle.digest,
            verified=True,
            signers=bundle.signers,
            until=bundle.until,
            signed=signed,
            root=trust,
        )
    return Origin(path=path, digest=bundle.digest, vouched=bundle.vouched, signed=signed)


# A patch


def refusal(patch: Patch, trust: object) -> TrustError | None:
    """Why nobody answers for the patch; nothing if somebody does: who made it in this process, vouches, or signed.

    A patch that a trust root has verified is verified again: by the one that is given, or else by that one or, if its
    state has seen it, a newer one in its place.  Raises :class:`TypeError` for a `trust` that says nothing here.
    """
    origin = patch.origin
    if origin is None:
        if trust is not None:
            raise TypeError("trust is for patch files; a Patch made in the process is the process's own code")
        return None
    given = check_trust(trust)
    if isinstance(given, Unsigned) or (given is None and origin.vouched):
        return None
    if given is None and not origin.verified:
        return TrustError(
            f"patch {patch.id} comes from a file that nobody answers for; nothing of it was compiled",
            found=_unverified(patch),
            expected=_EXPECTED,
            action=_ACTION,
        )
    try:
        _must_still_hold(patch, origin, given)
    except TrustError as error:
        return error
    return None


def _must_still_hold(patch: Patch, origin: Origin, given: TrustRoot | None) -> None:
    from livepatch.bundle.remembered import newest
    from livepatch.bundle.trustroot import TrustRoot, clock

    root = given
    if root is None:
        assert isinstance(origin.root, TrustRoot)
        root = newest(origin.root)  # a key may have been revoked since
    if origin.signed is None:
        raise _unsigned(origin.path, origin.digest)
    bundle = root.verify(origin.signed, clock())
    _must_be_as_signed(patch, bundle.payload)
    _settle(root, bundle, patch.id, patch.package, patch.release)


def _must_be_as_signed(patch: Patch, payload: bytes) -> None:
    try:
        same = patch.to_bytes() == payload
    except BundleError:
        same = False
    if not same:
        raise TrustError(
            f"patch {patch.id} is not what was signed any more",
            found="a patch that was changed after it was loaded",
            expected="the patch as it lies in its file",
            action="load the file again, and apply the patch as it is",
        )


def require_admitted(patch: Patch, trust: object) -> None:
    """Raise :class:`TrustError` if there is a :func:`refusal`.  Nothing of the patch was compiled by then."""
    error = refusal(patch, trust)
    if error is not None:
        raise error


def _unsigned(path: str, digest: str) -> TrustError:
    return TrustError(
        "the patch file is not signed; nothing of it was compiled",
        found=f"no signature in {spelled(path)} ({digest})",
        expected="a file that was signed as the trust root asks",
        action="have it signed (livepatch sign), or get the file that was",
    )


def unadmitted(patch: Patch, refused: TrustError, modules: dict[str, ModuleType]) -> Report:
    """The report on a patch that is not admitted: why, and what its metadata alone tell."""
    # A command that only shows a file needs nothing of what changes a process.
    from livepatch.compat.versions import version_findings
    from livepatch.process import distribution

    finding = Finding(
        code="unverified",
        severity="error",
        target="",
        found=refused.found + "; nothing of it was compiled, so its code was not compared",
        expected=refused.expected,
        action=refused.action,
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
    "pass trust=livepatch.TrustRoot.load(path) for a signed file; or verify the file and its digest by other means, "
    "then pass trust=livepatch.UNSIGNED"
)


def _unverified(patch: Patch) -> str:
    assert patch.origin is not None
    return f"no verified signature on {spelled(patch.origin.path)} ({patch.origin.digest})"
