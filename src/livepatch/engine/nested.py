"""A function that another one makes: its maker gets a new constant, and live instances follow the maker."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING

from livepatch.engine import closures, sides
from livepatch.engine.expand import NewBody
from livepatch.engine.functions import code_of
from livepatch.engine.locate import Found
from livepatch.engine.places import slot_of, value_of
from livepatch.engine.refusal import Refusal

if TYPE_CHECKING:
    from livepatch.engine.surveyor import Surveyor

__all__ = ["nest"]


def nest(surveyor: Surveyor, body: NewBody, found: Found, new: sides.NewSide) -> None:
    """A function that another one makes: its maker gets a new constant, and live instances follow the maker."""
    assert found.outer is not None
    assert found.constant is not None
    if not closures.same_shape(found.constant, new.code):
        surveyor.out.note(
            body.target,
            Refusal(
                "closure-shape-changed",
                f"other parameters or free variables than {found.code.co_qualname} "
                f"({', '.join(found.code.co_freevars) or 'none'} free)",
                "the parameters and free variables that its maker gives each instance",
                f"replace {found.outer.place.target} as a whole",
            ),
        )
        return
    if body.written.__defaults__ or body.written.__kwdefaults__:
        surveyor.out.note(
            body.target,
            Refusal(
                "defaults-of-the-maker",
                "a nested function with defaults in its replacement",
                "defaults that the maker gives each instance it makes, which stay",
                f"nothing if they are the same; to change them replace {found.outer.place.target} as a whole",
            ),
        )
    top = found.outer
    while top.function is None:
        assert top.outer is not None
        top = top.outer
    slot = slot_of(top.function, "__code__", f"{top.place.target}.__code__")
    coverer = surveyor.under.decider(slot)
    if coverer is not None:
        surveyor.out.note(
            body.target,
            Refusal(
                "maker-is-patched",
                f"patch {coverer} changes {top.place.target}, which makes it",
                "a maker that no other patch has changed, so that either can be taken out alone",
                f"revert {coverer} first, or name it in replaces= (--replaces)",
            ),
        )
        return
    base = surveyor.out.values.get(slot, surveyor.stack.originals.get(slot, code_of(top.function)))
    assert isinstance(base, CodeType)
    surveyor.out.values[slot] = closures.with_constant(base, found.constant, new.code)
    surveyor.out.originals.setdefault(slot, value_of(slot))
