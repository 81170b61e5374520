"""The files of both trees, parsed when they are asked for, and only once where they are the same."""

from __future__ import annotations

import re
from collections.abc import Callable

from livepatch.bundle.dynamic import LOOKING, spaces_in
from livepatch.bundle.items import Module, decoded
from livepatch.bundle.leftout import reason_to_leave_file
from livepatch.bundle.parse import parse
from livepatch.bundle.syntax import Syntax
from livepatch.bundle.trees import Tree
from livepatch.bundle.words import words_of
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
        self._syntax = Syntax()
        """It is the same in both trees for a file that is the same, and the items stay here."""

    def _load(self, name: str, path: str, source: bytes) -> Module | SyntaxError | ValueError:
        key = (name, path, source)
        found = self._parsed.get(key)
        if found is None:
            try:
                found = parse(name, path, source)
                found.words = self.words(source)  # read already, or to be read for all modules
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
                module.forget()
        self._parsed.clear()

    def words(self, source: bytes) -> frozenset[str]:
        """Every identifier of a file; none of one that cannot be read."""
        found = self._words.get(source)
        if found is None:
            try:
                found = words_of(source if source.isascii() else decoded(source).encode())
            except (SyntaxError, ValueError):
                found = frozenset()
            self._words[source] = found
        return found

    def spaces(self, source: bytes) -> frozenset[str]:
        """What a file looks at as a whole."""
        found = self._spaces.get(source)
        if found is None:
            found = self._spaces[source] = frozenset() if LOOKING.isdisjoint(self.words(source)) else spaces_in(source)
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

        return World(frozenset(tree.modules), load, self._syntax)

    def mentioning(self, tree: Tree) -> Callable[[set[Entity]], list[str]]:
        """What finds the modules of a tree that may use one of some names of other modules."""
        files: list[tuple[str, frozenset[str], frozenset[str]]] = []
        starred, dotted, nothing = set[str](), set[str](), frozenset[str]()
        for module, path in tree.modules.items():
            if reason_to_leave_file(path):
                continue
            source = tree.sources[path]
            files.append((module, self.words(source), self.spaces(source)))
            if b"import" in source and _STAR.search(source):
                starred.add(module)
            if b"from" in source and _DOTS.search(source):
                dotted.add(module)

        def find(entities: set[Entity]) -> list[str]:
            lasts = {module: module.rpartition(".")[2] for module, _ in entities}
            asked = {name for _, name in entities}.union(lasts.values())
            words: dict[str, set[str]] = {}
            spaces: dict[str, set[str]] = {}
            for file, said, looked_at in files if entities else ():
                for word in said & asked:
                    words.setdefault(word, set()).add(file)
                for word in looked_at & asked:
                    spaces.setdefault(word, set()).add(file)
            found = starred & dotted if entities else set[str]()
            for module, name in entities:
                last = lasts[module]
                naming, having = words.get(last, nothing), words.get(name, nothing)
                # Who imports from a module names it, apart from `from . import name`.
                found |= (having & naming) | (having & dotted) | (naming & starred) | spaces.get(last, nothing)
            return sorted(found)

        return find
