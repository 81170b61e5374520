"""What objects lack that taken code reads, though what gives it to them is left out, or is a field of a dataclass.

A choice of ``only=`` may take the code that reads an attribute and leave out the ``__init__`` that sets it: then every
object lacks it, and not only those that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from livepatch.bundle.attributes import candidates, default_of, is_read, readers_of, related, settings_of
from livepatch.bundle.changes import Difference
from livepatch.bundle.fields import field_default, is_field
from livepatch.bundle.items import Item
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import AttributeDefault, Obstacle

__all__ = ["Lacking", "lacking"]


@dataclass
class Lacking:
    """The attributes by module, the fields among them, and what stands in the way."""

    attributes: dict[str, list[AttributeDefault]] = field(default_factory=dict)
    fields: set[Entity] = field(default_factory=set)
    obstacles: list[Obstacle] = field(default_factory=list)


def lacking(
    old: World,
    new: World,
    found: Iterable[Difference],
    taken: list[Difference],
    whole: Iterable[str],
    is_known: Callable[[str], bool],
) -> Lacking:
    """What the `taken` of the differences `found` need of fields, and of methods that are left out.

    `is_known` says whether a word is anywhere in the old tree: one that is not can only mean the new attribute.
    """
    out = Lacking()
    picked = set(map(id, taken))
    readers = readers_of(new, taken, whole)
    added = [one for one in found if is_field(one, old, new)]
    for one in added:
        owner, _, name = one.qualname.rpartition(".")
        entity = (one.module, owner)
        if id(one) not in picked and not _reads(new, entity, name, readers, is_known):
            continue
        default = field_default(one, old, new, added, readers)
        if isinstance(default, AttributeDefault):
            out.fields.add((one.module, one.qualname))
            out.attributes.setdefault(one.module, []).append(default)
        elif id(one) not in picked:
            out.obstacles.append(_left_out(one.target, f"the field {name}, which is left out: {default}"))
    left = [one for one in found if id(one) not in picked]
    known = set(candidates(old, new, taken)) if left else set()
    for entity, name in candidates(old, new, left):
        settings = settings_of(new, entity, name)
        if (entity, name) in known or not settings or not _reads(new, entity, name, readers, is_known):
            continue
        if not is_read(new, entity, name, readers, settings):
            continue
        attribute = default_of(old, new, entity, name, settings, readers)
        if attribute.expression:
            out.attributes.setdefault(entity[0], []).append(attribute)
        else:
            setter = settings[0].method[1]
            what = f"{name}, which only {setter} sets, and that is left out: {attribute.reason}"
            out.obstacles.append(_left_out(f"{entity[0]}:{entity[1]}", what))
    return out


def _reads(new: World, entity: Entity, name: str, readers: list[Item], is_known: Callable[[str], bool]) -> bool:
    """Whether new code reads an attribute for certain: of its own object, or under a name that nothing else has."""
    unique = not is_known(name)
    for item in readers:
        refs = new.refs(item)
        for ref in [*refs.header, *refs.body]:
            if name not in ref.chain or (ref.base in ("", "scope", "abs") and ref.chain[0] == name):
                continue
            own = ref.base in ("self", "super") and ref.chain[0] == name
            if related(new, entity, (item.module.name, item.scope)) if own else unique:
                return True
    return False


def _left_out(target: str, what: str) -> Obstacle:
    return Obstacle(
        code="attribute-unset",
        target=target,
        found=f"new code reads {what}",
        expected="an attribute that objects have, or an initial value that the source tells",
        action="pick what sets it as well, with only=",
    )
