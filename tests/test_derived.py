"""What is computed from something that changes is computed anew, however it is written; a revert brings all back."""

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def follows(running, see, was, now):
    """Apply the patch between the releases, and take it out again."""
    assert see(running) == was
    before = running.picture()
    applied = livepatch.apply(running.build())
    assert see(running) == now
    applied.revert()
    assert see(running) == was
    assert running.differences(before, running.picture()) == []


MOST = "def most(): return 100\n"
LOW = {"low.py": MOST}

BY_A_FUNCTION = {
    "a default": (MOST + "def f(x=most()): return x\n", lambda m: m.f()),
    "a default by keyword": (MOST + "class C:\n  def f(self, *, x=most()): return x\n", lambda m: m.C().f()),
    "a default of a lambda": (MOST + "f = lambda x=most(): x\n", lambda m: m.f()),
    "a constant": (MOST + "A = most()\n", lambda m: m.A),
    "two levels": (
        MOST + "def mid(): return most()\nA = [mid()]\ndef f(x=A[0]): return x\n",
        lambda m: (m.A[0] + m.f()) // 2,
    ),
    "an attribute of a nested class": (MOST + "class C:\n  class D:\n    a = most()\n", lambda m: m.C.D.a),
    "an argument of a decorator that wraps": (
        MOST + "def deco(n): return lambda f: lambda: n\n@deco(most())\ndef f(): return 1\n",
        lambda m: m.f(),
    ),
    "an argument of a decorator that marks": (
        MOST + "def deco(n):\n  def d(f):\n    f.n = n\n    return f\n  return d\n@deco(most())\ndef f(): return 1\n",
        lambda m: m.f.n,
    ),
    "an argument of lru_cache": (
        "import functools\n" + MOST + "@functools.lru_cache(maxsize=most())\ndef f(): return 1\n",
        lambda m: m.f.cache_info().maxsize,
    ),
    "a function by another name": (MOST + "other = most\nA = other()\ndef f(x=other()): return x\n", lambda m: m.f()),
    "a class by another name": (
        "class C:\n  def __init__(self): self.n = 100\nD = C\nA = D().n\n",
        lambda m: m.A,
    ),
    "a partial": ("import functools\n" + MOST + "A = functools.partial(most)()\n", lambda m: m.A),
    "a partial that has a name": (
        "import functools\n" + MOST + "P = functools.partial(most)\nA = P()\n",
        lambda m: m.A,
    ),
    "a method of a new object": ("class C:\n  def n(self): return 100\nA = C().n()\n", lambda m: m.A),
    "a method of an object that is there": (
        "class C:\n  def n(self): return 100\nONE = C()\nA = ONE.n()\ndef f(x=ONE.n()): return x\n",
        lambda m: (m.A + m.f()) // 2,
    ),
    "a property of a new object": ("class C:\n  @property\n  def n(self): return 100\nA = C().n\n", lambda m: m.A),
    "a condition": (MOST + "if most() > 50:\n  A = 100\nelse:\n  A = 10\n", lambda m: m.A),
    "a condition on a definition": (
        MOST + "if most() > 50:\n  def f(): return 100\nelse:\n  def f(): return 10\nA = f()\n",
        lambda m: (m.f() + m.A) // 2,
    ),
    "a condition inside a condition": (
        "N = 100\nif N:\n  A = N\n  if N > 50:\n    B = A\n  else:\n    B = 10\n",
        lambda m: m.B,
    ),
}


@pytest.mark.parametrize("name", BY_A_FUNCTION)
def test_what_a_changed_function_gave(releases, name):
    text, see = BY_A_FUNCTION[name]
    new = text.replace("return 100\n", "return 10\n", 1) if "return 100" in text else text.replace("= 100", "= 10", 1)
    running = releases({"m.py": text}, {"m.py": new})
    follows(running, lambda r: see(r["m"]), 100, 10)


@pytest.mark.parametrize(
    "imports",
    [
        "from PKG import low\nmost = low.most",
        "import PKG.low as x\nfrom PKG.low import most as most",
        "from PKG.low import most as given\ndef most(): return given()",
        "from PKG.low import *",
        "from PKG import most",
        "import PKG\nmost = PKG.most",
    ],
)
def test_a_function_of_another_module(releases, imports):
    files = {
        "__init__.py": "from PKG.low import most\n",
        **LOW,
        "m.py": imports + "\nA = most()\ndef f(x=most()): return x\n",
    }
    running = releases(files, {"low.py": MOST.replace("100", "10")})
    follows(running, lambda r: (r["m"].A, r["m"].f()), (100, 100), (10, 10))
