"""No answer of one side outlives the switch to the other, and nothing but answers is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule


def test_what_a_subclass_keeps_under_that_name_is_its_own(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        import functools
        class C:
            @functools.cached_property
            def f(self): return 'old'
        class Overridden(C):
            f = None
            def __init__(self): self.f = 'set by the subclass'
        kept, own = C(), Overridden()
        kept.f
    """)
    fix = new_patch()

    def f(self):
        return "new"

    fix.replace(f"{m.__name__}:C.f")(f)
    livepatch.apply(fix)
    assert m.kept.f == "new"
    assert m.own.f == "set by the subclass"
