"""One analysis from beginning to end."""

from __future__ import annotations

from itertools import chain
from types import CodeType, ModuleType

from livepatch.compat.calls import asking, branching, by_name, calling, library, loading, operating, reflection
from livepatch.compat.calls.annotations import Annotations
from livepatch.compat.calls.classes import AnyOf, Class
from livepatch.compat.calls.containers import Container
from livepatch.compat.calls.machine import Machine
from livepatch.compat.calls.making import Making
from livepatch.compat.calls.models import Models
from livepatch.compat.calls.objects import Function, Outside
from livepatch.compat.calls.uses import Call
from livepatch.compat.calls.values import Values
from livepatch.compat.calls.world import Obj, drop
from livepatch.contents.parsing import compiled
from livepatch.engine.pace import breathe

__all__ = ["Program"]

_ROUNDS = 6
_SLICE = 128
"""Sites or objects that are let go of between two looks at the clock."""
_HANDLERS = (branching, calling, loading, operating)  # imported for what they register
_MODELS = (asking, by_name, library, reflection)


class Program(Making):
    """What is analysed.  Subclasses say what is known from the start."""

    def __init__(self, spaces: dict[int, str]) -> None:
        super().__init__()
        self.live_modules: dict[str, ModuleType] = {}
        self.models = Models(self)
        self.annotations = Annotations(self)
        self.live = Values(self, spaces)
        self.begin()
        self.nowhere = Function(self, compile("", "<nowhere>", "exec"), "", None)

    def whole(self) -> Program:
        return self

    def fill(self, box: Container, filler: object) -> None:
        """Put in what a live container holds."""
        self.live.fill(box, filler)

    def read_all(self) -> None:
        """Read the code of all functions that have been found."""
        while self.unread:
            breathe()
            Machine(self, self.unread.popleft()).run()

    def work_out(self) -> None:
        """Where all values may go."""
        self.read_all()
        self.read_names()
        self.ask_hooks()
        self.run_imports()
        self.flow.run()
        self.settle_classes()
        self.seed_methods()
        self.run_statements()
        self.catch_up()
        self._run()
        for _ in range(_ROUNDS):
            if not self.open_fans():
                break
            self.fill_fan_of_all()
            self._run()

    def _run(self) -> None:
        self.flow.run()
        while self.unread or self.live.left:
            self.live.look_into_instances()
            self.read_all()
            self.flow.run()

    def forget(self) -> None:
        """Let go of everything in small steps, and of what refers to itself by hand.

        So nothing waits for the collector, which would hold all other threads for as long as it takes.
        """
        self.flow.forget()
        for start in range(0, len(self.sites), _SLICE):
            breathe()
            for site in self.sites[start : start + _SLICE]:
                site.forget()
        for fan in self.fans.values():
            fan.forget()
        objects = chain(self.functions.values(), self.classes, self.modules.values(), self.live.known(), [self.nowhere])
        for i, obj in enumerate(dict.fromkeys(objects)):
            if not i % _SLICE:
                breathe()
            obj.forget()
        held = [value for value in vars(self).values() if isinstance(value, (dict, list, set))]
        vars(self).clear()
        for one in held:
            drop(one)

    def read_names(self) -> None:
        """Note what can be known of names when all code has been read."""

    def attribute_quietly(self, obj: Obj, name: str) -> int:
        """The node of an attribute of a module or class, or -1."""
        if isinstance(obj, (Class, AnyOf)):
            kind = obj if isinstance(obj, Class) else obj.kind
            for one in kind.order:
                place = one.names.get(name)
                if isinstance(place, int):
                    return place
                if place is not None:
                    return self.flow.holding(place)
            return -1
        found = getattr(obj, "name", None)
        if found in self.modules:
            return self.global_node(found, name)
        if isinstance(obj, Outside) and obj.is_module:
            return self.outside_global(obj, name)
        return -1

    def run_text(self, call: Call, text: str) -> bool:
        """``eval`` or ``exec`` of a text that is known.  Whether it is code."""
        if text.endswith("*") or call.root.offset < 0:
            return False
        code = _compiled(text, "eval") or _compiled(text, "exec")
        if code is None:
            return False
        made = self.functions[id(code)] = Function(self, code, call.unit.module, None)
        made.home = call.unit.home
        made.scope = call.unit
        self.flow.copy(made.result, call.dest)
        self.unread.append(made)
        return True

    def functions_of(self, module: str, prefix: str = "") -> list[int]:
        """The nodes of a module's functions whose names begin so."""
        raise NotImplementedError


def _compiled(text: str, mode: str) -> CodeType | None:
    try:
        return compiled(text, "<text>", mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
