"""Shadow variables: data that a patch attaches to objects which exist already, without touching their layout.

As in Linux (Documentation/livepatch/shadow-vars.rst), a variable is known by an id, here the patch's and a name, and
by the object; it is looked up, made where there is none, and freed for one object or for all.  Unlike there, all that
a patch has attached goes when the patch is taken out, and what an object has goes with the object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from livepatch.contents.written import maker_of
from livepatch.engine.attached import Attached, check_attachable
from livepatch.engine.shadow_attributes import Declared
from livepatch.engine.source import PATCH_PREFIX
from livepatch.engine.stack import ABSENT
from livepatch.errors import PatchError, StateError, UnknownPatchError, spelled

__all__ = ["Shadow", "Shadows", "in_force", "release", "shadow"]


@dataclass(slots=True)
class Shadows:
    """The shadow variables of one applied patch."""

    declared: list[Declared] = field(default_factory=list)
    named: dict[str, Attached] = field(default_factory=dict)
    """Those that its code attaches by name."""

    def take_over(self, others: Iterable[Shadows]) -> None:
        """Go on with what patches have attached by name that this one takes the place of."""
        for other in others:
            if not self.named:
                self.named = other.named  # the very one: calls in flight may go on attaching
            else:
                for name, attached in other.named.items():
                    self.named.setdefault(name, attached)

    def every(self) -> dict[int, Attached]:
        """All that these attach to, by id."""
        return {id(each): each for each in (*self.named.values(), *(one.attached for one in self.declared))}


_in_force: dict[str, Shadows] = {}
_by_file: list[dict[str, tuple[dict[str, Attached], frozenset[str]]]] = [{}]
"""What the code of a file attaches by name, and the names that its patch declares as attributes."""


def in_force(shadows: Mapping[str, Shadows]) -> None:
    """From now on the code of these patches, by id, attaches to these, and code of no other to any."""
    for patch_id in [each for each in _in_force if each not in shadows]:
        del _in_force[patch_id]
    _in_force.update(shadows)
    _by_file[0] = {}  # who is about to add to the old one has seen what was in force before


def release(gone: Shadows, staying: Iterable[Shadows]) -> int:
    """Free what a patch that is gone has attached, but for what others go on with; give the number of values."""
    kept = {key for each in staying for key in each.every()}
    return sum(attached.close() for key, attached in gone.every().items() if key not in kept)


class Shadow:
    """The type of :data:`shadow`."""

    __slots__ = ()

    def __call__(self, owner: object, name: str, /, *, default: object = ABSENT, patch: str | None = None) -> Any:
        """What the patch whose code calls this has attached to an object under `name`; with `default`, made if need be.

        A callable `default` is a factory: it is called once for the object, by one thread, however many ask; a plain
        function of one parameter gets the object.  Any other is the value itself.  Without a default, an object that
        has none raises :class:`StateError`.  If the patch declares an attribute of that name for the object's class
        (``Patch.shadow``), that is meant.

        The patch is that of the nearest patched function among the callers; `patch` names another one that is applied.
        A call that still runs when its patch is gone gets values that are attached to nothing.

        Raises :class:`TypeError` for an object without an identity of its own, such as a number, and
        :class:`PatchError` if no patched function calls and `patch` is not given; then nothing is attached.
        """
        # What is asked for again and again: what the calling function itself has attached by name.
        if patch is None:
            known = _by_file[0].get(sys._getframe(1).f_code.co_filename)
            if known is not None and name not in known[1] and (found := known[0].get(name)) is not None:
                entry = found.entries.get(id(owner))
                if entry is not None and entry() is owner:
                    return entry.value
        attached, made = _variable(owner, name, patch)
        value = attached.get(owner)
        if value is not ABSENT:
            return value
        if default is not ABSENT:
            return attached.get_or_make(owner, maker_of(default))
        if made is not None:
            return attached.get_or_make(owner, made)
        raise StateError(
            f"nothing is attached to the object as {name}",
            found=spelled(owner),
            expected="an object that has it",
            action="give default=, or ask with livepatch.shadow.get",
        )

    def get(self, owner: object, name: str, otherwise: Any = None, /, *, patch: str | None = None) -> Any:
        """What is attached to an object under `name`, or `otherwise`.  Attaches nothing; raises as a call does."""
        value = _variable(owner, name, patch)[0].get(owner)
        return otherwise if value is ABSENT else value

    def put(self, owner: object, name: str, value: object, /, *, patch: str | None = None) -> None:
        """Attach `value` to an object, in the place of what it has there.  Raises as a call does."""
        _variable(owner, name, patch)[0].put(owner, value)

    def free(self, owner: object, name: str, /, *, patch: str | None = None) -> bool:
        """Take from an object what is attached to it under `name`; say whether there was anything."""
        return _variable(owner, name, patch)[0].free(owner)

    def free_all(self, name: str, /, *, patch: str | None = None) -> int:
        """Take from all objects what is attached to them under `name`; give their number."""
        _check_text(name)
        shadows = _shadows(patch)
        every = [one.attached for one in shadows.declared if one.name == name]
        every += [shadows.named[name]] if name in shadows.named else []
        return sum(each.free_all() for each in every)


shadow: Final = Shadow()
"""Data attached to objects by a patch, see :meth:`Shadow.__call__`."""


def _variable(owner: object, name: str, patch: str | None) -> tuple[Attached, Callable[[object], object] | None]:
    _check_text(name)
    check_attachable(owner)
    shadows = _shadows(patch)
    if shadows.declared:
        kinds = type(owner).__mro__
        for one in shadows.declared:
            if one.name == name and one.cls() in kinds:
                return one.attached, one.make
    found = shadows.named.get(name)
    return (
        found if found is not None else shadows.named.setdefault(name, Attached(f"the shadow variable {name}"))
    ), None


def _check_text(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {spelled(name)}")
    if not name:
        raise PatchError(
            "name is empty", found=spelled(name), expected="the name of a shadow variable", action="give it a name"
        )


def _shadows(patch: str | None) -> Shadows:
    if patch is None:
        known = _by_file[0]
        filename = _caller(sys._getframe(2))  # how the interpreter gives the caller's frame
        found = _in_force.get(filename[_START:].partition(" ")[0])
        if found is None:
            return Shadows(named=_Closed())
        known[filename] = found.named, frozenset(each.name for each in found.declared)
        return found
    if not isinstance(patch, str):
        raise TypeError(f"patch must be the id of a patch, not {spelled(patch)}")
    named = _in_force.get(patch)
    if named is not None:
        return named
    raise UnknownPatchError(
        f"no patch {spelled(patch)} in this process",
        found=", ".join(sorted(_in_force)) or "none at all",
        expected="an applied patch",
        action="see livepatch.status()",
    )


class _Closed(dict[str, Attached]):
    """What a patch attaches that is not applied, or not any more: nothing."""

    def get(self, name: str, _: object = None, /) -> Attached:
        closed = Attached(f"the shadow variable {name}")
        closed.close()
        return closed


_START = len(PATCH_PREFIX)


def _caller(frame: FrameType | None) -> str:
    """The file of the nearest caller whose code is of a patch.  Raises :class:`PatchError` if there is none."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename.startswith(PATCH_PREFIX):
            return filename
        frame = frame.f_back
    raise PatchError(
        "it cannot be told which patch attaches the value",
        found="no function of an applied patch among the callers",
        expected="a call from a patched function, or from what that calls",
        action="give patch=, the id of the patch",
    )
