"""A program as its source files tell it.  They are compiled, which runs nothing, and none is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import CodeType

from livepatch.compat.calls.objects import Module
from livepatch.compat.calls.program import Program
from livepatch.compat.calls.world import UNKNOWN
from livepatch.engine.code import is_class_body, nested_codes
from livepatch.engine.pace import breathe

__all__ = ["SourceProgram"]


class SourceProgram(Program):
    """All modules of a tree."""

    def __init__(self, codes: Mapping[str, CodeType], packages: Iterable[str]) -> None:
        super().__init__({})
        self.unread_names: list[tuple[str, str, int]] = []
        packages = frozenset(packages)
        for name in codes:
            self.modules[name] = Module(self, name, is_package=name in packages)
        for name, code in codes.items():
            breathe()
            self.may_be_defined(inner.co_name for inner in nested_codes(code))
            self.may_be_defined(_names_in_classes(code))
            body = self.modules[name].body = self.function(code, name)
            body.scope = self.modules[name]
        for name in codes:
            parent, _, last = name.rpartition(".")
            if parent in self.modules:
                self.flow.add(self.global_node(parent, last), self.modules[name])

    def fill_global(self, module: str, name: str, node: int) -> None:
        self.unread_names.append((module, name, node))
        known = self.modules.get(module)
        for source in known.stars if known is not None else ():
            self.flow.copy(self.global_node(source, name), node)

    def bind_global(self, module: str, name: str, node: int, *, again: bool = False) -> None:
        del again
        self.store_global(module, name, node)

    def read_names(self) -> None:
        stars = any(module.stars for module in self.modules.values())
        for module in self.modules:
            if self.globals.get(module, {}).get("__getattr__", -1) in self.bound_globals:
                self.hooked.add(module)
        for module, name, node in self.unread_names:
            if node not in self.bound_globals and not self.flow.objects(node):
                builtin = self.live.builtin(name)
                if name in {"__name__", "__package__"}:  # what the module has, not what `builtins` has
                    known = self.modules.get(module)
                    whole = name == "__name__" or (known is not None and known.is_package)
                    self.flow.copy(self.constant(module if whole else module.rpartition(".")[0]), node)
                elif builtin is not None:
                    self.flow.add(node, builtin)
                elif not stars:
                    self.flow.add(node, UNKNOWN)
        self.unread_names = []

    def globals_named(self, name: str) -> list[int]:
        return [space[name] for module, space in self.globals.items() if name in space and module in self.modules]

    def lacks(self, module: str, name: str) -> bool:
        node = self.global_node(module, name)
        return node not in self.bound_globals and not any(not obj.marks for obj in self.flow.objects(node))

    def functions_of(self, module: str, prefix: str = "") -> list[int]:
        space = self.globals.get(module, {})
        return [node for name, node in space.items() if name.startswith(prefix) and node in self.bound_globals]


def _names_in_classes(code: CodeType) -> Iterable[str]:
    """Names that class bodies may bind to something that they do not define, such as ``__radd__ = __add__``."""
    for inner in nested_codes(code):
        if is_class_body(inner):
            yield from (name for name in inner.co_names if name.startswith("__"))
