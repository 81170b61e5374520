"""What the names in a replacement mean in the target's module, and which must be carried in."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType

from livepatch.contents.changes import Target
from livepatch.engine.code import names_loaded, names_stored
from livepatch.engine.pace import breathe
from livepatch.engine.refusal import Refusal
from livepatch.engine.sides import NewSide, alike

__all__ = ["Names", "resolve_names"]


@dataclass(slots=True)
class Names:
    """`carried`: names that the target's module lacks and gets for as long as the patch is on."""

    carried: dict[str, object] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


def resolve_names(
    new: NewSide,
    module: ModuleType,
    old: FunctionType | None,
    replaced: Mapping[int, Target],
    lacks: Callable[[str], bool],
    added: Mapping[str, object],
    live: Callable[[Target], object | None],
) -> Names:
    """Resolve every global name of the new side as if its source stood in `module`.

    `replaced` maps the ids of the patch's own replacement objects to their targets, because such a name means the
    target.  `lacks` says whether the module is without a name but for what patches brought, `added` holds what this
    patch itself adds to the module, and `live` gives a target's live object.
    """
    names = Names()
    home = new.written.__globals__
    here = vars(module)
    if home is here:
        return names
    known_before = names_loaded(old.__code__) if old is not None else frozenset()
    makes = names_stored(new.code)
    breathe()
    for name in sorted(names_loaded(new.code)):
        theirs = home.get(name, _MISSING) if not _dunder(name) else _MISSING
        if name in added:
            if theirs is not _MISSING and not alike(theirs, added[name]):
                names.refusals.append(_ambiguous(name, module, new, "what the patch adds"))
        elif not lacks(name):
            if theirs is not _MISSING and not _same(theirs, here[name], Target(module.__name__, name), replaced):
                names.refusals.append(_ambiguous(name, module, new))
        elif hasattr(builtins, name):
            if theirs is not _MISSING and not alike(theirs, getattr(builtins, name)):
                names.refusals.append(_ambiguous(name, module, new, "the builtins"))
        elif theirs is not _MISSING:
            meant = live(replaced[id(theirs)]) if id(theirs) in replaced else None
            names.carried[name] = theirs if meant is None else meant
        elif name not in makes and name not in known_before:
            names.refusals.append(_unresolved(name, module))
    return names


_MISSING = object()


def _unresolved(name: str, module: ModuleType) -> Refusal:
    return Refusal(
        "unresolved-name",
        f"{name!r} is neither in {module.__name__}, nor where the replacement is written, nor a builtin",
        "every name that the new code looks up to exist",
        f"correct the name, or bring it in with add({module.__name__!r}, {name}=…)",
    )


def _dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _same(theirs: object, ours: object, target: Target, replaced: Mapping[int, Target]) -> bool:
    return alike(theirs, ours) or replaced.get(id(theirs)) == target


def _ambiguous(name: str, module: ModuleType, new: NewSide, where: str = "") -> Refusal:
    home = new.written.__globals__.get("__name__")
    return Refusal(
        "ambiguous-name",
        f"{name!r} means one object in {where or module.__name__} and another in {home}",
        "one meaning for each name",
        f"import it from {module.__name__} where the replacement is written, or give it another name there",
    )
