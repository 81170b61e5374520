"""The before side of a built patch covers the default values that the live functions hold."""

from __future__ import annotations

import functools
import math
import os
import time

import pytest
from tests.built import Running

import livepatch

KINDS = {
    "function": ("def f(x=1): return x, 1\n", lambda m: m.f, lambda m: m.f()),
    "keyword": ("def f(*, x=1): return x, 1\n", lambda m: m.f, lambda m: m.f()),
    "method": ("class C:\n  def f(self, x=1): return x, 1\n", lambda m: m.C.f, lambda m: m.C().f()),
    "class method": (
        "class C:\n  @classmethod\n  def f(cls, x=1): return x, 1\n",
        lambda m: m.C.f.__func__,
        lambda m: m.C.f(),
    ),
    "private keyword": ("class C:\n  def f(self, *, __x=1): return __x, 1\n", lambda m: m.C.f, lambda m: m.C().f()),
    "decorated": (
        (
            "import functools\ndef d(f):\n  @functools.wraps(f)\n  def w(*a): return f(*a)\n  return w\n"
            "@d\ndef f(x=1): return x, 1\n"
        ),
        lambda m: m.f.__wrapped__,
        lambda m: m.f(),
    ),
    "nested class": (
        "class A:\n  class C:\n    def f(self, x=1): return x, 1\n",
        lambda m: m.A.C.f,
        lambda m: m.A.C().f(),
    ),
}
FIXES = {
    "body": lambda text: text.replace("x, 1", "x, 2"),
    "default": lambda text: text.replace("x=1", "x=5"),
    "removed": lambda text: text.replace("x=1", "x"),
}


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


@pytest.fixture
def just_started(monkeypatch):
    """The files are older than the process, as they are where nobody has upgraded the package under it."""
    monkeypatch.setattr("livepatch.engine.ondisk._process_began", lambda: math.inf)


def put(function, value):
    if function.__kwdefaults__:
        function.__kwdefaults__ = dict.fromkeys(function.__kwdefaults__, value)
    else:
        function.__defaults__ = (value,)


@pytest.mark.usefixtures("just_started")
@pytest.mark.parametrize(
    ("kind", "fix", "value"),
    [
        *((kind, "body", 7) for kind in KINDS),
        *(("function", fix, value) for fix in FIXES for value in (True, None)),
        ("method", "default", 7),
        ("keyword", "removed", 7),
    ],
)
def test_another_default_in_the_process_refuses(releases, kind, fix, value):
    text, function, _ = KINDS[kind]
    running = releases({"m.py": text}, {"m.py": FIXES[fix](text)})
    put(function(running["m"]), value)
    before = running.picture()
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(running.build())
    (error,) = caught.value.report.errors
    assert error.code == "changed-in-memory"
    line = next(i for i, each in enumerate(text.splitlines(), 1) if "x=1" in each)
    assert f"has another default in the process than in line {line}: `" in error.found
    assert not running.differences(before, running.picture())


@pytest.mark.usefixtures("just_started")
@pytest.mark.parametrize("kind", KINDS)
def test_a_default_that_is_gone_or_new_refuses(releases, kind):
    text, function, _ = KINDS[kind]
    running = releases({"m.py": text}, {"m.py": FIXES["body"](text)})
    live = function(running["m"])
    live.__defaults__ = live.__kwdefaults__ = None
    assert [e.code for e in livepatch.check(running.build()).errors] == ["changed-in-memory"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fix", ["body", "default"])
def test_the_same_defaults_fit(releases, kind, fix):
    text, function, call = KINDS[kind]
    running = releases({"m.py": text}, {"m.py": FIXES[fix](text)})
    before = running.picture()
    applied = livepatch.apply(running.build())
    assert call(running["m"]) == ((1, 2) if fix == "body" else (5, 1))
    applied.revert()
    assert not running.differences(before, running.picture())
    put(function(running["m"]), int("1"))  # an equal value that another has put there is the same default
    assert livepatch.check(running.build()).ok


@pytest.mark.usefixtures("just_started")
def test_another_release_is_installed(releases):
    running = releases({"m.py": "def f(x=3): return x, 1\n"}, {"m.py": "def f(x=1): return x, 2\n"})
    other = running.old.root / running.name / "m.py"
    other.write_text("def f(x=1): return x, 1\n")
    fix = running.build()
    other.write_text("def f(x=3): return x, 1\n")
    (error,) = livepatch.check(fix).errors
    assert error.code == "before-differs"
    assert "is installed with other defaults" in error.found
    assert "in line 1: `def f(x=1): return x, 1`" in error.found


def test_the_file_was_changed_under_the_process(releases):
    running = releases({"m.py": "def f(x=3): return x, 1\n"}, {"m.py": "def f(x=1): return x, 2\n"})
    file = running.old.root / running.name / "m.py"
    file.write_text("def f(x=1): return x, 1\n")
    os.utime(file, (time.time() + 5,) * 2)
    (error,) = livepatch.check(running.build()).errors
    assert error.code == "upgraded-on-disk"
    assert "restart the process, then apply the patch" in error.action


# What is no literal

NAMED = (
    "LIMIT = 1\nclass K:\n  most = 3\n"
    "class C:\n  least = 2\n  def f(self, x=LIMIT, y=least, *, z=K.most): return x, y, z, 1\n"
)


def doubts(report):
    assert report.ok
    return [finding.found for finding in report.findings if finding.code == "default-differs"]


def test_names_are_looked_up_where_the_definition_stands(releases):
    running = releases({"m.py": NAMED}, {"m.py": NAMED.replace("z, 1", "z, 2")})
    assert doubts(livepatch.check(running.build())) == []


@pytest.mark.parametrize(
    ("change", "parameter", "expression"),
    [
        (lambda m: setattr(m, "LIMIT", 9), "x", "LIMIT"),
        (lambda m: setattr(m.C, "least", 9), "y", "least"),
        (lambda m: setattr(m.K, "most", 9), "z", "K.most"),
        (lambda m: setattr(m.C.f, "__defaults__", (1, 9)), "y", "least"),
        (lambda m: setattr(m.C.f, "__kwdefaults__", {"z": 9}), "z", "K.most"),
    ],
)
def test_a_name_that_means_something_else_now_is_told(releases, change, parameter, expression):
    running = releases({"m.py": NAMED}, {"m.py": NAMED.replace("z, 1", "z, 2")})
    change(running["m"])
    fix = running.build()
    assert doubts(livepatch.check(fix)) == [
        f"parameter {parameter} has another default than {expression} (line 6) gives now"
    ]
    was = running["m"].C().f()
    livepatch.apply(fix)
    assert running["m"].C().f() == (*was[:3], 2), "what the process holds is kept"


def test_a_computed_default_of_a_changed_signature_is_compared(releases):
    text = "def f(x=int('1'), y=2): return x, y\n"
    running = releases({"m.py": text}, {"m.py": text.replace("y=2", "y=3")})
    running["m"].f.__defaults__ = (8, 2)
    fix = running.build()
    assert doubts(livepatch.check(fix)) == ["parameter x has another default than its source gives now"]
    livepatch.apply(fix)
    assert running["m"].f() == (8, 3)


def test_one_that_a_slot_has_covered_and_one_of_an_object_are_left_open(releases):
    text = (
        "class O:\n  here = 1\n  def m(self): pass\no = O()\n"
        "class C:\n  x = 1\n  def f(self, a=x, b=o.here, c=o.m, d=O.m): return 1\n  __slots__ = ()\n"
    )
    running = releases({"m.py": text}, {"m.py": text.replace("return 1", "return 2")})
    running["m"].o.here = 5
    assert doubts(livepatch.check(running.build())) == []


# Above other patches

TEXT = "def f(x={}): return x, {}\ndef g(): return 1\n"
OLD, LATER, LAST = (TEXT.format(x, y) for x, y in ((1, 1), (2, 1), (2, 2)))


def built(running, before, after, number):
    for release, text in ((running.old, before), (running.new, after)):
        (release.root / running.name / "m.py").write_text(text)
    return running.build(id=f"p{number}-{running.name}")


@pytest.mark.parametrize("mode", ["on", livepatch.split(0)])
def test_the_defaults_of_the_patch_beneath_are_the_before_side(releases, mode):
    running = releases({"m.py": OLD}, {"m.py": LATER})
    first = livepatch.apply(built(running, OLD, LATER, 1), mode=mode)
    last = built(running, LATER, LAST, 2)
    if mode == "on":
        second = livepatch.apply(last)
        assert running["m"].f() == (2, 2)
        first.revert()
        assert running["m"].f() == (2, 2)
        second.revert()
    else:
        assert not livepatch.check(last).ok, "what is left where no mode says otherwise is the original"
        first.revert()
    assert running["m"].f() == (1, 1)


def test_one_that_replaces_is_compared_with_what_is_beneath(releases):
    running = releases({"m.py": OLD}, {"m.py": LATER})
    original = running["m"].f.__defaults__
    first = livepatch.apply(built(running, OLD, LATER, 1))
    whole = built(running, OLD, OLD.replace("x, 1", "x, 3"), 2)
    assert [e.code for e in livepatch.check(whole).errors] != []
    second = livepatch.apply(whole, replaces=[first.id])
    assert running["m"].f() == (1, 3), "the default of the program, not that of the patch that went"
    assert running["m"].f.__defaults__ is original
    second.revert()
    assert running["m"].f() == (1, 1)
    assert running["m"].f.__defaults__ is original
