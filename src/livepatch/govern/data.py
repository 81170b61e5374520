"""What a patch does to data, in a word."""

from __future__ import annotations

from typing import Any

from livepatch.contents.changes import Attachment
from livepatch.errors import counted
from livepatch.patch import Patch

__all__ = ["state_of"]


def state_of(patch: Patch) -> tuple[str, str]:
    """What becomes of data, at the worst, in one of the words for it; and by what."""
    lost = [str(each) for each in patch.migrations if each.down is None and not _is_restored(each.checkpoint)]
    if lost:
        return ("irreversible", f"{', '.join(lost)}: no way back")
    if patch.migrations:
        return ("reversible", counted(len(patch.migrations), "migration"))
    attached = sum(len(edit.attributes) for edit in patch.edits)
    attached += sum(len(change.names) for change in patch.changes if isinstance(change, Attachment))
    if attached:
        return ("attached", f"{counted(attached, 'attribute')} of objects that exist")
    return ("none", "the patch")


def _is_restored(checkpoint: Any) -> bool:
    return checkpoint is not None and checkpoint.on_revert
