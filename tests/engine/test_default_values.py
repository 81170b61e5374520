"""A default that is a literal is compared by type and value; any other is the caller's to compute."""

from __future__ import annotations

import ast
from types import FunctionType, ModuleType
from typing import Any

import pytest

from livepatch.contents.edits import Text
from livepatch.engine.default_values import OpenDefault, defaults_match, value_of
from livepatch.engine.functions import held_by

LIMIT = object()


def function_of(source: str) -> FunctionType:
    namespace: dict[str, Any] = {"LIMIT": LIMIT}
    exec(source, namespace)
    made: FunctionType = namespace["f"] if "f" in namespace else vars(namespace["C"])["f"]
    return made


def compare(live: str, text: str, evaluate: Any = None) -> Any:
    return defaults_match(held_by(function_of(live)), Text(source=text, line=11), evaluate)


def evaluated(**names: object) -> Any:
    return lambda expression: eval(ast.unparse(expression), names)


@pytest.mark.parametrize(
    "source",
    [
        "def f(): pass\n",
        "def f(a, /, b, c=1, *d, e, g='x', **h): pass\n",
        "def f(a=-1, b=(1, (True, None)), c=60 * 60, d=1 << 20, e=-0.0, g=1 - 2j, h=b'', i=..., *, j='a' 'b'): pass\n",
    ],
)
def test_the_same_literals(source: str):
    assert compare(source, source).mismatch is None
    assert compare(source, source).unknown == ()


@pytest.mark.parametrize(
    ("live", "text", "line", "what"),
    [
        (
            "def f(a=1): pass",
            "def f(a=True): pass",
            11,
            "parameter a has another default in the process than in line 11",
        ),
        ("def f(a=0.0): pass", "def f(a=-0.0): pass", 11, "parameter a has another default"),
        ("def f(a=61 * 60): pass", "def f(\n  a=60 * 60\n): pass", 12, "in line 12: `a=60 * 60`"),
        ("def f(a, b=1): pass", "def f(a, b): pass", 11, "the default of parameter b: the source has none in line 11"),
        ("def f(a, b): pass", "def f(a, b=1): pass", 11, "the default of parameter b: the source has one only in"),
        ("def f(*, a): pass", "def f(*, a=1): pass", 11, "parameter a: the source has one only in"),
        ("def f(*, a=2, b=1): pass", "def f(*, a=2, b=(1,)): pass", 11, "parameter b has another"),
        ("def f(a=[]): pass", "def f(a=()): pass", 11, "parameter a has another"),
    ],
)
def test_other_literals(live: str, text: str, line: int, what: str):
    mismatch = compare(live, text).mismatch
    assert mismatch.line == line
    assert what in mismatch.what


def test_what_is_no_literal_is_left_open():
    source = "def f(a=LIMIT, *, b=dict(x=1), c=3): pass\n"
    found = compare(source, source)
    assert found.mismatch is None
    assert found.differing == ()
    assert found.unknown == (OpenDefault("a", 11, "LIMIT", LIMIT), OpenDefault("b", 11, "dict(x=1)", {"x": 1}))


def test_what_is_no_literal_is_computed_by_the_caller():
    source = "def f(a=LIMIT, *, b=dict(x=[1, {2}]), c=set()): pass\n"
    assert compare(source, source, evaluated(LIMIT=LIMIT)).differing == ()
    (left,) = compare(source, source, evaluated(LIMIT=object())).differing
    assert left.parameter == "a"


@pytest.mark.parametrize("other", ["[1]", "[True]", "[]", "(1.0,)", "{1: 2.0}", "{1}", "range(3)"])
def test_a_value_that_only_looks_the_same_differs(other: str):
    source = "def f(a=list((1.0,))): pass\n"
    assert compare(source, source, lambda _: eval(other)).differing


def test_what_cannot_be_looked_up_is_unknown():
    source = "def f(a=LIMIT, b=1 + len('x')): pass\n"
    found = compare(source, source, lambda expression: value_of(expression, ModuleType("m")))
    assert [one.expression for one in found.unknown] == ["LIMIT", "1 + len('x')"]
    assert found.differing == ()


class Asked:
    """An object, and a class, of which nothing may be asked."""

    plain = 1

    @property
    def asked(self) -> None:
        raise AssertionError("it was asked")

    @staticmethod
    def still() -> None: ...

    @classmethod
    def bound(cls) -> None: ...

    def __getattr__(self, name: str) -> None:
        raise AssertionError("it was asked")


class Derived(Asked):
    __private = 2


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("thing.Asked.plain", 1),
        ("thing.Derived.plain", 1),
        ("thing.Asked.still", Asked.still),
        ("len", len),
        ("__private", 2),
        ("plain", LookupError),
        ("thing.Asked.bound", LookupError),
        ("thing.Asked.asked", LookupError),
        ("thing.one.plain", LookupError),
        ("thing.none", LookupError),
        ("none", LookupError),
        ("Asked.plain.real", LookupError),
        ("f()", LookupError),
        ("a + 1", LookupError),
    ],
)
def test_only_namespaces_are_read(expression: str, value: object):
    thing, module = ModuleType("thing"), ModuleType("m")
    vars(thing).update(Asked=Asked, Derived=Derived, one=Asked())
    vars(module).update(thing=thing)
    node = ast.parse(expression, mode="eval").body
    if value is LookupError:
        with pytest.raises(LookupError):
            value_of(node, module, Derived)
    else:
        assert value_of(node, module, Derived) is value


def test_private_names_of_keywords():
    source = "class C:\n    def f(self, *, __a=1): pass\n"
    assert compare(source, "def f(self, *, __a=1): pass\n").mismatch is None
    assert compare(source, "def f(self, *, __a=2): pass\n").mismatch.line == 11
