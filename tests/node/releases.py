"""Releases of a package that no test imports beforehand, patches from one to another, and a store that has them."""

from __future__ import annotations

import importlib
import itertools
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tests.built import Release

import livepatch
from livepatch.node.store import Store
from livepatch.node.wanted import Wish

if TYPE_CHECKING:
    import pytest

_numbers = itertools.count(1)


class Package:
    """A package of which the first release is installed, and not imported."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
        self.name = f"waiting{next(_numbers)}"
        self.folder, self.files = folder, files
        self.installed = self.release("1.0", files, f"site-{self.name}")
        monkeypatch.syspath_prepend(str(self.installed.root))

    def release(self, version: str, files: dict[str, str], at: str = "") -> Release:
        return Release(self.folder / (at or f"release-{version}"), self.name, version, files)

    def patch(self, name: str, old: dict[str, str], new: dict[str, str], requires: str = "") -> livepatch.Patch:
        """The patch between two sets of files, for release 1.0."""
        trees = []
        for files in (old, new):
            root = self.folder / f"tree-{next(_numbers)}"
            trees.append(Release(root, self.name, "1.0", files).root)
        patch = livepatch.build(*trees, package=self.name, id=name, versions="==1.0")
        patch.requires = (requires,) if requires else ()
        return patch

    def upgrade(self, version: str, files: dict[str, str]) -> None:
        """Another release is installed in the place of the first."""
        shutil.rmtree(self.installed.root)
        self.installed = self.release(version, files, f"site-{self.name}")
        importlib.invalidate_caches()

    def import_(self, module: str) -> ModuleType:
        return importlib.import_module(f"{self.name}.{module}")

    def forget(self) -> None:
        """As if nothing of it had been imported."""
        for name in [name for name in sys.modules if name.split(".")[0] == self.name]:
            del sys.modules[name]


def wished(store: Store, *patches: livepatch.Patch) -> tuple[Wish, ...]:
    """Install patches and wish for them."""
    wishes = tuple(store.install(patch.to_bytes()).wish() for patch in patches)
    with store.changing(wishes):
        pass
    return wishes
