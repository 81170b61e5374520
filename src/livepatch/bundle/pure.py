"""Which functions of a built patch are declared pure: only who has read both sides can know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from livepatch.contents.edits import ModuleEdit, replaced_functions
from livepatch.errors import PatchError, spelled

__all__ = ["declared_pure", "texts_of"]


def texts_of(argument: str, values: object) -> tuple[str, ...]:
    """The names in `values`, each once.  Raises :class:`TypeError` if it is a string or holds anything else."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(
            f"{argument} must be a list of names, such as ['package.module:function'], not {spelled(values)}"
        )
    names = tuple(values)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must hold names, not {spelled(name)}")
    return tuple(dict.fromkeys(names))


def declared_pure(names: tuple[str, ...], edits: Iterable[ModuleEdit]) -> tuple[str, ...]:
    """The names, sorted.  Raises :class:`PatchError` for one that is no function which the edits replace."""
    replaced = replaced_functions(edits)
    for name in names:
        if name not in replaced:
            near = difflib.get_close_matches(name, replaced, 5, 0.5) or replaced[:5]
            raise PatchError(
                f"pure names {name}, which the patch does not replace",
                found=f"a patch of {', '.join(near) or 'no function'}",
                expected="functions that the patch replaces, as 'module:qualified.name'",
                action="correct the name, or leave it out",
            )
    return tuple(sorted(names))
