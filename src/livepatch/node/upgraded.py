"""The package on disk, where it is of another version than a patch is for: does it hold what the patch brings?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from livepatch.bundle.comparing import contains
from livepatch.bundle.disk import read_at_most
from livepatch.patch import Patch

__all__ = ["brings_nothing_new"]

_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of some modules, wherever they are installed."""

    version: str | None
    sources: Mapping[str, bytes]
    modules: Mapping[str, str]


def brings_nothing_new(patch: Patch) -> bool:
    """Whether all that the patch changes is, in the files that are installed, as the patch would have it.

    Nothing is imported or run; a module with no source is not as the patch would have it.
    """
    found = {edit.module: path for edit in patch.edits if (path := _file_of(edit.module)) is not None}
    sources = {path: data for path in found.values() if (data := _content(path)) is not None}
    return contains(patch.edits, _Files(None, sources, {name: path for name, path in found.items() if path in sources}))


def _content(path: str) -> bytes | None:
    try:
        data = read_at_most(path, _LARGEST)
    except OSError:
        return None
    return None if data is None or len(data) > _LARGEST else data


def _file_of(module: str) -> str | None:
    """The source file that an import of the module would find; its packages are not imported."""
    where: list[str] | None = None
    spec: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or ())
    return spec.origin if spec is not None and spec.origin is not None and Path(spec.origin).suffix == ".py" else None
