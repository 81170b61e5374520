"""Classes whose bodies are a declaration: enumerations, data classes, named tuples and their like."""

from __future__ import annotations

import ast
from typing import Literal

from livepatch.bundle.items import chain_of, full_name
from livepatch.bundle.normal import normal
from livepatch.bundle.world import Entity, World

__all__ = ["field_names", "is_data", "is_named_tuple", "is_plain_dataclass", "shape_of"]

_ENUMS = frozenset({"Enum", "IntEnum", "Flag", "IntFlag", "StrEnum", "ReprEnum"})
_DATA_BASES = frozenset({"NamedTuple", "BaseModel", "Struct", "Structure", "Union", "SQLModel", "BaseSettings"})
_TYPED_ONLY = frozenset({"TypedDict", "Protocol"})
_DATA_DECORATORS = frozenset(
    {"dataclass", "dataclasses", "attrs", "attr", "define", "frozen", "mutable", "s", "attributes"}
)


def shape_of(world: World, entity: Entity) -> Literal["", "enum", "data", "typed"]:
    """What the body of a class declares: the members of an enumeration, fields of its objects, or types alone."""
    for one in world.mro(entity):
        for item in world.items(one):
            if not isinstance(item.node, ast.ClassDef):
                continue
            names = {(chain_of(_head(b)) or ("",))[-1] for b in item.node.bases}
            if names & _ENUMS:
                return "enum"
            if names & _DATA_BASES:
                return "data"
            if names & _TYPED_ONLY:
                return "typed"
            if one == entity and any(is_data(d) for d in item.node.decorator_list):
                return "data"
    return ""


def is_named_tuple(world: World, entity: Entity) -> bool:
    """Whether the body of a class declares a named tuple: a getter goes in the place of each default."""
    return any(
        (chain_of(base) or ("",))[-1] == "NamedTuple"
        for item in world.items(entity)
        if isinstance(item.node, ast.ClassDef)
        for base in item.node.bases
    )


def _head(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Subscript) else node


def is_data(decorator: ast.expr) -> bool:
    """Whether a decorator makes a class one whose body declares the fields of its objects."""
    chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
    if chain[-1:] == ("s",):
        return chain[:1] in (("attr",), ("attrs",))
    return bool(chain) and chain[-1] in _DATA_DECORATORS


def is_plain_dataclass(world: World, entity: Entity) -> bool:
    """Whether ``dataclass`` of the standard library makes a class, and leaves its attributes where they are."""
    for item in world.items(entity):
        for decorator in item.node.decorator_list if isinstance(item.node, ast.ClassDef) else ():
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            options = decorator.keywords if isinstance(decorator, ast.Call) else []
            if full_name(item, chain_of(called)) == "dataclasses.dataclass":
                return not any(option.arg in (None, "slots") for option in options)
    return False


def field_names(world: World, entity: Entity) -> list[tuple[str, str]]:
    """The fields that the body of a class declares, in order, each with its default."""
    module = world.module(entity[0])
    found = []
    for item in module.items if module else ():
        if item.scope != entity[1] or item.kind not in ("assign", "field"):
            continue
        node = item.node
        if isinstance(node, ast.AnnAssign):
            if "ClassVar" in ast.unparse(node.annotation):
                continue
            found.append((item.binds[0], normal(node.value) if node.value else ""))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if (chain_of(node.value.func) or ("",))[-1] in ("ib", "field", "attrib", "Field", "Factory"):
                found.append((item.binds[0], normal(node.value)))
        elif isinstance(node, ast.Assign) and item.binds and item.binds[0].endswith("._fields_"):
            found.append((item.binds[0], normal(node.value)))
    return found
