"""Objects that exist when a patch goes in: what they lack for the new side, and what they keep of the old one."""

from __future__ import annotations

import re
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from livepatch.contents.changes import Target
from livepatch.contents.edits import AttributeDefault, Captured, Memo, ModuleEdit, Unfit
from livepatch.contents.parsing import compiled
from livepatch.engine.caches import Cache
from livepatch.engine.expand import NewAttribute, NewShadow
from livepatch.engine.graph import Comparison
from livepatch.engine.hidden import hidden_values
from livepatch.engine.keepers import from_keeper, kept_objects, objects_by_class
from livepatch.engine.locate import mangled, resolve
from livepatch.engine.memos import cache_of, hidden_of_the_old, kept_of_the_old, objects_keep, objects_lack
from livepatch.engine.namespaces import is_class, is_function, is_module
from livepatch.engine.outliving import Unlike, unlike_objects
from livepatch.engine.places import slot_of
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.relink import CannotFollow
from livepatch.engine.retaken import Retaken
from livepatch.engine.scratch import ScratchError
from livepatch.engine.source import patch_filename
from livepatch.engine.stack import ABSENT

if TYPE_CHECKING:
    from livepatch.engine.computed import Computed

__all__ = ["drop_kept", "give_attribute", "no_such_name", "note_kept", "note_unfit"]

_UNCHANGING = (type(None), bool, int, float, complex, str, bytes, frozenset, re.Pattern)
_BY_KEY = (dict, OrderedDict, defaultdict)
_TABLES = (list, set, tuple, frozenset, deque)


def note_kept(computed: Computed, edit: ModuleEdit, memo: Memo) -> None:
    """Note what a place keeps that was computed from values which change."""
    target = Target(edit.module, memo.target)
    scope, _, name = memo.target.rpartition(".")
    place = resolve(Target(edit.module, scope), computed.modules) if scope else None
    owner = place.value if isinstance(place, Place) else None if scope else computed.modules[edit.module]
    if scope.endswith(".<locals>") or (isinstance(place, Place) and not is_class(owner)):
        _note_hidden(computed, edit, memo)
        return
    if not (is_class(owner) or is_module(owner)):
        return  # what is not there has computed nothing
    expected: object = ABSENT
    if str(target) in computed.sides.names:
        expected = computed.value(computed.before, edit.module, scope, name)
    elif memo.initial:
        try:
            expected = computed.before.evaluate(edit.module, edit.before, memo.initial, str(target))
        except ScratchError:
            expected = None  # it cannot be told apart from the rest: what is there counts
    refusal = kept_of_the_old(memo, owner, name, expected, computed.sides, computed.kept)
    if refusal is not None:
        computed.out.note(target, refusal)


def _note_hidden(computed: Computed, edit: ModuleEdit, memo: Memo) -> None:
    """Note what functions keep out of sight that was computed from what changes."""
    target = Target(edit.module, memo.target)
    expected: object = ABSENT
    if memo.initial:
        try:
            expected = computed.before.evaluate(edit.module, edit.before, memo.initial, str(target))
        except ScratchError:
            expected = None
    for where, value in hidden_values(computed.modules[edit.module], memo, computed.modules):
        refusal = hidden_of_the_old(memo, where, value, expected, computed.sides)
        if refusal is not None:
            computed.out.note(target, refusal)
            return


def drop_kept(computed: Computed, edit: ModuleEdit) -> None:
    """Caches that are to be emptied, and objects that keep what they took."""
    for qualname in edit.caches:
        place = resolve(Target(edit.module, qualname), computed.modules)
        cache = cache_of(place) if isinstance(place, Place) else None
        if cache is not None:
            computed.out.caches.append(cache)
    for qualname in edit.tables:
        owner, _, name = qualname.rpartition(".")
        place = resolve(Target(edit.module, owner), computed.modules)
        if isinstance(place, Place) and is_class(place.value):
            label = f"table {edit.module}:{qualname}"
            computed.out.caches.append(Cache(label, None, place.value, mangled(name, place.value.__name__)))
    owners: dict[str, type] = {}
    for each in edit.captured:
        place = resolve(Target(edit.module, each.class_qualname), computed.modules)
        if isinstance(place, Place) and is_class(place.value):
            owners[each.class_qualname] = place.value
    by_class = objects_by_class(owners.values())
    for each in edit.captured:
        cls = owners.get(each.class_qualname)
        target = Target(edit.module, f"{each.class_qualname}.{each.name}")
        # Of a derived class that is told of itself, the objects are not counted for its base as well.
        others = (o.class_qualname for o in edit.captured if o.name == each.name)
        nearer = {id(owners[other]) for other in others if other in owners}
        objects = (
            [o for o in by_class[cls] if next(c for c in type(o).__mro__ if id(c) in nearer) is cls] if cls else []
        )
        left = _retaken(computed, edit, each, cls, objects, target) if cls is not None and objects else 0
        if left:
            entered = _entered(computed, each.of)
            lacking = objects_lack(left, each.name, each.of, entered) if entered else None
            computed.out.note(target, lacking or objects_keep(left, each.name, each.of))


def _entered(computed: Computed, of: str) -> list[str]:
    """The classes and functions that only the after side has in a table: new code may look for them there."""
    module, _, qualname = of.partition(":")
    scope, _, name = qualname.rpartition(".")
    found: list[set[str]] = []
    for side in (computed.before, computed.after):
        table = computed.value(side, module, scope, name) if module in side.modules else ABSENT
        by_key, plain = type(table) in _BY_KEY, type(table) in _TABLES
        entries = [*dict.values(table)] if by_key else [*table] if plain else []  # type: ignore[arg-type, misc]
        found.append({f"{e.__module__}:{e.__qualname__}" for e in entries if is_class(e) or is_function(e)})
    return sorted(found[1] - found[0])


def _retaken(
    computed: Computed, edit: ModuleEdit, taken: Captured, cls: type, objects: list[Any], target: Target
) -> int:
    """Let objects have what new ones get where that can be computed; how many keep what they took."""
    work = Retaken(cls, taken.name, taken.but_for, {name.partition(".")[0] for name in computed.sides.modules})
    if not taken.before or not taken.after:
        return work.holding(objects)
    label = f"an object's {target}"

    def make() -> object:
        value = computed.after.evaluate(edit.module, edit.after, taken.after, str(target))
        return computed.reconciler.carried(value, label)

    try:
        old = computed.before.evaluate(edit.module, edit.before, taken.before, str(target))
        new = make()
        if Comparison(computed.sides, live=False).holds(old, new):
            return 0
        alike = (lambda: new) if type(new) in _UNCHANGING else make
        computed.out.writes += work.writes(objects, old, computed.sides, alike, label)
    except (ScratchError, CannotFollow):
        return work.holding(objects)
    return work.left


def give_attribute(computed: Computed, edit: ModuleEdit, attribute: AttributeDefault) -> None:
    """Let objects that exist have an attribute which the new side reads, or note that they lack it."""
    owner_target = Target(edit.module, attribute.class_qualname)
    target = Target(edit.module, f"{attribute.class_qualname}.{attribute.name}")
    place = resolve(owner_target, computed.modules)
    if isinstance(place, Refusal) or not is_class(place.value):
        computed.out.note(owner_target, place if isinstance(place, Refusal) else no_such_name(owner_target))
        return
    cls = place.value
    if attribute.expression and attribute.kept_by:
        _from_keepers(computed, attribute, cls, target)
        return
    name = mangled(attribute.name, cls.__name__)
    if not attribute.expression:
        unlike = Unlike(str(target), weakref.ref(cls), name, attribute.reason, but_for=frozenset(attribute.kinds))
        count = unlike_objects([unlike]).get(unlike, 0)
        if count:
            computed.out.note(target, _no_initial_value(attribute, count))
        else:
            computed.out.note(target, _SWITCH_WAITS)
        computed.out.outliving.old.append(unlike)
        return
    if attribute.reason:
        computed.out.note(target, _not_quite(attribute))
    told = f"{attribute.expression}, each its own"
    of_class: object = ABSENT
    if attribute.shared and not attribute.of:
        value = computed.after.evaluate(edit.module, edit.after, attribute.expression, str(target))
        made = computed.carried(value, str(target))
        if made is ABSENT:
            return
        if attribute.fixed and _has_dict(cls) and not hasattr(type(made), "__get__"):
            # Objects are never given another, so the class can answer for all, and nothing is to be taken back.
            computed.out.attributes.append(NewAttribute(target, cls, name, made))
            return
        make: Callable[[object], object] = lambda _: made  # noqa: E731  # one of two
        told = attribute.expression
        of_class = made if attribute.reason else ABSENT  # dataclass leaves a field's default in the class
    else:
        source = f"lambda {attribute.of or '_'}: (\n{attribute.expression}\n)"
        code = compiled(source, patch_filename(computed.patch_id, target), "eval")
        (inner,) = (constant for constant in code.co_consts if isinstance(constant, CodeType))
        make = FunctionType(inner, vars(place.module))
    computed.out.shadows.append(NewShadow(target, cls, name, make, told, attribute.fixed, of_class))


def note_unfit(computed: Computed, edit: ModuleEdit, unfit: Unfit) -> None:
    """Tell what a revert will leave behind."""
    place = resolve(Target(edit.module, unfit.class_qualname), computed.modules)
    if isinstance(place, Refusal) or not is_class(place.value):
        return  # it has no objects, and never will
    cls, target = place.value, Target(edit.module, f"{unfit.class_qualname}.{unfit.name}")
    name = mangled(unfit.name, cls.__name__)
    computed.out.outliving.new.append(
        Unlike(str(target), weakref.ref(cls), name, unfit.reason, kinds=frozenset(unfit.kinds))
    )
    computed.out.note(
        target,
        Refusal(
            "revert-leaves-objects",
            f"the old code reads {unfit.name} and cannot use objects that the new side makes: {unfit.reason}",
            "objects that both sides can use",
            "let go of those objects before a revert or 'off'; `left` of the status then counts what there is",
        ),
    )


def _from_keepers(computed: Computed, attribute: AttributeDefault, cls: type, target: Target) -> None:
    """Give each object what the object that keeps it has."""
    where = Target.parse(attribute.kept_by)
    owner, _, held = where.qualname.rpartition(".")
    place = resolve(Target(where.module, owner), computed.modules)
    if isinstance(place, Refusal) or not is_class(place.value):
        computed.out.note(where, place if isinstance(place, Refusal) else no_such_name(where))
        return
    keeper = place.value
    code = compiled(f"lambda {attribute.of}: (\n{attribute.expression}\n)", str(target), "eval")
    (inner,) = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    read = FunctionType(inner, vars(place.module))
    pairs, alone = kept_objects(cls, keeper, mangled(held, keeper.__name__))
    if alone:
        computed.out.note(target, _no_initial_value(replace(attribute, reason="nothing keeps them"), alone))
        return
    name = mangled(attribute.name, cls.__name__)
    for each, its_keeper in pairs:
        try:
            value = read(its_keeper)
        except Exception as error:  # noqa: BLE001  # an attribute may be the program's own code
            reason = f"reading it from what keeps them raised {type(error).__name__}"
            computed.out.note(target, _no_initial_value(replace(attribute, reason=reason), 1))
            return
        slot = replace(slot_of(each, name, f"an object's {target}"), yields=True)
        computed.out.writes.append((slot, value))
    make = from_keeper(keeper, mangled(held, keeper.__name__), attribute.name, read)
    told = f"the {attribute.expression.rpartition('.')[2]} of the {keeper.__qualname__} that keeps it as {held}"
    computed.out.shadows.append(NewShadow(target, cls, name, make, told))


def _has_dict(cls: type) -> bool:
    return cls.__dictoffset__ != 0


def no_such_name(target: Target) -> Refusal:
    """The refusal of a place that is not there."""
    return Refusal(
        "no-such-name", f"there is no {target}", "what the before side defines", "use the patch made for this code"
    )


_SWITCH_WAITS = Refusal(
    "switch-waits",
    "no object without it as the new code reads it, but the old code makes them",
    "a switch in a moment without such an object, and without a call under way",
    "nothing: the switch waits for that moment, up to its timeout; later 'on' after 'off' does so, too",
)


def _not_quite(attribute: AttributeDefault) -> Refusal:
    return Refusal(
        "field-attached",
        f"{attribute.name} is {attribute.reason}",
        "code that reads and sets it, and nothing more",
        "see whether such objects are compared, or written out by their fields",
    )


def _no_initial_value(attribute: AttributeDefault, count: int) -> Refusal:
    return Refusal(
        "attribute-unknown",
        f"{count} objects without {attribute.name} as the new code reads it; {attribute.reason}",
        "objects that have it so, or an initial value that the source tells",
        "let go of them before the patch goes in, so that they are made anew after it; or restart",
    )
