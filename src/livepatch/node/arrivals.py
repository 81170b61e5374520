"""Which modules a patch waits for, and who says that one has come: the import itself, before anybody can use it.

A module counts as come when its import has ended, not when it has begun: half of it may be missing before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

__all__ = ["Arrivals", "is_there"]


def is_there(module: str, just_come: str = "") -> bool:
    """Whether the process has imported that module to its end; `just_come` is one whose import is ending now."""
    found = sys.modules.get(module)
    return found is not None and (module == just_come or not is_coming(module))


def is_coming(module: str) -> bool:
    """Whether its import has begun and not ended."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))  # as the interpreter itself asks


class Arrivals:
    """Calls back, in the thread that imports and before its import returns, when one of the modules has come."""

    def __init__(self, come: Callable[[str], object]) -> None:
        self._come: Callable[[str], object] | None = come
        self._awaited: set[str] = set()

    def await_(self, modules: Iterable[str]) -> None:
        """Wait for those that are not there; those whose import has begun already, nobody tells of."""
        absent = [name for name in modules if name not in self._awaited and name not in sys.modules]
        if not absent:
            return
        import wrapt  # which loads a lot

        for name in absent:
            if name not in self._awaited:
                self._awaited.add(name)
                wrapt.register_post_import_hook(self._told, name)

    def _told(self, module: object) -> None:
        name = getattr(module, "__name__", None)
        come = self._come
        if isinstance(name, str):
            self._awaited.discard(name)
            if come is not None:
                come(name)

    def close(self) -> None:
        """Tell of no more."""
        self._come = None
