"""Bodies that choose a side: to whoever looks they are the function that they stand in for."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import types
from types import CellType, FunctionType
from typing import Any

import pytest

from livepatch.engine.code import kind_of, parameters_of
from livepatch.engine.dispatch import Cell, Way, dispatching, forwarding_code

# Parameters, and calls with what they give.
FORMS = {
    "": ["()"],
    "a": ["(1)", "(a=1)"],
    "a, b=2": ["(1)", "(1, 3)", "(b=3, a=1)"],
    "a, /": ["(1)"],
    "a, /, b": ["(1, 2)", "(1, b=2)"],
    "a=1, /, b=2": ["()", "(3)", "(3, b=4)"],
    "*args": ["()", "(1, 2, 3)"],
    "a, *args": ["(1)", "(1, 2, 3)"],
    "*, k": ["(k=1)"],
    "*, k=1, l": ["(l=2)", "(k=3, l=4)"],
    "*args, k=1": ["()", "(1, k=2)"],
    "**kw": ["()", "(x=1, y=2)"],
    "a, **kw": ["(1)", "(1, x=2)", "(a=1, x=2)"],
    "a, /, **kw": ["(1, a=2)"],
    "a, b=2, /, c=3, *args, k, l=5, **kw": ["(1, k=4)", "(1, 2, 3, 4, k=5, l=6, m=7)", "(1, c=0, k=4, b=9)"],
    "self, _x=(), *, __y=None": ["(1)", "(1, 2, __y=3)"],
}
KINDS = {
    "function": ("def f({}): return {!r}, sorted(locals().items()), [0]", lambda made: made),
    "generator": ("def f({}): yield {!r}, sorted(locals().items())", list),
    "coroutine by types.coroutine": ("@types.coroutine\ndef f({}): yield {!r}, sorted(locals().items())", list),
    "coroutine": ("async def f({}): return {!r}, sorted(locals().items())", asyncio.run),
    "async generator": (
        "async def f({}): yield {!r}, sorted(locals().items())",
        lambda made: asyncio.run(collect(made)),
    ),
}
FLAGS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)
WRONG = ["(nonsense=1, other=2)", "(*range(30))"]


async def collect(made: Any) -> list[object]:
    return [item async for item in made]


def defined(source: str, first_line: int = 7) -> FunctionType:
    space: dict[str, Any] = {"__name__": "specimen", "types": types}
    exec(compile("\n" * (first_line - 1) + source, "specimen.py", "exec", dont_inherit=True), space)
    return space["f"]


def body(function: FunctionType, code: Any, closure: tuple[CellType, ...] | None = None) -> FunctionType:
    """The function with that body, as it would be after a switch."""
    made = FunctionType(code, function.__globals__, "f", function.__defaults__, closure or function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def looks_the_same(made: FunctionType, function: FunctionType) -> None:
    assert inspect.signature(made) == inspect.signature(function)
    assert parameters_of(made) == parameters_of(function)
    assert kind_of(made.__code__) == kind_of(function.__code__)
    for asks in (
        inspect.isgeneratorfunction,
        inspect.iscoroutinefunction,
        inspect.isasyncgenfunction,
        inspect.isfunction,
    ):
        assert asks(made) == asks(function)
    assert made.__code__.co_flags & FLAGS == function.__code__.co_flags & FLAGS
    for name in ("co_name", "co_qualname", "co_firstlineno", "co_filename", "co_freevars", "co_argcount",
                 "co_posonlyargcount", "co_kwonlyargcount"):  # fmt: skip
        assert getattr(made.__code__, name) == getattr(function.__code__, name), name
    lines = {line for _, _, line in made.__code__.co_lines() if line is not None}
    assert lines == {function.__code__.co_firstlineno}
    positions = {(first, last) for first, last, *_ in made.__code__.co_positions() if first is not None}
    assert positions == {(function.__code__.co_firstlineno,) * 2}


CASES = list(itertools.product(KINDS, FORMS))


@pytest.mark.parametrize(("kind", "form"), CASES, ids=[f"{kind}({form})" for kind, form in CASES])
def test_every_kind_with_every_form_of_parameters(kind: str, form: str):
    source, run = KINDS[kind]
    old, new = (defined(source.format(form, word)) for word in ("old", "new"))
    cell = Cell([False])
    forwarding, guarded = (
        body(old, forwarding_code(old, new, ())),
        body(old, dispatching(old, [Way(new), Way(old)], cell).code),
    )
    for made in (forwarding, guarded):
        looks_the_same(made, old)
    for call in FORMS[form]:
        answer = lambda f, call=call: run(eval(f"f{call}", {"f": f}))
        assert answer(forwarding) == answer(new)
        for flipped, side in ((False, old), (True, new)):
            cell[0] = flipped
            assert answer(guarded) == answer(side)


@pytest.mark.parametrize("form", FORMS)
def test_calls_that_fail_fail_alike(form: str):
    function = defined(f"def f({form}): return 1")
    made = body(function, forwarding_code(function, function, ()))
    for call in (*WRONG, "()"):
        said = []
        for f in (function, made):
            try:
                said.append(("gave", eval(f"f{call}", {"f": f})))
            except TypeError as error:
                said.append(("raised", str(error)))
        assert said[0] == said[1]


@pytest.mark.parametrize("free", [(), ("x",), ("__class__", "alpha", "zeta")], ids=len)
def test_free_variables_are_kept(free: tuple[str, ...]):
    function = defined("def f(a): return a")
    code = forwarding_code(function, function, free)
    assert code.co_freevars == free
    made = body(function, code, tuple(CellType() for _ in free))  # nobody reads them
    assert made(1) == 1


def test_the_free_variables_of_a_guarded_function():
    space: dict[str, Any] = {}
    exec("def make(z, b):\n  def f(a): return z, b, a\n  return f", space)
    function = space["make"](1, 2)
    cell = Cell([False])
    code = dispatching(function, [Way(function), Way(function)], cell).code
    assert code.co_freevars == function.__code__.co_freevars == ("b", "z")
    before = function.__code__
    clone = FunctionType(before, space, "f", None, function.__closure__)
    function.__code__ = dispatching(function, [Way(clone), Way(clone)], cell).code
    assert function(3) == (1, 2, 3)


def test_the_callee_is_a_constant_and_no_global():
    old, new = defined("def f(): return 'old'"), defined("def f(): return 'new'")
    code = forwarding_code(old, new, ())
    assert any(constant is new for constant in code.co_consts)
    assert body(old, code)() == "new"
    old.__globals__.clear()
    assert body(old, code)() == "new"


def test_a_generator_given_on_is_the_callee_s_own():
    function = defined("def f(a):\n  got = yield a\n  yield got\n  return 'done'")
    made = body(function, forwarding_code(function, function, ()))
    steps = made(1)
    assert steps.gi_code is function.__code__
    assert (next(steps), steps.send("sent")) == (1, "sent")
    with pytest.raises(StopIteration, match="done"):
        next(steps)


def test_no_frame_of_the_body_is_left_in_a_coroutine():
    function = defined("async def f(): return 1")
    made = body(function, forwarding_code(function, function, ()))
    waiting = made()
    assert inspect.iscoroutine(waiting)
    assert waiting.cr_code is function.__code__
    waiting.close()
