"""Which of the differences are taken, and which new names those need."""

from __future__ import annotations

import ast
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Literal

from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item
from livepatch.bundle.leftout import ONLY_FOR_STARS, ONLY_FOR_TYPES, reason_to_leave
from livepatch.bundle.refs import Ref, annotations_of
from livepatch.bundle.words import words_of
from livepatch.bundle.world import Entity, World

__all__ = ["Selection", "matches"]

Verdict = Literal["taken", "needed", "left-out", "cannot"]


class Selection:
    """What a patch takes of the differences `found`, and of the modules `fresh` that only the new side has."""

    def __init__(
        self,
        old: World,
        new: World,
        found: list[Difference],
        fresh: list[str],
        only: tuple[str, ...] | None,
        read: Callable[[Difference], bool] = lambda _: False,
    ) -> None:
        """`read` tells of a name for type checkers, or for star imports, whether code reads what it says."""
        self.old, self.new = old, new
        self._found = found
        self._fresh = fresh
        self._verdicts: dict[int, tuple[Verdict, str]] = {}
        self._modules: dict[str, str] = {}
        self._tops = {name.partition(".")[0] for name in new.names}
        self._by_entity: dict[Entity, list[Difference]] = {}
        for one in found:
            self._by_entity.setdefault((one.module, one.qualname), []).append(one)
        for one in found:
            why = reason_to_leave(one)
            if why in (ONLY_FOR_STARS, ONLY_FOR_TYPES) and read(one):
                why = ""
            if only is not None and not any(matches(pattern, one.module, one.qualname) for pattern in only):
                why = why or "not among what was picked"
            self._verdicts[id(one)] = ("left-out", why) if why else ("taken", "")
        if only is not None:
            for name in fresh:
                if name in only:
                    self._modules[name] = "picked"
        self._close()
        if only is None:
            self._leave_unused()

    @property
    def whole(self) -> list[str]:
        """The new modules that are taken."""
        return sorted(self._modules)

    def taken(self) -> list[Difference]:
        """The differences that the patch takes."""
        return [one for one in self._found if self._verdicts[id(one)][0] in ("taken", "needed")]

    def verdict(self, one: Difference) -> tuple[Verdict, str]:
        """What became of a difference, and why."""
        return self._verdicts[id(one)]

    def module_verdict(self, name: str) -> tuple[Verdict, str]:
        """What became of a new module, and why."""
        if name in self._modules:
            return "needed", self._modules[name]
        return "left-out", "nothing that is taken imports it"

    def _close(self) -> None:
        """Take in what the taken code uses and the old side lacks."""
        pending: list[tuple[Item, str]] = []
        for one in self.taken():
            self._take_hash(one)
            pending += [(item, one.target) for item in one.after]
        for name in list(self._modules):
            pending += self._fresh_items(name)
        seen: set[int] = set()
        while pending:
            item, why = pending.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            pending += self._needs(item, why)

    def _take_hash(self, one: Difference) -> None:
        """Take in what a class statement makes of ``__hash__`` where ``__eq__`` comes or goes."""
        owner, _, name = one.qualname.rpartition(".")
        if name != "__eq__" or one.kind == "changed":
            return
        for other in self._by_entity.get((one.module, f"{owner}.__hash__"), ()):
            implied = [item for item in [*other.before, *other.after] if item.is_implied]
            if implied and self._verdicts[id(other)][0] == "left-out":
                self._verdicts[id(other)] = ("needed", one.target)

    def _leave_unused(self) -> None:
        """Leave out new imports from elsewhere that no taken code of the module looks at."""
        used: dict[str, set[str]] = {}
        for one in self.taken():
            words = used.setdefault(one.module, set())
            for item in one.after:
                if item.kind != "import":
                    words |= self._names_in(item)
        for one in self.taken():
            if one.what != "import" or one.kind != "added" or "." in one.qualname or one.qualname in used[one.module]:
                continue
            outside = all(i.imports[one.qualname].module.partition(".")[0] not in self._tops for i in one.after)
            if outside:
                self._verdicts[id(one)] = ("left-out", "an import that nothing that is taken uses")

    def _names_in(self, item: Item) -> set[str]:
        found = set(item.words)
        if item.unit is not item.node:  # all of the compound statement around it is run
            found |= words_of(ast.unparse(item.unit).encode())
        if item.kind == "class":
            for inner in item.module.items:
                if inner.scope in item.binds:
                    found |= inner.words
        return found

    def _needs(self, item: Item, why: str) -> list[tuple[Item, str]]:
        found: list[tuple[Item, str]] = []
        own = item.module.name
        if item.kind == "import":
            for bound in item.imports:
                what = item.imports[bound]
                ref = Ref((what.module, what.name) if what.name else (what.module,), base="abs")
                found += self._reach(ref, item, why)
            return found
        items = [item]
        if item.kind == "class":
            (bound,) = item.binds
            items += [i for i in item.module.items if i.scope == bound or i.scope.startswith(f"{bound}.")]
            if self._by_entity.get((own, bound)) is None:
                items = [item]
        for one in items:
            refs = self.new.refs(one)
            for ref in [*refs.decorators, *refs.header, *refs.body, *annotations_of(one), *refs.tests]:
                found += self._reach(ref, one, why)
        return found

    def _reach(self, ref: Ref, item: Item, why: str) -> list[tuple[Item, str]]:
        found: list[tuple[Item, str]] = []
        for entity in self.new.follow(ref, item).passed:
            module, qualname = entity
            found += self._fresh_module(module, why)
            if not qualname:
                continue
            for one in self._by_entity.get(entity, ()):
                if self._verdicts[id(one)][0] != "left-out" or not _needed(one):
                    continue
                self._verdicts[id(one)] = ("needed", why)
                found += [(new, one.target) for new in one.after]
        return found

    def _fresh_module(self, name: str, why: str) -> list[tuple[Item, str]]:
        found: list[tuple[Item, str]] = []
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            one = ".".join(parts[:end])
            if one in self._fresh and one not in self._modules:
                self._modules[one] = why
                found += self._fresh_items(one)
        return found

    def _fresh_items(self, name: str) -> list[tuple[Item, str]]:
        module = self.new.module(name)
        return [(item, name) for item in module.items] if module else []


def _needed(one: Difference) -> bool:
    """Whether code that uses the name cannot do with the old side of it."""
    if one.kind == "added":
        return True
    if one.form == "function" and one.kind == "changed":
        from livepatch.bundle.normal import parameters_of

        return [parameters_of(i.node) for i in one.before] != [parameters_of(i.node) for i in one.after]  # type: ignore[arg-type]
    return False


def matches(pattern: str, module: str, qualname: str) -> bool:
    """Whether a pattern of ``only=`` picks a name of a module."""
    first, colon, rest = pattern.partition(":")
    if colon:
        return fnmatchcase(module, first) and _within(rest, qualname)
    return fnmatchcase(module, pattern) or _within(pattern, qualname)


def _within(pattern: str, qualname: str) -> bool:
    """Whether the pattern fits the name or a class around it."""
    parts = qualname.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))
