"""Other names for a value follow it where they are proved to have it from there, and only there."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import codes, cycle, differences, picture, refused

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

VALUES = """
import re
BIG = 123456789
TEXT = 'some text with blanks'
WORD = 'word'
BYTES = b'some bytes'
FLOAT = 2.75
TUPLE = (1000000, 'x y')
SMALL_TUPLE = (1, 2)
EMPTY = ()
PATTERN = re.compile('a+b*')
OBJECT = object()
LIST = [1]
SMALL = 5
FLAG = True
NOTHING = None
def FUNCTION(): return 'old'
class CLASS: pass
"""


def names_of_values() -> list[str]:
    namespace: dict[str, Any] = {}
    exec(VALUES, namespace)
    return [name for name in namespace if name.isupper()]


def set_all(fix: livepatch.Patch, module: str) -> dict[str, object]:
    new = {name: f"new {name}" for name in names_of_values()}
    for name, value in new.items():
        fix.set(f"{module}:{name}", value)
    return new


IMPORTS = {
    "by name": "from {home} import " + ", ".join(names_of_values()),
    "as another name": "from {home} import " + ", ".join(f"{n} as my_{n}" for n in names_of_values()),
    "with a star": "from {home} import *",
    "in a try": "try:\n    from {home} import " + ", ".join(names_of_values()) + "\nexcept ImportError: pass",
    "in an if": "if True:\n    from {home} import " + ", ".join(names_of_values()),
}


@pytest.mark.parametrize("way", IMPORTS.values(), ids=IMPORTS.keys())
def test_what_a_module_imported_follows(way: str, write_module: WriteModule, new_patch: NewPatch):
    home = write_module(VALUES)
    user = write_module(way.format(home=home.__name__))
    prefix = "my_" if " as " in way else ""
    fix = new_patch()
    new = set_all(fix, home.__name__)
    old = {name: getattr(home, name) for name in new}
    uses = lambda: [{name: vars(m)[p + name] for name in new} for m, p in ((home, ""), (user, prefix))]
    report = cycle(fix, uses, [old, old], [new, new], home, user)
    assert "alias-unproved" not in codes(report, "warning") or f"{user.__name__}:" not in str(report)


@pytest.mark.parametrize(
    ("home", "user", "statement"),
    [
        ("rel_a.home", "rel_a.user", "from .home import BIG, SMALL, WORD"),
        ("rel_b.home", "rel_b.sub.user", "from ..home import BIG, SMALL, WORD"),
        ("rel_c.sub.home", "rel_c.user", "from .sub.home import BIG, SMALL, WORD"),
        ("rel_d.home", "rel_d.sub.user", "from ..home import *"),
    ],
)
def test_relative_imports(home: str, user: str, statement: str, write_module: WriteModule, new_patch: NewPatch):
    h = write_module(VALUES, home)
    u = write_module(statement, user)
    fix = new_patch()
    for name in ("BIG", "SMALL", "WORD"):
        fix.set(f"{home}:{name}", f"new {name}")
    uses = lambda: [(m.BIG, m.SMALL, m.WORD) for m in (h, u)]
    cycle(fix, uses, [(123456789, 5, "word")] * 2, [("new BIG", "new SMALL", "new WORD")] * 2, h, u)


def test_a_package_that_reexports(write_module: WriteModule, new_patch: NewPatch):
    home = write_module(VALUES, "reexporting.home")
    package = sys.modules["reexporting"]
    package.BIG = home.BIG
    fix = new_patch()
    fix.set("reexporting.home:BIG", 7)
    cycle(fix, lambda: (home.BIG, package.BIG), (123456789,) * 2, (7, 7), home, package)


def test_equal_by_chance_is_left_alone_and_reported(write_module: WriteModule, new_patch: NewPatch):
    home = write_module("SMALL = 5\nBIG = 123456789")
    other = write_module("SMALL = 5\nOTHER = 5\nBIG = 123456789")
    fix = new_patch()
    fix.set(f"{home.__name__}:SMALL", 6)
    fix.set(f"{home.__name__}:BIG", 7)
    report = cycle(
        fix, lambda: (home.SMALL, home.BIG, other.SMALL, other.OTHER, other.BIG), (5, 123456789, 5, 5, 123456789),
        (6, 7, 5, 5, 123456789), home, other,
    )  # fmt: skip
    (finding,) = [f for f in report.findings if f.code == "alias-unproved" and f"{other.__name__}" in f.found]
    assert finding.severity == "warning"
    assert f"{other.__name__}:SMALL" in finding.found
    assert "OTHER" not in finding.found


@pytest.mark.parametrize(
    "statement",
    [
        "LEFT = 20\nLEFT -= LIMIT",
        "LEFT = LIMIT\nLEFT, RIGHT = divmod(210, 20)",
        "LEFT = LIMIT\nfor LEFT in (10,): pass",
    ],
)
def test_a_name_that_was_computed_to_an_equal_value_is_left_alone(
    statement: str, write_module: WriteModule, new_patch: NewPatch
):
    m = write_module(f"LIMIT = 10\nALIAS = LIMIT\n{statement}")
    fix = new_patch()
    fix.set(f"{m.__name__}:LIMIT", 50)
    cycle(fix, lambda: (m.LIMIT, m.ALIAS, m.LEFT), (10, 10, 10), (50, 50, 10), m)


def test_a_module_without_source_proves_a_small_value_in_no_way(
    write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch
):
    home = write_module("SMALL = 5\nBIG = 123456789")
    made = types.ModuleType("made_in_memory")
    made.SMALL, made.BIG = home.SMALL, home.BIG
    monkeypatch.setitem(sys.modules, "made_in_memory", made)
    fix = new_patch()
    fix.set(f"{home.__name__}:SMALL", 6)
    fix.set(f"{home.__name__}:BIG", 7)
    report = cycle(fix, lambda: (made.SMALL, made.BIG), (5, 123456789), (5, 7), home)
    assert "made_in_memory:SMALL" in str(report)


def test_the_importer_of_a_value_is_not_its_home(write_module: WriteModule, new_patch: NewPatch):
    home = write_module("BIG = 123456789")
    user = write_module(f"from {home.__name__} import BIG")
    fix = new_patch()
    fix.set(f"{user.__name__}:BIG", 7)
    report = cycle(fix, lambda: (home.BIG, user.BIG), (123456789,) * 2, (123456789, 7), home, user)
    assert f"{home.__name__}:BIG" in str(report)


def test_a_name_rebound_since_its_import_is_left_alone(write_module: WriteModule, new_patch: NewPatch):
    home = write_module("SMALL = 5\nBIG = 123456789")
    user = write_module(f"from {home.__name__} import SMALL, BIG\nSMALL = 50\nBIG = 1234567890")
    fix = new_patch()
    fix.set(f"{home.__name__}:SMALL", 6)
    fix.set(f"{home.__name__}:BIG", 7)
    cycle(fix, lambda: (user.SMALL, user.BIG, home.BIG), (50, 1234567890, 123456789), (50, 1234567890, 7), home, user)


# Classes

CLASSES = """
class Base:
    LIMIT = 123456789
    SMALL = 5
class Heir(Base):
    pass
class Taker(Base):
    LIMIT = Base.LIMIT
class Own(Base):
    LIMIT = 987654321
"""


def test_class_attributes(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(CLASSES)
    user = write_module(f"from {m.__name__} import Base\nclass Elsewhere:\n  LIMIT = Base.LIMIT")
    fix = new_patch()
    fix.set(f"{m.__name__}:Base.LIMIT", 7)
    fix.set(f"{m.__name__}:Base.SMALL", 8)
    classes = (m.Base, m.Heir, m.Taker, m.Own, user.Elsewhere)
    uses = lambda: ([c.LIMIT for c in classes], m.Heir.SMALL)
    cycle(fix, uses, ([123456789] * 3 + [987654321, 123456789], 5), ([7, 7, 7, 987654321, 7], 8), m, user)
    assert "LIMIT" not in vars(m.Heir)


def test_an_inherited_attribute_is_refused_with_its_home(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(CLASSES)
    fix = new_patch()
    fix.set(f"{m.__name__}:Heir.LIMIT", 7)
    assert "Base" in refused(fix, "inherited", m).action


@pytest.mark.parametrize("target", ["MISSING", "Base.MISSING", "Missing.LIMIT"])
def test_a_name_that_is_not_there_is_refused(target: str, write_module: WriteModule, new_patch: NewPatch):
    m = write_module(CLASSES)
    fix = new_patch()
    fix.set(f"{m.__name__}:{target}", 7)
    refused(fix, "no-such-name", m)


def test_a_private_attribute(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("class C:\n  __limit = 123456789\n  def f(self): return self.__limit")
    fix = new_patch()
    fix.set(f"{m.__name__}:C.__limit", 7)
    cycle(fix, lambda: m.C().f(), 123456789, 7, m)


# Layers


def test_two_patches_on_one_value_and_its_aliases(write_module: WriteModule, new_patch: NewPatch):
    home = write_module(VALUES)
    user = write_module(f"from {home.__name__} import BIG, SMALL")
    before = picture(home, user)
    applied = []
    for value in (700000, 800000):
        fix = new_patch()
        fix.set(f"{home.__name__}:BIG", value)
        fix.set(f"{home.__name__}:SMALL", value + 1)
        applied.append(livepatch.apply(fix))
    uses = lambda: {(m.BIG, m.SMALL) for m in (home, user)}
    assert uses() == {(800000, 800001)}
    applied[0].revert()
    assert uses() == {(800000, 800001)}
    applied[1].revert()
    assert uses() == {(123456789, 5)}
    assert differences(before) == []


# In the first three identity proves where a late import came from; of the others its source must say so.
NEW = {"BIG": 55555555, "OBJECT": object(), "FLOAT": 3.25, "TEXT": "another text", "SMALL": 6, "WORD": "new_word"}


@pytest.mark.parametrize("name", NEW)
def test_an_import_made_while_patched_leaves_with_it(name: str, write_module: WriteModule, new_patch: NewPatch):
    home = write_module(VALUES)
    old = vars(home)[name]
    fix = new_patch()
    fix.set(f"{home.__name__}:{name}", NEW[name])
    applied = livepatch.apply(fix)
    late = write_module(f"from {home.__name__} import {name}\nfrom {home.__name__} import {name} as other")
    assert vars(late)[name] is late.other is NEW[name]
    applied.revert()
    assert vars(late)[name] is late.other is old


def test_an_import_made_while_on_follows_off_and_on(write_module: WriteModule, new_patch: NewPatch):
    home = write_module(VALUES)
    fix = new_patch()
    fix.set(f"{home.__name__}:BIG", 55555555)
    applied = livepatch.apply(fix)
    late = write_module(f"from {home.__name__} import BIG")
    applied.mode = "off"
    assert late.BIG == 123456789
    applied.mode = "on"
    assert late.BIG == 55555555, "it went back with the fix, and the fix is on again without it"
    applied.revert()
    assert late.BIG == 123456789


def test_an_import_made_while_off_follows_on(write_module: WriteModule, new_patch: NewPatch):
    home = write_module(VALUES)
    fix = new_patch()
    fix.set(f"{home.__name__}:BIG", 55555555)
    applied = livepatch.apply(fix, mode="off")
    late = write_module(f"from {home.__name__} import BIG")
    applied.mode = "on"
    assert (home.BIG, late.BIG) == (55555555, 55555555), "the fix is on, and part of the program does not have it"
    applied.revert()
    assert (home.BIG, late.BIG) == (123456789, 123456789)


def test_an_added_name_imported_while_patched_is_named(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("")
    fix = new_patch()
    fix.add(m.__name__, ADDED=object())
    applied = livepatch.apply(fix)
    late = write_module(f"from {m.__name__} import ADDED")
    status = applied.revert()
    assert not hasattr(m, "ADDED")
    assert hasattr(late, "ADDED")
    assert any(f"{late.__name__}:ADDED" in left for left in status.left)


# Added names


def test_added_names_go_again(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("class C:\n  class D: pass\ndef f(): return sorted({*globals()} & {'A', 'B'}), hasattr(C.D, 'X')")
    fix = new_patch()
    fix.add(m.__name__, A=1, B=None)
    fix.add(f"{m.__name__}:C.D", X=2)
    cycle(fix, m.f, ([], False), (["A", "B"], True), m)


@pytest.mark.parametrize("owner", ["", ":C"])
def test_a_name_that_is_there_is_not_added(owner: str, write_module: WriteModule, new_patch: NewPatch):
    m = write_module("A = None\nclass C:\n  A = None")
    fix = new_patch()
    fix.add(f"{m.__name__}{owner}", A=1)
    assert "set()" in refused(fix, "exists-already", m).action


def test_two_patches_cannot_add_one_name(write_module: WriteModule, new_patch: NewPatch):
    # Each could be taken out alone only if the name belonged to both: the second must set what the first added.
    m = write_module("")
    before = picture(m)
    first, second = new_patch(), new_patch()
    first.add(m.__name__, A="first")
    second.add(m.__name__, A="second")
    one = livepatch.apply(first)
    if livepatch.check(second).ok:
        two = livepatch.apply(second)
        assert m.A == "second"
        one.revert()
        assert m.A == "second"
        two.revert()
    else:
        refused(second, "exists-already", m)
        one.revert()
    assert differences(before) == []


def test_an_added_name_that_is_deleted_in_between_is_no_error(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("")
    fix = new_patch()
    fix.add(m.__name__, A=1)
    applied = livepatch.apply(fix)
    del m.A
    assert not livepatch.verify()
    applied.revert()
    assert not hasattr(m, "A")


def test_an_added_name_hides_a_base_class_s_only_while_on(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("class Base:\n  LIMIT = 1\nclass C(Base): pass")
    fix = new_patch()
    fix.add(f"{m.__name__}:C", LIMIT=2)
    report = livepatch.check(fix)
    if report.ok:
        cycle(fix, lambda: (m.Base.LIMIT, m.C.LIMIT), (1, 1), (1, 2), m)
    else:
        assert "inherited" in codes(report)
