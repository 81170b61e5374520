"""Names: globals, what class and module bodies bind, and imports."""

from __future__ import annotations

from livepatch.compat.calls.classes import Class
from livepatch.compat.calls.objects import Function, Module, Outside
from livepatch.compat.calls.state import State
from livepatch.compat.calls.uses import Arguments, Call
from livepatch.compat.calls.world import Obj

__all__ = ["Names"]


class Names(State):
    """Which node a name leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.globals: dict[str, dict[str, int]] = {}
        self.bodies: dict[str, dict[str, int]] = {}
        """What bodies of modules bind while they run, where the namespace itself tells what is left at the end."""
        self._class_bodies: dict[Function, dict[str, int]] = {}
        self.bound_globals: set[int] = set()
        """Nodes of globals that somebody binds."""
        self.imports: list[tuple[Function, int, str]] = []
        self.hooked: set[str] = set()
        """Modules with a ``__getattr__`` for what they do not have."""
        self._from_hooks: list[tuple[Function, int, Module, str]] = []
        self._module_nodes: dict[str, int] = {}
        self._imported: dict[int, Obj] = {}

    # Globals

    def global_node(self, module: str, name: str) -> int:
        """The node of a global."""
        space = self.globals.get(module)
        if space is None:
            space = self.globals[module] = {}
        node = space.get(name, -1)
        if node < 0:
            node = space[name] = self.flow.node()
            self.fill_global(module, name, node)
        return node

    def fill_global(self, module: str, name: str, node: int) -> None:
        """Put in what is known of a global from the start."""
        raise NotImplementedError

    def store_global(self, module: str, name: str, node: int) -> None:
        """A function assigns a global, or somebody an attribute of the module."""
        target = self.global_node(module, name)
        self.bound_globals.add(target)
        self.flow.copy(node, target)

    def take_all(self, module: str, source: str) -> None:
        """All names of a module go to another."""
        known = self.modules.get(module)
        if known is None or source in known.stars or source == module:
            return
        known.stars.append(source)
        for name, node in list(self.globals.get(module, {}).items()):
            self.flow.copy(self.global_node(source, name), node)

    def outside_global(self, outside: Outside, name: str) -> int:
        """The node of an attribute of a module that is not looked into."""
        space = self.globals.setdefault(outside.name, {})
        node = space.get(name, -1)
        if node < 0:
            node = space[name] = self.flow.holding(self.live.outside_attribute(outside, name))
        return node

    # Names in bodies

    def name_node(self, unit: Function, name: str) -> int:
        """The node of a name that a body reads."""
        scope = unit.scope
        if isinstance(scope, Class):
            own = scope.names.get(name)
            if isinstance(own, int):
                return own
            local = self.class_spaces(unit).get(name)
            return self.enclosed_name(unit, name) if local is None else local
        if isinstance(scope, Module):
            return self.body_node(scope.name, name)
        if isinstance(scope, Function):  # text that runs in a function sees its variables
            local = scope.local(name)
            if local >= 0:
                return local
        return self.global_node(unit.module, name)

    def class_spaces(self, unit: Function) -> dict[str, int]:
        """What the body of a class binds while it runs."""
        return self._class_bodies.setdefault(unit, {})

    def body_node(self, module: str, name: str) -> int:
        """The node of a global as the body of its module reads it."""
        return self.global_node(module, name)

    def enclosed_name(self, unit: Function, name: str) -> int:
        """The node of a name that is none of the class's own."""
        return self.body_node(unit.module, name)

    def class_name_or(self, unit: Function, name: str, node: int) -> int:
        """The node of a name of the class body, or of the variable around it."""
        own = self.class_spaces(unit).get(name)
        return node if own is None else own

    def bind_name(self, unit: Function, name: str, node: int, *, again: bool = False) -> None:
        """A body binds a name; `again`: perhaps more than once."""
        scope = unit.scope
        if isinstance(scope, Class):
            space = self.class_spaces(unit)
            target = space.get(name, -1)
            if target < 0:
                target = space[name] = self.flow.node()
            self.flow.copy(node, target)
            self.bind_member(scope, name, target)
            if name == "__annotate_func__":  # since 3.14
                for obj in self.flow.objects(node):
                    if isinstance(obj, Function):
                        self.annotations.later(scope, obj)
        elif isinstance(scope, Function):
            self.store_global(unit.module, name, node)
        else:
            self.bind_global(unit.module, name, node, again=again)

    def bind_member(self, kind: Class, name: str, node: int) -> None:
        """The body of a class binds a name, which is in that node."""
        raise NotImplementedError

    def bind_global(self, module: str, name: str, node: int, *, again: bool = False) -> None:
        """The body of a module binds a name; `again`: perhaps more than once."""
        raise NotImplementedError

    # Imports

    def imported(self, unit: Function, offset: int, name: str, level: int, wanted: tuple[object, ...]) -> int:
        """The node of the module that an import statement gives."""
        absolute = self.absolute(unit.module, name, level)
        self._runs(unit, offset, absolute)
        for part in wanted:
            self._runs(unit, offset, f"{absolute}.{part}")
        if not wanted and not level:
            absolute = absolute.partition(".")[0]
        node = self._module_nodes.get(absolute, -1)
        if node < 0:
            found = self.module_named(absolute)
            node = self._module_nodes[absolute] = self.flow.holding(found)
            self._imported[node] = found
        return node

    def imported_from(self, unit: Function, offset: int, node: int, name: str) -> int:
        """The node of a name of the module that an import statement gave, or -1."""
        found = self._imported.get(node)
        if isinstance(found, Module):
            self._from_hooks.append((unit, offset, found, name))
            return self.global_node(found.name, name)
        return self.outside_global(found, name) if isinstance(found, Outside) and found.is_module else -1

    def lacks(self, module: str, name: str) -> bool:
        """Whether a module does not have the name, as far as is known when all code has been read."""
        raise NotImplementedError

    def ask_hook(self, unit: Function, offset: int, module: Module, name: str) -> int:
        """The node of what the module's ``__getattr__`` gives for a name, or -1 if it is not asked."""
        if module.name not in self.hooked or not self.lacks(module.name, name):
            return -1
        made = Call(self.program, unit, offset, self.flow.node(), Arguments((self.constant(name),)))
        made.how = "property"
        self.flow.attach(self.global_node(module.name, "__getattr__"), made)
        return made.dest

    def ask_hooks(self) -> None:
        """Ask the hooks of modules for what import statements take from them."""
        asked, self._from_hooks = self._from_hooks, []
        for unit, offset, module, name in asked if self.hooked else ():
            given = self.ask_hook(unit, offset, module, name)
            if given >= 0:
                self.flow.copy(given, self.global_node(module.name, name))

    def absolute(self, module: str, name: str, level: int) -> str:
        """The full name of what is imported."""
        if not level:
            return name
        parts = module.split(".")
        known = self.modules.get(module)
        drop = level - 1 if known is not None and known.is_package else level
        parts = parts[: len(parts) - drop] if drop else parts
        return ".".join([*parts, *([name] if name else [])])

    def module_named(self, name: str) -> Obj:
        """The module of that name."""
        found = self.modules.get(name)
        return found if found is not None else self.outside(name, is_module=True)

    def _runs(self, unit: Function, offset: int, name: str) -> None:
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            if ".".join(parts[:i]) in self.modules:
                self.imports.append((unit, offset, ".".join(parts[:i])))

    def runs(self, unit: Function, offset: int, name: str) -> None:
        """A module is imported by its name: note that this runs bodies."""
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            known = self.modules.get(".".join(parts[:i]))
            if known is not None and known.body is not None and known.body.home is not unit.home:
                self.note_import(unit, offset, known.body)

    def import_star(self, unit: Function, source: int) -> None:
        """``from module import *``."""
        for obj in self.flow.objects(source):
            if isinstance(obj, Module):
                self.take_all(unit.module, obj.name)

    def run_imports(self) -> None:
        """Note that imports run the bodies of modules."""
        for unit, offset, name in dict.fromkeys(self.imports):
            body = self.modules[name].body
            if body is not None and body.home is not unit.home:
                self.note_import(unit, offset, body)

    def note_import(self, unit: Function, offset: int, body: Function) -> None:
        """One import that runs the body of a module."""
        raise NotImplementedError
