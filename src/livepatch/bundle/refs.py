"""What a definition or statement uses: names and chains of attributes, when it runs and when it is called."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from livepatch.bundle.arguments import by_keyword, factories_in, in_order
from livepatch.bundle.drawing import calls_of_drawn, said_of_getters
from livepatch.bundle.dynamic import looked_at_whole, may_look, module_named, written_out
from livepatch.bundle.implied import TRUTH, implied_by
from livepatch.bundle.items import MUTATORS, Item, absolute_name, chain_of
from livepatch.bundle.nodes import children, walk, walk_all
from livepatch.bundle.normal import FunctionNode, block, is_type_checking
from livepatch.bundle.ownscope import own_of

__all__ = ["EVERYTHING", "NEVER", "Ref", "Refs", "annotations_of", "is_partial", "refs_of"]

EVERYTHING = "*"
"""The chain of what reads all names of the scope that it stands in: ``locals()``, ``eval(text)``."""

_CALL_FIRST = frozenset({"map", "filter", "reduce", "starmap", "takewhile", "dropwhile", "accumulate", "filterfalse"})
_CALL_KEY = frozenset({"sorted", "min", "max", "sort", "groupby", "nlargest", "defaultdict"})
_CALLING = _CALL_FIRST | _CALL_KEY | {"sub", "subn"}


_Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp

NEVER = 99
"""The level of what no call runs."""


class Ref(NamedTuple):
    """A chain of names.

    `base` says where it begins: in the module, in the body of the class (``scope``), at the object that a method is
    called on (``self``), at its class's bases (``super``), at the absolute name of a module (``abs``), or nowhere known
    (``object``).  `call` counts the calls of what the chain gives: one in ``f()``, two in ``f()()`` and ``@f()``.
    `store` tells of a change in place: of what the chain gives (``item``), or of its last name (``attr``).  `level` is
    the number of functions around it that only run when a result of the outermost is called in its turn.
    """

    chain: tuple[str, ...]
    call: int = 0
    base: Literal["", "scope", "self", "super", "abs", "object"] = ""
    store: Literal["", "item", "attr"] = ""
    level: int = 0


class Implied(NamedTuple):
    """An object that syntax asks for special methods: what names it, calls included, and the methods."""

    ref: Ref
    methods: tuple[str, ...]


@dataclass(slots=True)
class Refs:
    """What an item uses: in its decorators, in the defaults or bases of the definition, and when it is called.

    For a statement `header` is what it uses when it runs, and `body` what the lambdas in it use later.  `tests` is what
    the conditions use on which it runs.  Each has what it uses once.  `led` is what of the body begins somewhere known.
    `asked` is what it asks by its syntax alone when it runs, and `asked_later` what the body does.
    """

    decorators: list[Ref] = field(default_factory=list)
    header: list[Ref] = field(default_factory=list)
    body: list[Ref] = field(default_factory=list)
    tests: list[Ref] = field(default_factory=list)
    led: list[Ref] = field(default_factory=list)
    asked: list[Implied] = field(default_factory=list)
    asked_later: list[Implied] = field(default_factory=list)


def refs_of(item: Item) -> Refs:
    """Read what an item uses."""
    reader = _reader_of(item)
    refs = Refs()
    node = item.node
    top = _Scope({}, frozenset())
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        reader.decorators(node, top, refs.decorators)
        reader.defaults(node, top, refs.header)
        reader.asked, asked = [], reader.asked
        reader.function(node, top, refs.body, method=bool(item.scope))
        reader.asked, refs.asked_later = asked, reader.asked
    elif isinstance(node, ast.ClassDef):
        reader.decorators(node, top, refs.decorators)
        for base in [*node.bases, *(k.value for k in node.keywords)]:
            reader.expression(base, top, refs.header)
    elif item.kind != "import":
        found: list[Ref] = []
        reader.statements([node], top, found)
        refs.header = [r for r in found if not r.level]
        refs.body = [r for r in found if r.level]
    for test in item.tests:
        reader.expression(test, top, refs.tests)
        reader.ask(test, TRUTH, top)
    every = dict.fromkeys(reader.asked)
    later = dict.fromkeys([*refs.asked_later, *(one for one in every if one.ref.level)])
    body = _once(refs.body)
    led = [ref for ref in body if ref.base != "object"]
    now = [one for one in every if not one.ref.level]
    return Refs(_once(refs.decorators), _once(refs.header), body, _once(refs.tests), led, now, list(later))


def annotations_of(item: Item) -> list[Ref]:
    """What the annotations of a function's parameters and result use."""
    found: list[Ref] = []
    if isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        _reader_of(item).annotations(item.node, _Scope({}, frozenset()), found)
    return _once(found)


def _reader_of(item: Item) -> _Reader:
    module = item.module
    reader = _Reader(module.name, module.is_package)
    reader.names = module.by_name
    if item.scope:
        reader.base = "scope"
    return reader


def _once(refs: list[Ref]) -> list[Ref]:
    return list(dict.fromkeys(refs)) if len(refs) > 1 else refs


class _Scope(NamedTuple):
    """The local names: `known` maps those that stand for something outside, `bound` are the others."""

    known: dict[str, Ref]
    bound: frozenset[str]
    outer: frozenset[str] = frozenset()
    made: Mapping[str, Ref] = MappingProxyType({})
    """Of the local names, those that stand for what one call gives: what is called there."""


class _Reader:
    def __init__(self, module: str, is_package: bool) -> None:
        self.module = module
        self.is_package = is_package
        self.level = 0
        self.own: frozenset[str] = frozenset()
        self.base: Literal["", "scope"] = ""
        self.outside = True
        self.seen: set[int] = set()
        self.package = module if is_package else module.rpartition(".")[0]
        self.names: Mapping[str, Sequence[Item]] = {}
        self.asked: list[Implied] = []

    def ask(self, node: ast.expr, methods: tuple[str, ...], scope: _Scope) -> None:
        """Note that the object of an expression is asked for special methods, where names lead to it."""
        names: list[str] = []
        calls = 0
        one = node
        while isinstance(one, (ast.Call, ast.Attribute)):
            if isinstance(one, ast.Attribute):
                names.append(one.attr)
            elif not names:
                calls += 1  # of what is called further in, the class counts
            one = one.value if isinstance(one, ast.Attribute) else one.func
        if not isinstance(one, ast.Name):
            return
        known = scope.known.get(one.id)
        if known is None and one.id in scope.bound:
            known, calls = scope.made.get(one.id), calls + (not names)
            if known is None:
                return
        base = Ref((one.id,), base=self.base) if known is None else known
        ref = Ref((*base.chain, *reversed(names)), calls, base.base, level=self.level)
        if ref.chain or not calls:
            self.asked.append(Implied(ref, methods))

    def _named(self, node: ast.expr, scope: _Scope) -> Ref | None:
        """What a chain of names stands for that begins outside of the function."""
        chain = chain_of(node)
        if not chain or (chain[0] in scope.bound and chain[0] not in scope.known):
            return None
        known = scope.known.get(chain[0], Ref((chain[0],), base=self.base))
        return Ref((*known.chain, *chain[1:]), base=known.base, level=self.level)

    def _ask(self, node: ast.AST, scope: _Scope) -> None:
        for operand, methods in implied_by(node):
            self.ask(operand, methods, scope)

    def decorators(self, node: FunctionNode | ast.ClassDef, scope: _Scope, out: list[Ref]) -> None:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                self._called(decorator.func, scope, out, 2)
                self._arguments(decorator, scope, out)
            else:
                self._called(decorator, scope, out, 1)

    def defaults(self, node: FunctionNode | ast.Lambda, scope: _Scope, out: list[Ref]) -> None:
        for value in [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]:
            self.expression(value, scope, out)

    def annotations(self, node: FunctionNode, scope: _Scope, out: list[Ref]) -> None:
        a = node.args
        arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x)]
        for value in [*(x.annotation for x in arguments), node.returns]:
            if value is not None:
                self.expression(value, scope, out)

    def function(
        self,
        node: FunctionNode | ast.Lambda,
        scope: _Scope,
        out: list[Ref],
        *,
        method: bool = False,
        given: Mapping[str, Ref] = MappingProxyType({}),
    ) -> None:
        """Read what a call runs; `given` tells what some parameters are other names for."""
        a = node.args
        arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x)]
        names = {x.arg for x in arguments}
        known = dict(scope.known)
        body: Sequence[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else node.body
        own = own_of(body)
        outer, inner = own.outer, own.bound
        names |= inner - outer
        for name in names | outer:
            known.pop(name, None)
        if method and not isinstance(node, ast.Lambda) and not _is_static(node):
            first = [*a.posonlyargs, *a.args][:1]
            if first and first[0].arg not in inner:
                known[first[0].arg] = Ref((), base="self")
        known.update((name, ref) for name, ref in given.items() if name not in inner)
        bound = (scope.bound | names).difference(outer, known)
        local = _Scope(known, bound, frozenset(outer), {k: v for k, v in scope.made.items() if k not in names | outer})
        if own.imports:
            self._local_imports(own.imports, local)
        outside, self.outside = self.outside, False
        around, self.own = self.own, _called_names(body) if own.nested else frozenset()
        base, self.base = self.base, ""
        single = own.made.keys() & bound - {x.arg for x in arguments}
        made = {name: ref for name in single if (ref := self._named(own.made[name].func, local)) is not None}
        if made:
            local = local._replace(made={**local.made, **made})
        if isinstance(node, ast.Lambda):
            self.expression(node.body, local, out)
        else:
            self.statements(node.body, local, out)
        self.own, self.base, self.outside = around, base, outside

    def later(self, node: FunctionNode | ast.Lambda, scope: _Scope, out: list[Ref]) -> None:
        """Read a function that runs when somebody calls it."""
        name = "" if isinstance(node, ast.Lambda) else node.name
        deeper = 0 if name in self.own else 1
        self.level += deeper
        self.function(node, scope, out)
        self.level -= deeper

    def _local_imports(self, imports: Iterable[ast.AST], scope: _Scope) -> None:
        for one in imports:
            if isinstance(one, ast.Import):
                for alias in one.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    scope.known[alias.asname or whole] = Ref((whole,), base="abs")
            elif isinstance(one, ast.ImportFrom):
                origin = absolute_name(one, self.module, self.is_package)
                for alias in one.names:
                    scope.known[alias.asname or alias.name] = Ref((origin, alias.name), base="abs")

    def statements(self, body: Sequence[ast.stmt], scope: _Scope, out: list[Ref]) -> None:
        for node in block(body):
            if type(node) in _SIMPLE_STATEMENTS:
                self._ask(node, scope)
                for child in children(node):
                    self.expression(child, scope, out)
            else:
                self._statement(node, scope, out)

    def _statement(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:  # one branch for each kind of syntax
        if isinstance(node, ast.expr):
            self.expression(node, scope, out)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.decorators(node, scope, out)
            self.defaults(node, scope, out)
            self.annotations(node, scope, out)
            self.later(node, scope, out)
        elif isinstance(node, ast.ClassDef):
            self.decorators(node, scope, out)
            for base in [*node.bases, *(k.value for k in node.keywords)]:
                self.expression(base, scope, out)
            for one in node.body:
                # A method of a local class has its own `self`, about which nothing is known.
                self._statement(one, scope, out)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            self.statements(node.orelse, scope, out)
        elif isinstance(node, ast.Import):
            out.extend(Ref((alias.name,), base="abs", level=self.level) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute_name(node, self.module, self.is_package)
            out.extend(Ref((origin, alias.name), base="abs", level=self.level) for alias in node.names)
        else:
            self._other_statement(node, scope, out)

    def _other_statement(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:
        self._ask(node, scope)
        if isinstance(node, ast.AugAssign):
            self._chain_or_less(node.target, scope, out)
        if isinstance(node, (ast.For, ast.AsyncFor)):
            for called in calls_of_drawn(node.target, node.iter, node.body):
                self._called(called, scope, out, 1)
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        for child in children(node):
            if child is not annotation:
                self._statement(child, scope, out)

    def expression(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:  # one branch for each kind of syntax
        kind = type(node)
        if kind in _SIMPLE:
            if kind is ast.Name:
                self._chain(node, scope, out)  # type: ignore[arg-type]
            return
        if kind is not ast.Attribute:
            self._ask(node, scope)
        if self.outside and kind in _MAY_READ_WHOLE:
            self._whole_namespace(node, scope, out)  # type: ignore[arg-type]
        if may_look(node):
            node = self._plain(node, scope, out)
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._chain(node, scope, out)
        elif isinstance(node, ast.Call):
            self._call(node, scope, out)
        elif isinstance(node, ast.Lambda):
            self.defaults(node, scope, out)
            self.later(node, scope, out)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            self._changed(node.value, scope, out)
            self.expression(node.slice, scope, out)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            self._comprehension(node, scope, out)
        else:
            for child in children(node):
                self.expression(child, scope, out)

    def _call(self, node: ast.Call, scope: _Scope, out: list[Ref]) -> None:
        self._called(node.func, scope, out, 1)
        self._higher_order(node, scope, out)
        for factory in factories_in(node):  # what is made calls it, once for each object
            self.level += 1
            self._called(factory, scope, out, 1)
            self.level -= 1
        if isinstance(node.func, ast.Lambda):
            self._given_at_once(node, node.func, scope, out)
        self._arguments(node, scope, out)
        for said in said_of_getters(node, self.names) if self.outside else ():
            self.expression(said, scope, out)

    def _given_at_once(self, node: ast.Call, function: ast.Lambda, scope: _Scope, out: list[Ref]) -> None:
        """Read a function that is called where it stands: its parameters are other names for what it is given."""
        given: dict[str, Ref] = {}
        parameters = [each.arg for each in [*function.args.posonlyargs, *function.args.args]]
        for name, argument in [*zip(parameters, in_order(node), strict=False), *by_keyword(node)]:
            chain = chain_of(argument)
            if isinstance(argument, ast.Lambda):
                self.function(argument, scope, out)
            elif chain and chain[0] in scope.known:
                known = scope.known[chain[0]]
                given[name] = known._replace(chain=(*known.chain, *chain[1:]))
            elif chain and chain[0] not in scope.bound:
                given[name] = Ref(chain, base=self.base)
        self.function(function, scope, out, given=given)

    def _comprehension(self, node: _Comprehension, scope: _Scope, out: list[Ref]) -> None:
        names = {n.id for g in node.generators for n in walk(g.target) if isinstance(n, ast.Name)}
        known = {k: v for k, v in scope.known.items() if k not in names}
        made = {k: v for k, v in scope.made.items() if k not in names}
        inner = _Scope(known, scope.bound | names, scope.outer, made)
        for child in children(node):
            self.expression(child, inner, out)
        for one in node.generators:
            for called in calls_of_drawn(one.target, one.iter, children(node)):
                self._called(called, scope, out, 1)

    def _plain(self, node: ast.AST, scope: _Scope, out: list[Ref], call: int = 0) -> ast.AST:
        """What reads an attribute by its name as a text, as what names it; and note what may read any attribute."""
        whole = looked_at_whole(node)
        if whole is not None and (chain := chain_of(whole)) and self._is_outside(chain[0], scope):
            base = scope.known[chain[0]] if chain[0] in scope.known else Ref((chain[0],), base=self.base)
            out.append(Ref((*base.chain, *chain[1:], EVERYTHING), call, base.base, level=self.level))
        given = written_out(node)
        if given is None or not self._is_outside((chain_of(given) or ("",))[0], scope):
            return node
        for one in node.args[2:] if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ():
            self.expression(one, scope, out)
        return given

    def _is_outside(self, name: str, scope: _Scope) -> bool:
        """Whether a name stands for something that no object or call has given."""
        known = scope.known.get(name)
        return bool(name) and (known.base == "abs" if known is not None else name not in scope.bound)

    def _whole_namespace(self, node: ast.expr, scope: _Scope, out: list[Ref]) -> None:
        """Read the names that an expression finds by their text in the namespace around it.

        Where the text is there, what it names; else everything.
        """
        names = {name for name in _NAMESPACES if self._is_builtin(name, scope)}
        texts = _looked_up(node, names, self.seen)
        if texts is None:
            return
        inner = [one for one in walk(node) if _is_namespace(one, names)]
        self.seen.update(map(id, inner))
        bases: set[Literal["", "scope"]] = {"" if one.func.id == "globals" else self.base for one in inner}  # type: ignore[attr-defined]
        for text in texts:
            # Of a text that is put together, the parts that are there tell what it may name.
            said = [
                word
                for one in walk(text)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
                for word in _WORDS.findall(one.value)
            ]
            for base in sorted(bases or {"", self.base}):
                words = dict.fromkeys(said or ([] if isinstance(text, ast.Constant) else [EVERYTHING]))
                out += [Ref((word,), base=base, level=self.level) for word in words]

    def _is_builtin(self, name: str, scope: _Scope) -> bool:
        return name not in scope.bound and name not in scope.known and name not in self.names

    def _arguments(self, node: ast.Call, scope: _Scope, out: list[Ref]) -> None:
        for argument in node.args:
            self.expression(argument, scope, out)
        for keyword in node.keywords:
            self.expression(keyword.value, scope, out)

    def _higher_order(self, node: ast.Call, scope: _Scope, out: list[Ref]) -> None:
        for argument in _called_arguments(node):
            self._called(argument, scope, out, 1)
        if isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            self._changed(node.func.value, scope, out)
        elif isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr") and len(node.args) > 1:
            owner, name = node.args[:2]
            if not isinstance(name, ast.Constant):
                self._changed(owner, scope, out)

    def _called(self, node: ast.AST, scope: _Scope, out: list[Ref], calls: int) -> None:
        if may_look(node):
            node = self._plain(node, scope, out, calls)
        if isinstance(node, ast.Call):
            self._ask(node, scope)
            self._arguments(node, scope, out)
            self._called(node.func, scope, out, calls + 1)
            if is_partial(node):
                self._called(node.args[0], scope, out, calls)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            self._chain(node, scope, out, call=calls)
        elif isinstance(node, ast.Lambda):
            self.function(node, scope, out)
        elif isinstance(node, (ast.IfExp, ast.BoolOp, ast.NamedExpr)):
            self.expression(node, scope, out)
            for one in _either(node):
                self._called(one, scope, out, calls)
        else:
            self.expression(node, scope, out)

    def _changed(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:
        """Read what is changed in place."""
        while isinstance(node, ast.Subscript):
            self.expression(node.slice, scope, out)
            node = node.value
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._chain(node, scope, out, store="item")
        else:
            self.expression(node, scope, out)

    def _chain_or_less(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:
        """Read the target of an augmented assignment, which is read before it is bound."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._chain(node, scope, out, store="item")

    def _chain(
        self,
        node: ast.Name | ast.Attribute,
        scope: _Scope,
        out: list[Ref],
        *,
        call: int = 0,
        store: Literal["", "item", "attr"] = "",
    ) -> None:
        names: list[str] = []
        one: ast.AST = node
        while isinstance(one, ast.Attribute):
            names.append(one.attr)
            one = self._plain(one.value, scope, out) if may_look(one.value) else one.value
        names.reverse()
        if isinstance(node.ctx, (ast.Store, ast.Del)) and not store:
            store = "attr" if names else "item"
        if isinstance(one, ast.Name):
            if one.id in scope.known:
                known = scope.known[one.id]
                if known.chain or names:
                    out.append(Ref((*known.chain, *names), call, known.base, store, self.level))
            elif one.id not in scope.bound:
                if names or store != "item" or isinstance(node.ctx, ast.Load) or one.id in scope.outer:
                    out.append(Ref((one.id, *names), call, self.base, store, self.level))
            elif names:
                self._of_local(one.id, Ref(tuple(names), call, "object", store, self.level), scope, out)
            return
        match one:
            case ast.Call(func=ast.Name(id="super")):
                out.append(Ref(tuple(names), call, "super", store, self.level))
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]) if (
                scope.known.get(name, Ref(())).base == "self"
            ):
                out.append(Ref(tuple(names), call, "self", store, self.level))
            case _:
                module = module_named(one, self.names, self.package)
                chain = (module, *names) if module else tuple(names)
                out.append(Ref(chain, call, "abs" if module else "object", store, self.level))
                if not store and isinstance(one, ast.Call):
                    self._member_of_made(one, names, scope, out, call)
                self.expression(one, scope, out)

    def _of_local(self, name: str, ref: Ref, scope: _Scope, out: list[Ref]) -> None:
        """Read what is an attribute of a local variable; where that is what a class gave, it is one of that class."""
        out.append(ref)
        made = scope.made.get(name)
        if made is not None and not ref.store:
            out.append(made._replace(chain=(*made.chain, *ref.chain), call=ref.call, level=ref.level))

    def _member_of_made(self, made: ast.Call, names: list[str], scope: _Scope, out: list[Ref], call: int) -> None:
        """Read a member of what a call gives: where a class is called, it is one of that class."""
        member = made.func
        if isinstance(member, (ast.Name, ast.Attribute)):
            for name in names:
                member = ast.Attribute(member, name, ast.Load())
            assert isinstance(member, ast.Attribute)
            self._chain(member, scope, out, call=call)


def _either(node: ast.IfExp | ast.BoolOp | ast.NamedExpr) -> list[ast.expr]:
    """What an expression gives: one of those."""
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    return node.values if isinstance(node, ast.BoolOp) else [node.value]


def is_partial(node: ast.Call) -> bool:
    """Whether a call gives what calls its first argument when it is called itself, as far as its name tells."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "partial" and bool(node.args)


def _is_namespace(node: ast.AST, names: Collection[str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="locals" | "globals" | "vars" as name), args=[], keywords=[]):
            return name in names
    return False


def _looked_up(node: ast.expr, names: Collection[str], seen: Collection[int]) -> list[ast.expr] | None:
    """What an expression looks up in a namespace: texts that name it, or what may name anything.

    ``None`` if it looks up nothing; `names` are the builtins that nothing hides, `seen` the namespaces that are a part
    of such an expression.
    """
    nothing: list[ast.expr] = []
    match node:
        case ast.Call(func=ast.Name(id="eval" | "exec" as name), args=[text, *_]) if name in names:
            return [text]
        case ast.BinOp(left=text, op=ast.Mod(), right=right) if _is_namespace(right, names):
            return [text]
        case ast.Call(func=ast.Attribute(value=text, attr="format"), keywords=keywords) if any(
            k.arg is None and _is_namespace(k.value, names) for k in keywords
        ):
            return [text]
        case ast.Call(func=ast.Attribute(value=text, attr="format_map"), args=[one]) if _is_namespace(one, names):
            return [text]
        case ast.Subscript(value=value, slice=text) if _is_namespace(value, names):
            return [text] if isinstance(node.ctx, ast.Load) else nothing
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args) if _is_namespace(value, names):
            return args[:1] if attr in ("get", "pop") else nothing if attr in MUTATORS else [value]
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[right]) if _is_namespace(right, names):
            return [node.left]
    return [node] if _is_namespace(node, names) and id(node) not in seen else None


def _called_arguments(node: ast.Call) -> list[ast.expr]:
    """The arguments that the called function calls in its turn, as far as its name tells."""
    name = (
        node.func.id
        if isinstance(node.func, ast.Name)
        else node.func.attr
        if isinstance(node.func, ast.Attribute)
        else ""
    )
    found: list[ast.expr] = []
    if name not in _CALLING:
        return found
    if name in _CALL_FIRST:
        found += node.args[:1]
    if name in ("sub", "subn"):
        found += node.args[:2]
    if name in _CALL_KEY:
        found += [k.value for k in node.keywords if k.arg == "key"]
        if name == "defaultdict":
            found += node.args[:1]
    return [one for one in found if isinstance(one, (ast.Name, ast.Attribute, ast.Lambda))]


def _called_names(body: Iterable[ast.AST]) -> frozenset[str]:
    """The names that a function calls itself."""
    found: set[str] = set()
    for one in walk_all(body):
        if isinstance(one, ast.Call):
            if isinstance(one.func, ast.Name):
                found.add(one.func.id)
            found.update(a.id for a in _called_arguments(one) if isinstance(a, ast.Name))
    return frozenset(found)


def _is_static(node: FunctionNode) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)


_WORDS = re.compile(r"[^\W\d]\w*")
_NAMESPACES = frozenset({"locals", "globals", "vars", "eval", "exec"})
_SIMPLE = frozenset({ast.Name, ast.Constant, ast.Pass, ast.alias})
_SIMPLE_STATEMENTS = frozenset({ast.Expr, ast.Assign, ast.Return, ast.Raise, ast.Assert, ast.Delete, ast.keyword})
"""Those below which there are expressions alone."""
_MAY_READ_WHOLE = frozenset({ast.Call, ast.BinOp, ast.Subscript, ast.Compare})
