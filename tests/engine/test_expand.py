"""A class body as a replacement: each member takes the place of its like, as if the source had been edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cycles import cycle

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule


def test_a_nested_class_is_taken_apart_and_stays_the_same_class(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        class C:
            class Inner:
                def f(self): return 'old'
        instance = C.Inner()
    """)
    inner = m.C.Inner
    fix = new_patch()

    @fix.replace(f"{m.__name__}:C")
    class C:
        class Inner:
            def f(self):
                return "new"

    cycle(fix, lambda: (m.instance.f(), m.C.Inner is inner), ("old", True), ("new", True), m)


def test_a_method_that_keeps_its_super(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        class Base:
            def f(self): return 'base'
        class C(Base):
            def f(self): return 'old ' + super().f()
    """)
    fix = new_patch()

    @fix.replace(f"{m.__name__}:C")
    class C:
        def f(self):
            return "new " + super().f()

    cycle(fix, lambda: m.C().f(), "old base", "new base", m)
