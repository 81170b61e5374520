"""The nodes there are, as the operator's inventory tells them: a JSON file, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from livepatch.errors import PolicyError, spelled

__all__ = ["LARGEST", "Inventory", "Node", "inventory_in"]

LARGEST = 64 << 20
"""Bytes of an inventory."""

_KEYS = ("id", "version", "region", "labels", "weight")
_LONGEST = 200  # characters of a name
_HEAVIEST = 1e30


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node: `version` is that of the patch's package, `weight` its voting power or stake."""

    id: str
    version: str
    region: str = ""
    labels: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def traits(self) -> Mapping[str, tuple[str, ...]]:
        """What stages choose nodes by."""
        return {"region": (self.region,), "version": (self.version,), "label": self.labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All nodes, in the file's order, with whatever it has twice."""

    source: str
    nodes: tuple[Node, ...]
    height: int | None = None
    """The chain's height when the inventory was made."""


def inventory_in(data: bytes, source: str) -> Inventory:
    """The inventory in the bytes of a JSON file: ``{"nodes": [{"id": …, "version": …}, …], "height": …}``.

    Raises :class:`PolicyError`, which says where in it and what is wrong.
    """

    def fail(where: str, found: str, expected: str) -> NoReturn:
        raise PolicyError(
            f"{source} is no inventory{f': {where}' if where else ''}",
            found=found,
            expected=expected,
            action="correct the file",
        )

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("an object has a key twice")
        return made

    if len(data) > LARGEST:
        fail("", f"{len(data)} bytes or more", f"{LARGEST} bytes or fewer")
    try:
        told = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        fail("", str(error)[:200], "JSON in UTF-8")
    if not isinstance(told, dict) or not isinstance(told.get("nodes"), list):
        fail("nodes", "none", 'an object with a list: {"nodes": [{"id": "n1", "version": "2.1.0"}]}')
    if left := sorted(told.keys() - {"nodes", "height"}):
        fail(spelled(left[0]), "an unknown key", "one of nodes, height")
    height = told.get("height")
    if height is not None and (isinstance(height, bool) or not isinstance(height, int) or not 0 <= height < 2**63):
        fail("height", spelled(height), "a whole number from 0")
    nodes = tuple(_node(value, f"nodes[{index}]", fail) for index, value in enumerate(told["nodes"]))
    if not nodes:
        fail("nodes", "an empty list", "one node or more")
    return Inventory(source=source, nodes=nodes, height=height)


def _node(value: Any, where: str, fail: Any) -> Node:
    if not isinstance(value, dict):
        fail(where, spelled(value), "an object with id and version")
    if left := sorted(value.keys() - set(_KEYS)):
        fail(f"{where}.{left[0]}", "an unknown key", f"one of {', '.join(_KEYS)}")
    for key in ("id", "version"):
        if not _is_name(value.get(key)):
            fail(f"{where}.{key}", spelled(value.get(key)), f"a text of 1 to {_LONGEST} characters, in one line")
    labels = value.get("labels", [])
    if not isinstance(labels, list) or not all(map(_is_name, labels)):
        fail(f"{where}.labels", spelled(labels), "a list of texts")
    region, weight = value.get("region", ""), value.get("weight", 1.0)
    if region != "" and not _is_name(region):
        fail(f"{where}.region", spelled(region), "a text")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < _HEAVIEST:
        fail(f"{where}.weight", spelled(weight), f"a number from 0, below {_HEAVIEST:g}")
    return Node(id=value["id"], version=value["version"], region=region, labels=tuple(labels), weight=float(weight))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
