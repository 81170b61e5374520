"""A replacement's names mean what they mean in the target's module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cycles import cycle

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule


def test_a_name_that_the_same_patch_adds(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix = new_patch()

    @fix.replace(f"{m.__name__}:f")
    def f():
        return MAX_TX  # noqa: F821  # the patch adds it

    fix.add(m.__name__, MAX_TX=4096)
    cycle(fix, lambda: m.f(), "old", 4096, m)
