"""Live objects as the analysis sees them.  Only real types and real namespaces are asked, so nothing runs."""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from livepatch.compat.calls.annotations import Alias
from livepatch.compat.calls.by_name import live_by_name
from livepatch.compat.calls.classes import Class
from livepatch.compat.calls.containers import Const, Container
from livepatch.compat.calls.models import MODELS
from livepatch.compat.calls.objects import Descriptor, Function, Outside, Partial
from livepatch.compat.calls.uses import Arguments
from livepatch.compat.calls.world import UNKNOWN, Obj
from livepatch.engine.anatomy import cell_content
from livepatch.engine.functions import code_of, is_own
from livepatch.engine.namespaces import is_class, namespace_of
from livepatch.engine.pace import breathe

if TYPE_CHECKING:
    from livepatch.compat.calls.program import Program

__all__ = ["Values"]

_MOST_ITEMS = 5_000
_MOST_INSTANCES = 20_000
_BOXES: dict[type, str] = {
    tuple: "tuple",
    list: "list",
    deque: "list",
    set: "set",
    frozenset: "set",
    dict: "dict",
    OrderedDict: "dict",
    defaultdict: "dict",
    types.MappingProxyType: "dict",
}
_NATIVE = frozenset(map(type, (len, str.join, int.__add__, vars(dict)["fromkeys"], [].append, "".__add__)))
_DATA = frozenset({bool, int, float, complex, str, bytes, bytearray, range, type(Ellipsis)})
_SLOTS = frozenset({types.GetSetDescriptorType, types.MemberDescriptorType})
_SKIPPED = frozenset(
    {"__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__slots__", "__annotations__"}
)
_bases: Any = vars(type)["__bases__"].__get__
_order: Any = vars(type)["__mro__"].__get__
_flags: Any = vars(type)["__flags__"].__get__
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by native code that acts like one
_module: Any = vars(type)["__module__"].__get__
_qualname: Any = vars(type)["__qualname__"].__get__
_origin: Any = vars(types.GenericAlias)["__origin__"].__get__
_parameters: Any = vars(types.GenericAlias)["__args__"].__get__
_either: Any = vars(types.UnionType)["__args__"].__get__


class _Written(tuple[object, ...]):
    """A constant of some code: its texts may be names."""

    __slots__ = ()


class Values:
    """Live objects, each seen once."""

    def __init__(self, program: Program, spaces: Mapping[int, str]) -> None:
        self._program = program
        self._spaces = spaces
        """The names of the modules of the graph, by the ids of their namespaces."""
        self._graph = frozenset(spaces.values())
        self._known: dict[int, Obj] = {}
        self._held: list[object] = []
        self._seeded: set[int] = set()
        self._instances = 0
        self.left: deque[tuple[Class, object]] = deque()
        """Instances whose attributes have not been looked at."""

    def obj_of(self, value: object) -> Obj:
        """What stands for a live object."""
        key = id(value)
        found = self._known.get(key)
        if found is None:
            kind = type(value)
            if kind in _DATA:
                return self.plain(value)
            found = self._make(value, kind)
            self._known.setdefault(key, found)
            self._held.append(value)
        return found

    def plain(self, value: object) -> Obj:
        """What stands for a number or a text."""
        kind = type(value)
        if kind is tuple:
            assert isinstance(value, tuple)
            box = Container(self._program, "tuple")
            box.native = tuple
            box.filler = _Written(value)
            return box
        found = self.obj_of(kind)
        assert isinstance(found, Class)
        if kind is str:
            assert isinstance(value, str)
            return Const(value, found) if len(value) < 80 else found.exactly()
        return found.exactly()

    def _make(self, value: Any, kind: type) -> Obj:
        if kind is FunctionType:
            return self._function(value)
        if issubclass(kind, type):
            return self._class(value)
        if value is None:
            return self._program.nothing
        if issubclass(kind, ModuleType):
            return self._module(value)
        if kind in _NATIVE:
            return self._outside(_native_name(value), value)
        if kind in _BOXES:
            box = Container(self._program, _BOXES[kind])
            box.native = kind if kind.__module__ == "builtins" else None
            box.filler = value
            return box
        return self._wrapper(value, kind)

    def _wrapper(self, value: Any, kind: type) -> Obj:
        program, flow = self._program, self._program.flow
        if kind is MethodType:
            function, receiver = self.obj_of(value.__func__), self.obj_of(value.__self__)
            return program.bound(function, receiver) if isinstance(function, (Function, Outside)) else function
        if kind is staticmethod or kind is classmethod:
            return self._descriptor("static" if kind is staticmethod else "class", func=value.__func__)
        if issubclass(kind, property):
            parts = {
                name: part for name in ("fget", "fset", "fdel") if (part := _part(property, value, name)) is not None
            }
            made = self._descriptor("property", **parts)
            self._program.named.update(
                one for one in self._program.flow.objects(made.part("fget")) if isinstance(one, Function)
            )
            return made
        if issubclass(kind, functools.cached_property):
            return self._descriptor("cached", func=(_attributes_of(value)).get("func"))
        if issubclass(kind, functools.partial):
            nodes = tuple(flow.holding(self.obj_of(arg)) for arg in _part(functools.partial, value, "args"))
            named = _part(functools.partial, value, "keywords") or {}
            keywords = tuple((str(name), flow.holding(self.obj_of(arg))) for name, arg in list(named.items()))
            function = self.obj_of(_part(functools.partial, value, "func"))
            return Partial(program, flow.holding(function), Arguments(nodes, keywords))
        if kind is functools.partialmethod or kind is functools.singledispatchmethod:
            held = _attributes_of(value)
            return self._descriptor("dispatch", func=held.get("func"), dispatcher=held.get("dispatcher"))
        if kind is functools._lru_cache_wrapper:  # noqa: SLF001  # its type has no public name
            return self.obj_of(value.__wrapped__)
        named = live_by_name(program, value, self._node_of)
        return named or self._annotation(value, kind) or self._instance(value, kind)

    def _node_of(self, value: object) -> int:
        """A node that holds a live object; that of the constant for a number or a short text."""
        if type(value) is int or (type(value) is str and len(value) < 80):
            return self._program.constant(value)
        return self._program.flow.holding(self.obj_of(value))

    def _descriptor(self, kind: Any, **parts: object) -> Descriptor:
        made = Descriptor(self._program, kind, {})
        for name, part in parts.items():
            if part is not None:
                self._program.flow.add(made.part("func" if name == "dispatcher" else name), self.obj_of(part))
        return made

    def _annotation(self, value: Any, kind: type) -> Obj | None:
        """``list[X]``, ``X | Y``, ``Optional[X]``: what may stand in annotations and among bases."""
        if kind is types.GenericAlias:
            return self._alias(self.obj_of(_origin(value)), _parameters(value))
        if kind is types.UnionType:
            return self._alias(self._program.outside("typing:Union"), _either(value))
        if _module_of(kind) == "typing":
            held = _attributes_of(value)
            if type(held.get("__args__")) is tuple:
                origin: Any = held.get("__origin__")
                named = getattr(origin, "_name", None) if _module_of(type(origin)) == "typing" else None
                whole = self._program.outside(f"typing:{named}") if named else self.obj_of(origin)
                return self._alias(whole, held["__args__"])
            return self._program.outside(f"typing:{held.get('_name') or _qualname(kind)}")
        return None

    def _alias(self, origin: Obj, args: object) -> Alias:
        box = Container(self._program, "tuple")
        for i, arg in enumerate(args if isinstance(args, tuple) else ()):
            box.items[i] = self._program.flow.holding(self.obj_of(arg))
        return Alias(origin, self._program.flow.holding(box))

    def _instance(self, value: object, kind: type) -> Obj:
        found = self.obj_of(kind)
        assert isinstance(found, Class)
        if found.in_graph and self._instances < _MOST_INSTANCES:
            self._instances += 1
            self.left.append((found, value))
        return found.exactly()

    def look_into_instances(self) -> bool:
        """Take in what live instances hold.  Whether there were any that had not been looked at."""
        looked = bool(self.left)
        program = self._program
        while self.left:
            breathe()
            kind, value = self.left.popleft()
            for name, held in _attributes_of(value).items():
                if held is None or type(held) in _DATA or type(name) is not str:
                    continue
                program.stored_names.add(name)
                program.flow.add(program.fields.node(kind, name), self.obj_of(held))
        return looked

    # Functions

    def _function(self, function: FunctionType) -> Obj:
        program = self._program
        name = f"{function.__module__}:{function.__qualname__}"
        module = self._spaces.get(id(function.__globals__))
        if name in MODELS or is_own(function):
            return self._outside(name, function)
        if module is None:
            return self._not_in_graph(function, name)
        made = program.function(code_of(function), module)
        self._known[id(function)] = made
        if made.code.co_filename.startswith("<") and not made.name:
            made.name = f"{module}:{function.__qualname__}"
        made.abstract = made.abstract or bool(vars(function).get("__isabstractmethod__"))
        self._seed(function, made)
        return made

    def _not_in_graph(self, function: FunctionType, name: str) -> Obj:
        attributes = vars(function)
        if type(attributes.get("registry")) is types.MappingProxyType and "dispatch" in attributes:
            made = Descriptor(self._program, "dispatch", {})
            for one in list(attributes["registry"].values()):
                self._program.flow.add(made.part("func"), self.obj_of(one))
            return made
        if "__wrapped__" in attributes:
            return self.obj_of(attributes["__wrapped__"])
        return self._outside(name, function)

    def _outside(self, name: str, function: object) -> Outside:
        found = self._program.outside(name)
        found.live.append(function)
        return found

    def _seed(self, function: FunctionType, made: Function) -> None:
        """Put the function's own defaults, closure and attributes into the nodes of its code."""
        flow, code = self._program.flow, made.code
        defaults = function.__defaults__
        if defaults:
            for i, value in enumerate(defaults, code.co_argcount - len(defaults)):
                if value is not None:
                    flow.add(made.base + i, self.obj_of(value))
        for name, value in list((function.__kwdefaults__ or {}).items()):
            if value is not None:
                flow.add(made.local(name), self.obj_of(value))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
            value = cell_content(cell)
            if value is not None:
                flow.add(made.local(name), self.obj_of(value))
        for name, value in list(vars(function).items()):
            if type(value) not in _DATA and value is not None:
                flow.add(self._program.attribute_of(made, name), self.obj_of(value))

    def annotate(self, function: FunctionType, made: Function) -> None:
        """Take in what the function's annotations say, where no source tells it."""
        for name, value in list((function.__annotations__ or {}).items()):
            self._program.annotations.live(made, name, value)

    # Classes and modules

    def _class(self, kind: type) -> Class:
        program = self._program
        made = Class(program, _module_of(kind), _qualname(kind))
        made.live = kind
        self._known[id(kind)] = made
        made.in_graph = made.module in self._graph
        made.bases = [base for base in map(self.obj_of, _bases(kind)) if isinstance(base, Class)]
        made.order = tuple(one for one in map(self.obj_of, _order(kind)) if isinstance(one, Class))
        for base in made.bases:
            if isinstance(base, Class):
                base.subclasses.append(made)
                base.settle()
        space = namespace_of(kind)
        made.protocol = bool(space.get("_is_protocol"))
        if type(kind) is not type:
            meta = self.obj_of(type(kind))
            made.metaclass = meta if isinstance(meta, Class) else None
        if made.in_graph:
            program.class_set.add(made)
            program.classes.append(made)
        if kind is not object:
            self._members(made, space)
        return made

    def _members(self, made: Class, space: Mapping[str, Any]) -> None:
        own = []
        for name, value in list(space.items()):
            if name in _SKIPPED or type(value) in _SLOTS:
                continue
            obj = made.names[name] = self.obj_of(value)
            if made.in_graph and (obj.callable and not isinstance(obj, (Outside, Class))):
                own.append(name)
                self._own(made, obj)
        self._program.define_method(made, own)
        self._program.may_be_defined(own)

    def _own(self, made: Class, obj: Obj) -> None:
        if isinstance(obj, Function):
            obj.owner = obj.owner or made
        elif isinstance(obj, Descriptor):
            for node in list(obj.parts.values()):
                for inner in self._program.flow.objects(node):
                    if isinstance(inner, Function):
                        inner.owner = inner.owner or made
                        if obj.kind in {"class", "static"}:
                            inner.bind_otherwise(is_class=obj.kind == "class")

    def _module(self, module: ModuleType) -> Obj:
        name = self._spaces.get(id(namespace_of(module)))
        if name is not None:
            return self._program.modules[name]
        made = Outside(self._program, str(namespace_of(module).get("__name__")), is_module=True)
        self._program.live_modules[made.name] = module
        return made

    def known(self) -> Collection[Obj]:
        """All that stands for live objects."""
        return self._known.values()

    def imported(self, name: str) -> Obj | None:
        """A module that is loaded, and not looked into."""
        module = sys.modules.get(name)
        return self.obj_of(module) if type(module) is ModuleType else None

    def outside_attribute(self, outside: Outside, name: str) -> Obj:
        """An attribute of a module that is not looked into."""
        if name == "modules" and outside.name == "sys":
            return self._program.loaded()
        module = self._program.live_modules.get(outside.name)
        if module is None:
            return outside.part(name)
        space = namespace_of(module)
        if name in space:
            return self.obj_of(space[name])
        return UNKNOWN

    def builtin(self, name: str) -> Obj | None:
        """What a builtin name leads to."""
        space = vars(builtins)
        return self.obj_of(space[name]) if name in space else None

    def fill(self, box: Container, filler: Any) -> None:
        """Put in what a live container holds."""
        flow = self._program.flow
        if isinstance(filler, (dict, types.MappingProxyType)):
            for key, value in list(filler.items())[:_MOST_ITEMS]:
                if value is not None and type(value) not in _DATA:
                    node = box.item(key) if type(key) in {str, int, bytes} else box.rest()
                    flow.add(node, self.obj_of(value))
                if type(key) not in _DATA and key is not None:
                    flow.add(box.keys_node(), self.obj_of(key))
            return
        for i, value in enumerate(list(filler)[:_MOST_ITEMS]):
            if value is not None and (type(value) not in _DATA or (type(value) is str and type(filler) is _Written)):
                flow.add(box.item(i) if box.kind == "tuple" else box.rest(), self.obj_of(value))


def _part(kind: type, value: object, name: str) -> Any:
    """A member of a native type, whatever the value's own class says."""
    return vars(kind)[name].__get__(value, kind)


def _module_of(kind: type) -> str:
    """The module of a class, whatever its metaclass says."""
    found: object = namespace_of(kind).get("__module__")
    if type(found) is str:
        return found
    return "?" if _flags(kind) & _HEAP else str(_module(kind))


def _attributes_of(value: object) -> dict[str, object]:
    """What an instance holds itself, in its namespace and in slots, whatever its class says of attributes."""
    found: dict[str, object] = {}
    for kind in _order(type(value)):
        for name, descriptor in list(namespace_of(kind).items()):
            if type(descriptor) is types.MemberDescriptorType:
                try:
                    found.setdefault(name, descriptor.__get__(value, kind))
                except AttributeError:
                    continue
            elif name == "__dict__" and type(descriptor) is types.GetSetDescriptorType:
                space = descriptor.__get__(value, kind)
                if type(space) is dict:
                    found.update(space)
    return found


def _native_name(value: Any) -> str:
    """``module:qualified.name`` of a native callable; its type is native, so its attributes may be asked for."""
    name: str = value.__name__
    if vars(builtins).get(name) is value:
        return f"builtins:{name}"
    owner: Any = getattr(value, "__objclass__", None)
    if owner is None:
        receiver: Any = getattr(value, "__self__", None)
        if receiver is None or type(receiver) is ModuleType:
            module = value.__module__
            return f"{module if type(module) is str else 'builtins'}:{name}"
        owner = receiver if is_class(receiver) else type(receiver)
    assert is_class(owner)
    return f"{_module_of(owner)}:{_qualname(owner)}.{name}"
