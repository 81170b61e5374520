"""How a patch gets from this process into a scratch process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from livepatch.bundle.disk import is_there
from livepatch.bundle.trust import require_admitted
from livepatch.engine.namespaces import is_module, namespace_of
from livepatch.errors import BundleError, PatchError
from livepatch.patch import Patch
from livepatch.process.arguments import check_patch
from livepatch.replaying.inputs import check_name_of_place
from livepatch.replaying.within import Brought

__all__ = ["bring"]


def bring(patch: Patch | str | os.PathLike[str], trust: object, file: Path) -> Brought:
    """Make a patch ready for a scratch process: in that file, or by its name.  Nothing of it is run.

    Raises what loading it raises, :class:`TrustError` unless somebody answers for it, and :class:`PatchError` for one
    that no other process can find.
    """
    if isinstance(patch, str) and ":" in patch and not is_there(patch):
        module, _, name = check_name_of_place("patch", patch).partition(":")
        return Brought(module=module, name=name)
    if isinstance(patch, (str, os.PathLike)):
        from livepatch.bundle.load import load

        patch = load(patch, trust=trust)
    check_patch(patch)
    require_admitted(patch, trust)
    try:
        data = patch.to_bytes()
    except BundleError as error:
        return _held_by_a_module(patch, error)
    file.write_bytes(data)
    modules = tuple(edit.module for edit in patch.edits if edit.whole is None)
    return Brought(patch=str(file), modules=modules)


def _held_by_a_module(patch: Patch, error: BundleError) -> Brought:
    for name, module in list(sys.modules.items()):
        if not is_module(module):
            continue
        for held, value in list(namespace_of(module).items()):
            if value is not patch:
                continue
            source = getattr(module, "__file__", None)
            # A script is run again under another name; what was run with -m has its own.
            spec = getattr(module, "__spec__", None)
            known = name if name != "__main__" else getattr(spec, "name", "")
            if known or source:
                where = str(Path(source).absolute()) if source else ""
                return Brought(module=known, source=where, name=held)
    raise PatchError(
        f"patch {patch.id} cannot be brought into another process",
        found=f"{error.found}, and no module of a file that holds the patch under a name",
        expected="a patch that is built, or one that a fresh interpreter finds",
        action="give 'module:name' of the patch, or of a function that gives it",
    ) from error
