"""A patch built from two releases, in a process that runs the older: what changes is live, and reverts exactly."""
# ruff: noqa: E501  # the sources of small packages, each on a line of its own

from __future__ import annotations

import functools
import importlib.metadata
import sys

import pytest
from tests.built import Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    return functools.partial(Running, tmp_path, monkeypatch)


class Case:
    """One change: the sources of both releases, and what a test of ours sees before and after."""

    def __init__(self, name, old, new, see, was, now):
        self.name, self.old, self.new, self.see, self.was, self.now = name, old, new, see, was, now


def mod(text):
    return {"m.py": text}


LAZY = """
empty = object()
class Lazy:
    def __init__(self, make):
        self._make = make
        self._made = empty
    def get(self):
        if self._made is empty:
            self._made = self._make()
        return self._made
"""

BY_CALL = """
def with_metaclass(meta, *bases):
    class metaclass(type):
        def __new__(cls, name, this_bases, d):
            return meta(name, bases, d)
    return type.__new__(metaclass, "temporary_class", (), {})
class Meta(type):
    def __new__(m, name, bases, ns):
        return super().__new__(m, name, bases, {**ns, "tag": TAG})
TAG = 1
class Base(with_metaclass(Meta, object)): pass
class D(Base): pass
d = D()
"""

REGISTERING = """
class Registry:
    def register(self, key):
        from PKG.m import Set
        setattr(Set, key, 'v')
        setattr(Set, 'get_' + key, lambda self, x=None: key)
    def fill(self):
        for key in ['json']: self.register(key)
registry = Registry()
"""

CASES = [
    Case("body", mod("def f(): return 1"), mod("def f(): return 2"), lambda m: m["m"].f(), 1, 2),
    Case(
        "default",
        mod("def f(x=1, *, y=2): return x, y"),
        mod("def f(x=10, *, y=2): return x, y"),
        lambda m: (m["m"].f(), m["m"].f.__kwdefaults__),
        ((1, 2), {"y": 2}),
        ((10, 2), {"y": 2}),
    ),
    Case(
        "new parameter",
        mod("def f(x): return x"),
        mod("def f(x, most=4): return min(x, most)"),
        lambda m: m["m"].f(9),
        9,
        4,
    ),
    Case(
        "default beside a name that its class binds below",
        mod(
            "class Row:\n    def __init__(self, row=list(), tags=()): self.row = row\n    @property\n    def list(self): return 1"
        ),
        mod(
            "class Row:\n    def __init__(self, row=list('a'), tags=()): self.row = row\n    @property\n    def list(self): return 1"
        ),
        lambda m: m["m"].Row().row,
        [],
        ["a"],
    ),
    Case(
        "metaclass that a base of a call brings",
        mod(BY_CALL),
        mod(BY_CALL.replace("= 1", "= 2")),
        lambda m: (m["m"].Base.tag, m["m"].D.tag, m["m"].d.tag),
        (1, 1, 1),
        (2, 2, 2),
    ),
    Case(
        "names that a loop sets attributes of",
        mod("def f(): return 1\n_here = locals()\nfor _n in ['f']:\n    setattr(_here[_n], '__module__', 'PKG')"),
        mod("def f(): return 2\n_here = locals()\nfor _n in ['f']:\n    setattr(_here[_n], '__module__', 'PKG')"),
        lambda m: m["m"].f(),
        1,
        2,
    ),
    Case(
        "a new package of modules that import each other",
        mod("def f(): return 1"),
        {
            "m.py": "from PKG.sub import one\ndef f(): return one.g()",
            "sub/__init__.py": "",
            "sub/one.py": "from . import two\nfrom PKG.sub.two import Field, KINDS\ndef g(): return two.h(), Field.size, list(KINDS)",
            "sub/two.py": (
                "class of_class(property):\n    def __get__(self, obj, cls): return self.fget(cls)\nKINDS = {}\n"
                "class Field:\n    size = of_class(lambda cls: h())\nKINDS['a'] = Field\ndef h(): return 2"
            ),
        },
        lambda m: m["m"].f(),
        1,
        (2, 2, ["a"]),
    ),
    Case(
        "an import from a new package, and what other modules have of the function that changes",
        {"m.py": "class C: pass\ndef f(): return 1", "n.py": "from PKG.m import C, f"},
        {
            "m.py": "from PKG.sub import one\ndef deco(c):\n    c.x = one.X\n    return c\n@deco\nclass C: pass\ndef f(): return C.x",
            "n.py": "from PKG.m import C, f",
            "sub/__init__.py": "",
            "sub/one.py": "X = 3",
        },
        lambda m: (m["m"].f(), getattr(m["n"].C, "x", None)),
        (1, None),
        (3, 3),
    ),
    Case(
        "attributes that a function sets on classes of another module, under computed names",
        {"reg.py": REGISTERING, "m.py": "from PKG.reg import registry\nclass Set: pass\nregistry.fill()"},
        {
            "reg.py": REGISTERING.replace("['json']", "['json', 'html']").replace("'v'", "'w'"),
            "m.py": (
                "from PKG.reg import registry\nclass Set:\n    def more(self): return self.most\n    most = 4\n"
                "registry.fill()"
            ),
        },
        lambda m: (m["m"].Set.json, getattr(m["m"].Set, "html", None), getattr(m["m"].Set(), "get_html", len)("ab")),
        ("v", None, 2),
        ("w", "w", "html"),
    ),
    Case(
        "a default of one definition that comes from another of that name",
        mod("def f(): return 1\nD = [f()]\ndef f(x=0, *, y=D): return x, list(y)"),
        mod("def f(): return 2\nD = [f()]\ndef f(x=0, *, y=D): return x, list(y)"),
        lambda m: m["m"].f(),
        (0, [1]),
        (0, [2]),
    ),
    Case(
        "a plain default of one definition that comes from another of that name",
        mod("def f(): return 1\nD = str(f())\ndef f(x=0, *, y=D): return x, y"),
        mod("def f(): return 2\nD = str(f())\ndef f(x=0, *, y=D): return x, y"),
        lambda m: m["m"].f(),
        (0, "1"),
        (0, "2"),
    ),
    Case(
        "constant that a coroutine gave",
        mod("import asyncio\nasync def g(): return 1\nasync def f(): return [await g()]\nA = asyncio.run(f())"),
        mod("import asyncio\nasync def g(): return 2\nasync def f(): return [await g()]\nA = asyncio.run(f())"),
        lambda m: list(m["m"].A),
        [1],
        [2],
    ),
    Case("constant", mod("A = 1\ndef f(): return A"), mod("A = 2\ndef f(): return A"), lambda m: m["m"].f(), 1, 2),
    Case(
        "constant computed from a changed one",
        mod("A = 7\nB = A * 2\nC = [A, B]"),
        mod("A = 8\nB = A * 2\nC = [A, B]"),
        lambda m: (m["m"].A, m["m"].B, m["m"].C),
        (7, 14, [7, 14]),
        (8, 16, [8, 16]),
    ),
    Case(
        "constant of another module",
        {"low.py": "LIMIT = 3000", "m.py": "from PKG.low import LIMIT\nTWICE = LIMIT * 2\ndef f(x=LIMIT): return x"},
        {"low.py": "LIMIT = 50"},
        lambda m: (m["m"].LIMIT, m["m"].TWICE, m["m"].f()),
        (3000, 6000, 3000),
        (50, 100, 50),
    ),
    Case(
        "regex",
        mod("import re\nR = re.compile('a+')\nclass C:\n  R = R\n  S = re.compile('x')"),
        mod("import re\nR = re.compile('b+')\nclass C:\n  R = R\n  S = re.compile('y')"),
        lambda m: (m["m"].R.pattern, m["m"].C.R.pattern, m["m"].C.S.pattern),
        ("a+", "a+", "x"),
        ("b+", "b+", "y"),
    ),
    Case(
        "value in many places",
        mod(
            "NAMES = frozenset(['a'])\nclass C:\n  NAMES = NAMES\n  def __init__(self, names=NAMES): self.names = names\n"
            "DEFAULT = C()\nTABLE = {'names': NAMES}\nPAIR = (NAMES, 1)"
        ),
        mod(
            "NAMES = frozenset(['a', 'b'])\nclass C:\n  NAMES = NAMES\n"
            "  def __init__(self, names=NAMES): self.names = names\n"
            "DEFAULT = C()\nTABLE = {'names': NAMES}\nPAIR = (NAMES, 1)"
        ),
        lambda m: [
            sorted(v)
            for v in (
                m["m"].NAMES,
                m["m"].C.NAMES,
                m["m"].C().names,
                m["m"].DEFAULT.names,
                m["m"].TABLE["names"],
                m["m"].PAIR[0],
            )
        ],
        [["a"]] * 6,
        [["a", "b"]] * 6,
    ),
    Case(
        "entry of a shared dictionary",
        {"m.py": "RULES = {'a': 1, 'b': 2}", "n.py": "from PKG.m import RULES as HELD\nINDEX = [HELD]"},
        {"m.py": "RULES = {'a': 1, 'b': 3}"},
        lambda m: (m["n"].HELD, m["n"].INDEX[0], m["n"].HELD is m["m"].RULES),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 3}, {"a": 1, "b": 3}, True),
    ),
    Case(
        "entry in the middle of a dictionary",
        mod("RULES = {'a': 1, 'c': 2}"),
        mod("RULES = {'a': 1, 'b': 3, 'c': 2}"),
        lambda m: list(m["m"].RULES.items()),
        [("a", 1), ("c", 2)],
        [("a", 1), ("b", 3), ("c", 2)],
    ),
    Case(
        "a table that a loop fills",
        mod("LIMITS = [('a', 1), ('b', 2)]\nTABLE = {}\nfor name, value in LIMITS:\n    TABLE[name] = value * 10"),
        mod("LIMITS = [('a', 1), ('b', 5)]\nTABLE = {}\nfor name, value in LIMITS:\n    TABLE[name] = value * 10"),
        lambda m: m["m"].TABLE,
        {"a": 10, "b": 20},
        {"a": 10, "b": 50},
    ),
    Case(
        "a table that a decorator fills",
        mod(
            "TABLE = {}\ndef rule(name, most):\n  def put(f):\n    TABLE[name] = (f, most)\n    return f\n  return put\n"
            "MOST = 900\n@rule('x', MOST)\ndef check(v): return v"
        ),
        mod(
            "TABLE = {}\ndef rule(name, most):\n  def put(f):\n    TABLE[name] = (f, most)\n    return f\n  return put\n"
            "MOST = 300\n@rule('x', MOST)\ndef check(v): return v"
        ),
        lambda m: (m["m"].TABLE["x"][1], m["m"].TABLE["x"][0] is m["m"].check),
        (900, True),
        (300, True),
    ),
    Case(
        "a table that a metaclass fills",
        mod(
            "class Meta(type):\n  def __new__(mcs, name, bases, ns):\n    cls = super().__new__(mcs, name, bases, ns)\n"
            "    cls.fields = {k: v for k, v in ns.items() if isinstance(v, int)}\n    return cls\n"
            "class C(metaclass=Meta):\n  size = 4000\n  other = 2"
        ),
        mod(
            "class Meta(type):\n  def __new__(mcs, name, bases, ns):\n    cls = super().__new__(mcs, name, bases, ns)\n"
            "    cls.fields = {k: v for k, v in ns.items() if isinstance(v, int)}\n    return cls\n"
            "class C(metaclass=Meta):\n  size = 100\n  other = 2"
        ),
        lambda m: (m["m"].C.size, m["m"].C.fields["size"]),
        (4000, 4000),
        (100, 100),
    ),
    Case(
        "another function, class or object under a name",
        mod(
            "def a(x): return 1\ndef b(x): return 2\nclass E(ValueError): code = 1\nclass F(ValueError): code = 2\nONE = [1]\nTWO = [2]\nV = a\nW = E\nX = ONE"
        ),
        mod(
            "def a(x): return 1\ndef b(x): return 2\nclass E(ValueError): code = 1\nclass F(ValueError): code = 2\nONE = [1]\nTWO = [2]\nV = b\nW = F\nX = TWO"
        ),
        lambda m: (
            m["m"].a(0),
            m["m"].V(0),
            m["m"].E.code,
            m["m"].W.code,
            m["m"].ONE,
            m["m"].X,
            m["m"].X is m["m"].TWO,
        ),
        (1, 1, 1, 1, [1], [1], False),
        (1, 2, 1, 2, [1], [2], True),
    ),
    Case(
        "a value that an object computes when it is first asked",
        mod(LAZY + "R = Lazy(lambda text='a+': text)"),
        mod(LAZY + "R = Lazy(lambda text='b+': text)"),
        lambda m: m["m"].R.get(),
        "a+",
        "b+",
    ),
    Case(
        "an answer that a cached property keeps",
        mod(
            "import functools\nclass C:\n  def __init__(self, n): self.n = n\n  @functools.cached_property\n  def twice(self): return self.n * 2\nN = 300\nONE = C(N)"
        ),
        mod(
            "import functools\nclass C:\n  def __init__(self, n): self.n = n\n  @functools.cached_property\n  def twice(self): return self.n * 2\nN = 400\nONE = C(N)"
        ),
        lambda m: m["m"].ONE.twice,
        600,
        800,
    ),
    Case(
        "a method of a pattern",
        mod("import re\nclass C:\n  clean = re.compile('a').sub\ndef f(s): return C.clean('', s)"),
        mod("import re\nclass C:\n  clean = re.compile('b').sub\ndef f(s): return C.clean('', s)"),
        lambda m: m["m"].f("abc"),
        "bc",
        "ac",
    ),
    Case(
        "closures in a registry",
        mod("def make(n):\n  def check(x): return x > n\n  return check\nCHECKS = {'a': make(5)}"),
        mod("def make(n):\n  def check(x): return x >= n\n  return check\nCHECKS = {'a': make(5)}"),
        lambda m: m["m"].CHECKS["a"](5),
        False,
        True,
    ),
    Case(
        "what a closure has given",
        mod("def make(n):\n  def inner(): return n, 1\n  return inner\ngive = make(3)\nGIVEN = give()"),
        mod("def make(n):\n  def inner(): return n, 2\n  return inner\ngive = make(3)\nGIVEN = give()"),
        lambda m: (m["m"].GIVEN, m["m"].give()),
        ((3, 1), (3, 1)),
        ((3, 2), (3, 2)),
    ),
    Case(
        "closures with another value",
        mod("LIMIT = 5\ndef make(n):\n  def check(x): return x > n\n  return check\nCHECKS = {'a': make(LIMIT)}"),
        mod("LIMIT = 3\ndef make(n):\n  def check(x): return x > n\n  return check\nCHECKS = {'a': make(LIMIT)}"),
        lambda m: m["m"].CHECKS["a"](4),
        False,
        True,
    ),
    Case(
        "closures with another parameter",
        mod("def make(n):\n  def check(x): return x > n\n  return check\nCHECKS = {'a': make(5)}"),
        mod("def make(n):\n  def check(x, by=1): return x + by > n\n  return check\nCHECKS = {'a': make(5)}"),
        lambda m: m["m"].CHECKS["a"](5),
        False,
        True,
    ),
    Case(
        "new function, class, exception and import",
        mod("def f(x): return x"),
        mod(
            "import math\nclass TooMuch(ValueError):\n  code = math.floor(4.7)\ndef _check(x):\n"
            "  if x > TooMuch.code: raise TooMuch(x)\ndef f(x):\n  try: _check(x)\n  except TooMuch: return 'refused'\n  return x"
        ),
        lambda m: m["m"].f(9),
        9,
        "refused",
    ),
    Case(
        "methods",
        mod(
            "class C:\n  def f(self): return 1\n  @property\n  def p(self): return 1\n  @p.setter\n  def p(self, v): self.v = v"
        ),
        mod(
            "class C:\n  def f(self): return self.g()\n  def g(self): return 2\n  @property\n  def p(self): return 1\n"
            "  @p.setter\n  def p(self, v): self.v = v * 2"
        ),
        lambda m: next((c.f(), setattr(c, "p", 4), c.v)[::2] for c in [m["m"].C()]),
        (1, 4),
        (2, 8),
    ),
    Case(
        "private names and super",
        mod("class B:\n  def f(self): return 1\nclass C(B):\n  __x = 5\n  def f(self): return self.__x"),
        mod(
            "class B:\n  def f(self): return 1\nclass C(B):\n  __x = 6\n  def f(self): return self.__x + super().f() + self.__g()\n"
            "  def __g(self): return super().f()"
        ),
        lambda m: m["m"].C().f(),
        5,
        8,
    ),
    Case(
        "static method to class method",
        mod("class C:\n  N = 3\n  @staticmethod\n  def f(x): return x"),
        mod("class C:\n  N = 3\n  @classmethod\n  def f(cls, x): return x + cls.N"),
        lambda m: (m["m"].C.f(1), m["m"].C().f(1)),
        (1, 1),
        (4, 4),
    ),
    Case(
        "cached function to a plain one",
        mod("import functools\n@functools.lru_cache(None)\ndef f(x): return [x]"),
        mod("import functools\ndef f(x): return [x]"),
        lambda m: m["m"].f(1) is m["m"].f(1),
        True,
        False,
    ),
    Case(
        "attribute to property",
        mod("class C:\n  size = 5"),
        mod("class C:\n  @property\n  def size(self): return 6"),
        lambda m: m["m"].C().size,
        5,
        6,
    ),
    Case(
        "mix-in among the bases",
        mod("class B:\n  def f(self): return 'b'\nclass C(B):\n  pass"),
        mod(
            "class B:\n  def f(self): return 'b'\nclass Mixin:\n  def f(self): return 'm' + super().f()\nclass C(Mixin, B):\n  pass"
        ),
        lambda m: m["m"].C().f(),
        "b",
        "mb",
    ),
    Case(
        "function to class",
        {"m.py": "def make(x): return ('f', x)", "n.py": "from PKG.m import make\ndef use(x): return make(x)"},
        {
            "m.py": "class make:\n  def __init__(self, x): self.x = x\n  def __eq__(self, o): return o == ('c', self.x)\n  __hash__ = None"
        },
        lambda m: m["n"].use(1) == ("f", 1),
        True,
        False,
    ),
    Case(
        "an override that goes",
        mod("class B:\n  def f(self): return 'b'\nclass C(B):\n  def f(self): return 'c'"),
        mod("class B:\n  def f(self): return 'b'\nclass C(B):\n  pass"),
        lambda m: m["m"].C().f(),
        "c",
        "b",
    ),
    Case(
        "a module that is new",
        mod("def f(x): return x"),
        {
            "m.py": "from PKG.limits import clamp\ndef f(x): return clamp(x)",
            "limits.py": "MOST = 3\ndef clamp(x): return min(x, MOST)",
        },
        lambda m: m["m"].f(9),
        9,
        3,
    ),
    Case(
        "async and generators",
        mod("def g():\n  yield 1\nasync def a(): return 1"),
        mod("def g():\n  yield 2\nasync def a(): return 2"),
        lambda m: (list(m["m"].g()), pytest.importorskip("asyncio").run(m["m"].a())),
        ([1], 1),
        ([2], 2),
    ),
    Case(
        "a text that is filled in from the namespace",
        mod(
            "A = 'x+'\nB = '(%(A)s)' % locals()\nclass C:\n  P = 'a'\n  Q = '{P}!'.format(**vars())\nE = eval('A * 2')"
        ),
        mod(
            "A = 'y+'\nB = '(%(A)s)' % locals()\nclass C:\n  P = 'b'\n  Q = '{P}!'.format(**vars())\nE = eval('A * 2')"
        ),
        lambda m: (m["m"].B, m["m"].C.Q, m["m"].E),
        ("(x+)", "a!", "x+x+"),
        ("(y+)", "b!", "y+y+"),
    ),
    Case(
        "a default that reads a name which is bound again",
        mod("A = 300\ndef f(x=A): return x\nB = A\nA = 0\n_C = 1\ndef g(x=_C): return x\ndel _C"),
        mod("A = 400\ndef f(x=A): return x\nB = A\nA = 0\n_C = 2\ndef g(x=_C): return x\ndel _C"),
        lambda m: (m["m"].f(), m["m"].g(), m["m"].A, m["m"].B),
        (300, 1, 0, 300),
        (400, 2, 0, 400),
    ),
    Case(
        "a table made with a name that is deleted",
        mod("N = 2\nhelp = N * 2\nT = []\nfor one in range(help):\n  T.append(one)\ndel help"),
        mod("N = 1\nhelp = N * 2\nT = []\nfor one in range(help):\n  T.append(one)\ndel help"),
        lambda m: m["m"].T,
        [0, 1, 2, 3],
        [0, 1],
    ),
    Case(
        "a default that is a shared dictionary",
        mod("A = {'a': 1}\ndef f(x=A): return x"),
        mod("A = {'a': 2}\ndef f(x=A): return x"),
        lambda m: (m["m"].A, m["m"].f() is m["m"].A),
        ({"a": 1}, True),
        ({"a": 2}, True),
    ),
    Case(
        "what a closure has given",
        mod(
            "def make(v):\n  def inner(): return v, 1\n  return inner\nF = make(3)\nX = F()\n@make\ndef g(): pass\nY = g()[1]"
        ),
        mod(
            "def make(v):\n  def inner(): return v, 2\n  return inner\nF = make(3)\nX = F()\n@make\ndef g(): pass\nY = g()[1]"
        ),
        lambda m: (m["m"].F(), m["m"].X, m["m"].g()[1], m["m"].Y),
        ((3, 1), (3, 1), 1, 1),
        ((3, 2), (3, 2), 2, 2),
    ),
    Case(
        "a registry that an assignment fills",
        mod(
            "ALL = {}\ndef field(name, most):\n  ALL[name] = most\n  return name\nA = field('a', 1)\nB = field('b', 2)"
        ),
        mod(
            "ALL = {}\ndef field(name, most):\n  ALL[name] = most\n  return name\nA = field('a', 5)\nB = field('b', 2)"
        ),
        lambda m: m["m"].ALL,
        {"a": 1, "b": 2},
        {"a": 5, "b": 2},
    ),
    Case(
        "one of two definitions",
        mod("import sys\nif sys.version_info >= (3,):\n  def f(): return 1\nelse:\n  def f(): return 0"),
        mod("import sys\nif sys.version_info >= (3,):\n  def f(): return 2\nelse:\n  def f(): return 0"),
        lambda m: m["m"].f(),
        1,
        2,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_changes_is_live_and_reverts_to_the_very_objects(releases, case):
    running = releases(case.old, case.new)
    assert case.see(running) == case.was
    fix = running.build()
    before = running.picture()
    report = livepatch.check(fix)
    assert report.ok, str(report)
    assert running.differences(before, running.picture()) == []
    assert case.see(running) == case.was
    applied = livepatch.apply(fix)
    assert case.see(running) == case.now
    assert livepatch.verify()
    applied.mode = "off"
    assert case.see(running) == case.was
    applied.mode = "on"
    assert case.see(running) == case.now
    applied.revert()
    assert running.differences(before, running.picture()) == []
    assert case.see(running) == case.was


OBJECTS = [
    Case(
        "an attribute of its own",
        mod("class C:\n  def __init__(self): self.a = 1\n  def f(self): return self.a"),
        mod(
            "class C:\n  def __init__(self):\n    self.a = 1\n    self.seen = []\n  def f(self):\n    self.seen.append(1)\n    return len(self.seen)"
        ),
        lambda c: c.f(),
        [1, 1],
        [1, 2],
    ),
    Case(
        "an attribute computed from another",
        mod("class C:\n  def __init__(self): self.a = [1, 2]\n  def f(self): return len(self.a)"),
        mod(
            "class C:\n  def __init__(self):\n    self.a = [1, 2]\n    self.most = len(self.a) * 4\n  def f(self): return self.most"
        ),
        lambda c: c.f(),
        [2, 2],
        [8, 8],
    ),
    Case(
        "a shared attribute",
        mod("class C:\n  def __init__(self): self.a = 1\n  def f(self): return self.a"),
        mod(
            "MOST = 7\nclass C:\n  def __init__(self, most=MOST):\n    self.a = 1\n    self.most = most\n  def f(self): return self.most"
        ),
        lambda c: c.f(),
        [1, 1],
        [7, 7],
    ),
]


@pytest.mark.parametrize("case", OBJECTS, ids=lambda case: case.name)
def test_objects_that_exist_get_the_attributes_that_only_the_new_init_sets(releases, case):
    running = releases(case.old, case.new)
    old = running["m"].C()
    assert [case.see(old), case.see(old)] == case.was
    with_fix = livepatch.apply(running.build())
    assert [case.see(old), case.see(old)] == case.now
    new = running["m"].C()
    assert [case.see(new), case.see(new)] == case.now
    with_fix.revert()
    assert [case.see(old), case.see(running["m"].C())] == case.was
    assert vars(old).keys() == {"a"}


PARSER = """
class Headers:
    def __init__(self, most): self.most = most

class Payload:
    def __init__(self, size%s):
        self.size = size%s
    def feed(self, n): return %s

class Parser:
    def __init__(self):
        self._headers = Headers(7)
        self._payload = None
    def start(self):
        payload = Payload(3%s)
        if payload.size:
            self._payload = payload
        return payload
"""


def test_objects_get_what_the_object_that_made_and_keeps_them_has(releases):
    old = mod(PARSER % ("", "", "n", ""))
    new = mod(
        PARSER
        % (", *, headers", "\n        self._headers = headers", "min(n, self._headers.most)", ", headers=self._headers")
    )
    running = releases(old, new)
    parser = running["m"].Parser()
    payload = parser.start()
    fix = running.build()
    before = vars(payload).copy()
    applied = livepatch.apply(fix)
    assert payload.feed(100) == 7
    assert payload._headers is parser._headers
    assert running["m"].Parser().start().feed(100) == 7
    applied.revert()
    assert (payload.feed(100), vars(payload)) == (100, before)
    lost = running["m"].Payload(3)
    report = livepatch.check(fix)
    assert [finding.code for finding in report.errors] == ["attribute-unknown"]
    assert "nothing keeps them" in report.errors[0].found
    assert lost.feed(100) == 100


REFUSED = [
    (
        "an attribute that nothing tells",
        mod("class C:\n  def __init__(self, a): self.a = a\n  def f(self): return self.a\nHELD = [C(1)]"),
        mod(
            "class C:\n  def __init__(self, a, b):\n    self.a = a\n    self.b = b\n  def f(self): return self.b\nHELD = [C(1, 2)]"
        ),
        {"attribute-unknown"},
    ),
    (
        "an attribute of another kind",
        mod("class C:\n  def __init__(self): self.skip = 0\n  def f(self): return self.skip + 1\nHELD = [C()]"),
        mod("class C:\n  def __init__(self): self.skip = b''\n  def f(self): return self.skip + b'1'\nHELD = [C()]"),
        {"attribute-unknown"},
    ),
    (
        "an attribute that another method sets",
        mod("class C:\n  def start(self): pass\n  def stop(self): return 1\nHELD = [C()]"),
        mod("class C:\n  def start(self): self.n = 1\n  def stop(self): return self.n\nHELD = [C()]"),
        {"attribute-unknown"},
    ),
    (
        "one of two definitions that are alike",
        mod("def f(x=1): return x\ndef f(x=2): return x"),
        mod("def f(x=5): return x\ndef f(x=2): return x"),
        {"definitions-alike"},
    ),
    (
        "slots",
        mod("class C:\n  __slots__ = ('a',)\n  def f(self): return 1"),
        mod("class C:\n  __slots__ = ('a', 'b')\n  def f(self): return 2"),
        {"slots-changed"},
    ),
    (
        "an effect",
        mod("import atexit\ndef f(): return 1\natexit.register(print, 'a')"),
        mod("import atexit\ndef f(): return 2\natexit.register(print, 'b')"),
        {"module-effect-changed"},
    ),
    (
        "a closure that lacks a variable",
        mod(
            "def make(n):\n  k = n\n  def check(x): return x > n\n  return check\nHELD = [make(3)]\ndef f(): return HELD[0](4)"
        ),
        mod(
            "def make(n):\n  k = n\n  def check(x): return x > n + k\n  return check\nHELD = [make(3)]\ndef f(): return HELD[0](4)"
        ),
        {"closures-unreached"},
    ),
]


@pytest.mark.parametrize(("old", "new", "codes"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_done_live_is_refused_and_nothing_has_changed(releases, old, new, codes):
    running = releases(old, new)
    fix = running.build()
    before = running.picture()
    report = livepatch.check(fix)
    assert {finding.code for finding in report.errors} == codes
    assert all(finding.action for finding in report.errors)
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(fix)
    assert running.differences(before, running.picture()) == []


def test_tables_that_objects_fill_for_themselves_are_emptied(releases):
    text = (
        "class Scanner:\n  def __init__(self, rule): self.rules = [[rule]]\n"
        "class Parser:\n  RULE = '(a+)+b'\n  def __init__(self): self._kept = {}\n"
        "  def scanner(self, key):\n    found = self._kept.get(key)\n    if found: return found\n"
        "    found = Scanner(self.RULE)\n    self._kept[key] = found\n    return found\n"
    )
    running = releases(mod(text), mod(text.replace("(a+)+b", "a+b")))
    parser = running["m"].Parser()
    assert parser.scanner(1).rules == [["(a+)+b"]]
    table = parser._kept
    applied = livepatch.apply(running.build())
    assert parser.scanner(1).rules == [["a+b"]]
    applied.revert()
    assert parser.scanner(1).rules == [["(a+)+b"]]
    assert parser._kept is table
    held = [parser.scanner(1)]
    assert [f.code for f in livepatch.check(running.build()).errors] == ["old-value-held"]
    held.clear()


def test_plain_values_that_others_imported_follow(releases, tmp_path, monkeypatch):
    running = releases(
        mod("LIMIT = 3000\nTEXT = 'a b'\ndef f(): return LIMIT"), mod("LIMIT = 50\nTEXT = 'c d'\ndef f(): return LIMIT")
    )
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "other_package.py").write_text(f"from {running.name}.m import LIMIT, TEXT as WORDS\n")
    monkeypatch.syspath_prepend(str(tmp_path / "others"))
    import other_package

    monkeypatch.delitem(sys.modules, "other_package")
    monkeypatch.setitem(sys.modules, "other_package", other_package)
    applied = livepatch.apply(running.build())
    assert (other_package.LIMIT, other_package.WORDS) == (50, "c d")
    applied.revert()
    assert (other_package.LIMIT, other_package.WORDS) == (3000, "a b")


def test_a_registry_that_a_metaclass_fills_is_as_before_after_a_refusal(releases):
    text = "SEEN = []\nBY = {}\nclass Meta(type):\n  def __init__(cls, *a):\n    SEEN.append(cls)\n    BY[cls.__name__] = cls\nN = 5000\nclass C(metaclass=Meta):\n  size = N"
    running = releases(mod(text), mod(text.replace("5000", "6000")))
    before = list(running["m"].SEEN), dict(running["m"].BY)
    livepatch.check(running.build())
    assert (running["m"].SEEN, running["m"].BY) == before


def test_statements_are_run_only_in_the_release_that_they_are_for(releases, monkeypatch):
    import os

    text = "import os\ndef note(v): os.environ['LIVEPATCH_SEEN'] = v\n    \nA = 'x'\nB = note(A)"
    running = releases(mod(text), mod(text.replace("'x'", "'y'")))
    monkeypatch.setenv("LIVEPATCH_SEEN", "before")
    report = livepatch.check(running.build(versions="==9.9"))
    assert "version-out-of-range" in {finding.code for finding in report.errors}
    assert os.environ["LIVEPATCH_SEEN"] == "before"


def test_a_statement_that_writes_a_file_is_not_run(releases, tmp_path):
    log = tmp_path / "one.log"
    text = f"PATH = {str(log)!r}\nLOG = open(PATH, 'a')"
    running = releases(mod(text), mod(text.replace("one.log", "two.log")))
    running["m"].LOG.close()
    report = livepatch.check(running.build())
    assert not report.ok
    assert not (tmp_path / "two.log").exists()


def test_an_object_that_keeps_the_old_value_refuses_the_patch(releases):
    init = "def __init__(self, rule=None): self.rules = [[1, rule or RULE]]"
    text = f"RULE = '(a+)+b'\nclass Scanner:\n  {init}\ndef f(): return RULE"
    running = releases(mod(text), mod(text.replace("(a+)+b", "a+b")))
    fix = running.build()
    held = running["m"].Scanner()
    report = livepatch.check(fix)
    assert [finding.code for finding in report.errors] == ["old-value-held"]
    assert "Scanner" in report.errors[0].found
    del held
    livepatch.apply(fix).revert()
    assert running["m"].f() == "(a+)+b"


OVERRIDE = (
    "class Base:\n  def f(self): return 'old'\n  @classmethod\n  def g(cls): return 'old'\nclass C(Base):\n  x = 1\n"
)
ADDED = "  def f(self): return 'new'\n  @classmethod\n  def g(cls): return 'new'\n"


def test_a_method_bound_before_does_not_see_an_override_that_is_added_and_refuses_the_patch(releases):
    running = releases(mod(OVERRIDE), mod(OVERRIDE + ADDED))
    fix = running.build()
    m = running["m"]
    sub = type("Sub", (m.C,), {})
    others = [m.Base().f, m.Base.g, type("Other", (m.Base,), {})().f]
    for bind in (lambda: m.C().f, lambda: sub().f, lambda: m.C.g, lambda: sub.g):
        held = bind()
        report = livepatch.check(fix)
        assert [finding.code for finding in report.errors] == ["old-value-held"]
        assert "bound" in report.errors[0].found
        assert held() == "old"
        del held
    applied = livepatch.apply(fix)
    assert (m.C().f(), sub.g(), [each() for each in others]) == ("new", "new", ["old"] * 3)
    applied.revert()
    assert m.C().f() == "old"


def test_a_method_bound_before_to_an_object_that_overrides_it_itself_is_in_nobodys_way(releases):
    running = releases(mod(OVERRIDE), mod(OVERRIDE + ADDED))
    sub = type("Sub", (running["m"].C,), {"f": lambda self: "own"})
    held = [sub().f, super(sub, sub()).f]
    assert [finding.code for finding in livepatch.check(running.build()).errors] == ["old-value-held"]
    held.pop()
    assert livepatch.check(running.build()).ok
    assert held[0]() == "own"


def test_code_that_is_not_the_before_side_refuses_the_whole_patch_and_names_the_line(releases):
    running = releases(
        mod("A = 1\ndef f(x):\n    if x > 3:\n        return 1\n    return 2\ndef g(): return 1"),
        mod("A = 1\ndef f(x):\n    return 0\ndef g(): return 2"),
    )
    fix = running.build()
    exec("def f(x):\n    if x > 4:\n        return 1\n    return 2\n", vars(running["m"]))
    report = livepatch.check(fix)
    assert not report.ok
    (finding,) = report.errors
    assert "if x > 3:" in finding.found + finding.expected
    assert running["m"].g() == 1


def test_a_value_that_the_process_has_changed_is_not_overwritten(releases):
    running = releases(mod("LIMIT = 100\ndef f(): return LIMIT"), mod("LIMIT = 10\ndef f(): return LIMIT"))
    fix = running.build()
    running["m"].LIMIT = 77
    report = livepatch.check(fix)
    assert {finding.code for finding in report.errors} == {"value-differs-from-before"}
    assert running["m"].f() == 77


def test_a_module_that_is_not_imported_is_left_out_and_said(releases):
    running = releases(
        {"m.py": "def f(): return 1", "n.py": "def g(): return 1"},
        {"m.py": "def f(): return 2", "n.py": "def g(): return 2"},
        "m",
    )
    report = livepatch.check(running.build())
    assert report.ok
    assert [f.target for f in report.findings if f.code == "not-in-process"] == [f"{running.name}.n"]


def test_what_the_release_lacks_stays_and_is_said_to(releases):
    old = "ALL = []\ndef enter(f):\n    ALL.append(f)\n    return f\nGONE = 3\nLIMIT = GONE * 2\n"
    running = releases(
        mod(f"{old}@enter\ndef a(): return 'a'\n@enter\ndef b(): return 'b'\n"),
        mod(old.replace("GONE = 3\nLIMIT = GONE * 2", "LIMIT = 4") + "@enter\ndef b(): return 'b'\n"),
    )
    m = running["m"]
    fix = running.build()
    verdicts = {entry.target.partition(":")[2]: entry.verdict for entry in fix.plan}
    assert verdicts == {"a": "left-out", "GONE": "left-out", "LIMIT": "taken", "ALL": "needed"}
    applied = livepatch.apply(fix)
    assert (m.LIMIT, m.GONE, m.a(), m.ALL) == (4, 3, "a", [m.b])
    applied.revert()
    assert (m.LIMIT, m.ALL) == (6, [m.a, m.b])


def test_a_module_that_was_imported_since_is_named_until_the_patch_is_applied_anew(releases):
    running = releases(
        {"m.py": "def f(): return 1", "n.py": "def g(): return 1"},
        {"m.py": "def f(): return 2", "n.py": "def g(): return 2"},
        "m",
    )
    fix = running.build()
    applied = livepatch.apply(fix)
    assert livepatch.verify().ok
    assert applied.status().left == ()
    late = running.import_("n")
    assert late.g() == 1
    assert applied.status().left == (f"{late.__name__}, which was imported after the patch went in",)
    verification = livepatch.verify()
    (finding,) = verification.findings
    assert (finding.code, finding.target, fix.id in finding.action) == ("imported-since", late.__name__, True)
    assert str(verification).startswith("1 module came later, without a patch\n")
    applied.mode = "off"
    assert livepatch.verify().ok
    applied.mode = "on"
    again = livepatch.apply(fix, replaces=[fix.id])
    assert (running["m"].f(), late.g()) == (2, 2)
    assert livepatch.verify().ok
    assert again.status().left == ()
    again.revert()
    assert livepatch.verify().ok


def test_a_module_with_an_obstacle_that_was_imported_since_is_named(releases):
    handler = "import signal\ndef g(): return 1\nsignal.signal(signal.SIGUSR1, signal.SIG_{})"
    running = releases(
        {"m.py": "def f(): return 1", "n.py": handler.format("DFL")},
        {"m.py": "def f(): return 2", "n.py": handler.format("IGN")},
        "m",
    )
    fix = running.build()
    assert {obstacle.target for obstacle in fix.obstacles} == {f"{running.name}.n"}
    applied = livepatch.apply(fix)
    assert [f.target for f in applied.report.findings if f.code == "not-in-process"] == [f"{running.name}.n"]
    running.import_("n")
    assert [finding.code for finding in livepatch.verify().findings] == ["imported-since"]


def test_a_cumulative_patch_replaces_the_one_before_in_one_step(releases, tmp_path):
    from tests.built import Release

    running = releases(mod("def f(): return 1\ndef g(): return 1"), mod("def f(): return 2\ndef g(): return 1"))
    first = livepatch.apply(running.build())
    newest = Release(tmp_path / "newest", running.name, "1.2", mod("def f(): return 3\ndef g(): return 3"))
    both = livepatch.build(running.old.root, newest.root, package=running.name)
    assert not livepatch.check(both).ok
    applied = livepatch.apply(both, replaces=[first.id])
    assert (running["m"].f(), running["m"].g()) == (3, 3)
    applied.revert()
    assert (running["m"].f(), running["m"].g()) == (1, 1)


def test_docstrings_comments_and_annotations_are_no_change(releases):
    running = releases(
        mod('def f(x):\n    """Old."""\n    return x\n'),
        mod('def f(x: int) -> int:\n    """New."""\n    # more\n    return x\n'),
    )
    assert running.build().edits == ()


def test_a_second_built_patch_goes_over_the_first(releases, tmp_path, monkeypatch):
    running = releases(mod("def f(): return 1\nA = 1"), mod("def f(): return 2\nA = 1"))
    first = livepatch.apply(running.build())
    (running.new.root / running.name / "m.py").write_text("def f(): return 3\nA = 1\n")
    third = tmp_path / "third"
    (running.new.root).rename(third)
    from tests.built import Release

    middle = Release(tmp_path / "middle", running.name, "1.0", mod("def f(): return 2\nA = 1"))
    second = livepatch.apply(livepatch.build(middle.root, third, package=running.name, id="SECOND"))
    assert running["m"].f() == 3
    first.revert()
    assert running["m"].f() == 3
    second.revert()
    assert running["m"].f() == 1


def test_what_the_survey_does_not_know_refuses_and_says_where(releases, monkeypatch):
    running = releases(mod("A = 1\ndef f(): return A"), mod("A = 2\ndef f(): return A"))
    fix = running.build()

    def fails(*_):
        raise KeyError("unheard of")

    monkeypatch.setattr("livepatch.engine.reconcile.Reconciler.reconcile", fails)
    report = livepatch.check(fix)
    assert [finding.code for finding in report.errors] == ["not-surveyed"]
    assert "KeyError at test_built.py" in report.errors[0].found


MEMOS = [
    (
        "a table",
        "N = 'a+'\n_T = {}\ndef f(k):\n  if k not in _T: _T[k] = k + N\n  return _T[k]",
        lambda m: m.f("x"),
        lambda m: m._T.clear(),
    ),
    (
        "a global",
        "N = 'a+'\n_X = None\ndef f():\n  global _X\n  if _X is None: _X = 'x' + N\n  return _X",
        lambda m: m.f(),
        lambda m: setattr(m, "_X", None),
    ),
    (
        "an attribute of a class",
        (
            "class M(type):\n  def __call__(cls):\n    if '_t' not in cls.__dict__: cls._t = 'x' + cls.N\n"
            "    return type.__call__(cls)\nclass C(metaclass=M):\n  N = 'a+'\n  def f(self): return self._t\n"
            "class D(C): pass\n"
        ),
        lambda m: m.D().f(),
        lambda m: delattr(m.D, "_t"),
    ),
]


REGISTRY = """
ALL = []
class M(type):
    def __new__(meta, name, bases, body):
        made = type.__new__(meta, name, bases, body)
        ALL.append(made)
        return made
class A(metaclass=M): name = 'a'
def settings(): return {each.name: each for each in ALL}
class Config:
    def __init__(self): self.settings = settings()
    def get(self, name): return self.settings[name]
def f(config): return config.get('a')
"""


def test_an_object_that_took_a_table_before_a_new_entry_refuses_the_patch_until_it_is_gone(releases):
    entered = "class B(metaclass=M): name = 'b'\ndef settings"
    new = REGISTRY.replace("def settings", entered).replace("get('a')", "get('b')")
    running = releases(mod(REGISTRY), mod(new))
    module, fix = running["m"], running.build()
    held = module.Config()
    report = livepatch.check(fix)
    assert [finding.code for finding in report.errors] == ["old-value-held"]
    assert f"{running.name}.m:B" in report.errors[0].found
    assert module.f(held) is module.A
    del held
    livepatch.apply(fix)
    assert module.f(module.Config()).name == "b"


@pytest.mark.parametrize(("text", "see", "empty"), [row[1:] for row in MEMOS], ids=[row[0] for row in MEMOS])
def test_what_was_computed_from_the_old_value_refuses_the_patch_until_it_is_gone(releases, text, see, empty):
    running = releases(mod(text), mod(text.replace("a+", "b+")))
    fix = running.build()
    assert see(running["m"]) == "xa+"
    report = livepatch.check(fix)
    assert [finding.code for finding in report.errors] == ["computed-from-old"]
    assert "a+" in report.errors[0].found or "1 item" in report.errors[0].found
    empty(running["m"])
    applied = livepatch.apply(fix)
    assert see(running["m"]) == "xb+"
    applied.revert()


def test_caches_of_functions_that_use_a_changed_value_are_emptied(releases):
    text = (
        "import functools\nN = 300\n@functools.lru_cache\ndef f(): return [N]\nclass C:\n  @functools.cached_property\n"
        "  def p(self): return [N]\n  @staticmethod\n  @functools.cache\n  def s(): return [N]\n"
    )
    running = releases(mod(text), mod(text.replace("300", "400")))
    m = running["m"]
    one = m.C()
    assert (m.f(), one.p, m.C.s()) == ([300], [300], [300])
    applied = livepatch.apply(running.build())
    assert (m.f(), one.p, m.C.s()) == ([400], [400], [400])
    applied.revert()
    assert (m.f(), one.p, m.C.s()) == ([300], [300], [300])


def test_objects_that_keep_the_old_value_are_counted_and_said(releases):
    text = "LIMIT = 300\nclass C:\n  def __init__(self, most=None): self.most = most or LIMIT\nclass D(C): pass\n"
    running = releases(mod(text), mod(text.replace("300", "400")))
    fix = running.build()
    assert not [f for f in livepatch.check(fix).findings if f.code == "objects-keep-old"]
    held = [running["m"].C(), running["m"].D()]
    (finding,) = [f for f in livepatch.check(fix).findings if f.code == "objects-keep-old"]
    assert (finding.severity, finding.found[:9]) == ("warning", "2 objects")
    livepatch.apply(fix).revert()
    assert [each.most for each in held] == [300, 300]


def test_a_process_with_other_dependencies_than_the_releases_ask_for_is_told(releases):
    running = releases(mod("def f(): return 1\n"), mod("def f(): return 2\n"))
    for release, wanted in ((running.old, "pytest>=1"), (running.new, "pytest>=10000")):
        (info,) = release.root.glob("*.dist-info")
        with (info / "METADATA").open("a") as metadata:
            metadata.write(f"Requires-Python: >=3\nRequires-Dist: {wanted}\nRequires-Dist: surely-absent\n")
    report = livepatch.check(running.build())
    assert report.ok
    told = [(f.target, f.found, f.expected) for f in report.findings if f.code == "dependency-differs"]
    version = importlib.metadata.version("pytest")
    assert told == [
        (
            "pytest",
            f"pytest {version}, which the old release was content with",
            "pytest >=10000, which the fixed release asks for",
        ),
        (
            "surely-absent",
            "no surely-absent in this process's environment",
            "surely-absent of any version, which the fixed release asks for",
        ),
    ]


KEPT = {
    "a table": ("T = {}\ndef f(x): return (x,)\ndef g(x):\n    if x not in T: T[x] = f(x)\n    return T[x]", "T"),
    "its own table": ("T = {}\ndef g(x):\n    if x not in T: T[x] = (x,)\n    return T[x]", "T"),
    "by way of another": (
        "T = {}\ndef f(x): return (x,)\ndef h(x): return f(x)\ndef g(x): return T.setdefault(x, h(x))",
        "T",
    ),
    "a list": ("T = []\ndef f(x): return (x,)\ndef g(x):\n    if not T: T.append(f(x))\n    return T[0]", "T"),
    "a name": (
        "T = None\ndef f(x): return (x,)\ndef g(x):\n    global T\n    if T is None: T = f(x)\n    return T",
        "T",
    ),
    "a class": (
        (
            "class C:\n    t = {}\n    @classmethod\n    def get(cls, x):\n        try: return cls.t[x]\n"
            "        except KeyError:\n            cls.t[x] = r = cls.make(x)\n            return r\n"
            "    @classmethod\n    def make(cls, x): return (x,)\ndef g(x): return C.get(x)"
        ),
        "C.t",
    ),
}


@pytest.mark.parametrize(("text", "name"), KEPT.values(), ids=KEPT.keys())
def test_tables_that_hold_answers_of_a_changed_function_are_named(text, name, releases):
    running = releases(mod(text), mod(text.replace("(x,)", "(x, 2)")))
    fix = running.build()
    assert "answers-kept" not in {finding.code for finding in livepatch.check(fix).findings}
    running["m"].g(1)
    (said,) = [finding for finding in livepatch.check(fix).findings if finding.code == "answers-kept"]
    assert (said.severity, said.target) == ("warning", f"{running.name}.m:{name}")
    applied = livepatch.apply(fix)
    assert running["m"].g(1) == (1,)
    applied.revert()


def test_tables_of_what_a_changed_function_was_given_are_not_named(releases):
    text = "T = {}\ndef register(x):\n    T[x] = x\n    return 1\nregister('a')"
    running = releases(mod(text), mod(text.replace("return 1", "return 2")))
    running["m"].register("b")
    assert "answers-kept" not in {finding.code for finding in livepatch.check(running.build()).findings}
