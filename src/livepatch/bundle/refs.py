"""What a definition or statement uses: names and chains of attributes, when it runs and when it is called."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from livepatch.bundle.items import Item, absolute_name, chain_of
from livepatch.bundle.normal import FunctionNode, block, is_type_checking

__all__ = ["Ref", "Refs", "refs_of"]

_CALL_FIRST = frozenset({"map", "filter", "reduce", "starmap", "takewhile", "dropwhile", "accumulate", "filterfalse"})
_CALL_KEY = frozenset({"sorted", "min", "max", "sort", "groupby", "defaultdict"})


@dataclass(frozen=True, slots=True)
class Ref:
    """A chain of names.  `base` says where it begins: in the module (or class body), at the object that a method is
    called on (``self``), at its class's bases (``super``), or at the absolute name of a module (``abs``)."""

    chain: tuple[str, ...]
    call: bool = False
    base: str = ""
    store: bool = False


@dataclass(slots=True)
class Refs:
    """What an item uses: in its decorators, in the defaults (or bases) of the definition, and when it runs or is called.

    For a statement `header` is what it uses when it runs, and `body` what the lambdas in it use later.
    """

    decorators: list[Ref] = field(default_factory=list)
    header: list[Ref] = field(default_factory=list)
    body: list[Ref] = field(default_factory=list)
    annotations: list[Ref] = field(default_factory=list)

    def words(self) -> frozenset[str]:
        """Every name in any chain."""
        return frozenset(w for refs in (self.decorators, self.header, self.body) for r in refs for w in r.chain)


def refs_of(item: Item) -> Refs:
    """Read what an item uses."""
    module = item.module
    reader = _Reader(module.name, module.is_package)
    refs = Refs()
    node = item.node
    top = _Scope({}, frozenset())
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        reader.decorators(node, top, refs.decorators)
        reader.defaults(node, top, refs.header)
        reader.function(node, top, refs.body, method=bool(item.scope))
        reader.annotations(node, top, refs.annotations)
    elif isinstance(node, ast.ClassDef):
        reader.decorators(node, top, refs.decorators)
        for base in [*node.bases, *(k.value for k in node.keywords)]:
            reader.expression(base, top, refs.header)
    elif item.kind != "import":
        reader.later = refs.body
        reader.statements([node], top, refs.header)
    return refs


@dataclass(frozen=True, slots=True)
class _Scope:
    """The local names: `known` maps those that stand for something outside, `bound` are the others."""

    known: dict[str, Ref]
    bound: frozenset[str]


class _Reader:
    def __init__(self, module: str, is_package: bool) -> None:
        self.module = module
        self.is_package = is_package
        self.later: list[Ref] | None = None

    def decorators(self, node: FunctionNode | ast.ClassDef, scope: _Scope, out: list[Ref]) -> None:
        for decorator in node.decorator_list:
            self._called(decorator, scope, out)
            if isinstance(decorator, ast.Call):
                self.expression(decorator, scope, out)

    def defaults(self, node: FunctionNode | ast.Lambda, scope: _Scope, out: list[Ref]) -> None:
        for value in [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]:
            self.expression(value, scope, out)

    def annotations(self, node: FunctionNode, scope: _Scope, out: list[Ref]) -> None:
        for one in ast.walk(node):
            for name in ("annotation", "returns"):
                value = getattr(one, name, None)
                if isinstance(value, ast.expr):
                    self.expression(value, scope, out)

    def function(
        self, node: FunctionNode | ast.Lambda, scope: _Scope, out: list[Ref], *, method: bool = False
    ) -> None:
        a = node.args
        arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x)]
        names = {x.arg for x in arguments}
        known = dict(scope.known)
        body: Sequence[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else node.body
        outer, inner = _bound_in(body)
        names |= inner - outer
        for name in names:
            known.pop(name, None)
        if method and not isinstance(node, ast.Lambda) and not _is_static(node):
            first = [*a.posonlyargs, *a.args][:1]
            if first and first[0].arg not in inner:
                known[first[0].arg] = Ref((), base="self")
        local = _Scope(known, frozenset((scope.bound | names) - outer - known.keys()))
        self._local_imports(body, local)
        later, self.later = self.later, None
        if isinstance(node, ast.Lambda):
            self.expression(node.body, local, out)
        else:
            self.statements(node.body, local, out)
        self.later = later

    def _local_imports(self, body: Iterable[ast.AST], scope: _Scope) -> None:
        for one in _own_nodes(body):
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
            self._statement(node, scope, out)

    def _statement(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.decorators(node, scope, out)
            self.defaults(node, scope, out)
            self.function(node, scope, out)
        elif isinstance(node, ast.ClassDef):
            self.decorators(node, scope, out)
            for base in [*node.bases, *(k.value for k in node.keywords)]:
                self.expression(base, scope, out)
            for one in node.body:
                # A method of a local class has its own `self`, about which nothing is known.
                self._statement(one, scope, out)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            self.statements(node.orelse, scope, out)
        elif isinstance(node, ast.expr):
            self.expression(node, scope, out)
        elif isinstance(node, ast.Import):
            out.extend(Ref((alias.name,), base="abs") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute_name(node, self.module, self.is_package)
            out.extend(Ref((origin, alias.name), base="abs") for alias in node.names)
        else:
            for name, value in ast.iter_fields(node):
                if name == "annotation":
                    continue
                for one in value if isinstance(value, list) else [value]:
                    if isinstance(one, ast.AST):
                        self._statement(one, scope, out)

    def expression(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._chain(node, scope, out, call=False)
        elif isinstance(node, ast.Call):
            self._called(node.func, scope, out)
            if not isinstance(node.func, (ast.Name, ast.Attribute)):
                self.expression(node.func, scope, out)
            self._higher_order(node, scope, out)
            for argument in [*node.args, *(k.value for k in node.keywords)]:
                self.expression(argument, scope, out)
        elif isinstance(node, ast.Lambda):
            self.defaults(node, scope, out)
            self.function(node, scope, self.later if self.later is not None else out)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            names = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
            known = {k: v for k, v in scope.known.items() if k not in names}
            inner = _Scope(known, scope.bound | names)
            for child in ast.iter_child_nodes(node):
                self.expression(child, inner, out)
        else:
            for child in ast.iter_child_nodes(node):
                self.expression(child, scope, out)

    def _higher_order(self, node: ast.Call, scope: _Scope, out: list[Ref]) -> None:
        names = chain_of(node.func) or ((node.func.attr,) if isinstance(node.func, ast.Attribute) else ())
        if not names:
            return
        if names[-1] in _CALL_FIRST and node.args:
            self._called(node.args[0], scope, out)
        if names[-1] in _CALL_KEY:
            if names[-1] == "defaultdict" and node.args:
                self._called(node.args[0], scope, out)
            for keyword in node.keywords:
                if keyword.arg == "key":
                    self._called(keyword.value, scope, out)
        if names[-1] in ("sub", "subn") and node.args:
            for argument in node.args[:2]:
                self._called(argument, scope, out)

    def _called(self, node: ast.AST, scope: _Scope, out: list[Ref]) -> None:
        if isinstance(node, ast.Call):
            node = node.func
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._chain(node, scope, out, call=True)
        elif isinstance(node, ast.Lambda) and self.later is not None:
            self.function(node, scope, out)

    def _chain(self, node: ast.Name | ast.Attribute, scope: _Scope, out: list[Ref], *, call: bool) -> None:
        names: list[str] = []
        one: ast.AST = node
        while isinstance(one, ast.Attribute):
            names.append(one.attr)
            one = one.value
        names.reverse()
        store = isinstance(node.ctx, (ast.Store, ast.Del))
        if isinstance(one, ast.Name):
            if one.id in scope.known:
                known = scope.known[one.id]
                if known.chain or names:
                    out.append(Ref((*known.chain, *names), call, known.base, store))
            elif one.id not in scope.bound:
                out.append(Ref((one.id, *names), call, "", store))
            elif names:
                out.append(Ref(tuple(names), call, "object", store))
            return
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "super":
            out.append(Ref(tuple(names), call, "super", store))
            return
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "type" and names:
            match one.args:
                case [ast.Name(id=name)] if scope.known.get(name, Ref(())).base == "self":
                    out.append(Ref(tuple(names), call, "self", store))
                    return
        if names:
            out.append(Ref(tuple(names), call, "object", store))
        self.expression(one, scope, out)


def _is_static(node: FunctionNode) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)


def _own_nodes(body: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """The nodes of a function's own scope: those of nested functions, classes and comprehensions not included."""
    pending = list(body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            continue
        pending.extend(ast.iter_child_nodes(node))


def _bound_in(body: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """The names that a function's own scope declares global, and those that it binds."""
    outer: set[str] = set()
    bound: set[str] = set()
    for node in _own_nodes(body):
        match node:
            case ast.Global(names=names):
                outer.update(names)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update(alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                bound.add(name)
    return outer, bound
