"""The files of both trees, parsed when they are asked for, and only once where they are the same."""

from __future__ import annotations

import re
from collections.abc import Callable

from livepatch.bundle.dynamic import spaces_in
from livepatch.bundle.items import Module, decoded
from livepatch.bundle.leftout import reason_to_leave_file
from livepatch.bundle.parse import parse
from livepatch.bundle.refs import Refs
from livepatch.bundle.trees import Tree
from livepatch.bundle.world import Entity, World

__all__ = ["Library"]

_DOTS = re.compile(rb"from[ \t]+\.+[ \t]+import")
_STAR = re.compile(rb"import[ \t]*\*")


class Library:
    """Parsed modules of both trees; a file that is the same in both is parsed once."""

    def __init__(self) -> None:
        self._parsed: dict[tuple[str, str, bytes], Module | SyntaxError | ValueError] = {}
        self._words: dict[bytes, frozenset[str]] = {}
        self._spaces: dict[bytes, frozenset[str]] = {}
        self._refs: dict[int, Refs] = {}
        """What items use, by id: it is the same in both trees for a file that is the same, and the items stay here."""

    def _load(self, name: str, path: str, source: bytes) -> Module | SyntaxError | ValueError:
        key = (name, path, source)
        found = self._parsed.get(key)
        if found is None:
            try:
                found = parse(name, path, source)
            except (SyntaxError, ValueError) as error:
                found = error
            except (RecursionError, MemoryError):
                # The parser's own words for an expression that is too deep are these, or none.
                found = ValueError("its expressions are nested too deeply for this version of Python")
            self._parsed[key] = found
        return found

    def forget(self) -> None:
        """Let go of all modules.

        They and their items refer to each other, so that else a collection would have to go through millions of nodes.
        """
        for module in self._parsed.values():
            if isinstance(module, Module):
                module.items.clear()
                module.by_name.clear()
        self._parsed.clear()

    def words(self, source: bytes) -> frozenset[str]:
        """Every ASCII identifier of a file, and all words of one that has others."""
        found = self._words.get(source)
        if found is None:
            if source.isascii():
                found = frozenset(w.decode() for w in set(re.findall(rb"[A-Za-z_][A-Za-z0-9_]*", source)))
            else:
                try:
                    found = frozenset(re.findall(r"[^\W\d]\w*", decoded(source)))
                except (SyntaxError, ValueError):
                    found = frozenset()
            self._words[source] = found
        return found

    def spaces(self, source: bytes) -> frozenset[str]:
        """What a file looks at as a whole."""
        found = self._spaces.get(source)
        if found is None:
            found = self._spaces[source] = spaces_in(source)
        return found

    def parsed(self, tree: Tree, name: str) -> Module | SyntaxError | ValueError:
        """A module of a tree, or why it cannot be read."""
        path = tree.modules[name]
        return self._load(name, path, tree.sources[path])

    def world(self, tree: Tree) -> World:
        """A tree as a whole."""

        def load(name: str) -> Module | None:
            found = self.parsed(tree, name)
            return found if isinstance(found, Module) else None

        return World(frozenset(tree.modules), load, self._refs)

    def mentioning(self, tree: Tree) -> Callable[[set[Entity]], list[str]]:
        """What finds the modules of a tree that may use one of some names of other modules."""
        names = {n: path for n, path in tree.modules.items() if not reason_to_leave_file(path)}

        def find(entities: set[Entity]) -> list[str]:
            wanted: dict[str, set[str]] = {}
            for module, name in entities:
                wanted.setdefault(module.rpartition(".")[2], set()).add(name)
            everything = {name for _, name in entities}
            found = []
            for module, path in names.items():
                source = tree.sources[path]
                words = self.words(source)
                if _STAR.search(source) and (_DOTS.search(source) or not words.isdisjoint(wanted)):
                    found.append(module)
                    continue
                if not self.spaces(source).isdisjoint(wanted):
                    found.append(module)
                    continue
                if words.isdisjoint(everything):
                    continue
                # Who imports from a module names it, apart from `from . import name`.
                if _DOTS.search(source) or any(not words.isdisjoint(wanted[w]) for w in words & wanted.keys()):
                    found.append(module)
            return found

        return find
