"""A node with peers whose inboxes are lists, and patches after which they are dicts."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.few_modules import FewModules
from tests.state.peers import SOURCE, down, up

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

Made = Callable[..., livepatch.Patch]


@pytest.fixture
def node(write_module: WriteModule, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = write_module(SOURCE)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(module))
    module.PEERS[:] = [module.Peer(str(i)) for i in range(50)]
    return module


@pytest.fixture
def made(node: ModuleType, new_patch: NewPatch) -> Made:
    def make(version: int = 1, way: Any = (up, down), name: str = "inbox", **options: Any) -> livepatch.Patch:
        fix = new_patch()

        @fix.replace(f"{node.__name__}:Peer.size")
        def size(self):
            return sum(1 for _ in self.inbox.keys())

        options = {"objects": lambda: node.PEERS, **options}
        fix.migrate(name, version, *way, **options)
        return fix

    return make
