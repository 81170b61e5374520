"""Whatever two modules hold: a patch is built, always the same; and applied, it gives what the new one gives."""

from __future__ import annotations

import importlib
import itertools
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import livepatch
from livepatch.errors import BundleError, PatchError

NUMBERS = st.integers(0, 4).map(str)
LITERALS = st.one_of(
    NUMBERS,
    st.sampled_from(["'a'", "b'b'", "None", "True", "1.5", "'x' 'y'", "()", "[]", "{}"]),
    st.lists(NUMBERS, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
    st.lists(NUMBERS, min_size=1, max_size=3).map(lambda each: f"({', '.join(each)},)"),
    st.lists(st.tuples(st.sampled_from(["'a'", "'b'", "1"]), NUMBERS), max_size=3).map(
        lambda each: "{" + ", ".join(f"{k}: {v}" for k, v in each) + "}"
    ),
    st.sampled_from(["frozenset([1, 2])", "frozenset([3])", "{1, 2}", "{3}"]),
)
CLASS = (
    "class K_{name}:\n    p = @\n    q = {attribute}\n    def __repr__(self): return 'K'\n"
    "    def __init__(self): self.r = {init}\n"
)
MAKER = "def make(v):\n    def inner(): return v, @\n    return inner\n"
NAMES = ["A", "B", "C", "D", "E"]


@st.composite
def programs(draw):
    """The statements of a module, each a text with a hole for a literal, and the literals of both sides."""
    statements, before, after = [], [], []
    bound: list[str] = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6)):
        used = draw(st.sampled_from(bound)) if bound else "None"
        kinds = [
            f"{name} = @",
            f"{name} = ({used}, @)",
            f"{name} = [{used}, {used}]",
            f"{name} = {{'k': {used}, 'l': @}}",
            f"{name} = {used}",
            f"{name} = str({used}) + repr(@)",
            f"{name} = '{{{used}}}'.format(**globals())" if bound else f"{name} = 2",
            f"{name} = []\nfor one in range(2):\n    {name}.append(({used}, one, @))",
            f"{name} = {{}}\n{name}['x'] = @\n{name}.update(y={used})",
            f"{name}, {name}_2 = @, {used}",
            f"try:\n    {name} = list({used})[0]\nexcept Exception:\n    {name} = @",
            f"if {used}:\n    {name} = @\nelse:\n    {name} = 7",
            f"def f_{name}(x=@, *, y={used}): return x, y, {used}",
            f"def f_{name}(): return {used}, @\n{name} = f_{name}()",
            CLASS.format(name=name, attribute=used, init="(self.p, @)") + f"{name} = 1",
            CLASS.format(name=name, attribute=f"[p, {used}]", init="[self.p]") + f"{name} = K_{name}()",
            f"{MAKER}f_{name} = make({used})\n{name} = f_{name}()",
            f"{name} = lambda: ({used}, @)",
            f"{name} = [one for one in ({used}, @)]",
        ]
        statement = draw(st.sampled_from(kinds))
        statements.append(statement)
        bound.append(name) if f"\n{name} =" in f"\n{statement}" or f"{name}, " in statement else None
        for _ in range(statement.count("@")):
            literal = draw(LITERALS)
            before.append(literal)
            after.append(draw(st.one_of(st.just(literal), st.just(literal), LITERALS)))
    return "\n".join(statements), before, after


def filled(text: str, literals: list[str]) -> str:
    for literal in literals:
        text = text.replace("@", literal, 1)
    return text + "\n"


_counter = itertools.count(1)


@contextmanager
def releases(old: dict[str, str], new: dict[str, str]):
    """Two releases of a package on disk."""
    root = Path(tempfile.mkdtemp(prefix="livepatch-test-"))
    name = f"drawn{next(_counter)}"
    try:
        for side, files in (("old", old), ("new", new)):
            info = root / side / f"{name}-1.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
            (root / side / name).mkdir()
            (root / side / name / "__init__.py").touch()
            for path, text in files.items():
                (root / side / name / path).write_text(text.replace("PKG", name))
        yield root, name
    finally:
        shutil.rmtree(root)


def view(value: object, depth: int = 0) -> object:
    """What a value is, as plain data."""
    if depth > 6:
        return "..."
    if isinstance(value, FunctionType):
        return "function", view(value(), depth + 1)
    if isinstance(value, type):
        return "class", {k: view(v, depth + 1) for k, v in vars(value).items() if not k.startswith("_")}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [view(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return "dict", [(k, view(v, depth + 1)) for k, v in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(map(repr, value))
    if type(value).__module__.startswith("drawn"):
        return "object", type(value).__name__, {k: view(v, depth + 1) for k, v in vars(value).items()}
    return type(value).__name__, re.sub(r" at 0x\w+", "", repr(value))


def picture(module: ModuleType) -> dict[str, object]:
    left = ("one", "make")
    return {
        name: view(value)
        for name, value in vars(module).items()
        if not name.startswith("__") and name not in left and not isinstance(value, ModuleType)
    }


def imported(root: Path, name: str, *modules: str) -> list[ModuleType]:
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return [importlib.import_module(f"{name}.{module}") for module in modules]
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(root))


def forget(name: str) -> None:
    for each in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[each]


def check(old: dict[str, str], new: dict[str, str]) -> None:
    modules = [path.removesuffix(".py") for path in old]
    with releases(old, new) as (root, name):
        fix = livepatch.build(root / "old", root / "new", package=name)
        again = livepatch.build(root / "old", root / "new", package=name)
        assert (fix.edits, fix.obstacles, fix.plan) == (again.edits, again.obstacles, again.plan)
        try:
            wanted = [picture(each) for each in imported(root / "new", name, *modules)]
            forget(name)
            live = imported(root / "old", name, *modules)
            were = [picture(each) for each in live]
            identities = [dict(vars(each)) for each in live]
            if not fix.edits:
                assert were == wanted or fix.obstacles
                return
            sys.path.insert(0, str(root / "old"))  # where its metadata is
            try:
                applied = livepatch.apply(fix)
            except livepatch.IncompatibleError as error:
                event("refused: " + ", ".join(sorted({f.code for f in error.report.errors})))
                assert [picture(each) for each in live] == were
                return
            finally:
                sys.path.remove(str(root / "old"))
            event("applied")
            gone = [was.keys() - wants.keys() for was, wants in zip(were, wanted, strict=True)]
            now = [picture(each) for each in live]
            for has, wants, left in zip(now, wanted, gone, strict=True):
                assert {k: v for k, v in has.items() if k not in left} == wants
            applied.revert()
            assert [picture(each) for each in live] == were
            for each, known in zip(live, identities, strict=True):
                assert {k: id(v) for k, v in vars(each).items()} == {k: id(v) for k, v in known.items()}
        finally:
            forget(name)


def short(examples: int) -> settings:
    """The same examples each time, and so many."""
    return settings(deadline=None, derandomize=True, max_examples=examples)


LONG = settings(deadline=None, max_examples=300)


@given(programs())
@settings(deadline=None, derandomize=True, max_examples=25)
def test_a_module_becomes_what_its_new_source_gives_and_back(drawn):
    text, before, after = drawn
    check({"m.py": filled(text, before)}, {"m.py": filled(text, after)})


@pytest.mark.slow
@given(programs())
@LONG
def test_many_modules_become_what_their_new_source_gives_and_back(drawn):
    text, before, after = drawn
    check({"m.py": filled(text, before)}, {"m.py": filled(text, after)})


IMPORTERS = """
from PKG import m
from PKG.m import *
from PKG.m import A
COPY = A
PAIR = (m.A, A)
TABLE = {'a': A}
def get(x=A): return x, A, m.A
class Holder:
    a = A
    b = [m.A]
"""


def check_with_importers(drawn) -> None:
    text, before, after = drawn
    text = "A = 'first'\n" + text
    check({"m.py": filled(text, before), "n.py": IMPORTERS}, {"m.py": filled(text, after), "n.py": IMPORTERS})


@given(programs())
@short(15)
def test_so_does_a_module_that_imports_it(drawn):
    check_with_importers(drawn)


@pytest.mark.slow
@given(programs())
@LONG
def test_so_do_many_modules_that_import_them(drawn):
    check_with_importers(drawn)


PIECES = st.sampled_from(
    [
        "import os", "from os import path as A", "from . import m", "from .m import *", "from PKG.n import A, f",
        "A = 1",
        "A = B = C = A", "A: int = 1", "A: int", "(A, [B, *C]) = 1, [2, 3]", "A += 1", "A.b = 1", "A['x'] = B", "del A",
        "global A", "def f(a, /, b=1, *c, d=A, **e): return a", "async def f():\n    async with A as b: yield b",
        "class C(A, metaclass=B):\n    A = A\n    def f(self): return super().f()\n    __slots__ = ('a',)",
        "class C:\n    class D:\n        x = 1\n        def f(self): self.x = A",
        "@A\ndef f(): return locals()", "@A.b(1)\nclass C: pass", "for A in B:\n    C[A] = 1\nelse:\n    B = 1",
        "while A: break", "with A as B, C: f()", "try:\n    A()\nexcept* B as e:\n    C = e",
        "try:\n    import A\nexcept ImportError:\n    A = None\nfinally:\n    B = 1",
        "if A:\n    def f(): return 1\nelse:\n    f = B",
        "match A:\n    case {'x': B, **C}: pass\n    case [B, *_] if C: A = 1",
        "f = lambda a=A, *b: (a, B)", "(A := 1)",
        "A = [x for x in B if (C := x)]", "exec('A = 1')", "A = eval(B)", "A = '%(B)s' % locals()", "raise A",
        "assert A",
        "print(A, file=B)", "import sys; sys.modules[__name__] = A", "globals()['A'] = B", "setattr(A, 'b', C)",
        "from typing import NamedTuple\nclass C(NamedTuple):\n    a: int = 1",
        "import enum\nclass C(enum.Enum):\n    A = 1",
        "from functools import lru_cache\n@lru_cache\ndef f(): return A", "_T = {}\ndef f(k):\n    _T[k] = A",
        "def f():\n    global A\n    A = B",
        "class C:\n    def __init__(self): self.a = A\n    def g(self): return self.a",
        "'doc'", "...", "type(A)", "await_ = 1",
        "def f(x): \n    nonlocal_ = x\n    def g(): return nonlocal_\n    return g",
        "\N{GREEK SMALL LETTER ALPHA} = 'ü'", "A = f'{B!r:>{C}}'", "x = \\\n  1", "def f(", "A = 1 +",
        "\tA = 1", "A = '\\ud800'",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("\n".join) | st.text(max_size=30)


ONLY = st.none() | st.lists(st.sampled_from(["A", "f", "C", "C.*", "m", "PKG.m:A"]), max_size=2)


@given(TEXTS, TEXTS, TEXTS, ONLY)
@short(75)
def test_any_two_trees_give_a_patch_or_a_bundle_error(old, new, other, only):
    build_twice(old, new, other, only)


@pytest.mark.slow
@given(TEXTS, TEXTS, TEXTS, ONLY)
@settings(LONG, max_examples=1_000)
def test_many_trees_give_a_patch_or_a_bundle_error(old, new, other, only):
    build_twice(old, new, other, only)


def build_twice(old, new, other, only) -> None:
    old, new, other = (text.encode("utf-8", "replace").decode() for text in (old, new, other))
    with releases({"m.py": old, "n.py": other}, {"m.py": new, "n.py": other}) as (root, name):
        made = []
        for _ in range(2):
            try:
                fix = livepatch.build(root / "old", root / "new", package=name, only=only)
                fix.save(root / "a.lpatch")
                made.append((root / "a.lpatch").read_bytes())
            except (BundleError, PatchError) as error:
                made.append(str(error).encode())
        assert made[0] == made[1]
