"""Faults that a hostile user has found in patches built from two releases: those that are left are marked."""
# ruff: noqa: E501  # the sources of small packages, each on a line of its own

from __future__ import annotations

import functools
import os
import stat

import pytest
from tests.built import Release, Running

import livepatch
from livepatch.contents.edits import ModuleEdit, NameEdit, Side, Statement, Text


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def m(text):
    return {"m.py": text}


def case(name, *values):
    return pytest.param(*values, id=name)


# check() must not change anything

DISPATCH = (
    "import functools\n@functools.singledispatch\ndef f(x): return 'base'\n@f.register(str)\ndef _s(x): return 'str'\n"
)
SUBCLASS = (
    "REG = {}\nclass B:\n  def __init_subclass__(cls, **k): REG[cls.__name__] = cls.limit\nclass X(B):\n  limit = 100\n"
)
COUNTING = "class M(type):\n  n = 0\n  def __new__(c, *a):\n    M.n += 1\n    return super().__new__(c, *a)\nclass X(metaclass=M):\n  limit = 100\n"
WRITES = "import pathlib\ndef opened():\n  with pathlib.Path(__file__).with_suffix('.log').open('a') as f: f.write('x')\n  return 100\nN = opened()\n"

CHECKS = [
    case(
        "singledispatch",
        m(DISPATCH),
        m(DISPATCH + "@f.register(list)\ndef _l(x): return 'list'\n"),
        lambda r: (r["m"].f([]), list(r["m"].f.registry)),
    ),
    case(
        "__init_subclass__",
        m(SUBCLASS),
        m(SUBCLASS.replace("100", "10")),
        lambda r: dict(r["m"].REG),
    ),
    case(
        "metaclass that counts",
        m(COUNTING),
        m(COUNTING.replace("100", "10")),
        lambda r: r["m"].M.n,
    ),
    case(
        "a file that is written",
        m(WRITES),
        m(WRITES.replace("100", "10")),
        lambda r: (r.old.root / r.name / "m.log").read_text(),
    ),
]


@pytest.mark.parametrize(("old", "new", "see"), CHECKS)
def test_check_changes_nothing(releases, monkeypatch, old, new, see):
    # What statements enter that is plain is told from what others do only where there are no others.
    monkeypatch.setattr("livepatch.engine.effects.is_alone", lambda: True)
    running = releases(old, new)
    before = see(running)
    livepatch.check(running.build())
    assert see(running) == before


# What check() calls good must not leave the flaw: as a restart would have it, or a refusal


def held(name, old, new, see, now, prepare=None):
    return case(name, old, new, see, now, prepare)


def swapped(text, *pairs):
    new = text
    for a, b in pairs:
        new = new.replace(a, b)
    assert new != text
    return m(text), m(new)


DATA = "import dataclasses\nLIMIT = 1000\n@dataclasses.dataclass\nclass C:\n  limit: int = LIMIT\n"
WITH = "import contextlib\nwith contextlib.suppress(ValueError):\n  LIMIT = 100\n"
LOOP = "for name in ('a',):\n  TABLE = {name: 100}\n"
DECORATED = "def deco(cls):\n  cls.table = {k: v for k, v in vars(cls).items() if k.startswith('r_')}\n  return cls\n@deco\nclass C:\n  r_a = 100\n"
SETS = "def deco(cls):\n  cls.limit = 100\n  return cls\n@deco\nclass C:\n  pass\n"
WRAPS = "import functools\ndef guard(f):\n  @functools.wraps(f)\n  def w(self): return f(self)\n  return w\ndef deco(cls):\n  for k, v in list(vars(cls).items()):\n    if k.startswith('do_'): setattr(cls, k, guard(v))\n  return cls\n@deco\nclass C:\n  def do_a(self): return 1\n"
ARGS = "import argparse\nP = argparse.ArgumentParser()\nP.add_argument('--n', type=int, default=100)\ndef f(): return P.parse_args([]).n, 1\n"
CONF = "import configparser\nP = configparser.ConfigParser()\nP.add_section('a')\nP.set('a', 'x', '100')\ndef f(): return P.get('a', 'x'), 1\n"
LRU = "import functools\nLIMIT = 100\n@functools.lru_cache\ndef f(): return LIMIT\n"
LRU_CALLS = "import functools\ndef g(x): return x\n@functools.lru_cache\ndef f(x): return g(x)\n"
CACHED = (
    "import functools\nLIMIT = 100\nclass C:\n  @functools.cached_property\n  def p(self): return LIMIT\nONE = C()\n"
)
LAZY = "import re\nPAT = 'a+'\n_rx = None\ndef rx():\n  global _rx\n  if _rx is None: _rx = re.compile(PAT)\n  return _rx.pattern\n"
MEMO = "PAT = 'a%s'\n_memo = {}\ndef f(k):\n  if k not in _memo: _memo[k] = PAT % k\n  return _memo[k]\n"
NUMBER = "LIMIT = 1000\nclass C:\n  def __init__(self): self.limit = LIMIT\n  def ok(self, n): return n <= self.limit\n"
BOUND = "import re\nclass C:\n  R = re.compile('a+')\n  def __init__(self): self.match = self.R.match\n"
COPY = "RULES = ['a', 'b']\nclass C:\n  def __init__(self): self.rules = list(RULES)\n"
VERIFY = "class C:\n  def __init__(self): self.verify = False\n"
CALLED = "def most(): return 100\ndef f(x=most()): return x\n"
VARIABLE = "import contextvars\nV = contextvars.ContextVar('v', default=100)\ndef f(): return V.get()\n"
EQUAL = "class C:\n  def __init__(self, a): self.a = a\n"
ABSTRACT = "import abc\nclass B(abc.ABC):\n  def f(self): return 1\n"


def made(name):
    return lambda r: setattr(r["m"], "HELD_BY_TEST", r["m"].__dict__[name]())


def of_low(text):
    """`text` is a module beside low.py, whose A goes from 100 to 10."""
    return {"low.py": "A = 100\n", "m.py": text}, {"low.py": "A = 10\n"}


FLAWS = [
    held(
        "dataclass default computed from a constant",
        *swapped(DATA, ("1000", "10")),
        lambda r: r["m"].C().limit,
        10,
    ),
    held(
        "derived from a star import",
        *of_low("from PKG.low import *\nB = A + 1\nL = [A]\n"),
        lambda r: (r["m"].A, r["m"].B, r["m"].L),
        (10, 11, [10]),
    ),
    held(
        "a name bound in a with block, read by another module",
        {"m.py": WITH + "def g(): return 1\n", "n.py": "from PKG import m\ndef f(): return m.LIMIT, m.g()\n"},
        {"m.py": WITH.replace("100", "10") + "def g(): return 2\n"},
        lambda r: r["n"].f(),
        (10, 2),
    ),
    held(
        "a name bound in a loop, imported by another module",
        {"m.py": LOOP + "def g(): return 1\n", "n.py": "from PKG.m import TABLE, g\ndef f(): return TABLE, g()\n"},
        {"m.py": LOOP.replace("100", "10") + "def g(): return 2\n"},
        lambda r: r["n"].f(),
        ({"a": 10}, 2),
    ),
    held(
        "a table that a class decorator makes",
        *swapped(DECORATED, ("100", "10")),
        lambda r: (r["m"].C.r_a, r["m"].C.table),
        (10, {"r_a": 10}),
    ),
    held(
        "a class decorator's own body",
        *swapped(SETS, ("100", "10")),
        lambda r: r["m"].C.limit,
        10,
    ),
    held(
        "a new method that a class decorator would wrap",
        m(WRAPS),
        m(WRAPS + "  def do_b(self): return 2\n"),
        lambda r: hasattr(r["m"].C.do_b, "__wrapped__"),
        True,
    ),
    held(
        "a call that configures an argparse parser",
        *swapped(ARGS, ("100", "10"), ("n, 1", "n, 2")),
        lambda r: r["m"].f(),
        (10, 2),
    ),
    held(
        "a call that configures a ConfigParser",
        *swapped(CONF, ("100", "10"), ("), 1", "), 2")),
        lambda r: r["m"].f(),
        ("10", 2),
    ),
    held(
        "a default of a context variable",
        *swapped(VARIABLE, ("100", "10")),
        lambda r: r["m"].f(),
        10,
    ),
    held(
        "an answer that lru_cache computed from a constant",
        *swapped(LRU, ("100", "10")),
        lambda r: r["m"].f(),
        10,
        lambda r: r["m"].f(),
    ),
    held(
        "an answer that lru_cache got from a changed function",
        *swapped(LRU_CALLS, ("g(x): return x", "g(x): return -x")),
        lambda r: r["m"].f(1),
        -1,
        lambda r: r["m"].f(1),
    ),
    held(
        "an answer that cached_property computed from a constant",
        *swapped(CACHED, ("100", "10")),
        lambda r: r["m"].ONE.p,
        10,
        lambda r: r["m"].ONE.p,
    ),
    held(
        "a global computed at first use from a changed constant",
        *swapped(LAZY, ("a+", "b+")),
        lambda r: r["m"].rx(),
        "b+",
        lambda r: r["m"].rx(),
    ),
    held(
        "a memo dictionary filled from a changed constant",
        *swapped(MEMO, ("'a%s'", "'b%s'")),
        lambda r: r["m"].f("x"),
        "bx",
        lambda r: r["m"].f("x"),
    ),
    held(
        "a number that instances took",
        *swapped(NUMBER, ("1000", "10")),
        lambda r: r["m"].HELD_BY_TEST.ok(500),
        False,
        made("C"),
    ),
    held(
        "a method of a pattern that instances took",
        *swapped(BOUND, ("a+", "b+")),
        lambda r: bool(r["m"].HELD_BY_TEST.match("a")),
        False,
        made("C"),
    ),
    held(
        "a copy of a list that instances took",
        *swapped(COPY, ("'a', 'b'", "'a'")),
        lambda r: r["m"].HELD_BY_TEST.rules,
        ["a"],
        made("C"),
    ),
    held(
        "another value in __init__",
        *swapped(VERIFY, ("False", "True")),
        lambda r: r["m"].HELD_BY_TEST.verify,
        True,
        made("C"),
    ),
    held(
        "a default argument computed by a changed function",
        *swapped(CALLED, ("100", "10")),
        lambda r: r["m"].f(),
        10,
    ),
    held(
        "a value got with getattr from a module",
        *of_low("import PKG.low\nB = getattr(PKG.low, 'A')\n"),
        lambda r: r["m"].B,
        10,
    ),
    held(
        "a value got from importlib.import_module",
        *of_low("import importlib\nlow = importlib.import_module('PKG.low')\nB = low.A * 2\n"),
        lambda r: r["m"].B,
        20,
    ),
    held(
        "names taken with globals().update(vars(module))",
        *of_low("from PKG import low\nglobals().update({k: v for k, v in vars(low).items() if k.isupper()})\n"),
        lambda r: r["m"].A,
        10,
    ),
    held(
        "what __init_subclass__ entered when its body changes",
        *swapped(SUBCLASS, ("= cls.limit", "= min(cls.limit, 50)")),
        lambda r: r["m"].REG,
        {"X": 50},
    ),
    held(
        "__eq__ without __hash__",
        m(EQUAL),
        m(EQUAL + "  def __eq__(self, other): return self.a == other.a\n"),
        lambda r: r["m"].C.__hash__,
        None,
    ),
    held(
        "a method that becomes abstract",
        m(ABSTRACT),
        m(ABSTRACT.replace("  def f", "  @abc.abstractmethod\n  def f")),
        lambda r: sorted(r["m"].B.__abstractmethods__),
        ["f"],
    ),
]


@pytest.mark.parametrize(("old", "new", "see", "now", "prepare"), FLAWS)
def test_what_check_calls_good_does_not_leave_the_flaw(releases, old, new, see, now, prepare):
    running = releases(old, new)
    if prepare is not None:
        prepare(running)
    fix = running.build()
    if livepatch.check(fix).ok:
        livepatch.apply(fix)
        assert see(running) == now


# Modes and revert


def test_a_function_that_becomes_abstract_can_be_reverted(releases):
    new = ABSTRACT.replace("  def f(self): return 1", "  @abc.abstractmethod\n  def f(self): return 2")
    running = releases(m(ABSTRACT), m(new))
    applied = livepatch.apply(running.build())
    running["m"].copy = type(running["m"].B.f)(running["m"].B.f.__code__, vars(running["m"]))
    raised = ""
    try:
        applied.revert()  # `mode = "off"` raises alike: the patch cannot be taken out
    except AttributeError as error:
        raised = str(error)  # not the error itself, which keeps the copy alive
    del running["m"].copy
    assert not raised


@pytest.mark.parametrize(
    ("old", "new", "see"),
    [
        case("singledispatch", m(DISPATCH), m(DISPATCH + "@f.register(list)\ndef _l(x): return 'list'\n"), lambda r: r["m"].f([])),
        case("__init_subclass__", m(SUBCLASS), m(SUBCLASS.replace("100", "10")), lambda r: dict(r["m"].REG)),
    ],
)  # fmt: skip
def test_a_revert_takes_everything_back(releases, old, new, see):
    running = releases(old, new)
    before = see(running)
    fix = running.build()
    if livepatch.check(fix).ok:
        livepatch.apply(fix).revert()
        assert see(running) == before


A, B, TURNED = "T = {'a': 1}", "T = {'a': 1, 'b': 2}", "T = {'b': 3, 'a': 1}"


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param((A, B, TURNED), id="an entry, then the order"),
        pytest.param((B, TURNED.replace("3", "2"), TURNED), id="the order, then an entry"),
        pytest.param(("T = [1]", "T = [2]", "T = [3, 2]"), id="an item, then the length"),
    ],
)
def test_two_patches_of_one_container_come_out_in_any_order_or_the_second_is_refused(releases, tmp_path, texts):
    # One changes an entry, the other the contents as a whole: two slots that do not know of each other.
    running = releases(m(texts[0]), m(texts[2]))
    table = running["m"].T
    was = type(table)(table)
    trees = [Release(tmp_path / str(i), running.name, "1.0", m(text)).root for i, text in enumerate(texts)]
    both = [livepatch.build(trees[i], trees[i + 1], package=running.name, id=f"P{i}") for i in (0, 1)]
    first = livepatch.apply(both[0])
    between = type(table)(table)
    with pytest.raises(livepatch.IncompatibleError) as refused:
        livepatch.apply(both[1])
    assert [finding.code for finding in refused.value.report.errors] == ["container-shared"]
    assert "P0" in refused.value.report.errors[0].found
    assert table == between
    assert list(table) == list(between)
    first.revert()
    assert table == was
    assert list(table) == list(was)


# Refusals whose reason is not true

FIELD = DATA.replace("= LIMIT", "= dataclasses.field(default=LIMIT)")
NAMED = "LIMIT = 1000\nclass F:\n  def __init__(self, most): self.most = most\n  def __set_name__(self, owner, name): self.name = name\nclass C:\n  x = F(LIMIT)\n"
TUPLE = "from typing import NamedTuple\nLIMIT = 1000\nclass N(NamedTuple):\n  a: int = LIMIT\n"


@pytest.mark.parametrize(
    "text",
    [
        case("dataclass field", FIELD),
        case("__set_name__", NAMED),
        case("NamedTuple", TUPLE),
    ],
)  # fmt: skip
def test_an_untouched_process_is_not_said_to_differ(releases, text):
    running = releases(m(text), m(text.replace("1000", "10")))
    codes = {finding.code for finding in livepatch.check(running.build()).errors}
    assert "value-differs-from-before" not in codes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        case("with block", *swapped(WITH, ("100", "10"))),
        case("a call", *swapped(ARGS, ("100", "10"))),
    ],
)  # fmt: skip
def test_a_patch_of_releases_that_differ_is_not_said_to_change_nothing(releases, old, new):
    codes = {finding.code for finding in livepatch.check(releases(old, new).build()).errors}
    assert "empty-patch" not in codes


def test_a_function_that_livepatch_brought_is_not_said_to_be_rewritten_by_others(releases):
    running = releases(m("def f(): return 1"), m("def f(): return g()\ndef g(): return 2"))
    livepatch.apply(running.build())
    over = livepatch.Patch("OVER", package=running.name, versions="==1.0")
    over.replace(f"{running.name}.m:g")(lambda: 3)
    codes = {finding.code for finding in livepatch.check(over).errors}
    assert "changed-by-others" not in codes


ROUTES = (
    "ROUTES = {}\ndef route(path, auth=False):\n  def put(f):\n    ROUTES[path] = f, auth\n    return f\n  return put\n"
)


def test_a_decorator_that_registers_in_another_module_is_followed(releases):
    view = "from PKG.low import route\n@route('/')\ndef view(): return 1\n"
    running = releases({"low.py": ROUTES, "m.py": view}, {"m.py": view.replace("'/'", "'/', auth=True")})
    livepatch.apply(running.build())
    assert running["low"].ROUTES["/"][1] is True


# Edits made by hand, files


def edited(running, after):
    fix = livepatch.Patch("EDITED", package=running.name, versions="==1.0")
    name = f"{running.name}.m"
    sides = [Side(program=(Statement(text=Text(source=text, line=1)),)) for text in ("A = 1", after)]
    fix.edits = (
        ModuleEdit(
            module=name,
            path=f"{running.name}/m.py",
            before=sides[0],
            after=sides[1],
            names=(NameEdit(qualname="A", kind="changed"),),
        ),
    )
    return fix


@pytest.mark.parametrize(
    "statement",
    [
        case("SystemExit", "raise SystemExit(3)"),
        case("CancelledError", "import asyncio\nraise asyncio.CancelledError"),
        case("an error that cannot be shown", "class E(Exception):\n  def __str__(self): raise self\nraise E"),
    ],
)  # fmt: skip
def test_whatever_a_statement_raises_is_a_finding(releases, statement):
    running = releases(m("A = 1"), m("A = 1"))
    try:
        report = livepatch.check(edited(running, statement))
    except BaseException as error:
        raise AssertionError(type(error).__name__) from None
    assert [finding.code for finding in report.errors] == ["statement-failed"]


def test_a_name_that_does_not_exist_is_told(releases):
    from dataclasses import replace

    running = releases(m("A = 1"), m("A = 2"))
    fix = edited(running, "A = 2")
    fix.edits = (replace(fix.edits[0], names=(NameEdit(qualname="NOWHERE", kind="changed"),)),)
    assert not livepatch.check(fix).ok


def test_values_of_livepatch_itself_are_refused(releases):
    running = releases(m("A = 1"), m("A = 1"))
    fix = livepatch.Patch("OWN", package=running.name, versions="==1.0")
    after = Side(program=(Statement(text=Text(source="BundleError = None", line=1)),))
    names = (NameEdit(qualname="BundleError", kind="changed"),)
    fix.edits = (ModuleEdit(module="livepatch.errors", path="livepatch/errors.py", after=after, names=names),)
    assert not livepatch.check(fix).ok


def test_a_source_that_the_parser_gives_up_on_is_a_finding(tmp_path):
    old = Release(tmp_path / "old", "deep", "1.0", m("A = 1"))
    new = Release(tmp_path / "new", "deep", "1.1", {"m.py": "A = " + "-" * 60_000 + "1", "n.py": "B = 1"})
    assert livepatch.build(old.root, new.root, package="deep").obstacles


def test_only_with_a_name_that_is_nowhere_is_told(tmp_path):
    old, new = (Release(tmp_path / v, "only", v, m(f"A = {v}")) for v in ("1.0", "1.1"))
    with pytest.raises(livepatch.LivepatchError):
        livepatch.build(old.root, new.root, package="only", only=["only.m:NOPE"])


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    patch = livepatch.Patch("P", package="p", versions="==1.0")
    with pytest.raises(livepatch.BundleError):
        patch.save(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_a_name_gave_before_it_was_bound_anew_is_computed_again(releases):
    text = "def make(v):\n  def inner(): return v, 0\n  return inner\nf = make(None)\nA = f()\ndef f(x=0, *, y=A): return x, y, A\n"
    running = releases(m(text), m(text.replace("return v, 0", "return v, 1")))
    original = running["m"].f
    applied = livepatch.apply(running.build())
    assert running["m"].A == (None, 1)
    assert running["m"].f() == (0, (None, 1), (None, 1))
    applied.revert()
    assert running["m"].A == (None, 0)
    assert running["m"].f is original
    assert original() == (0, (None, 0), (None, 0))
