"""The values that both sides of a built patch give, compared with those of the process.  Nothing live is written to."""

from __future__ import annotations

import ast
import dataclasses
import re
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from livepatch.contents.edits import AttributeDefault, Captured, FunctionEdit, Memo, ModuleEdit, NameEdit, Text, Unfit
from livepatch.engine.caches import Cache
from livepatch.engine.code import nested_codes
from livepatch.engine.default_values import is_plain, plainly_same
from livepatch.engine.defaults import InitialValue, attribute_default
from livepatch.engine.expand import NewAttribute, NewBody
from livepatch.engine.functions import Held, defaults_of, own
from livepatch.engine.generated import Generated
from livepatch.engine.graph import Comparison
from livepatch.engine.instances import Maker, mended
from livepatch.engine.keepers import from_keeper, kept_objects, objects_by_class
from livepatch.engine.leaving import covering
from livepatch.engine.locate import Found, mangled, resolve
from livepatch.engine.matching import Context, compile_function
from livepatch.engine.memos import cache_of, instances, kept_of_the_old, objects_keep
from livepatch.engine.namespaces import is_class, is_function, is_module, namespace_of
from livepatch.engine.outliving import Outliving, Unlike, unlike_objects
from livepatch.engine.pace import breathe, paced
from livepatch.engine.places import slot_of
from livepatch.engine.reconcile import Reconciler, Sides
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.relink import CannotFollow
from livepatch.engine.retaken import Retaken
from livepatch.engine.scratch import Scratch, ScratchError, parsed
from livepatch.engine.sides import NewSide, other_return
from livepatch.engine.source import patch_filename
from livepatch.engine.stack import ABSENT, Slot
from livepatch.engine.wrapping import unwritable
from livepatch.patch import Target

__all__ = ["Computed", "Sourced"]

_UNCHANGING = (type(None), bool, int, float, complex, str, bytes, frozenset, re.Pattern)
_STAR = re.compile(r"\bimport\s*\*")


@dataclass(slots=True)
class Sourced:
    """What the edits come to: bodies for functions that were found, new attributes, writes, and observations."""

    bodies: list[tuple[NewBody, Found]] = field(default_factory=list)
    attributes: list[NewAttribute] = field(default_factory=list)
    instances: list[tuple[FunctionType, dict[str, object]]] = field(default_factory=list)
    """Live instances of nested functions, with the attributes that each shall have."""
    writes: list[tuple[Slot, object]] = field(default_factory=list)
    replaced: list[tuple[Place, object]] = field(default_factory=list)
    """Places of which the object gives way to another, and that one: names elsewhere may hold it too."""
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

    def take(self, edit: ModuleEdit, found: Iterable[tuple[FunctionEdit, Found]]) -> None:
        """Compute all that an edit changes; `found` are its functions of which the before side was proved."""
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
            self._attribute(edit, attribute)
        for unfit in edit.unfit:
            self._unfit(edit, unfit)
        # What the values of defaults and new names hold may be changed in place.
        rest = self.reconciler.rest()
        self.out.writes += rest.writes
        self.out.caches += rest.caches
        for memo in edit.memos:
            self._memo(edit, memo)
        self._kept(edit)

    def finish(self) -> None:
        """Take in what depends on all edits together."""
        self.out.writes += self.generated.writes()
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
            made = self._carried(value, f"{name}:{attribute}")
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
        asserts = any(isinstance(part, ast.Assert) for part in ast.walk(node))
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
        self.out.instances += mended(Maker(maker, *codes, definitions, evaluate))

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
            made = self._carried(value, f"{target}({name})")
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
        value = self._value(self.after, edit.module, scope, name)
        self._add(target, value)

    def _gone_function(self, edit: ModuleEdit, change: FunctionEdit) -> None:
        """What goes stays for the calls in flight, unless what it covered is to show again."""
        place = covering(Target(edit.module, change.qualname), self.modules, self.coming)
        if place is not None and is_class(place.owner) and not change.accessor:
            self.out.gone.append((place.owner, place.name, str(place.target)))

    def _made_instead(self, module: str, place: Place) -> object:
        """What a decorator of the class gives in the place of a member that the source has no more, or ``ABSENT``."""
        scope, _, name = place.target.qualname.rpartition(".")
        outer, _, last = scope.rpartition(".")
        owner = self._value(self.after, module, outer, last)
        if not is_class(owner) or owner is place.owner:
            return ABSENT  # the class was not made anew
        return self._value(self.after, module, scope, name)

    # Names

    def _name(self, edit: ModuleEdit, name: NameEdit) -> None:
        target = Target(edit.module, name.qualname)
        scope, _, last = name.qualname.rpartition(".")
        old = self._value(self.before, edit.module, scope, last)
        if name.kind == "removed":
            hiding = covering(target, self.modules, self.coming)  # other names stay for the calls in flight
            if hiding is not None:
                self._follow(hiding, old, self._made_instead(edit.module, hiding))
            return
        new = self._value(self.after, edit.module, scope, last)
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
                self.out.note(target, _gone(target))
            return
        if live is ABSENT:
            if old is ABSENT:
                self._add(target, new)
            else:
                self.out.note(target, place if isinstance(place, Refusal) else _gone(target))
            return
        if old is ABSENT:
            if not Comparison(self.sides, live=True).holds(live, new):
                self.out.note(target, _taken(target))
            return
        assert isinstance(place, Place)
        self._follow(place, old, new)

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

    def _carried(self, value: object, label: str) -> object:
        """A value of the after side for the live process; ``ABSENT``, and a note, if it cannot be carried over."""
        try:
            return self.reconciler.carried(value, label)
        except CannotFollow as answer:
            self.out.note(label, answer.refusal)
            return ABSENT

    def _value(self, scratch: Scratch, module: str, scope: str, name: str) -> object:
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

    def _add(self, target: Target, value: object) -> None:
        made = self._carried(value, str(target))
        if made is ABSENT:
            return
        owner_target = Target(target.module, target.qualname.rpartition(".")[0])
        place = resolve(owner_target, self.modules)
        if isinstance(place, Refusal):
            self.out.note(target, place)
            return
        owner = place.value
        if not (is_module(owner) or is_class(owner)):
            self.out.note(target, _gone(owner_target))
            return
        last = target.qualname.rpartition(".")[2]
        attribute = mangled(last, owner.__name__) if is_class(owner) else last
        self.out.attributes.append(NewAttribute(target, owner, attribute, made))

    # What was computed from the old values

    def _memo(self, edit: ModuleEdit, memo: Memo) -> None:
        target = Target(edit.module, memo.target)
        scope, _, name = memo.target.rpartition(".")
        place = resolve(Target(edit.module, scope), self.modules) if scope else None
        owner = place.value if isinstance(place, Place) else None if scope else self.modules[edit.module]
        if not (is_class(owner) or is_module(owner)):
            return  # what is not there has computed nothing
        expected: object = ABSENT
        if str(target) in self.sides.names:
            expected = self._value(self.before, edit.module, scope, name)
        elif memo.initial:
            try:
                expected = self.before.evaluate(edit.module, edit.before, memo.initial, str(target))
            except ScratchError:
                expected = None  # it cannot be told apart from the rest: what is there counts
        refusal = kept_of_the_old(memo, owner, name, expected, self.sides)
        if refusal is not None:
            self.out.note(target, refusal)

    def _kept(self, edit: ModuleEdit) -> None:
        """Caches that are to be emptied, and objects that keep what they took."""
        for qualname in edit.caches:
            place = resolve(Target(edit.module, qualname), self.modules)
            cache = cache_of(place) if isinstance(place, Place) else None
            if cache is not None:
                self.out.caches.append(cache)
        for qualname in edit.tables:
            owner, _, name = qualname.rpartition(".")
            place = resolve(Target(edit.module, owner), self.modules)
            if isinstance(place, Place) and is_class(place.value):
                label = f"table {edit.module}:{qualname}"
                self.out.caches.append(Cache(label, None, place.value, mangled(name, place.value.__name__)))
        owners: dict[str, type] = {}
        for each in edit.captured:
            place = resolve(Target(edit.module, each.class_qualname), self.modules)
            if isinstance(place, Place) and is_class(place.value):
                owners[each.class_qualname] = place.value
        objects = objects_by_class(owners.values())
        for each in edit.captured:
            cls = owners.get(each.class_qualname)
            target = Target(edit.module, f"{each.class_qualname}.{each.name}")
            left = self._retaken(edit, each, cls, objects[cls], target) if cls is not None and objects[cls] else 0
            if left:
                self.out.note(target, objects_keep(left, each.name, each.of))

    def _retaken(self, edit: ModuleEdit, taken: Captured, cls: type, objects: list[Any], target: Target) -> int:
        """Let objects have what new ones get where that can be computed; how many keep what they took."""
        if not taken.before or not taken.after:
            return len(objects)
        label, tops = f"an object's {target}", {name.partition(".")[0] for name in self.sides.modules}

        def make() -> object:
            value = self.after.evaluate(edit.module, edit.after, taken.after, str(target))
            return self.reconciler.carried(value, label)

        work = Retaken(cls, taken.name, taken.but_for, tops)
        try:
            old = self.before.evaluate(edit.module, edit.before, taken.before, str(target))
            new = make()
            if Comparison(self.sides, live=False).holds(old, new):
                return 0
            alike = (lambda: new) if type(new) in _UNCHANGING else make
            self.out.writes += work.writes(objects, old, self.sides, alike, label)
        except (ScratchError, CannotFollow):
            return len(objects)
        return work.left

    # Attributes of objects that exist

    def _attribute(self, edit: ModuleEdit, attribute: AttributeDefault) -> None:
        owner_target = Target(edit.module, attribute.class_qualname)
        target = Target(edit.module, f"{attribute.class_qualname}.{attribute.name}")
        place = resolve(owner_target, self.modules)
        if isinstance(place, Refusal) or not is_class(place.value):
            self.out.note(owner_target, place if isinstance(place, Refusal) else _gone(owner_target))
            return
        cls = place.value
        if attribute.expression and attribute.kept_by:
            self._from_keepers(attribute, cls, target)
            return
        lacking = not attribute.expression or not _has_dict(cls)
        name = mangled(attribute.name, cls.__name__)
        if lacking:
            why = attribute.reason or _NO_ROOM
            unlike = Unlike(str(target), weakref.ref(cls), name, why, but_for=frozenset(attribute.kinds))
            count = unlike_objects([unlike]).get(unlike, 0)
            if count:
                self.out.note(target, _no_initial_value(attribute, count))
            else:
                self.out.note(target, _SWITCH_WAITS)
            self.out.outliving.old.append(unlike)
            return
        if not attribute.fixed:
            self.out.outliving.changing.append(str(target))
        made: object = None
        maker = None
        if attribute.shared and not attribute.of:
            value = self.after.evaluate(edit.module, edit.after, attribute.expression, str(target))
            made = self._carried(value, str(target))
            if made is ABSENT:
                return
        else:
            source = f"lambda {attribute.of or '_'}: (\n{attribute.expression}\n)"
            code = compile(source, patch_filename(self.patch_id, target), "eval", dont_inherit=True)
            (inner,) = (constant for constant in code.co_consts if isinstance(constant, CodeType))
            maker = FunctionType(inner, vars(place.module))
        self.out.attributes.append(NewAttribute(target, cls, name, attribute_default(name, made, maker)))

    def _unfit(self, edit: ModuleEdit, unfit: Unfit) -> None:
        """Tell what a revert will leave behind."""
        place = resolve(Target(edit.module, unfit.class_qualname), self.modules)
        if isinstance(place, Refusal) or not is_class(place.value):
            return  # it has no objects, and never will
        cls, target = place.value, Target(edit.module, f"{unfit.class_qualname}.{unfit.name}")
        name = mangled(unfit.name, cls.__name__)
        self.out.outliving.new.append(
            Unlike(str(target), weakref.ref(cls), name, unfit.reason, kinds=frozenset(unfit.kinds))
        )
        self.out.note(
            target,
            Refusal(
                "revert-leaves-objects",
                f"the old code reads {unfit.name} and cannot use objects that the new side makes: {unfit.reason}",
                "objects that both sides can use",
                "let go of those objects before a revert or 'off'; `left` of the status then counts what there is",
            ),
        )

    def _from_keepers(self, attribute: AttributeDefault, cls: type, target: Target) -> None:
        """Give each object what the object that keeps it has."""
        where = Target.parse(attribute.kept_by)
        owner, _, held = where.qualname.rpartition(".")
        place = resolve(Target(where.module, owner), self.modules)
        if isinstance(place, Refusal) or not is_class(place.value):
            self.out.note(where, place if isinstance(place, Refusal) else _gone(where))
            return
        keeper = place.value
        code = compile(f"lambda {attribute.of}: (\n{attribute.expression}\n)", str(target), "eval", dont_inherit=True)
        (inner,) = (constant for constant in code.co_consts if isinstance(constant, CodeType))
        read = FunctionType(inner, vars(place.module))
        pairs, alone = kept_objects(cls, keeper, mangled(held, keeper.__name__))
        if alone:
            self.out.note(target, _no_initial_value(replace(attribute, reason="nothing keeps them"), alone))
            return
        name = mangled(attribute.name, cls.__name__)
        for each, its_keeper in pairs:
            try:
                value = read(its_keeper)
            except Exception as error:  # noqa: BLE001  # an attribute may be the program's own code
                reason = f"reading it from what keeps them raised {type(error).__name__}"
                self.out.note(target, _no_initial_value(replace(attribute, reason=reason), 1))
                return
            slot = replace(slot_of(each, name, f"an object's {target}"), yields=True)
            self.out.writes.append((slot, value))
        self.out.outliving.changing.append(str(target))
        make = from_keeper(keeper, mangled(held, keeper.__name__), attribute.name, read)
        self.out.attributes.append(NewAttribute(target, cls, name, InitialValue(name, make)))


def _definition(text: Text, target: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    for node in ast.walk(parsed(text, target)):
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


def _has_dict(cls: type) -> bool:
    return cls.__dictoffset__ != 0


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


def _gone(target: Target) -> Refusal:
    return Refusal(
        "no-such-name", f"there is no {target}", "what the before side defines", "use the patch made for this code"
    )


def _field(target: Target) -> Refusal:
    return Refusal(
        "fields-changed",
        f"{target} is declared with field(), and its default changes: dataclass has put that into __init__ as well",
        "fields whose defaults are the same on both sides",
        "build with only= and without it, or restart",
    )


def _taken(target: Target) -> Refusal:
    return Refusal(
        "exists-already",
        f"{target} is there, though the before side does not define it",
        "a name that is free",
        "find out who put it there",
    )


_SWITCH_WAITS = Refusal(
    "switch-waits",
    "no object without it as the new code reads it, but the old code makes them",
    "a switch in a moment without such an object, and without a call under way",
    "nothing: the switch waits for that moment, up to its timeout; later 'on' after 'off' does so, too",
)
_NO_ROOM = "they have no __dict__ to hold it"


def _no_initial_value(attribute: AttributeDefault, count: int) -> Refusal:
    reason = attribute.reason or _NO_ROOM
    return Refusal(
        "attribute-unknown",
        f"{count} objects without {attribute.name} as the new code reads it; {reason}",
        "objects that have it so, or an initial value that the source tells",
        "let go of them before the patch goes in, so that they are made anew after it; or restart",
    )
