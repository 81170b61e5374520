"""A patch built from two releases in the place of another one, in one step: all of it, or a refusal."""

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch
from livepatch.engine import stack


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def built(running, before, after, number):
    for release, text in ((running.old, before), (running.new, after)):
        (release.root / running.name / "m.py").write_text(text)
    return running.build(id=f"p{number}-{running.name}")


F = "def f(): return 1\n"
T = "T = {'a': 100, 'b': 1}\ndef f(): return dict(T)\n"
G = "def g(): return {}\ndef f(): return g()\n"
INHERITED = "class B:\n  def f(self): return 1\nclass C(B):\n  def f(self): return 2\ndef f(): return C().f()\n"

LIVE = {
    "a body": (F, ("return 1", "return 2"), ("return 1", "return 3")),
    "a new constant": (F, (F, "N = 5\ndef f(): return N\n"), (F, "N = 6\ndef f(): return N\n")),
    "a new function": (F, (F, G.format(5)), (F, G.format(6))),
    "a default": ("def f(x=1): return x\n", ("x=1", "x=2"), ("x=1", "x=3")),
}  # fmt: skip
VALUES = {
    "a constant": ("LIMIT = 100\ndef f(): return LIMIT\n", ("100", "50"), ("100", "20")),
    "a derived constant": ("A = 100\nB = A + 1\ndef f(): return B\n", ("100", "50"), ("100", "20")),
    "a class attribute": ("class C:\n  limit = 100\ndef f(): return C.limit\n", ("100", "50"), ("100", "20")),
    "an entry": (T, ("100", "50"), ("100", "20")),
    "another entry": (T, ("100", "50"), ("'b': 1", "'b': 2")),
    "a list": ("T = [1, 2]\ndef f(): return list(T)\n", ("[1, 2]", "[1, 2, 3]"), ("[1, 2]", "[2]")),
    "a pattern": ("import re\nR = re.compile('a')\ndef f(): return R.pattern\n", ("'a'", "'b'"), ("'a'", "'c'")),
    "an override": (
        INHERITED,
        ("class C(B):\n  def f(self): return 2", "class C(B):\n  pass"),
        ("return 2", "return 3"),
    ),
}


@pytest.mark.parametrize("case", LIVE)
def test_functions_and_new_names_are_exchanged(releases, case):
    text, *changes = LIVE[case]
    one, two = (text.replace(*change) for change in changes)
    running = releases({"m.py": text}, {"m.py": one})
    before = running.picture()
    first = livepatch.apply(built(running, text, one, 1))
    second = livepatch.apply(built(running, text, two, 2), replaces=[first.id])
    namespace: dict = {}
    exec(two, namespace)
    assert running["m"].f() == namespace["f"]()
    assert not any("livepatch" in target for target in second.status().targets), "it keeps to the package"
    assert repr(stack.ABSENT) == "<absent>"
    second.revert()
    assert running.differences(before, running.picture()) == []


@pytest.mark.parametrize("case", VALUES)
def test_values_that_the_replaced_one_has_changed_refuse(releases, case):
    text, *changes = VALUES[case]
    one, two = (text.replace(*change) for change in changes)
    running = releases({"m.py": text}, {"m.py": one})
    first = livepatch.apply(built(running, text, one, 1))
    was, before = running["m"].f(), running.picture()
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(built(running, text, two, 2), replaces=[first.id])
    assert [error.code for error in caught.value.report.errors] == ["values-replaced"]
    assert running.differences(before, running.picture()) == []
    # The ways out: over it, and without it.
    over = livepatch.apply(built(running, one, "return 0, ".join(one.rsplit("return ", 1)), 3))
    assert running["m"].f() == (0, was)
    over.revert()
    first.revert()
    livepatch.apply(built(running, text, two, 4))
    namespace: dict = {}
    exec(two, namespace)
    assert running["m"].f() == namespace["f"]()


def test_a_new_name_that_another_patch_sets_is_no_name_for_nothing(releases):
    """What a name was before any patch, when it was not there, is held by livepatch's own modules."""
    running = releases({"m.py": F}, {"m.py": F})
    adds = livepatch.Patch("ADDS", package=running.name, versions="==1.0")
    adds.add(f"{running.name}.m", N=5)
    sets = livepatch.Patch("SETS", package=running.name, versions="==1.0")
    sets.set(f"{running.name}.m:N", 6)
    livepatch.apply(adds)
    assert livepatch.apply(sets).status().targets == (f"{running.name}.m:N",)
    assert running["m"].N == 6
