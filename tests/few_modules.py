"""A process of few modules, as the survey sees it: looking through all those of the test tools would only cost time."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_ALWAYS = ("builtins", "functools", "livepatch")


class FewModules:
    """Stands in for the module ``sys`` where livepatch reads ``sys.modules``."""

    def __init__(self, *modules: ModuleType) -> None:
        self.modules = {**{name: sys.modules[name] for name in _ALWAYS}, **{m.__name__: m for m in modules}}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


class ModulesOfATest:
    """Stands in for the module ``sys`` too: of all modules, those that came after it was made, and one more."""

    def __init__(self, own: str) -> None:
        self._hidden = sys.modules.keys() - {*_ALWAYS, own}

    @property
    def modules(self) -> dict[str, ModuleType]:
        """As ``sys.modules`` would be; a copy, so that a new module cannot be entered by it."""
        return {name: module for name, module in list(sys.modules.items()) if name not in self._hidden}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)
