"""A wrapper in the place of a callable without Python code: behind the flag, and gone with the patch."""

from __future__ import annotations

import math
import sys
import types
from typing import TYPE_CHECKING

import pytest
from tests.cycles import cycle, refused

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule


def noting(seen: list[object]):
    def wrapper(wrapped, instance, args, kwargs):
        seen.append((instance, args, kwargs))
        return ("new", wrapped(*args, **kwargs))

    return wrapper


NATIVE = """
from math import lcm
from math import gcd as divisor
class Text(str):
    shout = str.upper
class C:
    lcm = staticmethod(lcm)
    pick = divmod
"""


@pytest.mark.parametrize(
    ("path", "call", "old"),
    [
        ("lcm", "m.lcm(4, 6)", 12),
        ("divisor", "m.divisor(4, 6)", 2),
        ("Text.shout", "m.Text('a').shout()", "A"),
        ("C.pick", "m.C().pick(7, 2)", (3, 1)),
    ],
)
def test_a_native_callable(path: str, call: str, old: object, write_module: WriteModule, new_patch: NewPatch):
    m = write_module(NATIVE)
    fix, seen = new_patch(), []
    fix.wrap(f"{m.__name__}:{path}")(noting(seen))
    cycle(fix, lambda: eval(call, {"m": m}), old, ("new", old), m, math)
    assert len(seen) == 2


def test_the_wrapper_gets_instance_and_arguments(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(NATIVE)
    fix, seen = new_patch(), []
    fix.wrap(f"{m.__name__}:Text.shout")(noting(seen))
    livepatch.apply(fix)
    text = m.Text("abc")
    assert text.shout() == ("new", "ABC")
    ((instance, args, kwargs),) = seen
    assert instance is text
    assert (args, kwargs) == ((), {})


def test_a_dormant_wrapper_is_not_there(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(NATIVE)
    lcm = m.lcm
    fix = new_patch()
    fix.wrap(f"{m.__name__}:lcm")(noting([]))
    applied = livepatch.apply(fix, mode="off")
    assert m.lcm is lcm
    applied.mode = "on"
    assert m.lcm(4, 6) == ("new", 12)
    assert m.lcm.__name__ == "lcm"
    assert m.lcm.__wrapped__ is lcm
    livepatch.flags[fix.flag] = "off"
    assert m.lcm is lcm


@pytest.mark.all_modules
def test_where_it_was_made_its_aliases_are_wrapped_too(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("from math import nextafter\nfrom math import nextafter as other\nclass C:\n  f = nextafter")
    fix = new_patch()
    fix.wrap("math:nextafter")(noting([]))
    calls = lambda: [f(1, 1) for f in (math.nextafter, m.nextafter, m.other, m.C.f)]
    report = cycle(fix, calls, [1.0] * 4, [("new", 1.0)] * 4, m, math)
    assert {"math:nextafter", f"{m.__name__}:nextafter", f"{m.__name__}:other"} <= set(report.targets)


def test_the_importer_of_a_native_callable_is_not_its_home(write_module: WriteModule, new_patch: NewPatch):
    # The patch is for the importing package; what the rest of the process does with the function is not its business.
    m = write_module("from math import nextafter")
    stranger = write_module("from math import nextafter")
    fix = new_patch()
    fix.wrap(f"{m.__name__}:nextafter")(noting([]))
    calls = lambda: [f(1, 1) for f in (m.nextafter, math.nextafter, stranger.nextafter)]
    cycle(fix, calls, [1.0] * 3, [("new", 1.0), 1.0, 1.0], m, math, stranger)


@pytest.mark.all_modules
def test_holders_that_cannot_be_reached_are_listed(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        import functools
        from math import nextafter
        table = {'next': nextafter}
        listed = [nextafter]
        early = functools.partial(nextafter, 1)
        def f(function=nextafter): return function(1, 1)
    """)
    fix = new_patch()
    fix.wrap("math:nextafter")(noting([]))
    report = livepatch.check(fix)
    assert report.ok
    (finding,) = [f for f in report.findings if f.code == "aliases-unreached"]
    assert finding.severity == "warning"
    assert "dict" in finding.found
    assert "list" in finding.found
    assert "functools.partial" in finding.found
    assert finding.action
    livepatch.apply(fix)
    assert (m.table["next"](1, 1), m.f()) == (1.0, 1.0)


def test_names_that_keep_the_callable_are_told_apart_from_other_holders(write_module: WriteModule, new_patch: NewPatch):
    home = write_module("import operator\nfirst = operator.itemgetter(0)\nheld = [first]")
    m = write_module(f"import {home.__name__} as home\nfirst = home.first")
    fix = new_patch()
    fix.wrap(f"{m.__name__}:first")(noting([]))
    names, others = [f for f in livepatch.check(fix).findings if f.code == "aliases-unreached"]
    assert names.found == f"the callable under other names, which keep it: {home.__name__}:first"
    assert names.expected.startswith(f"names that are proved to have got it from {m.__name__}:first")
    assert names.action.startswith("wrap those names too")
    assert others.found == "the callable held by what is no module and no class: a builtins.list"


def test_nothing_is_listed_where_nothing_is_held(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("import operator\nmine = operator.itemgetter(0)")
    fix = new_patch()
    fix.wrap(f"{m.__name__}:mine")(noting([]))
    report = livepatch.check(fix)
    assert [f for f in report.findings if f.code == "aliases-unreached"] == []


def test_two_wrappers_and_out_in_any_order(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("import operator\nmine = operator.itemgetter(0)")
    original = m.mine
    applied = []
    for _ in range(2):
        fix = new_patch()
        fix.wrap(f"{m.__name__}:mine")(noting([]))
        if not livepatch.check(fix).ok:
            break
        applied.append(livepatch.apply(fix))
    assert m.mine([1])[0] == "new"
    for each in applied:
        each.revert()
    assert m.mine is original


HOOKED = """
import enum
from math import lcm
class Meta(type):
    stores = []
    def __setattr__(cls, name, value):
        Meta.stores.append(name)
        super().__setattr__(name, value)
class Hooked(metaclass=Meta):
    LIMIT = 123456
    native = lcm
    def f(self): return 'old'
class Deleting(type):
    def __delattr__(cls, name): pass
class Kept(metaclass=Deleting):
    LIMIT = 123456
class Colour(enum.Enum):
    RED = 1
    def f(self): return 'old'
class Plain:
    __slots__ = ('a',)
    value = 1
    def python(self): pass
plain = 5
"""


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("Hooked.LIMIT", "metaclass-hooks-stores"),
        ("Kept.LIMIT", "metaclass-hooks-stores"),
        ("Colour.RED", "metaclass-hooks-stores"),
        ("Plain.__slots__", "structural"),
        ("Plain.__dict__", "no-such-name"),
    ],
)
def test_attributes_that_cannot_be_stored_in_one_step(
    path: str, code: str, write_module: WriteModule, new_patch: NewPatch
):
    m = write_module(HOOKED)
    fix = new_patch()
    fix.set(f"{m.__name__}:{path}", 7)
    refused(fix, code, m)
    assert m.Meta.stores == []


def test_names_are_not_added_past_a_metaclass_that_hooks(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(HOOKED)
    fix = new_patch()
    fix.add(f"{m.__name__}:Hooked", NEW=1)
    refused(fix, "metaclass-hooks-stores", m)


def test_methods_of_such_classes_are_replaced_all_the_same(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(HOOKED)
    fix = write_fix(
        f"{m.__name__}:Hooked.f",
        f"@replace\ndef f(self): return 'new'\n@fix.replace('{m.__name__}:Colour.f')\ndef g(self): return 'new'",
    )
    cycle(fix, lambda: (m.Hooked().f(), m.Colour.RED.f()), ("old", "old"), ("new", "new"), m)
    assert m.Meta.stores == []


@pytest.mark.all_modules
@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("builtins:str.upper", "immutable-type"),
        ("collections:OrderedDict.pop", "immutable-type"),
        ("{m}:Hooked.native", "metaclass-hooks-stores"),
        ("{m}:Plain", "is-a-class"),
        ("{m}:Plain.python", "has-python-code"),
        ("{m}:plain", "not-callable"),
        ("{m}:Plain.value", "not-callable"),
        ("{m}:missing", "no-such-name"),
        ("no_such_module_at_all:f", "module-not-imported"),
    ],
)
def test_what_cannot_be_wrapped(target: str, code: str, write_module: WriteModule, new_patch: NewPatch):
    m = write_module(HOOKED)
    fix = new_patch()
    fix.wrap(target.format(m=m.__name__))(noting([]))
    refused(fix, code, m)


@pytest.mark.parametrize("target", ["builtins:int.real", "builtins:str.upper"])
def test_attributes_of_native_types_are_not_set(target: str, new_patch: NewPatch):
    fix = new_patch()
    fix.set(target, 7)
    refused(fix, "immutable-type")


def test_a_module_whose_class_answers_for_a_name(
    write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch
):
    m = write_module("LIMIT = 123456\nOTHER = 123457")

    class Settings(types.ModuleType):
        @property
        def LIMIT(self):
            return 99

        @LIMIT.setter
        def LIMIT(self, value):
            raise AssertionError

    m.__class__ = Settings
    fix = new_patch()
    fix.set(f"{m.__name__}:LIMIT", 7)
    refused(fix, "module-hooks-stores", m)
    fix = new_patch()
    fix.set(f"{m.__name__}:OTHER", 7)
    # CPython 3.14 itself soon forgets the property where both have the name, so only the other one is asked for.
    cycle(fix, lambda: m.OTHER, 123457, 7, m)
    assert sys.modules[m.__name__] is m


def test_a_wrapper_that_raises_leaves_the_call_to_its_caller(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(NATIVE)
    fix = new_patch()

    @fix.wrap(f"{m.__name__}:lcm")
    def wrapper(wrapped, instance, args, kwargs):
        if len(args) > 2:
            raise ValueError("too many")
        return wrapped(*args, **kwargs)

    livepatch.apply(fix)
    with pytest.raises(ValueError, match="too many"):
        m.lcm(1, 2, 3)
    assert m.lcm(4, 6) == 12
