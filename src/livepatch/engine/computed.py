"""The values that both sides of a built patch give, compared with those of the process.  Nothing live is written to."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from livepatch.contents.changes import Target
from livepatch.contents.edits import FunctionEdit, ModuleEdit, NameEdit, Text
from livepatch.engine.caches import Cache
from livepatch.engine.code import nested_codes
from livepatch.engine.default_values import is_plain, plainly_same
from livepatch.engine.effects import Entered
from livepatch.engine.existing import drop_kept, give_attribute, no_such_name, note_kept, note_unfit
from livepatch.engine.expand import NewAttribute, NewBody, NewShadow
from livepatch.engine.functions import Held, code_of, defaults_of, own
from livepatch.engine.generated import Generated
from livepatch.engine.graph import Comparison
from livepatch.engine.instances import Maker, defaults_of_the_maker, mended
from livepatch.engine.leaving import covering
from livepatch.engine.locate import Found, mangled, resolve
from livepatch.engine.matching import Context, compile_function
from livepatch.engine.memos import instances, objects_keep
from livepatch.engine.namespaces import is_class, is_function, is_module, namespace_of
from livepatch.engine.outliving import Outliving
from livepatch.engine.pace import breathe, paced
from livepatch.engine.places import slot_of
from livepatch.engine.reconcile import Reconciler, Sides
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.relink import CannotFollow
from livepatch.engine.scratch import Scratch, ScratchError, looked_at
from livepatch.engine.sides import NewSide, other_return
from livepatch.engine.source import patch_filename
from livepatch.engine.stack import ABSENT, Slot
from livepatch.engine.syntax import syntax_of
from livepatch.engine.wrapping import unwritable

__all__ = ["Computed", "Sourced"]

_STAR = re.compile(r"\bimport\s*\*")


@dataclass(slots=True)
class Sourced:
    """What the edits come to: bodies for functions that were found, new attributes, writes, and observations."""

    bodies: list[tuple[NewBody, Found]] = field(default_factory=list)
    attributes: list[NewAttribute] = field(default_factory=list)
    shadows: list[NewShadow] = field(default_factory=list)
    instances: list[tuple[FunctionType, dict[str, object]]] = field(default_factory=list)
    """Live instances of nested functions, with the attributes that each shall have."""
    writes: list[tuple[Slot, object]] = field(default_factory=list)
    replaced: list[tuple[Place, object]] = field(default_factory=list)
    """Places of which the object gives way to another, and that one: names elsewhere may hold it too."""
    given: dict[int, object] = field(default_factory=dict)
    """By their ids, objects that names are bound to and that no statement of the old release makes."""
    caches: list[object] = field(default_factory=list)
    """Wrappers that keep answers of functions that change."""
    gone: list[tuple[type, str, str]] = field(default_factory=list)
    modules: list[tuple[str, ModuleType]] = field(default_factory=list)
    notes: list[tuple[str, Refusal]] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    outliving: Outliving = field(default_factory=Outliving)
    """What the patch means to objects that outlive a call."""

    def note(self, target: object, refusal: Refusal) -> None:
        """Keep an observation about a target."""
        self.notes.append((str(target), refusal))


class Computed:
    """The values that both sides give, compared with those of the process."""

    def __init__(
        self,
        patch_id: str,
        modules: dict[str, ModuleType],
        scratch: tuple[Scratch, Scratch],
        sides: Sides,
        beneath: Callable[[FunctionType], Held],
        out: Sourced,
        coming: Collection[str] = (),
    ) -> None:
        """`coming` are the names, as ``module:qualified.name``, that only the after side has."""
        self.patch_id, self.modules, self.sides, self.out, self.coming = patch_id, modules, sides, out, coming
        self.beneath = beneath
        self.before, self.after = scratch
        self.reconciler = Reconciler(sides)
        self.generated = Generated()
        self.kept: frozenset[str] = frozenset()
        """The places in which code keeps what it computes, as ``module:qualified.name``."""
        self._rebound: frozenset[str] | None = None
        """The names that new code of the module in hand binds when it is called, once somebody asks."""

    def begin(self, edits: Sequence[ModuleEdit]) -> None:
        """Take in what is to be known of all edits before the first."""
        self.kept = frozenset(f"{edit.module}:{memo.target}" for edit in edits for memo in edit.memos)
        self._keep_moved(edits)

    def _keep_moved(self, edits: Iterable[ModuleEdit]) -> None:
        """Let a class that the after side defines in another module stay the one that lives, also among what is new.

        It is changed in place, where its own name is; without this, the other module would have a second one.
        """
        for edit in edits:
            for name in edit.names:
                scope, _, last = name.qualname.rpartition(".")
                if name.kind == "changed" and not scope:
                    live = namespace_of(self.modules[edit.module]).get(last)
                    sides = [self.value(side, edit.module, scope, last) for side in (self.before, self.after)]
                    if is_class(live) and all(map(is_class, sides)) and sides[1].__module__ != sides[0].__module__:
                        self.reconciler.bring(sides[1], live)

    def take(self, edit: ModuleEdit, found: Iterable[tuple[FunctionEdit, Found]]) -> None:
        """Compute all that an edit changes; `found` are its functions of which the before side was proved."""
        self._rebound = None
        for change in edit.functions:
            if change.before is None:
                self._new_function(edit, change)
            elif change.after is None:
                self._gone_function(edit, change)
        for change, function in found:
            if change.after is not None:
                self._body(edit, change, function)
        for name in edit.names:
            self._name(edit, name)
        for attribute in edit.attributes:
            give_attribute(self, edit, attribute)
        for unfit in edit.unfit:
            note_unfit(self, edit, unfit)
        # What the values of defaults and new names hold may be changed in place.
        rest = self.reconciler.rest()
        self.out.writes += rest.writes
        self.out.caches += rest.caches
        for memo in edit.memos:
            note_kept(self, edit, memo)
        drop_kept(self, edit)

    def enter(self, entered: Entered) -> None:
        """Bring a new entry of a dict of the program."""
        try:
            self.reconciler.enter(entered.container, entered.key, entered.value, entered.label)
        except CannotFollow as answer:
            self.out.note(entered.label, answer.refusal)
            return
        rest = self.reconciler.rest()
        self.out.writes += rest.writes
        self.out.caches += rest.caches
        if entered.forget is not None:
            self.out.caches.append(
                Cache(f"the answers of {entered.label}", SimpleNamespace(cache_clear=entered.forget))
            )

    def finish(self) -> None:
        """Take in what depends on all edits together."""
        self.out.writes += self.generated.writes()
        self.out.given = self.reconciler.given
        written = {slot for slot, _ in self.out.writes}  # a class that was made anew has its new members already
        self.out.attributes = [a for a in self.out.attributes if slot_of(a.owner, a.name) not in written]
        counts = instances(cls for cls, _ in self.generated.classes)
        for cls, name in self.generated.classes:
            if counts.get(cls):
                label = f"{cls.__module__}:{cls.__qualname__}"
                self.out.note(f"{label}.{name}", objects_keep(counts[cls], name, f"the class attribute of {label}"))

    def module(self, name: str, module: ModuleType) -> None:
        """A module that the process does not have: what its source gave, as if it had been imported."""
        given = vars(module)
        for attribute, value in paced(list(self.after.namespace(name).items())):
            if attribute in given or attribute == "__builtins__":
                continue
            made = self.carried(value, f"{name}:{attribute}")
            if made is not ABSENT:
                given[attribute] = made
        self.out.modules.append((name, module))

    # Functions

    def _body(self, edit: ModuleEdit, change: FunctionEdit, found: Found) -> None:
        assert change.after is not None
        assert found.function is not None
        target = found.place.target
        filename = patch_filename(self.patch_id, target)
        text = Text(source=change.after.source, line=1)
        try:
            code = compile_function(
                Context(edit.after.futures, edit.after.imports, filename), change.qualname, text, like=found.code
            )
        except SyntaxError as error:
            self.out.note(target, _does_not_compile(error))
            return
        breathe()
        node = _definition(change.after, str(target))
        held = self.beneath(found.function)
        defaults, kwdefaults = held.defaults, held.kwdefaults
        if change.defaults:
            defaults, kwdefaults = self._defaults(edit, change, held.by_parameter(), str(target))
        written = _function(code, namespace_of(found.place.module), defaults, kwdefaults)
        if change.before is not None:
            was, returns = _definition(change.before, str(target)).returns, node.returns
            if was is not None and returns is not None and (old := ast.unparse(was)) != (new := ast.unparse(returns)):
                self.out.note(target, other_return(old, new))
        asserts = "assert" in text.source and any(isinstance(part, ast.Assert) for part in ast.walk(node))
        self._instances(edit, change, found.function, (found.code, code), node)
        side = NewSide(written, code, text.source, asserts, change.before.source if change.before is not None else "")
        self.out.sources[filename] = text.source
        self.out.bodies.append((NewBody(target, written, side=side), found))

    def _instances(
        self,
        edit: ModuleEdit,
        change: FunctionEdit,
        maker: FunctionType,
        codes: tuple[CodeType, CodeType],
        node: ast.FunctionDef | ast.AsyncFunctionDef,
    ) -> None:
        """Functions that the target has made and that do not follow it by themselves."""
        if not all(any(True for _ in nested_codes(code)) for code in codes):
            return
        assert change.before is not None

        def evaluate(expression: str) -> object:
            value = self.after.evaluate(edit.module, edit.after, expression, change.qualname)
            return self.reconciler.carried(value, change.qualname)

        definitions = _definition(change.before, change.qualname), node
        found = list(mended(Maker(maker, *codes, definitions, evaluate)))
        self.out.instances += [(instance, values) for instance, values in found if values is not None]
        kept = {code_of(instance).co_qualname for instance, values in found if values is None}
        for name in sorted(kept):
            self.out.note(Target(edit.module, change.qualname), defaults_of_the_maker(name))

    def _defaults(
        self, edit: ModuleEdit, change: FunctionEdit, held: Mapping[str, object], target: str
    ) -> tuple[tuple[object, ...] | None, dict[str, object] | None]:
        """The defaults of the new side; of a parameter whose default is the same on both sides, the live one."""
        assert change.before is not None
        assert change.after is not None
        old = self.before.defined(edit.module, edit.before, change.qualname, change.before)
        new = self.after.defined(edit.module, edit.after, change.qualname, change.after)
        assert is_function(old)
        assert is_function(new)
        was = defaults_of(old)
        wanted: dict[str, object] = {}
        for name in was.keys() & held.keys():
            if is_plain(was[name]) and is_plain(held[name]) and not plainly_same(was[name], held[name]):
                self.out.note(target, _another_default(name))
        for name, value in defaults_of(new).items():
            if name in was and name in held and Comparison(self.sides, live=False).holds(was[name], value):
                wanted[name] = held[name]
                continue
            made = self.carried(value, f"{target}({name})")
            if made is not ABSENT:
                wanted[name] = made
        code = new.__code__
        positional = code.co_varnames[: code.co_argcount]
        keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        defaults = tuple(wanted[name] for name in positional if name in wanted) or None
        return defaults, {name: wanted[name] for name in keyword if name in wanted} or None

    def _new_function(self, edit: ModuleEdit, change: FunctionEdit) -> None:
        assert change.after is not None
        target = Target(edit.module, change.qualname)
        scope, _, name = change.qualname.rpartition(".")
        value = self.value(self.after, edit.module, scope, name)
        self._add(edit, target, value)

    def _gone_function(self, edit: ModuleEdit, change: FunctionEdit) -> None:
        """What goes stays for the calls in flight, unless what it covered is to show again."""
        place = covering(Target(edit.module, change.qualname), self.modules, self.coming)
        if place is not None and is_class(place.owner) and not change.accessor:
            self.out.gone.append((place.owner, place.name, str(place.target)))

    def _made_instead(self, module: str, place: Place) -> object:
        """What a decorator of the class gives in the place of a member that the source has no more, or ``ABSENT``."""
        scope, _, name = place.target.qualname.rpartition(".")
        outer, _, last = scope.rpartition(".")
        owner = self.value(self.after, module, outer, last)
        if not is_class(owner) or owner is place.owner:
            return ABSENT  # the class was not made anew
        return self.value(self.after, module, scope, name)

    # Names

    def _name(self, edit: ModuleEdit, name: NameEdit) -> None:
        target = Target(edit.module, name.qualname)
        scope, _, last = name.qualname.rpartition(".")
        old = self.value(self.before, edit.module, scope, last)
        if name.kind == "removed":
            hiding = covering(target, self.modules, self.coming)  # other names stay for the calls in flight
            if hiding is not None:
                self._follow(hiding, old, self._made_instead(edit.module, hiding))
            return
        new = self.value(self.after, edit.module, scope, last)
        if dataclasses.Field in (type(old), type(new)):
            if not Comparison(self.sides, live=False).holds(old, new):
                self.out.note(target, _field(target))
            return
        place = resolve(target, self.modules)
        live = place.value if isinstance(place, Place) and place.owner is not None else ABSENT
        if new is ABSENT:
            # Statements may bind it under a condition that does not hold here; but some statement must speak of it.
            texts = [each.text.source for each in (*edit.before.program, *edit.after.program)]
            if old is live is ABSENT and not any(last in text or _STAR.search(text) for text in texts):
                self.out.note(target, no_such_name(target))
            return
        if live is ABSENT:
            if old is ABSENT:
                self._add(edit, target, new)
            else:
                self.out.note(target, place if isinstance(place, Refusal) else no_such_name(target))
            return
        if old is ABSENT:
            if not Comparison(self.sides, live=True).holds(live, new):
                self.out.note(target, _taken(target))
            return
        assert isinstance(place, Place)
        if is_class(place.owner) and not self._is_stated(edit.module, scope, place.owner):
            self.out.note(target, _another_class(target, place.owner))
            return
        self._follow(place, old, new)

    def _is_stated(self, module: str, scope: str, owner: type) -> bool:
        """Whether a class is the one that the source calls so, as far as its own name tells."""
        outer, _, last = scope.rpartition(".")
        made = self.value(self.before, module, outer, last)
        return owner.__name__ in (last, made.__name__ if is_class(made) and made is not owner else last)

    def _follow(self, place: Place, old: object, new: object) -> None:
        """Take the value of a name from what the before side gives to what the after side gives."""
        assert place.owner is not None
        target = place.target
        refusal = unwritable(place.owner, place.name)
        if refusal is not None:
            self.out.note(target, refusal)
            return
        root = slot_of(place.owner, place.name, str(target))
        outcome = self.reconciler.reconcile(root, old, new, str(target))
        if outcome.refusal is not None:
            self.out.note(target, outcome.refusal)
        self.out.writes += outcome.writes
        self.out.caches += outcome.caches
        given = [made for slot, made in outcome.writes if slot == root and made is not ABSENT]
        self.out.replaced += [(place, made) for made in given]
        for made in given:
            self._generated(place.owner, root.name, (place.value, made), target)

    def _generated(self, owner: ModuleType | type, name: str, values: tuple[object, object], target: Target) -> None:
        refusal = self.generated.follow(owner, name, *values) if is_class(owner) else None
        if refusal is not None:
            self.out.note(target, refusal)

    def carried(self, value: object, label: str) -> object:
        """A value of the after side for the live process; ``ABSENT``, and a note, if it cannot be carried over."""
        try:
            return self.reconciler.carried(value, label)
        except CannotFollow as answer:
            self.out.note(label, answer.refusal)
            return ABSENT

    def value(self, scratch: Scratch, module: str, scope: str, name: str) -> object:
        """What one side has under a name of a scope; ``ABSENT`` if it has none."""
        if scope:
            member = scratch.member(module, scope, name)
            if member is not ABSENT:
                return member
        value: Any = scratch.modules[module]
        for segment in [*(scope.split(".") if scope else ()), name]:
            if not (is_module(value) or is_class(value)):
                return ABSENT
            key = mangled(segment, value.__name__) if is_class(value) else segment
            value = namespace_of(value).get(key, ABSENT)
        return value

    def _add(self, edit: ModuleEdit, target: Target, value: object) -> None:
        if self._rebound is None:
            self._rebound = _bound_by_functions(edit)
        rebinds = target.qualname.rpartition(".")[2] in self._rebound
        made = self.carried(value, str(target))
        if made is ABSENT:
            return
        owner_target = Target(target.module, target.qualname.rpartition(".")[0])
        place = resolve(owner_target, self.modules)
        if isinstance(place, Refusal):
            self.out.note(target, place)
            return
        owner = place.value
        if not (is_module(owner) or is_class(owner)):
            self.out.note(target, no_such_name(owner_target))
            return
        last = target.qualname.rpartition(".")[2]
        attribute = mangled(last, owner.__name__) if is_class(owner) else last
        self.out.attributes.append(NewAttribute(target, owner, attribute, made, rebinds=rebinds))


def _definition(text: Text, target: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    for node in ast.walk(looked_at(text, target)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return node
    raise ScratchError(
        target, Refusal("not-a-function", "a text without a definition", "a def statement", "build the patch anew")
    )


def _function(
    code: CodeType,
    namespace: Mapping[str, Any],
    defaults: tuple[object, ...] | None,
    kwdefaults: dict[str, object] | None,
) -> FunctionType:
    assert isinstance(namespace, dict)
    made = FunctionType(code, namespace, argdefs=defaults, closure=tuple(CellType() for _ in code.co_freevars))
    made.__kwdefaults__ = kwdefaults
    own(made)  # it is only looked at, and no copy of the target
    return made


def _bound_by_functions(edit: ModuleEdit) -> frozenset[str]:
    """The global names and the attributes that the functions of the new side bind when they are called."""
    texts = [each.after for each in edit.functions if each.after is not None]
    texts += [statement.text for statement in edit.after.program]
    found: set[str] = set()
    for text in texts:
        with contextlib.suppress(SyntaxError):  # said of the text that does not compile, elsewhere
            for node in paced(ast.walk(syntax_of(text.source))):
                if isinstance(node, ast.Global):
                    found.update(node.names)
                elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                    found.add(node.attr)
    return frozenset(found)


def _does_not_compile(error: SyntaxError) -> Refusal:
    return Refusal(
        "does-not-compile", f"{error.msg}", "source that this Python can compile", "use a patch made for this Python"
    )


def _another_default(parameter: str) -> Refusal:
    return Refusal(
        "default-differs",
        f"parameter {parameter} has another default than its source gives now",
        "the value that the patch was made for",
        "see whether what the default is computed from has changed, or somebody has changed the function's defaults",
    )


def _field(target: Target) -> Refusal:
    return Refusal(
        "fields-changed",
        f"{target} is declared with field(), and its default changes: dataclass has put that into __init__ as well",
        "fields whose defaults are the same on both sides",
        "build with only= and without it, or restart",
    )


def _another_class(target: Target, owner: type) -> Refusal:
    return Refusal(
        "no-such-name",
        f"{target.qualname.rpartition('.')[0]} is the class {owner.__qualname__} in this process",
        "the class that the source states under that name",
        "build with only= and without it, or see what has taken the name",
    )


def _taken(target: Target) -> Refusal:
    return Refusal(
        "exists-already",
        f"{target} is there, though the before side does not define it",
        "a name that is free",
        "find out who put it there",
    )
