"""Names that the after side has no more: which of them must go, so that what they hide shows again.  Writes nothing."""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType

from livepatch.contents.changes import Target
from livepatch.engine.locate import resolve
from livepatch.engine.namespaces import functions_behind, is_class, namespace_of, owner_name
from livepatch.engine.places import dict_of
from livepatch.engine.refusal import Place

__all__ = ["covering"]


def covering(target: Target, modules: dict[str, ModuleType], coming: Collection[str]) -> Place | None:
    """Where a class has a name that hides what a base has, that the interpreter itself looks for, or that is abstract.

    `coming` are the names, as ``module:qualified.name``, that the patch brings: a base may be among their owners.
    Every other name that goes may stay for the calls in flight, and gives ``None``.
    """
    place = resolve(target, modules)
    if not isinstance(place, Place) or not is_class(place.owner):
        return None
    if (place.name.startswith("__") and place.name.endswith("__")) or _is_abstract(place.value):
        return place
    last = target.qualname.rpartition(".")[2]
    hidden = any(
        place.name in namespace_of(base) or f"{owner_name(base)}.{last}" in coming for base in place.owner.__mro__[1:]
    )
    return place if hidden else None


def _is_abstract(value: object) -> bool:
    """Whether a class with that member makes no objects."""
    return any((dict_of(function) or {}).get("__isabstractmethod__") for function in functions_behind(value))
