"""What a function's code does not show: its decorators, its class's bases, its annotations; live and in the source."""

from __future__ import annotations

import ast

import pytest
from tests.built import Running

import livepatch

ABOVE = """
import abc
import contextlib
import functools
from typing import Generic, TypeVar

T = TypeVar("T")

def keeping(function):
    return function

def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

class Base:
    pass

class Other(Base):
    pass
"""


class Case:
    """A module of which one text runs and another is what the patch was built from."""

    def __init__(self, tmp_path, monkeypatch) -> None:
        self.tmp_path, self.monkeypatch = tmp_path, monkeypatch

    def findings(self, before: str, live: str = "", memory: str = "", futures: str = "") -> dict[str, str]:
        """The codes and severities for a process that runs `live`, in which `memory` was run."""
        above = futures + ABOVE
        old, new = above + before, above + before.replace("return 1", "return 2")
        assert ast.dump(ast.parse(old)) != ast.dump(ast.parse(new))
        running = Running(self.tmp_path, self.monkeypatch, {"m.py": old}, {"m.py": new}, "__init__")
        patch = running.build()
        (running.old.root / running.name / "m.py").write_text(above + (live or before))
        module = running.import_("m")
        exec(memory, vars(module))
        report = livepatch.check(patch)
        return {row.code: row.severity for row in report.findings if row.severity != "info"}


@pytest.fixture
def case(tmp_path, monkeypatch):
    return Case(tmp_path, monkeypatch)


UNTOUCHED = {
    "plain": "def f(a):\n  return 1\n",
    "cached": "@functools.lru_cache\ndef f(a):\n  return 1\n",
    "cached with arguments": "@functools.lru_cache(maxsize=3)\ndef f(a):\n  return 1\n",
    "context manager": "@contextlib.contextmanager\ndef f(a):\n  yield\n  return 1\n",
    "wrapped by its own": "@wrapping\n@keeping\ndef f(a):\n  return 1\n",
    "made by a call": "@(lambda function: functools.partial(function))\ndef f(a):\n  return 1\n",
    "bound again": "def f(a):\n  return 1\nf = functools.lru_cache(f)\n",
    "static": "class C:\n  @staticmethod\n  def f(a):\n    return 1\n",
    "static and wrapped": "class C:\n  @staticmethod\n  @wrapping\n  def f(a):\n    return 1\n",
    "class": "class C:\n  @classmethod\n  def f(a):\n    return 1\n",
    "without saying": "class C:\n  def __init_subclass__(cls):\n    return 1\n  def __new__(cls):\n    return 1\n",
    "property": "class C:\n  @property\n  def f(a):\n    return 1\n  @f.setter\n  def f(a, b):\n    return 1\n",
    "cached property": "class C:\n  @functools.cached_property\n  def f(a):\n    return 1\n",
    "static bound again": "class C:\n  def f(a):\n    return 1\n  f = staticmethod(f)\n",
    "static from outside": "class C:\n  def f(a):\n    return 1\nC.f = staticmethod(C.f)\n",
    "abstract": "class C(abc.ABC):\n  @property\n  @abc.abstractmethod\n  def f(a):\n    return 1\n",
    "generic": "class C(Base, Generic[T]):\n  def f(a):\n    return 1\n",
    "derived generic": "class G(Generic[T]): pass\nclass C(G[int], Other):\n  def f(a):\n    return 1\n",
    "nested": "class A:\n  class B: pass\n  class C(B):\n    def f(a):\n      return 1\n",
    "bases by a call": "class C(type('X', (), {})):\n  def f(a):\n    return 1\n",
    "returns": "def f(a) -> Base:\n  return 1\ndef g(a) -> None:\n  return 1\ndef h(a) -> 'list[Base]':\n  return 1\n",
    "returns generic": "def f(a) -> list[Base]:\n  return 1\n",
}


@pytest.mark.parametrize("source", UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.parametrize("futures", ["", "from __future__ import annotations\n"], ids=["", "annotations as text"])
def test_what_was_not_touched_is_not_told(source: str, futures: str, case: Case):
    assert case.findings(source, futures=futures) == {}


PLAIN = "def f(a):\n  return 1\n"
ABSTRACT = "class C(abc.ABC):\n  @abc.abstractmethod\n  def f(a):\n    return 1\n"
METHOD = "class C:\n  def f(a):\n    return 1\n"


@pytest.mark.parametrize(
    ("before", "live"),
    [
        (PLAIN, f"@functools.lru_cache\n{PLAIN}"),
        (PLAIN, f"@wrapping\n{PLAIN}"),
        (f"@functools.lru_cache\n{PLAIN}", PLAIN),
        (f"@functools.lru_cache\n{PLAIN}", f"@contextlib.contextmanager\n{PLAIN}"),
        (f"@wrapping\n{PLAIN}", PLAIN),
        (f"@keeping\n@wrapping\n{PLAIN}", f"@wrapping\n{PLAIN}"),
        (ABSTRACT, ABSTRACT.replace("  @abc.abstractmethod\n", "")),
        (ABSTRACT.replace("  @abc.abstractmethod\n", ""), ABSTRACT),
        (METHOD, "class C:\n  @wrapping\n  def f(a):\n    return 1\n"),
        (METHOD, "class C:\n  @functools.cached_property\n  def f(a):\n    return 1\n"),
    ],
)  # fmt: skip
def test_other_decorators(before: str, live: str, case: Case):
    assert case.findings(before, live) == {"decorators-differ": "warning"}


@pytest.mark.parametrize(
    ("before", "memory"),
    [
        (PLAIN, "f = wrapping(f)"),
        (PLAIN, "kept = f; del f"),
        (PLAIN, "kept = f; f = len"),
        (f"@functools.lru_cache\n{PLAIN}", "f = f.__wrapped__"),
        (METHOD, "C.f = wrapping(C.f)"),
        # Nothing proves that it was not a class decorator of the package.
        (METHOD, "C.f = staticmethod(C.f)"),
    ],
)
def test_what_was_put_in_its_place_in_memory(before: str, memory: str, case: Case):
    found = case.findings(before, memory=memory)
    assert "decorators-differ" in found or "native" in found, found
    assert set(found.values()) <= {"warning", "error"}


@pytest.mark.parametrize("wanted", ["", "@staticmethod", "@classmethod"])
@pytest.mark.parametrize("live", ["", "@staticmethod", "@classmethod", "@property"])
def test_another_kind_of_method(wanted: str, live: str, case: Case):
    source = "class C:\n  {}\n  def f(a):\n    return 1\n"
    found = case.findings(source.format(wanted), source.format(live))
    assert found == ({} if wanted == live else {"kind-changed": "error"})


@pytest.mark.parametrize(
    ("before", "live"),
    [
        ("", "(Base)"),
        ("(Base)", ""),
        ("(Base)", "(Other)"),
        ("(Base)", "(Base, abc.ABC)"),
        ("(Other, Generic[T])", "(Base, Generic[T])"),
    ],
)
def test_other_bases(before: str, live: str, case: Case):
    source = "class C{}:\n  def f(a):\n    return 1\n  def g(a):\n    return 1\n"
    assert case.findings(source.format(before), source.format(live)) == {"bases-differ": "warning"}


def test_bases_assigned_in_memory(case: Case):
    source = "class C(Base):\n  def f(a):\n    return 1\n"
    assert case.findings(source, memory="C.__bases__ = (Other,)") == {"bases-differ": "warning"}


@pytest.mark.parametrize("futures", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("before", "live"), [("", "-> Base"), ("-> Base", ""), ("-> Base", "-> Other"), ("-> None", "-> Base")]
)
def test_another_return_annotation(before: str, live: str, futures: str, case: Case):
    source = "def f(a) {}:\n  return 1\n"
    assert case.findings(source.format(before), source.format(live), futures=futures) == {
        "return-annotation": "warning"
    }
