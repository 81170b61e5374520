"""What the names in a replacement mean in the target's module, and which must be carried in."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType

from livepatch.engine.code import names_loaded
from livepatch.engine.refusal import Refusal
from livepatch.engine.sides import NewSide, alike
from livepatch.patch import Target

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
    for name in sorted(names_loaded(new.code)):
        if name in added:
            if name in home and not _dunder(name) and not alike(home[name], added[name]):
                names.refusals.append(_ambiguous(name, module, new, "what the patch adds"))
        elif not lacks(name):
            if (
                name in home
                and not _same(home[name], here[name], Target(module.__name__, name), replaced)
                and not _dunder(name)
            ):
                names.refusals.append(_ambiguous(name, module, new))
        elif name in home and not _dunder(name):
            value = home[name]
            if hasattr(builtins, name) and not alike(getattr(builtins, name), value):
                names.refusals.append(_ambiguous(name, module, new, "the builtin"))
                continue
            if hasattr(builtins, name):
                continue
            if id(value) in replaced:
                value = live(replaced[id(value)]) or value
            names.carried[name] = value
        elif not hasattr(builtins, name) and name not in known_before:
            names.refusals.append(
                Refusal(
                    "unresolved-name",
                    f"{name!r} is neither in {module.__name__}, nor where the replacement is written, nor a builtin",
                    "every name that the new code looks up to exist",
                    f"correct the name, or bring it in with add({module.__name__!r}, {name}=…)",
                )
            )
    return names


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
