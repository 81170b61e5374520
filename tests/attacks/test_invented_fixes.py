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
STATED = "class C:\n  extras = None\n  P = 'a'\n  def take(self, key): self.extras[key] = self.P\nclass D(C):\n  extras = ['x']\n"
MIXED = "import abc\nclass B: pass\nclass M(abc.ABC): pass\nclass C(B, metaclass=abc.ABCMeta): pass\ndef f(): return issubclass(C, M)\n"


DISPATCHING = "import functools\nclass C:\n  @functools.singledispatchmethod\n  def f(self, x): return 'object'\n  @f.register\n  def g(self, x: int): return 'int'\n"
TABLE = "T = {}\ndef command(name):\n  def enter(f):\n    T[name] = f\n    return f\n  return enter\n@command('a')\ndef a(): return 'a'\ndef run(): return {name: f() for name, f in T.items()}\n"
LIBRARY = "class Library:\n  def __init__(self): self.filters = {}\n  def filter(self, f):\n    self.filters[f.__name__] = f\n    return f\nlibrary = Library()\n@library.filter\ndef a(): return 'a'\ndef run(): return [f() for f in library.filters.values()]\n"


CASES = [
    case(
        "a type that a single dispatch gets to know",
        SINGLE,
        (
            "def _(x: str): return 'str'\n",
            "def _(x: str): return 'str'\n@f.register(bytes)\ndef of_bytes(x): return 'bytes'\n",
        ),
        see=lambda m: (m.f(b""), m.f(""), m.f(1), m.f(None)),
        was=("object", "str", "int", "object"),
        now=("bytes", "str", "int", "object"),
    ),
    case(
        "a class of its own that a single dispatch gets to know",
        SINGLE,
        (
            "def _(x: str): return 'str'\n",
            "def _(x: str): return 'str'\nclass Own: pass\n@f.register\ndef of_own(x: Own): return 'own'\n",
        ),
        see=lambda m: m.f(m.Own()) if hasattr(m, "Own") else len(m.f.registry),
        was=3,
        now="own",
    ),
    case(
        "what a method's single dispatch gets",
        DISPATCHING,
        ("return 'int'\n", "return 'int'\n  @f.register\n  def h(self, x: str): return 'str'\n"),
        see=lambda m: (m.C().f(""), m.C().f(1)),
        was=("object", "int"),
        now=("str", "int"),
    ),
    case(
        "a command that a decorator enters into a table",
        TABLE,
        ("return 'a'\n", "return 'a'\n@command('b')\ndef b(): return 'b'\n"),
        see=lambda m: m.run(),
        was={"a": "a"},
        now={"a": "a", "b": "b"},
    ),
    case(
        "a filter that an object's method enters into its table",
        LIBRARY,
        ("return 'a'\n", "return 'a'\n@library.filter\ndef b(): return 'b'\n"),
        see=lambda m: m.run(),
        was=["a"],
        now=["a", "b"],
    ),
    case(
        "an attribute that keeps what code makes, and that a derived class states anew",
        STATED,
        ("P = 'a'", "P = 'b'"),
        see=lambda m: (m.C.P, m.D.extras),
        was=("a", ["x"]),
        now=("b", ["x"]),
    ),
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
    case(
        "an attribute that is set on a class after it, and what is computed from it",
        "class C: pass\nC.n = 1\nM = C.n + 1\ndef f(n=C.n): return n\n",
        ("C.n = 1", "C.n = 5"),
        see=lambda m: (m.C.n, m.M, m.f()),
        was=(1, 2, 1),
        now=(5, 6, 5),
    ),
    case(
        "one that is set by its name",
        "class C: pass\nsetattr(C, 'n', 1)\n",
        ("'n', 1", "'n', 5"),
        see=lambda m: m.C.n,
        was=1,
        now=5,
    ),
    case(
        "an attribute of a function, and the function",
        "def view(): return 1\nview.exempt = True\nVIEWS = [view]\n",
        ("return 1", "return 2"),
        ("exempt = True", "exempt = False"),
        see=lambda m: (m.view(), m.view.exempt, m.VIEWS[0].exempt),
        was=(1, True, True),
        now=(2, False, False),
    ),
    case(
        "an attribute of a method",
        "class C:\n  def f(self): return 1\n  f.exempt = True\n",
        ("True", "False"),
        see=lambda m: m.C.f.exempt,
        was=True,
        now=False,
    ),
    case(
        "an attribute of a function that is set by its name",
        "def f(): return f.n\nsetattr(f, 'n', 1)\n",
        ("'n', 1", "'n', 2"),
        see=lambda m: m.f(),
        was=1,
        now=2,
    ),
    case(
        "attributes that a function sets on the class and the function that it is given",
        "class C: pass\ndef f(): pass\ndef mark(each): each.n = 1\nmark(C)\nmark(f)\n",
        ("each.n = 1", "each.n = 2"),
        see=lambda m: (m.C.n, m.f.n),
        was=(1, 1),
        now=(2, 2),
    ),
    case(
        "a function of the standard library that a closure and an object hold",
        "import html\ndef make(g):\n  def inner(x): return g(x)\n  return inner\nf = make(html.unescape)\nclass C:\n  def __init__(self, g): self.g = g\nONE = C(html.unescape)\n",
        ("html.unescape", "html.escape"),
        see=lambda m: (m.f("<"), m.ONE.g("<"), m.html.unescape("&lt;")),
        was=("<", "<", "<"),
        now=("&lt;", "&lt;", "<"),
    ),
    case(
        "another logger",
        "import logging\nlog = logging.getLogger('one.of.two')\ndef f(): return log.name, logging.getLogger('one.of.two').name\n",
        ("log = logging.getLogger('one.of.two')", "log = logging.getLogger('two.of.two')"),
        see=lambda m: m.f(),
        was=("one.of.two", "one.of.two"),
        now=("two.of.two", "one.of.two"),
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
]


SET_ON_EACH = "class A: pass\ndef f(): pass\nfor each in (A, f): each.n = 1\n"
SET_IN_A_LOOP = "class C: pass\nfor name in ('a', 'b'): setattr(C, name, 1)\n"
REFUSED += [
    pytest.param(
        SET_IN_A_LOOP,
        SET_IN_A_LOOP.replace("name, 1", "name, 2"),
        lambda m: (m.C.a, m.C.b),
        {"module-effect-changed"},
        id="attributes of a class that are set under computed names",
    ),
    pytest.param(
        SET_ON_EACH,
        SET_ON_EACH.replace("= 1", "= 2"),
        lambda m: (m.A.n, m.f.n),
        {"module-effect-changed"},
        id="attributes that are set on classes and functions in turn",
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


def test_an_attribute_of_a_class_of_another_module_is_not_left_out_in_silence(releases):
    text = "from PKG.low import C\nC.n = 1\ndef f(): return 1\n"
    running = releases({"low.py": "class C: pass\n", "m.py": text}, {"m.py": text.replace("1", "2")})
    report = livepatch.check(running.build())
    assert {finding.code for finding in report.errors} == {"module-effect-changed"}


def test_a_check_does_not_set_attributes_of_live_classes_beside_other_threads(releases, monkeypatch):
    monkeypatch.setattr("livepatch.engine.effects.is_alone", lambda: False)
    text = "class C: pass\nC.n = 1\n"
    running = releases({"m.py": text}, {"m.py": text.replace("1", "2")})
    assert livepatch.check(running.build()).ok
    assert running["m"].C.n == 1


def test_what_a_function_gave_whose_name_another_definition_takes_is_computed_anew(releases):
    text = "def make():\n  def inner(): return 1\n  return inner\nf = make()\nA = f()\ndef f(x=1): return x\n"
    running = releases({"m.py": text}, {"m.py": text.replace("1", "2")})
    livepatch.apply(running.build())
    assert running["m"].A == 2
