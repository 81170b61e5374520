"""Whether code reads what is mostly said to others: type aliases to type checkers, ``__all__`` to star imports."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.leftout import is_type
from livepatch.bundle.world import Entity, World

__all__ = ["Readers"]


class Readers:
    """Who reads such names in a tree.  `mentioning` finds the modules that may use some names of others."""

    def __init__(self, world: World, mentioning: Callable[[set[Entity]], list[str]]) -> None:
        self._world, self._mentioning = world, mentioning
        self.exposed: dict[str, set[str]] = {}
        """By module, the names that only the new side of its ``__all__`` gives, and that code gets by a star import."""

    def read(self, one: Difference) -> bool:
        """Whether code reads a type alias, or a name that a star import newly gives."""
        return self._is_given_by_a_star(one) if one.qualname == "__all__" else self._is_looked_into(one)

    def _is_looked_into(self, one: Difference) -> bool:
        """Whether code reads a type alias, or another alias that has it."""
        if not all(_is_alias(item) for item in [*one.before, *one.after]):
            return False
        pending, seen = [(one.module, one.qualname)], set[Entity]()
        while pending:
            entity = pending.pop()
            if entity in seen:
                continue
            seen.add(entity)
            name = entity[1].rpartition(".")[2]
            for module in sorted({entity[0], *self._mentioning({(entity[0], name)})}):
                parsed = self._world.module(module)
                for item in parsed.mentioning({name}, frozenset()) if parsed else ():
                    if _is_alias(item):
                        pending += [(module, bound) for bound in item.binds]
                    elif _reads_at_run_time(item, name):
                        return True
        return False

    def _is_given_by_a_star(self, one: Difference) -> bool:
        """Whether a module imports all names of another, and a name that it gets by that now is used."""
        for name in sorted(_exposed(one)):
            others = [each for each in self._mentioning({(one.module, name)}) if each != one.module]
            parsed = [module for each in others if (module := self._world.module(each)) is not None]
            stars = [module for module in parsed if one.module in module.stars and name not in module.by_name]
            if stars and any(module.mentioning({name}, frozenset()) for module in parsed):
                self.exposed.setdefault(one.module, set()).add(name)
        return one.module in self.exposed


def _exposed(one: Difference) -> frozenset[str]:
    """The names that a star import gives on the new side of ``__all__`` only, as far as both are written out."""
    sides: list[set[object]] = []
    for items in (one.before, one.after):
        try:
            sides.append(set(ast.literal_eval(items[-1].node.value)))  # type: ignore[attr-defined]
        except (IndexError, AttributeError, ValueError, TypeError):
            return frozenset()
    return frozenset(name for name in sides[1] - sides[0] if isinstance(name, str))


def _is_alias(item: Item) -> bool:
    """Whether it names a type expression, as ``Union[int, str]``, that code may look into."""
    return is_type(item) and not isinstance(getattr(item.node, "value", None), ast.Call)


def _reads_at_run_time(item: Item, name: str) -> bool:
    """Whether more of an item than annotations, and what is said to type checkers, has a name."""
    if item.kind in ("class", "import") or is_type(item):
        return False  # its members are items of their own, and arguments of its bases are for type checkers
    return any(
        (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)
        for node in _evaluated(item.node)
        if isinstance(getattr(node, "ctx", None), ast.Load)
    )


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_comment"):
            continue
        inner = value if isinstance(value, list) else [value]
        if isinstance(node, ast.Call) and field == "args" and (chain_of(node.func) or ("",))[-1] == "cast":
            inner = inner[1:]
        for one in inner:
            if isinstance(one, ast.AST):
                yield from _evaluated(one)
