"""What one analysis knows: its nodes, functions, classes and modules, and the values that are the same everywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from types import CodeType
from typing import TYPE_CHECKING

from livepatch.compat.calls.classes import Class
from livepatch.compat.calls.containers import Const, Container, Opaque
from livepatch.compat.calls.fields import Fields
from livepatch.compat.calls.objects import FOLDED, Bound, Function, MadeOutside, Module, Outside
from livepatch.compat.calls.uses import FALLING_BACK
from livepatch.compat.calls.world import UNKNOWN, Flow, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.annotations import Annotations
    from livepatch.compat.calls.models import Models
    from livepatch.compat.calls.program import Program
    from livepatch.compat.calls.uses import Site
    from livepatch.compat.calls.values import Values

__all__ = ["Nothing", "State"]


class Nothing(Obj):
    """A value that nobody calls: ``None``, or what a class holds that is no function."""

    __slots__ = ()

    def call(self, call: object) -> None:
        pass

    def load(self, site: object) -> None:
        pass


class State:
    """The parts that all others use."""

    models: Models
    annotations: Annotations
    live: Values

    def __init__(self) -> None:
        self.program = self.whole()
        """Itself, with all that is built upon it."""
        self.flow = Flow()
        self.sites: list[Site] = []
        self.asked: list[int] = []
        """Nodes of what is called, asked for an attribute, iterated: if they hold nothing, nobody knows what it is."""
        self.waiting: list[tuple[int, Site, Class]] = []
        """Sites whose attribute may yet be assigned by somebody, with the node that it would be in, and of what."""
        self.functions: dict[int, Function] = {}
        """By the id of the code object, which the function keeps alive."""
        self.unread: deque[Function] = deque()
        self.modules: dict[str, Module] = {}
        self.classes: list[Class] = []
        self.class_set: set[Class] = set()
        self.named: set[Function] = set()
        """Functions that a namespace holds, and so have the best claim to their names."""
        self.settled = False
        """Whether the orders of classes are known."""
        self._later: list[Callable[[], None]] = []
        self.definers: dict[str, list[Class]] = {}
        """Names of methods, and the classes of the graph that define them."""
        self.defined: set[str] = set()
        """Names of methods that may be defined at all."""
        self.answered: set[str] = set()
        """Those, and the names of operations that fall back to one of them."""
        self.fields = Fields(self.program)
        self.stored_names: set[str] = set()
        """Names of attributes that are assigned somewhere."""
        self.spreads: dict[Container, list[int]] = {}
        self.nothing = Nothing()
        self.opaque = Opaque(self.program)
        self._bound: dict[tuple[Obj, Obj], Bound] = {}
        self._constants: dict[tuple[type, object], int] = {}
        self._numbers: dict[int, object] = {}
        self._made_outside: dict[Outside, MadeOutside] = {}
        self._loaded: Container | None = None
        self._outsides: dict[str, Outside] = {}

    def whole(self) -> Program:
        """Itself, with all that is built upon it."""
        raise NotImplementedError

    def begin(self) -> None:
        """Make the nodes that are the same everywhere."""
        flow = self.flow
        self.silent = flow.node()
        self.class_builder = flow.node()
        self.part = flow.node()
        self.text = flow.holding(self.plain_kind(str).exactly())
        self.boolean = flow.holding(self.plain_kind(bool).exactly())
        self.number = flow.holding(self.plain_kind(int).exactly())
        self.unknown = flow.holding(UNKNOWN)
        self.plain = {self.silent, self.part, self.text, self.boolean, self.number}
        self._common = self._common_constants()

    def plain_kind(self, kind: type) -> Class:
        """A builtin class."""
        found = self.live.obj_of(kind)
        assert isinstance(found, Class)
        return found

    def _common_constants(self) -> list[int]:
        errors = (AssertionError, NotImplementedError)
        values: tuple[object, ...] = (*errors, tuple, all, any, list, set)
        nodes = [self.flow.holding(self.live.obj_of(value)) for value in values]
        return [*nodes, self.silent, self.text, self.boolean, self.boolean, self.number]

    def later(self, action: Callable[[], None]) -> None:
        """Do it when the orders of classes are known."""
        self._later.append(action)

    def catch_up(self) -> None:
        """Do what had to wait for the orders of classes."""
        self.settled = True
        actions, self._later = self._later, []
        for action in actions:
            action()

    # Constants

    def constant(self, value: object) -> int:
        """The node of a constant of some code."""
        kind = type(value)
        if value is None:
            return self.silent
        if kind is str:
            assert isinstance(value, str)
            return self._text(value)
        key = kind, value if kind is int else None
        node = self._constants.get(key, -1)
        if node < 0:
            node = self._constants[key] = self.flow.holding(self.live.plain(value))
            if kind is int:
                self._numbers[node] = value
            self.plain.add(node)
        return node

    def _text(self, value: str) -> int:
        node = self._constants.get((str, value), -1)
        if node < 0:
            node = self._constants[str, value] = self.flow.holding(Const(value, self.plain_kind(str)))
            self.plain.add(node)
        return node

    def small(self, value: int) -> int:
        """The node of a small number."""
        return self.constant(value)

    def number_of(self, node: object) -> object:
        """The number that a node stands for, if it is one."""
        return self._numbers.get(node) if isinstance(node, int) else None

    def common(self, index: int) -> int:
        """The node of what LOAD_COMMON_CONSTANT gives."""
        return self._common[index] if index < len(self._common) else self.unknown

    def prefixed(self, prefix: str) -> int:
        """The node of a text that begins so."""
        return self.flow.holding(Const(prefix + "*", self.plain_kind(str)))

    # Objects

    def bound(self, function: Function | Outside, receiver: Obj) -> Bound:
        """A callable with its first argument, always the same for the same two."""
        key = function, receiver
        found = self._bound.get(key)
        if found is None:
            found = self._bound[key] = Bound(function, receiver)
        return found

    def outside(self, name: str, *, is_module: bool = False) -> Outside:
        """What is not looked into, by its name."""
        found = self._outsides.get(name)
        if found is None:
            found = self._outsides[name] = Outside(self.program, name, is_module=is_module)
        return found

    def made_outside(self, kind: Outside) -> MadeOutside:
        """What a class that is not looked into makes."""
        found = self._made_outside.get(kind)
        if found is None:
            found = self._made_outside[kind] = MadeOutside(kind)
        return found

    def function(self, code: CodeType, module: str, home: Function | None = None) -> Function:
        """The function of a code object; made, and noted to be read, when it is first asked for."""
        found = self.functions.get(id(code))
        if found is None:
            around = home.home if home is not None and code.co_name in FOLDED else None
            found = self.functions[id(code)] = Function(self.program, code, module, around)
            self.unread.append(found)
        return found

    def loaded(self) -> Container:
        """``sys.modules``, as far as it is looked into."""
        if self._loaded is None:
            self._loaded = Container(self.program, "dict")
            for name, module in self.modules.items():
                self.flow.add(self._loaded.item(name), module)
            self.flow.add(self._loaded.rest(), UNKNOWN)
        return self._loaded

    def keys_of(self, box: Container) -> Container:
        """The keys of a dict as a container."""
        box.contents()
        keys = Container(self.program, "list")
        self.flow.copy(box.keys_node(), keys.rest())
        return keys

    def unknown_rest(self, box: Container) -> None:
        """Let a container hold others beside what is known."""
        self.flow.add(box.rest(), UNKNOWN)

    def define_method(self, kind: Class, names: Iterable[str]) -> None:
        """Note which methods a class defines."""
        for name in names:
            self.definers.setdefault(name, []).append(kind)

    def may_be_defined(self, names: Iterable[str]) -> None:
        """Note that there may be methods of these names."""
        for name in names:
            if name not in self.defined:
                self.defined.add(name)
                self.answered.update((name, *FALLING_BACK.get(name, ())))
