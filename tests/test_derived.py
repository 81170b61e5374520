"""What is computed from something that changes is computed anew, however it is written; a revert brings all back."""

# ruff: noqa: E501  # the sources of small packages, each on a line of its own

from __future__ import annotations

import dataclasses
import functools
import time

import pytest
from tests.built import Running

import livepatch
from livepatch.bundle.dynamic import spaces_in


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
    "text",
    [
        "F = lambda n: F(n - 1) if n else most()\nA = F(2)\n",
        "def make(): return lambda: most()\nF = make()\nF = F()\nA = F\n",
        "import functools\nF = functools.partial(most)\nF = functools.partial(F)\nA = F()\n",
        "F = lambda: most()\nA = F()\n",
    ],
)
def test_what_is_made_of_itself(releases, text):
    running = releases({"m.py": MOST + text}, {"m.py": (MOST + text).replace("100", "10")})
    follows(running, lambda r: r["m"].A, 100, 10)


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


# from low import *

NUMBERS = "A = 100\nclass K:\n  a = A\ndef g(): return A\n"


@pytest.mark.parametrize(
    ("files", "see"),
    [
        ({"m.py": "from PKG.low import *\nB = A + 1\nC = B - 1\n"}, lambda r: (r["m"].A, r["m"].C)),
        ({"m.py": "from .low import *\nclass C:\n  b = A\n  class D:\n    b = [K.a]\n"}, lambda r: (r["m"].C.b, r["m"].C.D.b[0])),
        ({"m.py": "from PKG.low import *\ndef f(x=A, y=g()): return x, y\n"}, lambda r: r["m"].f()),
        ({"__init__.py": "from .low import *\n", "m.py": "import PKG\nB = PKG.A\nfrom PKG import A as C\n"}, lambda r: (r["m"].B, r["m"].C)),
        ({"mid.py": "from .low import *\n", "m.py": "from PKG.mid import *\nfrom PKG import mid\nB = mid.A\n"}, lambda r: (r["m"].A, r["m"].B)),
        ({"mid.py": "from .low import *\n", "m.py": "import PKG.mid as x\nB = x.K.a\nC = x.g()\n"}, lambda r: (r["m"].B, r["m"].C)),
    ],
)  # fmt: skip
def test_a_star_import_is_followed(releases, files, see):
    running = releases({"low.py": NUMBERS, **files}, {"low.py": NUMBERS.replace("100", "10")})
    follows(running, see, (100, 100), (10, 10))


@pytest.mark.parametrize(
    ("text", "see"),
    [
        ("try:\n  from .low import A\nexcept ImportError:\n  A = 5\nB = A\n", lambda m: (m.A, m.B)),
        ("from . import low\nB = low.K.a\nC = [low.K().a for _ in '1']\n", lambda m: (m.B, m.C[0])),
        ("from . import low\nB = low.ONE.a\nfrom .low import ONE as T\nC = T.a\n", lambda m: (m.B, m.C)),
        ("from .low import ONE as T\nU = T\nB = U.a\ndef f(x=T.a): return x\n", lambda m: (m.B, m.f())),
        ("from PKG.low import K as L\nclass M(L): pass\nB = M.a\nC = M().a\n", lambda m: (m.B, m.C)),
    ],
)
def test_an_attribute_of_a_class_elsewhere(releases, text, see):
    low = NUMBERS + "ONE = K()\n"
    running = releases({"low.py": low, "m.py": text}, {"low.py": low.replace("100", "10")})
    follows(running, lambda r: see(r["m"]), (100, 100), (10, 10))


def test_a_function_that_a_module_between_passes_on(releases):
    files = {**LOW, "mid.py": "from .low import most as other\n", "m.py": "import PKG.mid as x\nA = x.other()\n"}
    running = releases(files, {"low.py": MOST.replace("100", "10")})
    follows(running, lambda r: r["m"].A, 100, 10)


def test_what_a_star_import_does_not_give_stays(releases):
    low = "__all__ = ['A', 'B', 'C']\nA = 100\nB = 100\nC = 7\nD = 100\n"
    files = {"low.py": low, "m.py": "from PKG.low import *\nB = 100\nD = 3\nE = A + B + D\n"}
    running = releases(files, {"low.py": low.replace("100", "10")})
    see = lambda r: tuple(getattr(r["m"], name) for name in "ABCDE")
    follows(running, see, (100, 100, 7, 3, 203), (10, 100, 7, 3, 113))


def test_new_names_come_through_a_star_import(releases):
    files = {"low.py": "A = 1\n", "m.py": "from PKG.low import *\nE = A\n"}
    new = {"low.py": "A = 1\nN = 5\ndef h(): return N\n", "m.py": "from PKG.low import *\nE = A + N + h()\n"}
    running = releases(files, new)
    follows(running, lambda r: r["m"].E, 1, 11)
    assert not hasattr(running["m"], "N")


# Data classes

DATA = """
import dataclasses
LIMIT = 100
@dataclasses.dataclass
class C:
  a: int = 5
  limit: int = LIMIT
  b: int = 6
"""
MORE = """
@dataclasses.dataclass(frozen=True, kw_only=True)
class K:
  limit: int = LIMIT * 2
class Outer:
  @dataclasses.dataclass
  class Inner:
    limit: int = LIMIT
    other: int = LIMIT + 1
@dataclasses.dataclass
class D(C):
  z: int = 3
@dataclasses.dataclass
class E(C):
  limit: int = 100
class F(C):
  def __init__(self, limit=100): self.limit = limit
"""


def default_of(cls):
    return next(field.default for field in dataclasses.fields(cls) if field.name == "limit")


def test_a_default_of_a_data_class(releases):
    text = DATA + MORE
    running = releases({"m.py": text}, {"m.py": text.replace("LIMIT = 100", "LIMIT = 10")})

    def see(r):
        m = r["m"]
        made = [m.C(), m.K(), m.Outer.Inner(), m.D(), m.E(), m.F()]
        fields = [default_of(cls) for cls in (m.C, m.K, m.Outer.Inner, m.D, m.E)]
        return [each.limit for each in made], fields, m.Outer.Inner().other, m.C.limit, m.D(1).a

    was = [100, 200, 100, 100, 100, 100]
    now = [10, 20, 10, 10, 100, 100]
    follows(running, see, (was, was[:5], 101, 100, 1), (now, now[:5], 11, 10, 1))


def test_objects_of_a_data_class_keep_what_they_took_and_it_is_said(releases):
    running = releases({"m.py": DATA}, {"m.py": DATA.replace("100", "10")})
    held = running["m"].C()
    fix = running.build()
    said = [f.target for f in livepatch.check(fix).findings if f.code == "objects-keep-old"]
    assert said == [f"{running.name}.m:C.limit"]
    assert held.limit == 100


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda m: m.C.__init__.__setattr__("__defaults__", (5, 7, 6)), "value-differs-from-before"),
        (lambda m: m.C.__dataclass_fields__["limit"].__setattr__("default", 7), "value-differs-from-before"),
        (lambda m: setattr(m.C, "__init__", lambda self, *args: None), "fields-changed"),
    ],
)
def test_a_data_class_that_others_have_changed_is_refused(releases, change, code):
    running = releases({"m.py": DATA}, {"m.py": DATA.replace("100", "10")})
    change(running["m"])
    assert code in [finding.code for finding in livepatch.check(running.build()).errors]


# Caches

CACHES = """
import functools
def g(x): return x + 100
def mid(x): return g(x)
@functools.lru_cache
def direct(x): return mid(x)
class C:
  @functools.lru_cache(maxsize=None)
  def method(self, x): return self.inner(x)
  def inner(self, x): return mid(x)
  @functools.cached_property
  def answer(self): return self.inner(0)
  @functools.cached_property
  def other(self):
    g(1)
    return object()
  @staticmethod
  @functools.cache
  def static(x): return mid(x)
class D:
  def __init__(self): self.v = g(0)
@functools.cache
def made(): return D().v
bound = functools.lru_cache(mid)
sized = functools.lru_cache(maxsize=3)(g)
@functools.cache
def untouched(): return object()
ONE = C()
"""


def test_caches_of_what_calls_a_changed_function(releases):
    files = {
        "m.py": CACHES,
        "n.py": "import functools\nfrom PKG import m\n@functools.cache\ndef far(): return m.mid(0)\n",
    }
    running = releases(files, {"m.py": CACHES.replace("x + 100", "x + 10")})
    m, n = running["m"], running["n"]

    def answers(_):
        one = m.ONE
        return {
            m.direct(0),
            one.method(0),
            one.answer,
            m.C.static(0),
            m.made(),
            m.bound(0),
            m.sized(0),
            n.far(),
        }

    kept = m.ONE.other, m.untouched()
    follows(running, answers, {100}, {10})
    assert kept == (m.ONE.other, m.untouched())


# What objects took when they were made

TOOK = """
import re
LIMIT = 1000
RULES = ['a', 'b']
class C:
  def __init__(self, given=None):
    self.limit = LIMIT
    self.rules = list(RULES)
    self.both = [LIMIT, {'x': LIMIT}]
    self.verify = False
    self.given = given or LIMIT
class D(C):
  def __init__(self):
    super().__init__()
    self.more = 1
class E(C):
  def __init__(self):
    super().__init__()
    self.limit = 1000
class F(C):
  def __init__(self): self.limit, self.verify, self.rules, self.both, self.given = 1000, False, 0, 0, 0
class S:
  __slots__ = ('limit',)
  def __init__(self): self.limit = LIMIT
class P:
  def __init__(self): self.limit = LIMIT
  @property
  def limit(self): return self._limit
  @limit.setter
  def limit(self, value): self._limit = value
"""


def took(text=TOOK):
    new = (
        text.replace("LIMIT = 1000", "LIMIT = 10").replace("'a', 'b'", "'a'").replace("verify = False", "verify = True")
    )
    return {"m.py": text}, {"m.py": new}


def test_objects_get_what_new_ones_take(releases):
    running = releases(*took())
    m = running["m"]
    held = [m.C(), m.D(), m.S()]

    def see(_):
        return [(o.limit, *(getattr(o, name, None) for name in ("rules", "both", "verify", "given"))) for o in held]

    was = (1000, ["a", "b"], [1000, {"x": 1000}], False, 1000)
    now = (10, ["a"], [10, {"x": 10}], True, 1000)
    rules = held[0].rules
    follows(running, see, [was, was, (1000, None, None, None, None)], [now, now, (10, None, None, None, None)])
    assert held[0].rules is rules
    livepatch.apply(running.build())
    assert held[0].rules is not held[1].rules
    assert held[0].both[1] is not held[1].both[1]


def test_objects_that_have_it_from_elsewhere_keep_it(releases):
    running = releases(*took())
    m = running["m"]
    held = [m.C(), m.E(), m.F(), m.P()]
    held[0].limit = 7
    held[0].verify = True
    fix = running.build()
    said = {
        f.target.rpartition(":")[2]: int(f.found.split()[0])
        for f in livepatch.check(fix).findings
        if f.code == "objects-keep-old"
    }
    assert said == {"C.limit": 3, "C.rules": 1, "C.both": 1, "C.verify": 2, "C.given": 3, "P.limit": 1}
    livepatch.apply(fix)
    assert [each.limit for each in held] == [7, 1000, 1000, 1000]
    assert [each.verify for each in held[:3]] == [True, True, False]


def test_what_the_program_stores_meanwhile_stays(releases):
    running = releases(*took())
    one = running["m"].C()
    applied = livepatch.apply(running.build())
    one.limit = 5
    assert livepatch.verify().ok
    applied.mode = "off"
    applied.mode = "on"
    assert (one.limit, one.verify) == (5, True)
    applied.revert()
    assert (one.limit, one.verify) == (5, False)


def test_an_object_may_go_while_the_patch_is_applied(releases):
    running = releases(*took())
    held = [running["m"].C() for _ in range(100)]
    applied = livepatch.apply(running.build())
    assert {each.limit for each in held} == {10}
    del held[1:]
    applied.revert()
    assert held[0].limit == 1000


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("self.x = connect()", "self.x = connect(1)"),
        ("self.x = x", "self.x = x or 5"),
        ("self.x = x\n    if x: self.x = 1", "self.x = x\n    if x: self.x = 2"),
        ("y = x\n    self.x = y", "y = x\n    self.x = y * 2"),
        ("self.x = 1\n    self.x = x", "self.x = 2\n    self.x = x"),
    ],
)
def test_what_is_computed_from_arguments_or_calls_is_said(releases, was, now):
    text = f"def connect(n=0): return [n]\nclass C:\n  def __init__(self, x=3):\n    {was}\n"
    running = releases({"m.py": text}, {"m.py": text.replace(was, now)})
    fix = running.build()
    assert "objects-keep-old" not in [f.code for f in livepatch.check(fix).findings]
    one = running["m"].C()
    before = one.x
    assert [f.severity for f in livepatch.check(fix).findings if f.code == "objects-keep-old"] == ["warning"]
    livepatch.apply(fix)
    assert one.x is before


def test_another_default_of_a_parameter_that_objects_keep_is_said(releases):
    text = "class C:\n  def __init__(self, verify=False): self.verify = verify\n"
    running = releases({"m.py": text}, {"m.py": text.replace("False", "True")})
    one = running["m"].C()
    assert "objects-keep-old" in [f.code for f in livepatch.check(running.build()).findings]
    assert one.verify is False


# Names that are texts

BY_TEXT = {
    "getattr": "import PKG.low\nB = getattr(PKG.low, 'A')\nC = getattr(PKG.low.K, 'a', 3)",
    "getattr that is called": "from PKG import low\nB = getattr(low, 'g')()\ndef f(x=getattr(low, 'A')): return x\nC = f()",
    "a name that is computed": "import PKG.low as x\nn = 'A'\nB = getattr(x, n)\nC = [getattr(x, n) for n in ('A',)][0]",
    "vars": "from PKG import low\nB = vars(low)['A']\nC = {k: v for k, v in vars(low).items()}['A']",
    "__dict__": "from PKG import low\nB = low.__dict__['A']\nC = low.__dict__.get('A')",
    "attributes of a class": "from PKG.low import K\nn = 'a'\nB = getattr(K, n)\nC = dict(vars(K))['a']",
    "import_module": "import importlib\nlow = importlib.import_module('PKG.low')\nB = low.A\nC = low.g()",
    "import_module by another name": "from importlib import import_module as im\nB = im('PKG.low').A\nlow = im('.low', __package__)\nC = low.K.a",
    "import_module in a function": "def load():\n  import importlib\n  return importlib.import_module('PKG.low').A\nB = load()\nC = B",
    "__import__": "low = __import__('PKG.low', fromlist=['A'])\nB = low.A\nC = __import__('PKG').low.A",
    "sys.modules": "import sys\nimport PKG.low\nB = sys.modules['PKG.low'].A\nlow = sys.modules['PKG.low']\nC = low.A",
}


@pytest.mark.parametrize("name", BY_TEXT)
def test_a_name_that_is_a_text_is_followed(releases, name):
    running = releases({"low.py": NUMBERS, "m.py": BY_TEXT[name]}, {"low.py": NUMBERS.replace("100", "10")})
    follows(running, lambda r: (r["m"].B, r["m"].C), (100, 100), (10, 10))


@pytest.mark.parametrize(
    "text",
    [
        "globals().update({k: v for k, v in vars(low).items() if k.isupper()})",
        "globals().update(low.__dict__)",
        "for n in dir(low):\n  if n.isupper(): globals()[n] = getattr(low, n)",
    ],
)
def test_names_that_nobody_can_follow_refuse_the_patch(releases, text):
    running = releases(
        {"low.py": NUMBERS, "m.py": f"from PKG import low\n{text}\n"}, {"low.py": NUMBERS.replace("100", "10")}
    )
    assert "module-effect-changed" in [finding.code for finding in livepatch.check(running.build()).errors]


def test_a_source_with_a_very_long_word_is_searched_in_time():
    source = b"from a import low as x\nA = vars(x)\nB = other.__dict__\nC = '" + b"0a" * 500_000 + b"'\n"
    began = time.perf_counter()
    assert spaces_in(source) == {"x", "low", "other"}
    assert time.perf_counter() - began < 10  # seconds; going through it again from each digit takes hours


MOVED = """\
class U:
    def __init__(self, u): self.u = u.u if isinstance(u, U) else u
    def get(self): return self.u{}
"""


@pytest.mark.parametrize("there", [None, "X = 1\n"], ids=["new", "old"])
def test_a_class_that_moves_to_another_module_stays_one_class(releases, there):
    after = "def f(u): return isinstance(u, U)\nclass W(U): pass\n"
    old = {"m.py": MOVED.format("") + after}
    new = {"m.py": f"from PKG.b import U, V\n{after}", "b.py": MOVED.format(".strip()") + "class V(U): pass\n"}
    if there is not None:
        old["b.py"] = there
        new["b.py"] += there
    running = releases(old, new)
    m = running["m"]
    cls, held = m.U, [m.U(" a"), m.W(" a")]

    def see(m):
        return [(m.U(each).get(), each.get(), m.f(each), m.f(m.U("b"))) for each in held]

    before = running.picture()
    applied = livepatch.apply(running.build())
    assert see(m) == [("a", "a", True, True)] * 2
    assert m.U is cls is cls.get.__globals__["U"]
    assert isinstance(m.V(held[0]), cls)
    applied.revert()
    assert see(m) == [(" a", " a", True, True)] * 2
    assert not running.differences(before, running.picture())


def test_a_new_module_has_all_that_its_star_imports_and_native_code_give(releases):
    error = "class Bad(Exception): pass\nclass Other(Bad): pass\n"
    check = "from .error import *\ndef check(x):\n  if x > 9: raise Bad(x)\n  return x\n"
    check += "import time\ndef when(text): return {'year': time.strptime(text, '%Y').tm_year}\n"
    now = "from . import check\ndef f(x): return check.check(x)\n"
    running = releases({"m.py": "def f(x): return x\n"}, {"m.py": now, "check.py": check, "error.py": error})
    applied = livepatch.apply(running.build())
    assert running["m"].f(3) == 3
    with pytest.raises(Exception, match="50") as caught:
        running["m"].f(50)
    assert type(caught.value).__name__ == "Bad"
    assert running["m"].check.when("2026")["year"] == 2026
    applied.revert()
    assert running["m"].f(50) == 50
