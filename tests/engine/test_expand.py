"""A class body as a replacement: each member takes the place of its like, as if the source had been edited."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from tests.cycles import cycle, refused

import livepatch

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


KIND = """
    LIMIT = 1
    def f(): return 'old'
    class C:
        __slots__ = ("x",)
        LIMIT = 1
        def plain(self): return 'old'
        @staticmethod
        def static(): return 'old'
        @property
        def read(self): return 'old'
        def __eq__(self, other): return type(self) is type(other)
        __hash__ = object.__hash__
"""


def body(**names: object) -> type:
    return type("C", (), names)


def keeping(function):
    @functools.wraps(function)
    def kept(*args):
        return function(*args)

    return kept


class Decorated:
    @keeping
    def plain(self):
        return "new"


class Cached:
    @functools.cache  # noqa: B019  # nothing keeps it
    def plain(self):
        return "new"


class Other:
    pass


class Derived(Other):
    def plain(self):
        return "new"


@pytest.mark.parametrize(
    ("target", "source", "code", "told"),
    [
        ("C.static", property(lambda self: "new"), "kind-changed", "staticmethod, the replacement a property"),
        ("C.plain", staticmethod(lambda: "new"), "kind-changed", "plain method, the replacement a staticmethod"),
        ("C", body(plain=staticmethod(lambda: "new")), "kind-changed", "plain method, the replacement a staticmethod"),
        ("D", body(plain=lambda self: "new"), "not-a-class", "nothing of that name"),
        ("f.D", body(plain=lambda self: "new"), "not-a-class", "f is a function"),
        ("f", body(plain=lambda self: "new"), "not-a-class", "a function"),
        ("LIMIT", body(plain=lambda self: "new"), "not-a-class", "a int"),
        ("C", Derived, "bases-changed", "derives from Other"),
        ("C", body(__slots__=("y",)), "slots-changed", "other __slots__"),
        ("C", Decorated, "decorated", "a decorated function"),
        ("C", Cached, "decorated", "a decorated function"),
        ("C", body(read=property(None, lambda self, value: None)), "no-such-accessor", "no fset"),
    ],
)  # fmt: skip
def test_what_a_replacement_cannot_be(write_module: WriteModule, new_patch: NewPatch, target, source, code, told):
    m = write_module(KIND)
    fix = new_patch()
    fix.replace(f"{m.__name__}:{target}")(source)
    assert told in refused(fix, code, m).found


def test_a_class_body_may_compare_and_repeat_its_slots(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(KIND)
    fix = new_patch()

    @fix.replace(f"{m.__name__}:C")
    class C:
        __slots__ = ("x",)
        LIMIT = 2

        def __eq__(self, other):
            return False

    cycle(fix, lambda: (m.C() == m.C(), m.C.LIMIT, {m.C(): 1} != {}), (True, 1, True), (False, 2, True), m)


@pytest.mark.parametrize("how", ["add", "shadow"])
@pytest.mark.parametrize(
    ("owner", "code", "told"),
    [
        (":D", "not-a-class", "nothing of that name"),
        (":f", "not-a-class", "a function"),
        (":LIMIT", "not-a-class", "a int"),
        (":C.plain.more", "not-a-class", "C.plain is a function"),
    ],
)
def test_where_nothing_can_be_added(write_module: WriteModule, new_patch: NewPatch, how, owner, code, told):
    m = write_module(KIND)
    fix = new_patch()
    getattr(fix, how)(f"{m.__name__}{owner}", added=1)
    assert told in refused(fix, code, m).found


def test_new_members_of_every_kind_are_of_the_class(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        class Base:
            def told(self): return 'base'
        class C(Base):
            __hidden = 'hidden'
    """)
    fix = new_patch()

    @fix.replace(f"{m.__name__}:C")
    class C:
        LIMIT = 1

        @staticmethod
        def static():
            return "static"

        @classmethod
        def of_class(cls):
            return cls.__hidden

        @property
        def read(self):
            return super().told() + self.__hidden

        @read.setter
        def read(self, value):
            self.__given = value

    def probe():
        if not hasattr(m.C, "read"):
            return "none"
        one = m.C()
        one.read = 1
        return m.C.LIMIT, one.static(), m.C.of_class(), one.read, vars(one)

    cycle(fix, probe, "none", (1, "static", "hidden", "basehidden", {"_C__given": 1}), m)


def test_the_code_of_livepatch_itself_is_left_alone(new_patch: NewPatch):
    fix = new_patch()
    fix.replace("livepatch.engine.code:fingerprint")(lambda function: "")
    report = livepatch.check(fix)
    assert "own-code" in {finding.code for finding in report.errors}
