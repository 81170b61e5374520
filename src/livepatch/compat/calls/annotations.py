"""What annotations say of parameters and attributes: which classes are there, and of what containers hold.

A declared type counts: what is declared is not made uncertain by calls from nobody knows where.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from livepatch.compat.calls.classes import AnyOf, Class, Instance
from livepatch.compat.calls.containers import Const, Container
from livepatch.compat.calls.objects import Function, Outside
from livepatch.compat.calls.uses import Lookup, MethodCall, Use
from livepatch.compat.calls.world import MOST_CALLABLES, Obj
from livepatch.contents.parsing import tree_of

if TYPE_CHECKING:
    from livepatch.compat.calls.program import Program
    from livepatch.compat.calls.uses import Call, Store

__all__ = ["Alias", "Annotations"]

_EITHER = frozenset({"Optional", "Union", "Annotated", "ClassVar", "Final", "InitVar", "Required", "NotRequired"})
_MANY = {
    **dict.fromkeys(("list", "List", "Sequence", "MutableSequence", "Iterable", "Iterator", "Collection"), "list"),
    **dict.fromkeys(("AsyncIterator", "AsyncIterable", "Generator", "AsyncGenerator", "deque", "Deque"), "list"),
    **dict.fromkeys(("set", "Set", "frozenset", "FrozenSet", "AbstractSet", "MutableSet"), "set"),
    **dict.fromkeys(("tuple", "Tuple"), "list"),
    **dict.fromkeys(("dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "DefaultDict", "OrderedDict"), "dict"),
}
_KINDS = frozenset({"type", "Type"})
_VAGUE = frozenset({"object", "list", "dict", "set", "tuple", "frozenset", "type"})


class Alias(Obj):
    """``kind[key]`` of a class or of something from `typing`."""

    __slots__ = ("key", "origin")
    callable = True
    most = MOST_CALLABLES

    def __init__(self, origin: Obj, key: int) -> None:
        self.origin = origin
        self.key = key

    def call(self, call: Call) -> None:
        self.origin.call(call)

    def load(self, site: Lookup | MethodCall) -> None:
        self.origin.load(site)

    def store(self, store: Store) -> None:
        self.origin.store(store)


class _Declared(Use):
    """What an annotation evaluates to says what is in a node."""

    __slots__ = ("annotations", "kinds", "scope", "target")

    def __init__(self, annotations: Annotations, target: int, scope: str, *, kinds: bool = False) -> None:
        self.annotations = annotations
        self.target = target
        self.scope = scope
        self.kinds = kinds
        """Whether it is said of the class itself, as ``type[...]`` does."""

    def meet(self, obj: Obj) -> None:
        self.annotations.declare(obj, self.target, self.scope, kinds=self.kinds)


class _Later(Use):
    """What a function that evaluates annotations returns."""

    __slots__ = ("annotations", "function")

    def __init__(self, annotations: Annotations, function: Function | Class) -> None:
        self.annotations = annotations
        self.function = function

    def meet(self, obj: Obj) -> None:
        box = obj.contents()
        if box is not None:
            box.listen(self)

    def item(self, key: object, node: int) -> None:
        if isinstance(self.function, Class):
            self.annotations.of_field(self.function, key, node, None)
        else:
            self.annotations.named(self.function, key, node)


class Annotations:
    """Declared types."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._parsed: dict[str, ast.expr | None] = {}
        self._aliases: dict[tuple[Obj, int], Alias] = {}
        self._seen: set[tuple[Obj, int]] = set()
        self._boxes: dict[object, Container] = {}

    def alias(self, origin: Obj, key: int) -> Alias:
        """``origin[key]``, always the same for the same two."""
        found = self._aliases.get((origin, key))
        if found is None:
            found = self._aliases[origin, key] = Alias(origin, key)
        return found

    def of_parameter(self, function: Function, name_node: int, node: int) -> None:
        """A function is made with this annotation."""
        for obj in self._program.flow.objects(name_node):
            if isinstance(obj, Const):
                self.named(function, obj.value, node)

    def named(self, function: Function, name: object, node: int) -> None:
        """A parameter of that name, or ``return``, has the annotation that is in the node."""
        target = function.local(str(name)) if name != "return" else -1
        if target >= 0:
            self._program.flow.attach(node, _Declared(self, target, function.module))

    def of_field(self, kind: Class, name: object, node: int, unit: object) -> None:
        """An attribute of a class has the annotation that is in the node."""
        del unit
        if isinstance(name, str):
            self._program.stored_names.add(name)
            kind.declared.append(name)
            target = self._program.fields.node(kind, name)
            self._program.flow.attach(node, _Declared(self, target, kind.module))

    def later(self, function: Function | Class, evaluating: Function) -> None:
        """Annotations that are evaluated when somebody asks for them."""
        self._program.flow.attach(evaluating.result, _Later(self, function))

    def live(self, function: Function, name: str, value: object) -> None:
        """A parameter of a live function has that annotation."""
        target = function.local(name)
        if target >= 0:
            self.declare(self._program.live.obj_of(value), target, function.module)

    def live_field(self, kind: Class, name: str, value: object) -> None:
        """An attribute of a live class has that annotation."""
        self._program.stored_names.add(name)
        target = self._program.fields.node(kind, name)
        self.declare(self._program.live.obj_of(value), target, kind.module)

    # What is declared

    def declare(self, obj: Obj, target: int, scope: str, *, kinds: bool = False) -> None:
        """An annotation that evaluates to this object is said of a node."""
        if isinstance(obj, AnyOf):
            obj = obj.kind
        if isinstance(obj, Class):
            self._of_class(obj, target, kinds=kinds)
        elif isinstance(obj, Const):
            if (obj, target) not in self._seen:
                self._seen.add((obj, target))
                self._text(obj.value, target, scope, kinds=kinds)
        elif isinstance(obj, Alias):
            self._of_alias(obj, target, scope, kinds=kinds)

    def _of_class(self, kind: Class, target: int, *, kinds: bool) -> None:
        flow = self._program.flow
        if kinds:
            flow.add(target, kind.or_below())
        elif kind.module == "builtins" and kind.qualname in _VAGUE:
            return
        else:
            flow.add(target, kind.instance())
        if not kind.protocol and not kind.outside:
            flow.declare(target, kind)

    def _of_alias(self, alias: Alias, target: int, scope: str, *, kinds: bool) -> None:
        flow, origin = self._program.flow, alias.origin
        name = _last_name(origin)
        if name in _KINDS:
            self._each(alias.key, _Declared(self, target, scope, kinds=True))
        elif name in _EITHER:
            self._each(alias.key, _Declared(self, target, scope, kinds=kinds))
        elif name in _MANY:
            box, is_new = self._box(alias, _MANY[name])
            flow.add(target, box)
            if is_new:
                self._each(alias.key, _Declared(self, box.rest(), scope))
        elif isinstance(origin, Class):
            self._of_class(origin, target, kinds=kinds)

    def _box(self, key: object, kind: str) -> tuple[Container, bool]:
        """The container that an annotation speaks of, and whether it is new: types may be made of themselves."""
        found = self._boxes.get(key)
        if found is not None:
            return found, False
        made = self._boxes[key] = Container(self._program, kind)
        return made, True

    def _each(self, key: int, use: _Declared) -> None:
        flow = self._program.flow
        for obj in tuple(flow.objects(key)):
            box = obj.contents()
            if box is not None:
                for node in list(box.items.values()):
                    flow.attach(node, use)
                return
        flow.attach(key, use)

    # Annotations as text

    def _text(self, text: str, target: int, scope: str, *, kinds: bool) -> None:
        if text not in self._parsed:
            try:
                self._parsed[text] = tree_of(text, mode="eval").body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._parsed[text] = None
        tree = self._parsed[text]
        if tree is not None:
            self._expression(tree, target, scope, kinds=kinds)

    def _expression(self, tree: ast.expr, target: int, scope: str, *, kinds: bool) -> None:
        match tree:
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                self._expression(left, target, scope, kinds=kinds)
                self._expression(right, target, scope, kinds=kinds)
            case ast.Constant(value=str(text)):
                self._text(text, target, scope, kinds=kinds)
            case ast.Subscript(value=value, slice=key):
                self._subscript(value, key, target, scope, kinds=kinds)
            case ast.Name() | ast.Attribute():
                node = self._node(tree, scope)
                if node >= 0:
                    self._program.flow.attach(node, _Declared(self, target, scope, kinds=kinds))

    def _subscript(self, value: ast.expr, key: ast.expr, target: int, scope: str, *, kinds: bool) -> None:
        name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
        parts = key.elts if isinstance(key, ast.Tuple) else [key]
        if name in _EITHER or name in _KINDS:
            for part in parts:
                self._expression(part, target, scope, kinds=kinds or name in _KINDS)
        elif name in _MANY:
            box, is_new = self._box((id(key), scope), _MANY[name])
            self._program.flow.add(target, box)
            if not is_new:
                return
            for part in parts[1:] if _MANY[name] == "dict" else parts:
                self._expression(part, box.rest(), scope, kinds=False)
        else:
            self._expression(value, target, scope, kinds=kinds)

    def _node(self, tree: ast.expr, scope: str) -> int:
        if isinstance(tree, ast.Name):
            return self._program.global_node(scope, tree.id)
        if isinstance(tree, ast.Attribute):
            inner = self._node(tree.value, scope)
            if inner >= 0:
                dest = self._program.flow.node()
                self._program.flow.attach(inner, _Part(self._program, dest, tree.attr))
                return dest
        return -1


class _Part(Use):
    """An attribute of a module or class in an annotation."""

    __slots__ = ("dest", "name", "program")

    def __init__(self, program: Program, dest: int, name: str) -> None:
        self.program = program
        self.dest = dest
        self.name = name

    def meet(self, obj: Obj) -> None:
        if obj.marks or isinstance(obj, Instance):
            return
        node = self.program.attribute_quietly(obj, self.name)
        if node >= 0:
            self.program.flow.copy(node, self.dest)


def _last_name(origin: Obj) -> str:
    if isinstance(origin, Class):
        return origin.qualname
    if isinstance(origin, Outside):
        return origin.name.replace(":", ".").rpartition(".")[2]
    return ""
