"""The facts about the two sides of a function that a survey has found."""

from __future__ import annotations

import typing
from dataclasses import replace
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

from livepatch.engine import closures, sides
from livepatch.engine.caches import Cache
from livepatch.engine.callees import Passed, calls_of
from livepatch.engine.code import fingerprint, kind_of, parameters_of
from livepatch.engine.expand import NewBody
from livepatch.engine.facts import TargetFacts
from livepatch.engine.functions import code_of
from livepatch.engine.locate import Found
from livepatch.engine.namespaces import is_a
from livepatch.engine.places import slot_of
from livepatch.engine.source import is_of_a_patch
from livepatch.engine.stack import settled
from livepatch.engine.sweep import Swept
from livepatch.engine.syntax import forget_syntax

if TYPE_CHECKING:
    from livepatch.engine.surveyor import Surveyor

__all__ = ["facts_of"]


def facts_of(
    surveyor: Surveyor,
    body: NewBody,
    found: Found,
    new: sides.NewSide,
    functions: list[FunctionType],
    swept: Swept,
    caches: list[Cache],
) -> TargetFacts:
    """What there is to know of the two sides of a function that was found."""
    old = found.function
    code_slot = slot_of(old, "__code__") if old is not None else None
    layer0 = surveyor.stack.originals.get(code_slot, found.code) if code_slot else found.code
    assert isinstance(layer0, CodeType)
    shell = old or FunctionType(found.code, {}, closure=closures.empty_cells(found.code))
    under = settled(surveyor.under.wanted().get(code_slot, layer0), code_slot) if code_slot else found.code
    assert isinstance(under, CodeType)
    put = surveyor.out.values.get(code_slot) if code_slot else None
    return TargetFacts(
        target=body.target,
        count=len(functions),
        via=tuple(type(layer).__qualname__ for layer in found.via),
        kinds=(kind_of(found.code), kind_of(new.code)),
        parameters=(parameters_of(shell), parameters_of(new.written) if old else parameters_of(shell)),
        expect=body.expect,
        pin=fingerprint(shell, under) if body.expect else "",
        on_disk=None
        if found.alias_of or body.side or is_of_a_patch(found.code)
        else surveyor.disk.gives(found.place.module, layer0),
        asserts=new.asserts,
        forwarded=isinstance(put, CodeType) and put is not new.code,
        caches=tuple(cache.label for cache in caches),
        covers=surveyor.under.decider(code_slot) if code_slot else None,
        alias_of=found.alias_of,
        variants=len(_variants(found, swept)),
        relatives=surveyor.relatives.of(found.owner_class, found.place.name)
        if old is not None and found.owner_class is not None and not found.place.accessor
        else (),
        bound=found.owner_class is not None and not is_a(found.place.value, staticmethod),
        passes=_passes(surveyor, found, new),
        proved=body.side is not None,
    )


def _passes(surveyor: Surveyor, found: Found, new: sides.NewSide) -> tuple[Passed, ...]:
    """The calls of the new body, with those marked that the old one makes as well."""
    if not new.text or found.function is None:
        return ()
    definition = surveyor.files.definition(found.function) if not new.before else None
    before = new.before or (definition.text if definition is not None else "")
    module, cls = found.place.module, found.owner_class
    try:
        calls = calls_of(new.text, new.code, module, cls)
        old = calls_of(before, found.code, module, cls) if before and calls else ()
    except (SyntaxError, RecursionError):
        return ()  # a text that stands in brackets of its own, or deeper than can be followed
    finally:
        forget_syntax(new.text, before)  # nothing looks at them after this
    known = {each.shape for each in old}
    return tuple(replace(each, before=each.shape in known) for each in calls)


def _variants(found: Found, swept: Swept) -> list[FunctionType]:
    """Functions of that name with other code, but for the other accessors of the same property."""
    if found.function is None:
        return []
    value = found.place.value
    siblings = (value.fget, value.fset, value.fdel) if is_a(value, property) else ()
    others = swept.variants.get(id(code_of(found.function)), ())
    known = {id(each) for each in (*siblings, *typing.get_overloads(found.function))}
    return [other for other in others if id(other) not in known]
