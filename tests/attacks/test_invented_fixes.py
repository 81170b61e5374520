"""Fixes of small modules, each of a kind that once went in without effect, or did something else."""
# ruff: noqa: E501  # the sources of small modules, each on a line of its own

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
from tests.built import Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def case(name, text, *pairs, see, was, now, prepare=lambda m: None):
    """A module, what the fix puts in the place of what, and what is seen of it: before, and with the patch."""
    new = text
    for a, b in pairs:
        assert a in new, (name, a)
        new = new.replace(a, b)
    return pytest.param(text, new, see, was, now, prepare, id=name)


REGISTERED = "R = []\ndef register(f):\n  R.append(f)\n  return f\n@register\ndef _(n=1): return 'a', n\n@register\ndef _(n=2): return 'b', n\n"
WRAPPED = "import functools\nR = []\ndef register(f):\n  @functools.wraps(f)\n  def inner(): return f()\n  R.append(inner)\n  return inner\n@register\ndef _(): return 'a'\n@register\ndef _(): return 'b'\n"
SINGLE = "import functools\n@functools.singledispatch\ndef f(x): return 'object'\n@f.register\ndef _(x: int): return 'int'\n@f.register\ndef _(x: str): return 'str'\n"
OVERWRITTEN = "class C:\n  def f(self): return 1\n  old = f\n  def f(self): return 2\n"
LRU = "import functools\nclass C:\n  @functools.lru_cache(maxsize=4)\n  def f(self, x): return x\n"
CACHED = "import functools\nclass C:\n  @functools.cached_property\n  def x(self): return 1\n"
WALRUS = "N = 5\nif (double := N * 2) > 8: SIZE = 'large'\nelse: SIZE = 'small'\n"
EXECUTED = "exec('def f(): return 1')\n"
UNION = "from typing import Union\nT = Union[int, str]\nOTHER = Union[int, str]\ndef f(x): return isinstance(x, T.__args__)\n"
CHOICES = "from typing import Literal, get_args\nMode = Literal['r', 'w']\nMODES = get_args(Mode)\n"
BAR = "T = int | str\ndef f(x): return isinstance(x, T)\n"
GETTER = "import operator\nI = 1\nget = operator.itemgetter(I)\n"
HOOK = "import abc\nclass A(abc.ABC):\n  @classmethod\n  def __subclasshook__(cls, c): return hasattr(c, 'f')\nclass X:\n  def f(self): pass\n"
SIZED = "import collections.abc\nclass C: pass\nONE = C()\ndef f(): return isinstance(ONE, collections.abc.Sized)\n"
MIXED = "import abc\nclass B: pass\nclass M(abc.ABC): pass\nclass C(B, metaclass=abc.ABCMeta): pass\ndef f(): return issubclass(C, M)\n"


CASES = [
    case(
        "the first of two definitions of a name, which a registry holds",
        REGISTERED,
        ("'a'", "'A'"),
        see=lambda m: [f() for f in m.R],
        was=[("a", 1), ("b", 2)],
        now=[("A", 1), ("b", 2)],
    ),
    case(
        "both of them",
        REGISTERED,
        ("'a'", "'A'"),
        ("'b'", "'B'"),
        see=lambda m: [f() for f in m.R],
        was=[("a", 1), ("b", 2)],
        now=[("A", 1), ("B", 2)],
    ),
    case(
        "the default of the first",
        REGISTERED,
        ("n=1", "n=5"),
        see=lambda m: [f() for f in m.R],
        was=[("a", 1), ("b", 2)],
        now=[("a", 5), ("b", 2)],
    ),
    case(
        "the first behind a wrapper",
        WRAPPED,
        ("'a'", "'A'"),
        see=lambda m: [f() for f in m.R],
        was=["a", "b"],
        now=["A", "b"],
    ),
    case(
        "one of the implementations of a single dispatch",
        SINGLE,
        ("return 'int'", "return 'INT'"),
        see=lambda m: (m.f(1), m.f("")),
        was=("int", "str"),
        now=("INT", "str"),
    ),
    case(
        "a method of which another took the name",
        OVERWRITTEN,
        ("return 1", "return 3"),
        see=lambda m: (m.C().old(), m.C().f()),
        was=(1, 2),
        now=(3, 2),
    ),
    case(
        "a method with an lru_cache",
        LRU,
        ("return x", "return x + 1"),
        see=lambda m: m.HELD.c.f(1),
        was=1,
        now=2,
        prepare=lambda m: setattr(m.HELD, "c", m.C()),
    ),
    case(
        "a cached_property that becomes a property",
        CACHED,
        ("functools.cached_property", "property"),
        ("return 1", "return 2"),
        see=lambda m: m.HELD.c.x,
        was=1,
        now=2,
        prepare=lambda m: setattr(m.HELD, "c", m.C()),
    ),
    case(
        "a name that is bound in the condition of an if",
        WALRUS,
        ("N = 5", "N = 1"),
        see=lambda m: (m.double, m.SIZE),
        was=(10, "large"),
        now=(2, "small"),
    ),
    case(
        "a function in a text that is executed",
        EXECUTED,
        ("return 1", "return 2"),
        see=lambda m: m.f(),
        was=1,
        now=2,
    ),
    case(
        "a type alias that code looks into",
        UNION,
        ("T = Union[int, str]", "T = Union[int, str, bytes]"),
        see=lambda m: (m.f(b""), m.OTHER.__args__),
        was=(False, (int, str)),
        now=(True, (int, str)),
    ),
    case(
        "choices that are taken from a type",
        CHOICES,
        ("'r', 'w'", "'r'"),
        see=lambda m: m.MODES,
        was=("r", "w"),
        now=("r",),
    ),
    case(
        "a path that has remembered its text, and one made of it",
        "import pathlib\nROOT = pathlib.PurePosixPath('/a')\nLOG = ROOT / 'log'\n",
        ("'/a'", "'/b'"),
        see=lambda m: str(m.LOG),
        was="/a/log",
        now="/b/log",
    ),
    case(
        "a function of the standard library in the place of another",
        "import html\nquote = html.unescape\ndef f(): return quote is html.escape, html.unescape('&lt;')\n",
        ("quote = html.unescape", "quote = html.escape"),
        see=lambda m: m.f(),
        was=(False, "<"),
        now=(True, "<"),
    ),
    case(
        "a class of the standard library in the place of another",
        "import socketserver\nKind = socketserver.TCPServer\ndef f(): return Kind is socketserver.UDPServer, socketserver.TCPServer.max_packet_size if hasattr(socketserver.TCPServer, 'max_packet_size') else 0\n",
        ("Kind = socketserver.TCPServer", "Kind = socketserver.UDPServer"),
        see=lambda m: m.f(),
        was=(False, 0),
        now=(True, 0),
    ),
    case(
        "a native function in the place of another, also in a class and a partial",
        "import functools, hashlib\nclass C:\n  digest = hashlib.md5\n  begun = functools.partial(hashlib.md5, b'')\ndef f(h=hashlib.md5): return C.digest().name, C.begun().name, h().name\n",
        ("hashlib.md5", "hashlib.sha256"),
        see=lambda m: m.f(),
        was=("md5",) * 3,
        now=("sha256",) * 3,
    ),
    case(
        "secret numbers in the place of those that can be told",
        "import random, secrets\nchoice = random.choice\ndef f(): return choice is secrets.choice\n",
        ("= random.choice", "= secrets.choice"),
        see=lambda m: m.f(),
        was=False,
        now=True,
    ),
    case("a union of types", BAR, ("int | str", "int"), see=lambda m: m.f(""), was=True, now=False),
    case("a getter of items", GETTER, ("I = 1", "I = 0"), see=lambda m: m.get("ab"), was="b", now="a"),
    case(
        "what an abstract class has answered by its hook",
        HOOK,
        ("'f')", "'g')"),
        see=lambda m: isinstance(m.X(), m.A),
        was=True,
        now=False,
    ),
    case(
        "what an abstract class of the standard library has answered",
        SIZED,
        ("class C: pass", "class C:\n  def __len__(self): return 1"),
        see=lambda m: m.f(),
        was=False,
        now=True,
    ),
    case(
        "what an abstract class has answered of a class that gets it as a base",
        MIXED,
        ("C(B, ", "C(B, M, "),
        see=lambda m: m.f(),
        was=False,
        now=True,
    ),
]


@pytest.mark.parametrize(("old", "new", "see", "was", "now", "prepare"), CASES)
def test_a_fix_does_what_the_new_release_does_and_a_revert_takes_it_back(releases, old, new, see, was, now, prepare):
    running = releases({"m.py": old}, {"m.py": new})
    module = running["m"]
    module.HELD = SimpleNamespace()
    prepare(module)
    assert see(module) == was  # and what remembers answers remembers this one
    applied = livepatch.apply(running.build())
    assert see(module) == now
    applied.revert()
    assert see(module) == was


# What cannot be told is refused

ADDED = REGISTERED + "@register\ndef _(n=3): return 'c', n\n"
DISPATCHING = "import functools\nclass C:\n  @functools.singledispatchmethod\n  def f(self, x): return 'object'\n  @f.register\n  def g(self, x: int): return 'int'\n"
REFUSED = [
    pytest.param(REGISTERED, ADDED, lambda m: len(m.R), {"definitions-alike"}, id="one more of a name"),
    pytest.param(ADDED, REGISTERED, lambda m: len(m.R), {"definitions-alike"}, id="one less of a name"),
    pytest.param(
        SINGLE,
        SINGLE.replace("x: str", "x: bytes"),
        lambda m: list(m.f.registry),
        {"statements-register"},
        id="the type for which a function is registered",
    ),
    pytest.param(
        DISPATCHING,
        DISPATCHING + "  @f.register\n  def h(self, x: str): return 'str'\n",
        lambda m: list(m.C.__dict__["f"].dispatcher.registry),
        {"statements-register"},
        id="what a method's single dispatch gets",
    ),
]


@pytest.mark.parametrize(("old", "new", "see", "codes"), REFUSED)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(releases, old, new, see, codes):
    running = releases({"m.py": old}, {"m.py": new})
    was = see(running["m"])
    report = livepatch.check(running.build())
    assert {finding.code for finding in report.errors} == codes
    assert see(running["m"]) == was


@pytest.mark.parametrize("read", [False, True])
def test_a_type_alias_is_left_out_only_if_nothing_but_annotations_has_it(releases, read):
    text = "from typing import Union, cast\nT = Union[int, str]\ndef f(x: T): return cast(T, x)\n"
    text += "def g(): return T.__args__\n" if read else ""
    running = releases({"m.py": text}, {"m.py": text.replace("[int, str]", "[int, bytes]")})
    verdicts = {entry.target: entry.verdict for entry in running.build().plan}
    assert verdicts[f"{running.name}.m:T"] == ("taken" if read else "left-out")


def test_a_name_that_a_star_import_newly_gives_is_there(releases):
    low, high = "__all__ = ['A']\nA = 1\nB = 2\n", "from PKG.low import *\ndef f(): return A\n"
    new = {"low.py": low.replace("['A']", "['A', 'B']"), "high.py": high.replace("return A", "return A + B")}
    running = releases({"low.py": low, "high.py": high}, new)
    applied = livepatch.apply(running.build())
    assert running["high"].f() == 3
    applied.revert()
    assert running["high"].f() == 1
    assert "B" not in vars(running["high"])
