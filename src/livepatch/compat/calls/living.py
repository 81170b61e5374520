"""A program as it is loaded: real namespaces, real classes, and the code objects that run."""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType, FunctionType, ModuleType

from livepatch.compat.calls.classes import Class
from livepatch.compat.calls.objects import Function, Module
from livepatch.compat.calls.program import Program
from livepatch.compat.calls.world import Obj
from livepatch.engine.code import is_class_body
from livepatch.engine.functions import code_of
from livepatch.engine.namespaces import functions_behind, is_class, is_module, namespace_of
from livepatch.engine.pace import breathe

__all__ = ["LiveProgram"]

_MODULE_DATA = frozenset({bool, int, float, complex, str, bytes, type(None)})


class LiveProgram(Program):
    """The modules of a process.

    `bodies` are the codes of their files, as far as they are those of the process.
    """

    def __init__(self, modules: Mapping[str, ModuleType], bodies: Mapping[str, CodeType]) -> None:
        self._spaces: dict[str, Mapping[str, object]] = {}
        ids: dict[int, str] = {}
        for name, module in modules.items():
            if is_module(module) and id(namespace_of(module)) not in ids:
                space = namespace_of(module)
                self._spaces[name] = space
                ids[id(space)] = name
        super().__init__(ids)
        for name, space in self._spaces.items():
            self.modules[name] = Module(self, name, is_package="__path__" in space)
        self._actual: dict[tuple[str, str, int], list[CodeType]] = {}
        self._first: dict[tuple[str, str], int] = {}
        self._holders: dict[str, list[str]] | None = None
        """The modules that have a function or class of a name."""
        self._without_source: set[str] = set(self._spaces)
        self._discover()
        self._take_bodies(bodies)
        self._annotate()

    def _discover(self) -> None:
        """Find all that the namespaces hold."""
        for module, space in self._spaces.items():
            breathe()
            if "__getattr__" in space:
                self.hooked.add(module)
            for value in list(space.values()):
                kind = type(value)
                if kind in _MODULE_DATA or kind is ModuleType:
                    continue
                if kind is FunctionType or is_class(value):
                    self.live.obj_of(value)
                elif kind not in {dict, list, tuple, set, frozenset}:
                    for function in functions_behind(value):
                        self.live.obj_of(function)
                    self.live.obj_of(value)
        self.live.look_into_instances()
        for made in list(self.functions.values()):
            self._note(made.code, made.module)

    def _note(self, code: CodeType, module: str) -> None:
        key = module, code.co_qualname, code.co_firstlineno
        there = self._actual.setdefault(key, [])
        if code not in there:
            there.append(code)
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                if is_class_body(inner):  # a class that nobody holds before the function is called
                    self.may_be_defined(inner.co_names)
                self._note(inner, module)

    def _take_bodies(self, bodies: Mapping[str, CodeType]) -> None:
        for name, code in bodies.items():
            if name in self.modules:
                breathe()
                self._without_source.discard(name)
                body = self.modules[name].body = self.function(code, name)
                body.scope = self.modules[name]

    def _annotate(self) -> None:
        """Ask the functions for their annotations where no source tells them."""
        for name in self._without_source:
            space = self._spaces[name]
            for value in list(space.values()):
                for function in functions_behind(value) if type(value) is FunctionType else ():
                    made = self.functions.get(id(code_of(function)))
                    if made is not None and made.module == name:
                        self._annotate_one(function, made)
        for kind in self.classes:
            if kind.live is not None and kind.module in self._without_source:
                self._annotate_class(kind, kind.live)

    def _annotate_one(self, function: FunctionType, made: Function) -> None:
        evaluating = vars(FunctionType).get("__annotate__")
        if evaluating is None:
            self.live.annotate(function, made)
            return
        later = evaluating.__get__(function)  # since 3.14 to ask for the annotations themselves would run code
        if type(later) is FunctionType:
            obj = self.live.obj_of(later)
            if isinstance(obj, Function):
                self.annotations.later(made, obj)

    def _annotate_class(self, kind: Class, live: type) -> None:
        space = namespace_of(live)
        annotations, later = space.get("__annotations__"), space.get("__annotate_func__")
        if type(annotations) is dict:
            for name, value in list(annotations.items()):
                self.annotations.live_field(kind, name, value)
        if type(later) is FunctionType:
            obj = self.live.obj_of(later)
            if isinstance(obj, Function):
                self.annotations.later(kind, obj)
        for value in list(space.values()):
            for function in functions_behind(value):
                made = self.functions.get(id(code_of(function)))
                if made is not None:
                    self._annotate_one(function, made)

    # What is known

    def actual_code(self, code: CodeType, module: str) -> CodeType:
        if id(code) in self.functions:
            return code
        there = self._actual.get((module, code.co_qualname, code.co_firstlineno), ())
        for one in there:
            if one is code or one == code:
                return one
        return code

    def known_class(self, body: Function) -> Class | None:
        return self.class_at(body.module, body.code.co_qualname)

    def fill_global(self, module: str, name: str, node: int) -> None:
        space = self._spaces.get(module)
        if space is None:
            return
        if name in space:
            value = space[name]
            if value is not None:
                self.flow.add(node, self.live.obj_of(value))
            return
        builtin = self.live.builtin(name)
        if builtin is not None:
            self.flow.add(node, builtin)

    def bind_global(self, module: str, name: str, node: int, *, again: bool = False) -> None:
        bodies = self.bodies.setdefault(module, {})
        target = self.body_node(module, name)
        if name not in self._spaces.get(module, {}):
            self.flow.copy(node, target)
            return
        first = self._first.setdefault((module, name), node)
        if first != node or again:  # bound more than once, and what is there now is only the last
            self.flow.copy(first, bodies[name])
            self.flow.copy(node, bodies[name])

    def body_node(self, module: str, name: str) -> int:
        space = self.bodies.setdefault(module, {})
        node = space.get(name, -1)
        if node < 0:
            node = space[name] = self.flow.node()
            self.flow.copy(self.global_node(module, name), node)
        return node

    def module_named(self, name: str) -> Obj:
        found = self.modules.get(name)
        if found is not None:
            return found
        return self.live.imported(name) or self.outside(name, is_module=True)

    def globals_named(self, name: str) -> list[int]:
        if self._holders is None:
            self._holders = {}
            for module, space in self._spaces.items():
                breathe()
                for held, value in list(space.items()):
                    if type(value) is FunctionType or is_class(value):
                        self._holders.setdefault(held, []).append(module)
        return [self.global_node(module, name) for module in self._holders.get(name, ())]

    def lacks(self, module: str, name: str) -> bool:
        return name not in self._spaces.get(module, {})

    def functions_of(self, module: str, prefix: str = "") -> list[int]:
        space = self._spaces.get(module, {})
        names = [name for name, value in list(space.items()) if type(value) is FunctionType or is_class(value)]
        return [self.global_node(module, name) for name in names if name.startswith(prefix)]
