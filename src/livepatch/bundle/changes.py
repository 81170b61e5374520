"""Two sides of a module compared: what differs between them, name by name."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from livepatch.bundle import normal
from livepatch.bundle.items import Item, Module

__all__ = ["Difference", "compare"]

Form = Literal["function", "name", "effect", "field"]


@dataclass(eq=False)
class Difference:
    """One name, or statement, that is not the same on both sides.

    `form` is what carries it: an edit of functions in place, another value of the name, an effect of a statement that
    binds nothing, or a field that is only annotated.
    """

    module: str
    qualname: str
    what: str
    kind: Literal["changed", "added", "removed"]
    form: Form
    before: list[Item] = field(default_factory=list)
    after: list[Item] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[Item | None, Item | None, int, int]]:
        """The functions of either side that belong together, which of them they are, and how many."""
        old = [i for i in self.before if i.kind == "function"]
        new = [i for i in self.after if i.kind == "function"]
        count = max(len(old), len(new))
        pad: list[Item | None] = [None] * count
        return [
            (a, b, index, count)
            for index, (a, b) in enumerate(zip([*old, *pad][:count], [*new, *pad][:count], strict=True))
            if a is None or b is None or not (a.raw == b.raw or a.normal == b.normal)
        ]

    @property
    def target(self) -> str:
        """``module:qualname``."""
        return f"{self.module}:{self.qualname}" if self.qualname else self.module


def compare(before: Module, after: Module) -> tuple[list[Difference], list[Difference]]:
    """What differs between two sides of a module; and what differs only in docstrings, annotations and layout of names.

    The second list holds what does nothing at run time.
    """
    found: list[Difference] = []
    noise: list[Difference] = []
    order = {**dict.fromkeys(after.by_name), **dict.fromkeys(before.by_name)}
    for qualname in order:
        old, new = before.by_name.get(qualname, []), after.by_name.get(qualname, [])
        scope = qualname.rpartition(".")[0]
        if scope and not _classes(before, scope) == _classes(after, scope) > 0:
            continue
        difference = _named(before.name, qualname, old, new)
        if difference is not None:
            found.append(difference)
        elif [i.raw for i in old] != [i.raw for i in new] and old[0].kind not in ("class", "import"):
            noise.append(Difference(before.name, qualname, _what(new), "changed", "name", old, new))
    found += _effects(before, after)
    return found, noise


def _classes(module: Module, qualname: str) -> int:
    """How many definitions of a class there are under a name."""
    return sum(item.kind == "class" for item in module.by_name.get(qualname, []))


def _named(module: str, qualname: str, old: list[Item], new: list[Item]) -> Difference | None:
    kind: Literal["changed", "added", "removed"] = "changed" if old and new else "added" if new else "removed"
    what = _what(new or old)
    form: Form = "name"
    if kind != "changed":
        if all(i.kind == "function" for i in [*old, *new]) and _plain(old or new):
            form = "function"
        elif all(i.kind == "field" for i in [*old, *new]):
            form = "field"
        return Difference(module, qualname, what, kind, form, old, new)
    if [i.kind for i in old] == [i.kind for i in new]:
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if not _same(a, b, qualname)]
        if not pairs:
            return None
        if all(a.kind == "function" for a, _ in pairs) and all(_in_place(a, b) for a, b in pairs):
            form = "function"
        elif all(a.kind == "class" for a, _ in pairs):
            what = "class statement"
    if _what(old) != _what(new):
        what = f"{_what(old)} to {_what(new)}"
    return Difference(module, qualname, what, kind, form, old, new)


def _key(item: Item, qualname: str) -> object:
    """What counts of one binding of a name; the bodies of classes are compared name by name."""
    if item.kind == "class":
        return _class_head(item)
    if item.kind == "import":
        return item.imports[qualname]
    if item.kind == "field":
        return ""
    return item.normal


def _same(a: Item, b: Item, qualname: str) -> bool:
    if a.raw == b.raw and a.guards == b.guards and a.kind not in ("import", "class"):
        return True
    return _key(a, qualname) == _key(b, qualname)


def _in_place(a: Item, b: Item) -> bool:
    """Whether the second is the first's successor, with the same decorators, under the same conditions."""
    return (
        a.guards == b.guards
        and a.accessor == b.accessor
        and normal.decorators_of(a.node) == normal.decorators_of(b.node)  # type: ignore[arg-type]
    )


def _plain(items: list[Item]) -> bool:
    """Whether a new definition needs nothing run but itself."""
    return (
        all(
            not item.guards
            and all(
                isinstance(d, ast.Name) and d.id in ("staticmethod", "classmethod", "property")
                for d in item.node.decorator_list  # type: ignore[attr-defined]
            )
            for item in items
        )
        and len(items) == 1
    )


def _class_head(item: Item) -> str:
    node = item.node
    assert isinstance(node, ast.ClassDef)
    return "|".join([*item.guards, normal.decorators_of(node), normal.header_of(node)])


def _what(items: list[Item]) -> str:
    item = items[-1]
    if item.kind == "function":
        if item.accessor:
            return "property"
        return "method" if item.scope else "function"
    if item.kind == "class":
        return "class"
    if item.kind == "import":
        return "import"
    if item.kind == "field":
        return "field"
    return "class attribute" if item.scope else "constant"


def _effects(before: Module, after: Module) -> list[Difference]:
    """Statements that bind no name, or change something in place, and stand on one side only."""
    old = [i for i in before.items if i.kind == "effect" or i.stores or (i.kind == "loop" and not i.binds)]
    new = [i for i in after.items if i.kind == "effect" or i.stores or (i.kind == "loop" and not i.binds)]
    found: list[Difference] = []
    if Counter(map(_as_written, old)) == Counter(map(_as_written, new)):
        return found
    had, has = Counter(_effect_key(i) for i in old), Counter(_effect_key(i) for i in new)
    for items, others, kind in ((old, has, "removed"), (new, had, "added")):
        left = Counter(others)
        for item in items:
            key = _effect_key(item)
            if left[key]:
                left[key] -= 1
                continue
            sides = ([item], []) if kind == "removed" else ([], [item])
            found.append(Difference(before.name, item.scope, "statement", kind, "effect", *sides))  # type: ignore[arg-type]
    return found


def _as_written(item: Item) -> tuple[str, tuple[str, ...], bytes]:
    """What two statements have in common that are the same to the letter; a class among them has a body as well."""
    return item.scope, item.guards, item.raw


def _effect_key(item: Item) -> str:
    return f"{item.scope}|{item.normal}"
