"""What a switch waits for, who may take it back, and what is told to whom on the way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.cycles import differences, picture
from tests.held import HOLDS, KINDS, fixing, fresh, held, is_plain_and_new, new_side, soon

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule

LEAF = "def leaf(*_): return 'old'\ndef route(): return [leaf(), leaf()]\n"
ALL = ("leaf", *KINDS)
STANDS = ("yield", "await pause", "gate.wait")  # where a held call stands
Made = Callable[..., livepatch.Patch]


@pytest.fixture
def m(write_module: WriteModule) -> ModuleType:
    return write_module(HOLDS + LEAF)


@pytest.fixture
def made(m: ModuleType, write_module: WriteModule, new_patch: NewPatch) -> Made:
    """A patch of that module: of all its targets, or those that are named; `word` is what its side says."""

    def make(*names: str, word: str = "new", **options: Any) -> livepatch.Patch:
        fix = new_patch()
        if options:
            fix = livepatch.Patch(fix.id, package="specimen", versions="==1.0", **options)
        text = new_side(HOLDS + LEAF).replace("'new'", repr(word))
        return fixing(fix, m, write_module(text), *(names or ALL))

    return make


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Run it in a thread; the list gets what it returned or raised."""
    given: list[Any] = []

    def run() -> None:
        try:
            given.append(function())
        except Exception as error:
            given.append(error)

    thread = threading.Thread(target=run, name="switching")
    thread.start()
    return thread, given


# Quiescent


def not_quiet(fix: livepatch.Patch, m: ModuleType) -> livepatch.TransitionError:
    """The refusal of a quiescent apply, after proof that nothing changed."""
    before = picture(m)
    with pytest.raises(livepatch.TransitionError) as caught:
        livepatch.apply(fix, consistency="quiescent", timeout=0.2)
    assert caught.value.timeout == 0.2
    assert differences(before) == []
    assert livepatch.status() == ()
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_quiescent_names_who_is_inside_and_switches_when_it_has_left(kind: str, m: ModuleType, made: Made):
    fix = made()
    lines = HOLDS.splitlines()
    begins = next(i for i, line in enumerate(lines) if f"def {kind}" in line)
    stands = next(i for i in range(begins + 1, len(lines)) if lines[i].strip().startswith(STANDS))
    with held(m, kind):
        said = str(not_quiet(fix, m))
        assert f"{kind} at {m.__file__}:{stands + 1}" in said
        if kind == "as_thread":
            assert "held-thread" in said
    applied = livepatch.apply(fix, consistency="quiescent", timeout=5)
    assert applied.status().state == "settled"
    assert set(fresh(m, kind)) == {"new"}
    assert is_plain_and_new(m, *ALL)


def test_quiescent_names_the_task(m: ModuleType, made: Made):
    fix = made()

    async def main() -> str:
        event = asyncio.Event()
        m.pause = event.wait
        task = asyncio.create_task(m.as_coroutine(), name="peer 7")
        await asyncio.sleep(0)
        said = str(not_quiet(fix, m))
        event.set()
        assert set(await task) == {"old"}
        return said

    said = asyncio.run(main())
    assert "peer 7" in said
    assert "as_coroutine" in said


def test_a_waiting_switch_is_made_as_soon_as_the_call_has_left(m: ModuleType, made: Made):
    before = picture(m)
    with held(m, "as_thread") as inside:
        thread, given = in_thread(lambda: livepatch.apply(made(), consistency="quiescent", timeout=10))
        time.sleep(0.1)
        assert not given
        assert differences(before) == []
        assert set(m.route()) == {"old"}
        assert set(inside.go_on()) == {"old"}
    thread.join(5)
    assert given[0].status().state == "settled"
    assert set(m.route()) == {"new"}


def test_a_waiting_switch_can_be_cancelled(m: ModuleType, made: Made):
    fix, before = made(), picture(m)
    with held(m, "as_generator"):
        thread, given = in_thread(lambda: livepatch.apply(fix, consistency="quiescent", timeout=30))
        time.sleep(0.1)
        assert not given
        livepatch.cancel(fix.id)
        thread.join(20)
        assert not thread.is_alive(), "it has waited for its timeout"
        assert isinstance(given[0], livepatch.TransitionError)
        assert "cancelled" in str(given[0])
        assert differences(before) == []
        assert livepatch.status() == ()
        assert livepatch.apply(fix).status().state == "draining", "it can be applied again"


def test_a_unit_of_work_is_no_quiet_moment(m: ModuleType, made: Made):
    fix = made()
    with livepatch.unit_of_work():
        assert "1 unit of work" in str(not_quiet(fix, m))
    assert livepatch.apply(fix, consistency="quiescent", timeout=1).status().state == "settled"


def test_a_quiescent_patch_goes_out_when_it_is_quiet(m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made(), consistency="quiescent", timeout=1)
    with held(m):
        with pytest.raises(livepatch.TransitionError):
            applied.revert(timeout=0.1)
        assert applied.status().state == "settled"
        assert set(m.route()) == {"new"}
    applied.revert()
    assert differences(before) == []


# Immediate


@pytest.mark.parametrize("kind", KINDS)
def test_immediate_running_calls_call_the_new_side(kind: str, m: ModuleType, made: Made):
    before = picture(m)
    with held(m, kind) as inside:
        applied = livepatch.apply(made(), consistency="immediate")
        assert is_plain_and_new(m, *ALL)
        assert applied.status().state == "draining"
        assert inside.go_on() == ("old", "new", "new")
    assert applied.wait(5)
    applied.revert()
    assert differences(before) == []


def test_immediate_units_see_the_switch(m: ModuleType, made: Made):
    with livepatch.unit_of_work():
        livepatch.apply(made(), consistency="immediate")
        assert m.route() == ["new", "new"]


# One at a time


def test_a_second_switch_waits_for_the_first_to_settle(m: ModuleType, made: Made):
    first, second = made(), made("leaf", word="second")
    with held(m) as inside:
        applied = livepatch.apply(first)
        with pytest.raises(livepatch.TransitionError) as caught:
            livepatch.apply(second, timeout=0.2)
        assert caught.value.timeout == 0.2
        assert "as_generator" in str(caught.value)
        assert [status.id for status in livepatch.status()] == [first.id]
        thread, given = in_thread(lambda: livepatch.apply(second, timeout=10))
        time.sleep(0.1)
        assert not given
        assert set(inside.go_on()) == {"old"}
    thread.join(5)
    assert isinstance(given[0], livepatch.Applied)
    assert applied.status().state == "settled"
    assert m.route() == ["second", "second"]


BACK: dict[str, Callable[[livepatch.Applied], object]] = {
    "revert": lambda applied: applied.revert(),
    "off": lambda applied: setattr(applied, "mode", "off"),
    "flag": lambda applied: livepatch.flags.__setitem__(applied.flag, "off"),
    "cancel": lambda applied: applied.cancel(),
}


@pytest.mark.parametrize("way", BACK)
@pytest.mark.parametrize("kind", KINDS)
def test_a_draining_switch_is_turned_round(way: str, kind: str, m: ModuleType, made: Made):
    before = picture(m)
    other = "as_coroutine" if kind == "as_generator" else "as_generator"
    with held(m, kind) as old:
        applied = livepatch.apply(made())
        with held(m, other) as new:
            BACK[way](applied)
            assert applied.status().state == "draining"
            assert {frame.function for frame in applied.status().frames} == {other}
            assert set(m.route()) == {"old"}
            assert set(new.go_on()) == {"new"}
        assert applied.wait(5), "the old call is on the side that is live again"
        assert applied.status().state == ("settled" if way in ("off", "flag") else "reverted")
        assert differences(before) == []
        assert set(old.go_on()) == {"old"}
    if way == "cancel":
        assert livepatch.status() == ()
        with pytest.raises(livepatch.TransitionError, match="no switch"):
            applied.cancel()


@pytest.mark.parametrize("turns", [2, 3, 6, 7])
def test_to_and_fro(turns: int, m: ModuleType, made: Made):
    before = picture(m)
    with held(m) as old:
        applied = livepatch.apply(made())
        calls = [(held(m, "as_coroutine"), "new")]
        entered = [calls[0][0].__enter__()]
        sides = ["new"]
        for turn in range(turns):
            side = ("old", "new")[turn % 2]
            applied.mode = "off" if side == "old" else "on"
            assert set(m.route()) == {side}
            calls.append((held(m, "as_coroutine"), side))
            entered.append(calls[-1][0].__enter__())
            sides.append(side)
        assert applied.status().state == "draining"
        for call, side in zip(entered, sides, strict=True):
            assert set(call.go_on()) == {side}
        assert set(old.go_on()) == {"old"}
        for manager, _ in calls:
            manager.__exit__(None, None, None)
    assert applied.wait(5)
    assert set(m.route()) == {sides[-1]}
    if sides[-1] == "old":
        assert differences(before) == []
    else:
        assert is_plain_and_new(m, *ALL)
    applied.revert()
    assert differences(before) == []


def test_cancel_of_a_revert_puts_the_patch_back(m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made())
    with held(m) as new:
        applied.revert()
        assert set(m.route()) == {"old"}
        applied.cancel()
        assert set(m.route()) == {"new"}
        assert applied.wait(5)
        assert [status.state for status in livepatch.status()] == ["settled"]
        assert livepatch.verify()
        assert set(new.go_on()) == {"new"}
    applied.revert()
    assert differences(before) == []


@pytest.mark.parametrize("name", ["FIX-none", "applied"])
def test_cancel_with_nothing_open(name: str, m: ModuleType, made: Made):
    applied = livepatch.apply(made())
    with pytest.raises(livepatch.TransitionError, match="no switch in progress"):
        livepatch.cancel(applied.id if name == "applied" else name)
    with pytest.raises(TypeError):
        livepatch.cancel(7)  # type: ignore[arg-type]
    assert set(m.route()) == {"new"}


# Who never leaves

ENDLESS = """
import asyncio
def leaf(): return 'old'
async def serve(seen):
    while True:
        seen.append(leaf())
        await asyncio.sleep(0.005)
"""


def test_a_call_that_never_leaves_is_named_and_can_be_restarted(
    write_module: WriteModule, new_patch: NewPatch, logged: list[Any]
):
    m = write_module(ENDLESS)
    fix = fixing(new_patch(), m, write_module(new_side(ENDLESS)), "leaf", "serve")
    told: list[Any] = []

    async def main() -> None:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(m.serve(seen), name="peer 9")
        await asyncio.sleep(0.02)
        applied = livepatch.apply(fix, on_stuck=told.append)
        assert await asyncio.to_thread(soon, lambda: told)
        (endless,) = (await asyncio.to_thread(applied.status)).endless
        assert (endless.function, endless.task, endless.endless) == ("serve", "peer 9", True)
        assert endless.since is not None
        assert "restart" in str(applied.status())
        await asyncio.sleep(0.3)
        assert [each.task for each in told] == [task], "told once"
        assert told[0].where.function == "serve"
        (event,) = [event for event in logged if event["event"] == "livepatch.stuck"]
        assert (event["function"], event["patches"], event["log_level"]) == ("serve", [fix.id], "warning")
        assert "peer 9" in event["holder"]
        assert "restart" in event["advice"]
        assert set(seen) == {"old"}
        assert not applied.status().drained
        await asyncio.to_thread(loop.call_soon_threadsafe, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(applied.settled(), 5)
        assert applied.status().state == "settled"

    asyncio.run(main())


def test_on_stuck_that_fails_is_logged(write_module: WriteModule, new_patch: NewPatch, logged: list[Any]):
    source = "def leaf(): return 'old'\ndef hold():\n while True: yield leaf()\n"
    m = write_module(source)
    fix = fixing(new_patch(), m, write_module(new_side(source)), "leaf", "hold")
    old = m.hold()
    assert next(old) == "old"

    def fail(_: object) -> None:
        raise KeyError("nothing")

    applied = livepatch.apply(fix, on_stuck=fail)
    assert soon(lambda: any(event["event"] == "livepatch.on_stuck_failed" for event in logged))
    assert next(old) == "old"
    old.close()
    assert applied.wait(5)
    assert next(m.hold()) == "new"


# What a patch that does not say


DESCRIBED = """
def f(x: int) -> int:
    "Says {word}."
    return {word!r}
def g(x=1): return {word!r}
"""


@pytest.mark.parametrize(
    ("target", "body", "expected"),
    [
        ("f", "def f(x): return 'new'", "immediate"),
        ("f", 'def f(x: "bytes") -> "bytes":\n    "Says new."\n    return \'new\'', "immediate"),
        ("g", "def g(x=2): return 'new'", "chain"),
    ],
    ids=["a body", "a body with another docstring and annotations", "a body with another default"],
)
def test_one_body_is_switched_at_once_whatever_describes_it(
    write_module: WriteModule, write_fix: WriteFix, logged: list[Any], target: str, body: str, expected: str
):
    m = write_module(DESCRIBED.format(word="old"))
    before = m.f.__doc__, m.f.__annotations__
    applied = livepatch.apply(write_fix(f"{m.__name__}:{target}", body))
    (event,) = [event for event in logged if event["event"] == "livepatch.applied"]
    assert event["consistency"] == expected
    assert getattr(m, target)(1) == "new"
    applied.revert()
    assert (m.f.__doc__, m.f.__annotations__) == before
