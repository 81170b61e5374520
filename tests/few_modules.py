"""A process of few modules, as the survey sees it: looking through all those of the test tools would only cost time."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class FewModules:
    """Stands in for the module ``sys`` where livepatch reads ``sys.modules``."""

    def __init__(self, *modules: ModuleType) -> None:
        names = ("builtins", "functools", "livepatch")
        self.modules = {**{name: sys.modules[name] for name in names}, **{m.__name__: m for m in modules}}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)
