"""While calls of one side drain, functions look as they did, and each side has its own parameters and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import differences, picture
from tests.held import fixing, fresh, held, is_plain_and_new, new_side, sent

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

Both = Callable[..., tuple[ModuleType, livepatch.Patch]]


@pytest.fixture
def both(write_module: WriteModule, new_patch: NewPatch) -> Both:
    """A module, and a patch that replaces the functions named by those of its text with old and new exchanged."""

    def write(source: str, *names: str, new: str = "") -> tuple[ModuleType, livepatch.Patch]:
        m = write_module(source)
        return m, fixing(new_patch(), m, write_module(new or new_side(source)), *names)

    return write


# How the functions look meanwhile

SHAPES = """
def leaf(a, /, b: int = 2, *args, c, d=(), **kw): return 'old'
async def coroutine(a): return 'old'
def generator(a=1): yield 'old'
async def async_generator(): yield 'old'
def make(one, two):
    def closure(x=one):
        return 'old', one, two, x
    return closure
closure = make(1, 2)
class Base:
    def hello(self): return 'base'
class C(Base):
    def hello(self): return 'old', super().hello()
    @classmethod
    def made(cls): return 'old', cls.__name__, super().__name__ if False else ''
    @staticmethod
    def apart(x=1): return 'old', x
    @property
    def size(self): return 'old'
def hold():
    yield 'old'
    yield [shows()]
def shows():
    return c.hello()[0], C.made()[0], c.apart()[0], c.size, closure()[0], leaf(1, c=2), *generator()
c = C()
"""
NAMED = ("leaf", "coroutine", "generator", "async_generator", "C.hello", "C.made", "C.apart", "C.size", "make", "hold")
ASKED = ("co_name", "co_qualname", "co_filename", "co_firstlineno", "co_freevars", "co_argcount", "co_kwonlyargcount")
KIND_BITS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
FREE = inspect.CO_NESTED | KIND_BITS


def functions_of(m: ModuleType) -> list[Any]:
    accessors = [vars(m.C)[name] for name in ("hello", "made", "apart", "size")]
    unwrapped = [getattr(each, "__func__", None) or getattr(each, "fget", each) for each in accessors]
    return [m.leaf, m.coroutine, m.generator, m.async_generator, m.closure, m.make, m.hold, *unwrapped]


def looks(function: Any) -> list[Any]:
    code = function.__code__
    kinds = inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction
    return [
        inspect.signature(function),
        inspect.getfullargspec(function),
        [kind(function) for kind in kinds],
        *(getattr(code, name) for name in ASKED),
        code.co_flags & FREE,
        (function.__name__, function.__qualname__, function.__module__, function.__doc__, function.__closure__),
        repr(function),
    ]


def test_functions_look_as_before_while_calls_drain(both: Both):
    m, fix = both(SHAPES, *NAMED)
    before = {function: looks(function) for function in functions_of(m)}
    pictured = picture(m)
    with held(m, "hold") as old:
        applied = livepatch.apply(fix)
        for function, was in before.items():
            now = looks(function)
            assert now == was
            assert isinstance(hash(function.__code__), int)
            assert function.__code__ == function.__code__
            assert function.__code__.replace().co_name == function.__code__.co_name
        assert set(m.shows()) == {"new"}
        assert set(old.go_on()[0]) == {"old"}
        assert sent(m.coroutine(1)) == "new"
        assert sent(m.async_generator().asend(None)) == "new"
        assert m.c.hello() == ("new", "base")
        assert m.closure() == ("new", 1, 2, 1)
        assert m.make(3, 4)() == ("new", 3, 4, 3)
    assert applied.wait(5)
    assert is_plain_and_new(m, "leaf", "coroutine", "generator", "hold")
    assert set(m.shows()) == {"new"}
    applied.revert()
    assert set(m.shows()) == {"old"}
    assert differences(pictured) == []


PARAMETERS = {
    "": [()],
    "a": [(1,), {"a": 1}],
    "a, /": [(1,)],
    "a=1": [(), (2,), {"a": 2}],
    "a, /, b=2": [(1,), (1, 3)],
    "*, k": [{"k": 1}],
    "*, k=1": [{}, {"k": 2}],
    "*args": [(), (1, 2)],
    "**kw": [{}, {"x": 1, "self": 2}],
    "a, *args, k=1, **kw": [(1,), (1, 2, 3), {"a": 1, "k": 2, "z": 3}],
    "a, b=2, /, c=3, *args, d, e=5, **kw": [{"d": 1}],
}


ODD_CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    ((), {}),
    ((1, 2, 3, 4), {}),
    ((), {"a": 1, "other": 2}),
    ((1,), {"a": 1}),
    ((1, 2), {"b": 2, "c": 3, "d": 4}),
    ((), {"k": 1, "args": 2, "kw": 3}),
]


def outcome(f: Any, args: tuple[int, ...], kwargs: dict[str, int]) -> str:
    try:
        return str(f(*args, **kwargs)[1])
    except TypeError as error:
        return f"TypeError {error}"


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_every_form_of_parameters(parameters: str, both: Both):
    source = f"def f({parameters}): return 'old', locals()\ndef hold():\n yield 'old'\n yield calls(f)\n"
    ways = PARAMETERS[parameters]
    filled = [(9,) if parameters.startswith("a, b=2") and type(way) is dict else () for way in ways]

    def calls(f: Any) -> list[Any]:
        return [f(*more, **way) if isinstance(way, dict) else f(*way) for way, more in zip(ways, filled, strict=True)]

    m, fix = both(source, "f", "hold")
    m.calls = calls
    odd = [outcome(m.f, *way) for way in ODD_CALLS]
    assert any("TypeError" in each for each in odd)
    expected = [given for _, given in calls(m.f)]
    with held(m, "hold") as old:
        applied = livepatch.apply(fix)
        assert calls(m.f) == [("new", given) for given in expected]
        assert old.go_on() == [("old", given) for given in expected]
        assert [outcome(m.f, *way) for way in ODD_CALLS] == odd, "what is refused, is in the same words"
    assert applied.wait(5)


class Odd:
    """Equal to everything, so that only identity tells."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_changed_defaults_are_each_sides_own(both: Both):
    source = "def f(a, b='old', *, c='old'): return b, c\ndef hold():\n yield 'old'\n yield list(map(go, (f,)))[0]\n"
    m, fix = both(source, "f", "hold")
    defaults, keyword = m.f.__defaults__, m.f.__kwdefaults__
    was, odd = defaults[0], Odd()
    m.go = lambda f: [f(1), f(1, odd)[0] is odd, f(1, was), f(1, c=odd)[1] is odd, f(1, "x", c="y"), f(1, c=was)]
    sides = [[(s, s), True, ("old", s), True, ("x", "y"), (s, "old")] for s in ("old", "new")]
    assert m.go(m.f) == sides[0]
    with held(m, "hold") as old:
        applied = livepatch.apply(fix)
        assert m.go(m.f) == sides[1], "what is given explicitly goes through, also if it is the other side's default"
        assert "'old'" in str(inspect.signature(m.f))
        assert old.go_on() == sides[0]
    assert applied.wait(5)
    assert m.go(m.f) == sides[1]
    assert m.f.__defaults__ == ("new",)
    applied.revert()
    assert m.f.__defaults__ is defaults
    assert m.f.__kwdefaults__ is keyword


def test_only_defaults_change(both: Both):
    m, fix = both("def f(a='old'): return a\ndef hold():\n yield 'old'\n yield [f()]\n", "f", "hold")
    was = m.f.__code__
    with held(m, "hold") as old:
        applied = livepatch.apply(fix)
        assert [m.f(), old.go_on()] == ["new", ["old"]]
    assert applied.wait(5)
    applied.revert()
    assert m.f.__code__ is was


def test_parameters_that_the_new_side_adds(both: Both):
    source = "def f(a): return 'old', a\ndef hold():\n yield 'old'\n yield f(1)\n"
    new = "def f(a, more=7, *, k=8): return 'new', a, more, k\ndef hold():\n yield 'new'\n yield f(1, 2, k=3)\n"
    m, fix = both(source, "f", "hold", new=new)
    with held(m, "hold") as old:
        applied = livepatch.apply(fix)
        assert [m.f(1), m.f(1, 2), m.f(1, k=3)] == [("new", 1, 7, 8), ("new", 1, 2, 8), ("new", 1, 7, 3)]
        assert fresh(m, "hold") == ("new", 1, 2, 3) if hasattr(m, "gate") else True
        assert old.go_on() == ("old", 1)
    assert applied.wait(5)
    new_call = m.hold()
    next(new_call)
    applied.revert()
    assert m.f(1) == ("old", 1)
    assert next(new_call) == ("new", 1, 2, 3)
    new_call.close()
    assert applied.wait(5)
    with pytest.raises(TypeError):
        m.f(1, 2)
