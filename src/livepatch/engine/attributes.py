"""Values of modules and classes: what is assigned, where else that very value was taken to, and native callables."""

from __future__ import annotations

from types import ModuleType

from livepatch.engine.aliases import came_from
from livepatch.engine.commit import slot_of
from livepatch.engine.expand import ValueFor, WrapperFor
from livepatch.engine.facts import Survey
from livepatch.engine.locate import resolve
from livepatch.engine.namespaces import is_class, is_module, owner_name
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.stack import ABSENT, Stack
from livepatch.engine.sweep import Swept
from livepatch.engine.wrapping import unwritable, wrapped

__all__ = ["assign", "follow_aliases", "values_followed", "wrap"]


def assign(step: ValueFor, modules: dict[str, ModuleType], out: Survey) -> Place | None:
    """Put another value in the attribute's place; give that place, or note why it cannot be."""
    place = resolve(step.target, modules)
    if isinstance(place, Refusal):
        out.note(step.target, place)
        return None
    if place.owner is None or place.accessor:
        refusal: Refusal | None = Refusal(
            "no-such-name", f"there is no {step.target}", "an attribute that exists", "use add() for a new name"
        )
    else:
        refusal = unwritable(place.owner, place.name)
    if refusal is not None:
        out.note(step.target, refusal)
        return None
    out.put(place.owner, place.name, step.value, str(step.target))
    return place


def values_followed(place: Place, stack: Stack) -> list[object]:
    """What other names may have got from a place: what it holds, and what it held before any patch, if anything."""
    assert place.owner is not None
    original = stack.originals.get(slot_of(place.owner, place.name), place.value)
    return [place.value] if original is place.value or original is ABSENT else [place.value, original]


def follow_aliases(step: ValueFor, place: Place, stack: Stack, swept: Swept, out: Survey) -> None:
    """Follow the other names that got this very value from the target; note those that only may have."""
    assert place.owner is not None
    unproved = []
    for value in values_followed(place, stack):
        for owner, name in swept.aliases.get(id(value), ()):
            if (owner is place.owner and name == place.name) or slot_of(owner, name) in out.values:
                continue
            if owner_name(owner).partition(":")[0].partition(".")[0] == "livepatch":
                continue  # what switches code keeps what it works with
            label = f"{owner_name(owner)}.{name}" if is_class(owner) else f"{owner_name(owner)}:{name}"
            if came_from(place, value, owner, name) and unwritable(owner, name) is None:
                out.put(owner, name, step.value, label)
            elif name == place.name and not is_module(value):
                unproved.append(label)
    if unproved:
        out.note(
            step.target,
            Refusal(
                "alias-unproved",
                f"{', '.join(sorted(unproved)[:8])} holds the same value, which may be chance",
                "an object that proves where it came from, or a source that says so",
                "if it is the same setting, set() it too",
            ),
        )


def wrap(step: WrapperFor, modules: dict[str, ModuleType], out: Survey) -> None:
    """Put a wrapper in the place of a native callable, or note why it cannot be."""
    result = wrapped(step.target, step.wrapper, modules)
    if isinstance(result, Refusal):
        out.note(step.target, result)
        return
    for owner, name, value, label in result.places:
        out.put(owner, name, value, label)
    if result.unproved:
        out.note(
            step.target,
            Refusal(
                "aliases-unreached",
                f"the callable under other names, which keep it: {'; '.join(result.unproved)}",
                f"names that are proved to have got it from {step.target} and can be written to",
                "wrap those names too, if they are to have the wrapper",
            ),
        )
    if result.others:
        out.note(
            step.target,
            Refusal(
                "aliases-unreached",
                f"the callable held by what is no module and no class: {'; '.join(result.others)}",
                "attributes of modules and classes, which a wrapper can take the place of",
                "have the holders look the name up again, or wrap what they call it through",
            ),
        )
