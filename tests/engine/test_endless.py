"""Which frames never end by themselves: asked where a frame stands, and compared with what a reader would say."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import textwrap
import types
import warnings
import weakref
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from livepatch.engine import endless
from livepatch.engine.endless import Waiting, is_endless


class Stop(BaseException):
    """Ends what is endless, as an interrupt would."""


def answers(source: str) -> list[bool]:  # noqa: C901  # one little world for all cases
    """Run ``f`` of the source up to its first ``here()``, ``await pause()`` or ``yield``; what is said there."""
    said: list[bool] = []

    def here(*_: object) -> None:
        frame = sys._getframe(1)
        said.append(is_endless(frame.f_code, frame.f_lasti))
        raise Stop

    @types.coroutine
    def pause():
        yield "paused"

    class manager:
        def __init__(self, *, stand: bool = False) -> None:
            self.stand = stand

        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...
        async def __aenter__(self) -> None: ...
        async def __aexit__(self, *error: object) -> None:
            if self.stand:
                await pause()

    async def ticks():
        yield 1

    async def slow():
        await pause()
        yield 1

    namespace: dict[str, Any] = {
        "here": here, "pause": pause, "manager": manager, "ticks": ticks, "slow": slow, "true": True, "false": False,
        "CancelledError": asyncio.CancelledError,
    }  # fmt: skip
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # a `return` in a `finally`
        exec(compile(textwrap.dedent(source), "<case>", "exec", dont_inherit=True), namespace)
    with contextlib.suppress(Stop):
        running = namespace["f"]()
        if isinstance(running, types.GeneratorType):
            next(running)
            said.append(is_endless(running.gi_code, running.gi_frame.f_lasti))
            running.close()
        elif isinstance(running, types.CoroutineType):
            assert running.send(None) == "paused"
            said.append(is_endless(running.cr_code, running.cr_frame.f_lasti))
            with contextlib.suppress(Stop, RuntimeError):
                running.throw(Stop())
        elif isinstance(running, types.AsyncGeneratorType):
            with contextlib.suppress(StopIteration):
                running.asend(None).send(None)
            said.append(is_endless(running.ag_code, running.ag_frame.f_lasti))
    return said


ENDLESS = {
    "while true": "def f():\n while True: here()",
    "while 1": "def f():\n while 1: here()",
    "before the loop": "def f():\n here()\n while True: true",
    "with conditions in it": "def f():\n while True:\n  if here(): continue\n  elif true: false\n  else: true",
    "with a finite loop in it": "def f():\n while True:\n  for x in (1, 2): here()",
    "with a finite while in it": "def f():\n while True:\n  while true: here()",
    "with a break of the inner loop": "def f():\n while True:\n  while True:\n   here()\n   if true: break",
    "with a match": "def f():\n while True:\n  match here():\n   case 1: true\n   case [x, *_]: false\n   case _: true",
    "with a comprehension": "def f():\n while True: [x for x in (1,)], here()",
    "in a with": "def f():\n with manager():\n  while True: here()",
    "with a with in it": "def f():\n while True:\n  with manager(): here()",
    "in a try": "def f():\n try:\n  while True: here()\n except ValueError: return 1",
    "in a finally": "def f():\n try: true\n finally:\n  while True: here()",
    "with a finally": "def f():\n while True:\n  try: here()\n  finally: true",
    "errors are logged": "def f():\n while True:\n  try: here()\n  except Exception as e: e",
    "a cancellation returns": "def f():\n while True:\n  try: here()\n  except CancelledError: return",
    "in the handler that goes on": "def f():\n while True:\n  try: 1 / 0\n  except ZeroDivisionError: here()",
    "a raise": "def f():\n while True:\n  if here(): raise ValueError",
    "an assertion": "def f():\n while True: assert here()",
    "a raise in a with": "def f():\n with manager():\n  while True:\n   if here(): raise ValueError",
    "a raise in a finally": "def f():\n try:\n  while True:\n   if here(): raise ValueError\n finally: true",
    "a raise that is caught in the loop": """
        def f():
            while True:
                try:
                    if here(): raise ValueError
                except ValueError as e: e
    """,
    "a raise caught or not": """
        def f():
            while True:
                try:
                    if here(): raise ValueError
                except KeyError: true
    """,
    "only raised and caught": """
        def f():
            while True:
                try: raise ValueError
                except ValueError: here()
    """,
    "two loops": "def f():\n while True:\n  if here(): break\n while True: true",
    "a generator": "def f():\n while True: yield 1",
    "a generator that takes": "def f():\n while True:\n  x = yield\n  x()",
    "a generator that delegates": "def f():\n while True: yield from (1, 2)",
    "an async generator": "async def f():\n while True: yield 1",
    "a coroutine": "async def f():\n while True: await pause()",
    "a coroutine with a finally": "async def f():\n try:\n  while True: await pause()\n finally: true",
    "async with": "async def f():\n async with manager():\n  while True: await pause()",
    "async with in the loop": "async def f():\n while True:\n  async with manager(): await pause()",
    "leaving an async with in the loop": "async def f():\n while True:\n  async with manager(stand=True): true",
    "async for in the loop": "async def f():\n while True:\n  async for x in slow(): x",
    "async comprehension in the loop": "async def f():\n while True: await pause(); [x async for x in ticks()]",
    "else of a loop": "def f():\n for _ in ():\n  true\n else:\n  while True: here()",
    "many locals": "def f():\n" + "\n".join(f" x{i} = {i}" for i in range(300)) + "\n while True:\n  here()\n"
    + "\n".join(f"  x{i} = x{i} + true" for i in range(300)),
}  # fmt: skip

ENDING = {
    "no loop": "def f(): here()",
    "no loop but a raise": "def f():\n here()\n raise ValueError",
    "not implemented": "async def f():\n await pause()\n raise NotImplementedError",
    "a condition": "def f():\n while true: here()",
    "a break": "def f():\n while True:\n  if here(): break",
    "a return": "def f():\n while True:\n  if here(): return 1",
    "a return in a with": "def f():\n while True:\n  with manager():\n   if here(): return 1",
    "a return in a finally": "def f():\n while True:\n  try: here()\n  finally: return 1",
    "a break in a match": "def f():\n while True:\n  match here():\n   case 1: break\n   case _: true",
    "a walrus": "def f():\n while x := here(): x",
    "after the loop": "def f():\n while true:\n  break\n here()",
    "a for": "def f():\n for x in (1, 2): here()",
    "a for that raises at last": "def f():\n for x in (1, 2): here()\n raise ValueError",
    "a for of a generator": "def f():\n for x in (y for y in (1, 2)): here()",
    "a for that could not end": "def f():\n import itertools\n for x in itertools.count(): here()",
    "in the handler that returns": "def f():\n while True:\n  try: 1 / 0\n  except ZeroDivisionError: here(); return",
    "in the handler that raises again": "def f():\n while True:\n  try: 1 / 0\n  except Exception: here(); raise",
    "in the finally of an error": "def f():\n while True:\n  try: 1 / 0\n  finally: here()",
    "a raise that is caught outside the loop": """
        def f():
            try:
                while True:
                    if here(): raise ValueError
            except ValueError: return
    """,
    "a loop in the finally of an error": """
        def f():
            while True:
                try: 1 / 0
                finally:
                    for x in (1, 2): here()
    """,
    "a generator": "def f():\n yield 1\n yield 2",
    "a generator with a for": "def f():\n for x in (1, 2): yield x",
    "a generator that delegates": "def f():\n yield from (1, 2)",
    "an async generator": "async def f():\n for x in (1, 2): yield 1",
    "a coroutine": "async def f(): await pause()",
    "an await in a condition": "async def f():\n while await pause(): true",
    "async for": "async def f():\n async for x in ticks(): await pause()",
    "async for at its iterator": "async def f():\n async for x in slow(): x",
    "async for that raises at last": "async def f():\n async for x in slow(): x\n raise ValueError",
    "async comprehension": "async def f(): return [x async for x in slow()]",
    "async with": "async def f():\n async with manager(): await pause()",
    "leaving an async with": "async def f():\n async with manager(stand=True): true",
    "leaving an async with after an error": "async def f():\n while True:\n  async with manager(stand=True): 1 / 0",
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_endless(source: str):
    assert answers(source)
    assert all(answers(source))


@pytest.mark.parametrize("source", ENDING.values(), ids=ENDING)
def test_ending(source: str):
    assert answers(source)
    assert not any(answers(source))


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_what_has_not_begun_stands_before_its_loop(source: str):
    namespace: dict[str, Any] = {"manager": None}
    exec(textwrap.dedent(source), namespace)
    code = namespace["f"].__code__
    assert is_endless(code, -1) == is_endless(code, 0)


def test_not_begun():
    async def loops() -> None:
        while True:  # noqa: ASYNC110  # a loop is what is asked for
            await asyncio.sleep(0)

    coroutine = loops()
    assert is_endless(coroutine.cr_code, coroutine.cr_frame.f_lasti)
    coroutine.close()


def all_codes(code: CodeType) -> list[CodeType]:
    return [code, *(c for inner in code.co_consts if isinstance(inner, CodeType) for c in all_codes(inner))]


@pytest.mark.parametrize("folder", ["asyncio", "concurrent/futures", "multiprocessing", "test/support", "."])
def test_any_code_can_be_asked_anywhere(folder: str):
    library = Path(asyncio.__file__).parent.parent
    for path in sorted((library / folder).glob("*.py"))[:40]:
        for code in all_codes(compile(path.read_bytes(), str(path), "exec", dont_inherit=True)):
            for lasti in range(-1, len(code.co_code), 1 + len(code.co_code) // 50):
                assert is_endless(code, lasti) in (True, False)


def test_what_the_library_has_that_never_ends():
    # Only an exception ends this one, and it is the loop's usual end: normal control flow is what is asked for.
    from _collections_abc import MutableSet, Sequence

    assert is_endless(MutableSet.clear.__code__, 0)
    assert is_endless(Sequence.__iter__.__code__, 0)
    assert not is_endless(asyncio.BaseEventLoop.run_forever.__code__, 0)
    assert not is_endless(asyncio.Queue.get.__code__, 0)


def spin() -> None:
    while True:
        spin()


def test_nothing_is_said_while_a_tool_is_active(monkeypatch: pytest.MonkeyPatch):
    assert is_endless(spin.__code__, 0)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "getprofile", lambda: print)
        assert not is_endless(spin.__code__, 0)
    if sys.version_info >= (3, 12):
        tool = next(tool for tool in range(6) if sys.monitoring.get_tool(tool) is None)
        sys.monitoring.use_tool_id(tool, "specimen")
        try:
            assert not is_endless(spin.__code__, 0)
        finally:
            sys.monitoring.free_tool_id(tool)
    assert is_endless(spin.__code__, 0)


def test_what_was_asked_keeps_no_code():
    namespace: dict[str, Any] = {}
    exec("def f():\n while True: pass", namespace)
    code = namespace.pop("f").__code__
    count = sys.getrefcount(code)
    assert is_endless(code, 0)
    gc.collect()
    assert sys.getrefcount(code) == count
    gone = weakref.ref(code)
    del code
    gc.collect()
    assert gone() is None


def test_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endless, "_MOST_KNOWN", 3)
    for number in range(10):
        assert not is_endless(compile(f"x = {number}", "<specimen>", "exec"), 0)
        assert len(endless._KNOWN) <= 3


# Who waits for whom


def code_and_end(source: str, kind: str) -> tuple[CodeType, int]:
    """The code of ``f``, and the offset of its last instruction of that kind."""
    import dis

    namespace: dict[str, Any] = {}
    exec(source, namespace)
    code = namespace["f"].__code__
    return code, [i.offset for i in dis.get_instructions(code) if i.opname.startswith(kind)][-1]


PLAIN = ("def f(x): x(); return 1", "CALL")
PLAIN_LOOP = ("def f(x):\n while True: x()", "CALL")
COROUTINE = ("async def f(x): await x; return 1", "YIELD_VALUE")
COROUTINE_CALLS = ("async def f(x): x(); return 1", "CALL")
COROUTINE_LOOP = ("async def f(x):\n while True: await x", "YIELD_VALUE")
GENERATOR = ("def f(x): yield from x", "YIELD_VALUE")
GENERATOR_LOOP = ("def f(x):\n while True: yield x", "YIELD_VALUE")
ASYNC_GENERATOR = ("async def f(x):\n await x\n if x: yield 1", "SEND")
ASYNC_GENERATOR_LOOP = ("async def f(x):\n while True: yield x", "YIELD_VALUE")


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([PLAIN, PLAIN], [False, False]),
        ([PLAIN_LOOP, PLAIN, PLAIN], [True, True, True]),
        ([PLAIN, PLAIN_LOOP, PLAIN], [False, True, True]),
        ([PLAIN_LOOP, COROUTINE_CALLS, COROUTINE, PLAIN], [True, True, True, True]),
        ([COROUTINE, COROUTINE], [False, False]),
        ([COROUTINE_LOOP, COROUTINE, COROUTINE, PLAIN], [True, True, True, False]),
        ([COROUTINE_LOOP, COROUTINE_CALLS], [True, False]),
        ([COROUTINE_LOOP, PLAIN, COROUTINE], [True, False, False]),
        ([GENERATOR_LOOP, GENERATOR, PLAIN], [True, True, False]),
        ([ASYNC_GENERATOR_LOOP, COROUTINE], [True, False]),
        ([COROUTINE_LOOP, ASYNC_GENERATOR, COROUTINE], [True, True, True]),
    ],
)
def test_who_waits_for_what_never_ends(stack: list[tuple[str, str]], expected: list[bool]):
    waiting = Waiting(readable=True)
    assert [waiting.outwards(*code_and_end(*frame)) for frame in stack] == expected
