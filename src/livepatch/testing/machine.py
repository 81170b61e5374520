"""A state machine for a user's own patches, if hypothesis is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepatch.errors import PatchError
from livepatch.patch import Patch
from livepatch.process.arguments import check_patch
from livepatch.testing.probing import Probe, check_probe

if TYPE_CHECKING:
    from livepatch.testing.drawing import PatchMachine

__all__ = ["machine"]


def machine(*patches: Patch, probe: Probe, splits: bool = True) -> type[PatchMachine]:
    """A state machine that applies, switches and reverts `patches` in any order, and asks `probe` after each step.

    ``TestFixes = livepatch.testing.machine(fix, other, probe=probe).TestCase`` in a test module is a test.  What a
    probe answers may depend on nothing but which of the patches are live, lowest first; once all are out, everything
    must be the very object that it was.  Without `splits`, their modes are on and off only: for patches that change
    values, which have no other.  A patch with ``requires`` goes in over what it requires.

    Raises :class:`PatchError` without hypothesis, without a patch, or with two of one id, and :class:`TypeError` for a
    wrong argument.
    """
    for patch in patches:
        check_patch(patch)
    check_probe("probe", probe)
    ids = [patch.id for patch in patches]
    if not patches or len(set(ids)) < len(ids):
        raise PatchError(
            "a state machine needs patches",
            found=", ".join(ids) or "none",
            expected="one or more, each with an id of its own",
            action="pass the patches",
        )
    try:
        from livepatch.testing.drawing import PatchMachine
    except ModuleNotFoundError as error:
        raise PatchError(
            "a state machine needs hypothesis",
            found=f"no package {error.name} in this environment",
            expected="the extra livepatch[testing]",
            action="python -m pip install 'livepatch[testing]'",
        ) from error
    return PatchMachine.of(patches, probe, splits=splits)
