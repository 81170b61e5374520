"""Modes: which calls get the new side, who agrees with whom, and that each way between modes ends where it should."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import differences, picture
from tests.held import fixing, new_side

import livepatch
from livepatch.engine import functions

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

SOURCE = """
def admit(peer, depth=0):
    return ('old', *pair(peer))
def pair(peer):
    return between(lambda: 'old'), leaf(peer)
def between(f):
    return f()
def leaf(peer):
    return 'old'
def walk(peer):
    yield leaf(peer)
    yield leaf(peer)
async def serve(peer, pause):
    first = leaf(peer)
    await pause()
    return first, leaf(peer), 'old'
class C:
    def method(self, peer): return 'old', leaf(peer)
"""
NAMED = ("admit", "pair", "leaf", "walk", "serve", "C.method")
PURE = ("admit", "pair", "leaf", "C.method")
Made = Callable[..., livepatch.Patch]


@pytest.fixture
def m(write_module: WriteModule) -> ModuleType:
    return write_module(SOURCE)


@pytest.fixture
def made(m: ModuleType, write_module: WriteModule, new_patch: NewPatch) -> Made:
    """A patch of that module's functions; `word` is what its side says."""

    def make(*names: str, word: str = "new", pure: bool = False) -> livepatch.Patch:
        text = new_side(SOURCE).replace("'new'", repr(word))
        return fixing(new_patch(), m, write_module(text), *(names or NAMED), pure=pure)

    return make


def picked(m: ModuleType, peers: range = range(200)) -> set[int]:
    """The peers that get the new side, after proof that each call is wholly of one."""
    sides = {peer: m.admit(peer) for peer in peers}
    assert set(sides.values()) <= {("old",) * 3, ("new",) * 3}
    return {peer for peer, side in sides.items() if side[0] == "new"}


# Split


def given(*args: object, **_: object) -> object:
    return next(each for each in args if isinstance(each, int))  # a method is given its instance first


KEYS: dict[str, Any] = {"name": "peer", "callable": given, "pair": lambda *args, **_: ("peer", given(*args))}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_keeps_its_side_and_more_percent_moves_none_back(key: str, m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made(), mode=livepatch.split(0, key=KEYS[key]))
    assert picked(m) == set()
    last: set[int] = set()
    for percent in (10, 25, 60, 90, 100):
        applied.mode = livepatch.split(percent, key=KEYS[key])
        now = picked(m)
        assert last < now
        assert now == picked(m)
        assert abs(len(now) - 2 * percent) < 40
        assert {peer for peer in range(200) if m.C().method(peer) == ("new", "new")} == now
        assert {peer for peer in range(200) if list(m.walk(peer)) == ["new", "new"]} == now
        last = now
    assert len(last) == 200
    assert livepatch.verify()
    applied.revert()
    assert differences(before) == []


def test_a_key_that_takes_nothing_and_a_seed(m: ModuleType, made: Made):
    peer = [0]
    applied = livepatch.apply(made(), mode=livepatch.split(50, key=lambda: peer[0], seed="spring"))

    def sampled() -> set[int]:
        chosen = set()
        for peer[0] in range(100):
            if m.leaf(7) == "new":
                chosen.add(peer[0])
        return chosen

    spring = sampled()
    assert 20 < len(spring) < 80
    applied.mode = livepatch.split(50, key="peer", seed="spring")
    assert picked(m, range(100)) == spring, "the same keys and seed give the same sample"
    applied.mode = livepatch.split(50, key="peer", seed="autumn")
    assert picked(m, range(100)) != spring
    applied.revert()
    again = livepatch.apply(made(), mode=livepatch.split(50, key="peer", seed="spring"))
    assert picked(m, range(100)) == spring, "also for another patch"
    again.revert()


def test_without_a_key_the_share_holds_and_chains_agree(m: ModuleType, made: Made):
    livepatch.apply(made(), mode=livepatch.split(25))
    assert 103 <= len(picked(m, range(512))) <= 153  # five times the spread of two blocks that are begun or cut off
    alone = Counter(m.leaf(1) for _ in range(400))
    assert 80 <= alone["new"] <= 120


def test_a_unit_of_work_is_decided_once(m: ModuleType, made: Made):
    livepatch.apply(made(), mode=livepatch.split(50))
    units = []
    for _ in range(100):
        with livepatch.unit_of_work():
            units.append({m.leaf(1), *m.admit(2), *m.walk(3), *m.C().method(4), m.leaf(5)})
    assert all(len(seen) == 1 for seen in units)
    assert 25 < sum(seen == {"new"} for seen in units) < 75


@pytest.mark.parametrize("fails", ["at the switch", "for want of time"])
def test_a_switch_that_fails_leaves_nothing_of_the_bodies_that_it_built(
    fails: str, m: ModuleType, made: Made, monkeypatch: pytest.MonkeyPatch
):
    applied = livepatch.apply(made(), mode="off", consistency="quiescent")
    gc.collect()
    before = len(functions._standing)

    def refuse(*_: object) -> float:
        raise MemoryError

    if fails == "at the switch":
        monkeypatch.setattr("livepatch.engine.transition.commit", refuse)
        with pytest.raises(MemoryError):
            applied.mode = livepatch.split(50)
        monkeypatch.undo()
    else:
        m.held = m.walk("p")
        next(m.held)
        fix = made("walk", word="newer")
        with pytest.raises(livepatch.TransitionError):
            livepatch.apply(fix, mode=livepatch.split(50), consistency="quiescent", timeout=0.01)
        m.held.close()
    assert applied.mode == "off"
    gc.collect()
    assert len(functions._standing) == before
    applied.mode = livepatch.split(100)
    assert m.leaf("p") == "new"


def test_calls_that_are_under_way_keep_their_side(m: ModuleType, made: Made):
    livepatch.apply(made(), mode=livepatch.split(50))

    async def main() -> list[Any]:
        event = asyncio.Event()
        calls = [asyncio.create_task(m.serve(n, event.wait)) for n in range(60)]
        await asyncio.sleep(0)
        event.set()
        return await asyncio.gather(*calls)

    walks = [m.walk(n) for n in range(60)]
    first = [next(walk) for walk in walks]
    assert [next(walk) for walk in walks] == first
    assert set(first) == {"old", "new"}
    assert set(asyncio.run(main())) == {("old",) * 3, ("new",) * 3}


def test_a_key_that_fails_gives_the_old_side(m: ModuleType, made: Made):
    def failing(*_: object, **__: object) -> object:
        raise LookupError("no peer")

    applied = livepatch.apply(made(), mode=livepatch.split(99.9, key=failing))
    assert [m.leaf(1), m.leaf(2)] == ["old", "old"]
    assert applied.status().troubles == 2
    assert applied.status().trouble == "LookupError: no peer"
    assert m.admit(3) == ("old",) * 3
    assert applied.status().troubles == 3, "a chain is decided once"
    applied.mode = livepatch.split(99.9, key=lambda *_, **__: object())
    assert m.leaf(1) == "old"
    assert (applied.status().troubles, "TypeError" in applied.status().trouble) == (1, True)
    applied.mode = "on"
    assert applied.status().troubles == 0
    assert m.leaf(1) == "new"


def test_a_key_that_no_function_can_be_given_is_refused(m: ModuleType, made: Made):
    fix = made("leaf", "C.method")
    with pytest.raises(
        livepatch.PatchError, match=r"parameter pear; found: .*:leaf\(peer\), .*:C.method\(self, peer\)"
    ):
        livepatch.apply(fix, mode=livepatch.split(50, key="pear"))
    assert livepatch.status() == ()
    applied = livepatch.apply(fix)
    for percent in (0, 50, 100):
        with pytest.raises(livepatch.PatchError, match="no function has a parameter pear"):
            applied.mode = livepatch.split(percent, key="pear")
        with pytest.raises(livepatch.PatchError, match="no function has a parameter pear"):
            livepatch.flags[fix.flag] = livepatch.split(percent, key="pear")
    assert (applied.mode, m.leaf(1)) == ("on", "new")
    applied.mode = livepatch.split(100, key="self")  # one of the functions can be given it


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("**k", "**k", "anything"),
        ("a, *, peer=1", "a, *, peer=1", "peer"),
        ("peer, /", "peer, /", "peer"),
        ("a=1, peer=2", "a=1, peer=2, *more", "peer"),
    ],
)
def test_a_key_that_a_call_can_give_is_taken(old, new, key, write_module, new_patch):
    there, written = (write_module(f"def f({each}): return {word!r}") for each, word in ((old, "old"), (new, "new")))
    applied = livepatch.apply(fixing(new_patch(), there, written, "f"), mode=livepatch.split(50, key=key))
    applied.mode = livepatch.split(60, key=key)  # what is live now is a body that chooses
    with nullcontext() if "**" in old else pytest.raises(livepatch.PatchError):
        applied.mode = livepatch.split(70, key="other")


@pytest.mark.parametrize("new", ["a, peer=4", "a, **more"])
def test_a_key_that_only_the_new_side_takes_is_refused(new, write_module, new_patch):
    there, written = write_module("def f(a): return 'old'"), write_module(f"def f({new}): return 'new'")
    fix = fixing(new_patch(), there, written, "f")
    with pytest.raises(livepatch.PatchError, match="no function has a parameter peer"):
        livepatch.apply(fix, mode=livepatch.split(50, key="peer"))
    livepatch.apply(fix)
    above = fixing(new_patch(), there, write_module(f"def f({new}): return 'newest'"), "f")
    livepatch.apply(above, mode=livepatch.split(50, key="peer"))  # the one beneath takes it
    assert {there.f(1, peer=number) for number in range(60)} == {"new", "newest"}


def test_the_share_is_changed_where_the_sides_have_other_parameters(write_module, new_patch):
    there, written = write_module("def f(a, b=2): return 'old'"), write_module("def f(a, b=3, c=4): return 'new'")
    before = picture(there)
    applied = livepatch.apply(fixing(new_patch(), there, written, "f"), mode=livepatch.split(50, key="b"))
    for percent in (40, 60, 60.5):
        applied.mode = livepatch.split(percent, key="b")
        for answers in ([there.f(1, n) for n in range(60)], [there.f(1, b=n) for n in range(60)]):
            assert set(answers) == {"old", "new"}
        assert applied.status().troubles == 0
    applied.mode = livepatch.at(1, lambda: 1)
    assert there.f(1) == "new"
    applied.revert()
    assert there.f(1) == "old"
    assert differences(before) == []


def test_a_reason_is_told_to_its_end(m: ModuleType, made: Made):
    applied = livepatch.apply(made("leaf", "C.method"), mode=livepatch.split(50, key="self"))
    assert m.leaf(1) == "old"
    assert applied.status().trouble.endswith("a parameter that every call gives, or use a callable as key")

    def failing(*_: object) -> object:
        raise LookupError("x" * 10_000)

    applied.mode = livepatch.split(50, key=failing)
    assert m.leaf(1) == "old"
    assert applied.status().trouble.endswith("xxx…")
    assert len(applied.status().trouble) == 500


# At


def test_at_flips_at_the_height_and_goes_back(m: ModuleType, made: Made):
    height, before = [0], picture(m)
    applied = livepatch.apply(made(), mode=livepatch.at(10, lambda: height[0]))
    for now, side in ((0, "old"), (9, "old"), (10, "new"), (11, "new"), (9, "old"), (10, "new")):
        height[0] = now
        assert m.admit(1) == (side,) * 3
        assert m.leaf(1) == side
    walk = m.walk(1)
    assert next(walk) == "new"
    with livepatch.unit_of_work():
        assert m.leaf(1) == "new"
        height[0] = 9
        assert m.admit(1) == ("new",) * 3, "a unit has been decided"
        assert next(walk) == "new", "and so has a call"
        with livepatch.unit_of_work():
            assert m.leaf(1) == "new", "one inside is part of it"
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(m.leaf(1)))
        thread.start()
        thread.join(5)
        assert seen == ["old"], "another thread is no part of it"
    assert m.leaf(1) == "old"
    walk.close()
    applied.revert()
    assert differences(before) == []


@pytest.mark.parametrize("given", ["9", None, True, 10.0])
def test_a_source_that_gives_no_height(given: object, m: ModuleType, made: Made):
    applied = livepatch.apply(made(), mode=livepatch.at(1, lambda: given))  # type: ignore[arg-type,return-value]
    assert m.leaf(1) == "old"
    assert applied.status().troubles == 1


# Shadow


def test_shadow_answers_old_and_counts(m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made(*PURE, pure=True), mode=livepatch.Shadow(limit=1.0, share=1.0))
    assert [m.leaf(n) for n in range(3)] == ["old"] * 3
    shadow = applied.status().shadow
    assert shadow is not None
    assert (shadow.calls, shadow.different, shadow.same) == (3, 3, 0)
    assert (shadow.kept[0].old, shadow.kept[0].new) == ("'old'", "'new'")
    assert m.admit(1) == ("old",) * 3
    shadow = applied.status().shadow
    assert shadow is not None
    assert (shadow.calls, shadow.different) == (4, 4), "what the call calls is part of its run"
    assert shadow.kept[3].new == "('new', 'new', 'new')"
    assert livepatch.verify()
    applied.mode = "on"
    assert applied.status().shadow is None
    assert m.leaf(1) == "new"
    applied.revert()
    assert differences(before) == []


def test_shadow_wants_all_functions_pure(m: ModuleType, made: Made):
    before = picture(m)
    fix = made("leaf", pure=True)
    fix.replace(f"{m.__name__}:between")(lambda f: f())
    with pytest.raises(livepatch.PatchError, match="between, not declared pure"):
        livepatch.apply(fix, mode="shadow")
    assert differences(before) == []
    assert livepatch.status() == ()
    applied = livepatch.apply(made("leaf"))
    with pytest.raises(livepatch.PatchError, match="pure"):
        applied.mode = "shadow"
    assert applied.mode == "on"
    assert m.leaf(1) == "new"


# What can be at a mode

REFUSED = (livepatch.split(50), livepatch.at(1, lambda: 0), livepatch.Shadow())


HOLDER = """
LIMIT = ['old']
class C:
    SIZE = ['old']
    def f(self): return 'old'
"""


@pytest.mark.parametrize("place", ["LIMIT", "C.SIZE", "C"])
@pytest.mark.parametrize("mode", REFUSED, ids=str)
def test_a_changed_value_is_there_for_all_calls_or_for_none(
    mode: Any, place: str, write_module: WriteModule, new_patch: NewPatch
):
    m = write_module(HOLDER)
    before = picture(m)
    if place == "C":
        fix = fixing(new_patch(), m, write_module(new_side(HOLDER)), "C", pure=True)
    else:
        fix = fixing(new_patch(), m, write_module(new_side(HOLDER)), "C.f", pure=True)
        fix.set(f"{m.__name__}:{place}", ["new"])
    with pytest.raises(livepatch.PatchError, match="which all calls share"):
        livepatch.apply(fix, mode=mode)
    assert differences(before) == []
    assert livepatch.status() == ()
    applied = livepatch.apply(fix)
    with pytest.raises(livepatch.PatchError, match="which all calls share"):
        applied.mode = mode
    assert (applied.mode, m.C().f()) == ("on", "new")
    applied.revert()
    assert differences(before) == []


def test_added_names_may_be_at_a_mode(m: ModuleType, write_module: WriteModule, new_patch: NewPatch):
    fix = fixing(new_patch(), m, write_module("def leaf(peer): return ADDED\n"), "leaf")
    fix.add(m.__name__, ADDED="new")
    applied = livepatch.apply(fix, mode=livepatch.split(50, key="peer"))
    assert {m.leaf(n) for n in range(50)} == {"old", "new"}
    applied.revert()
    assert not hasattr(m, "ADDED")


# From mode to mode

HEIGHT = [5]
MODES: dict[str, Any] = {
    "off": "off",
    "on": "on",
    "split 30": livepatch.split(30, key="peer"),
    "split 70": livepatch.split(70, key="peer"),
    "reached": livepatch.at(5, lambda: HEIGHT[0]),
    "not reached": livepatch.at(6, lambda: HEIGHT[0]),
    "shadow": livepatch.Shadow(limit=1.0, share=1.0),
}


def answers(m: ModuleType, name: str) -> bool:
    """Whether the calls get what that mode says."""
    chosen = picked(m, range(40))
    if name.startswith("split"):
        return 0 < len(chosen) < 40
    return chosen == (set(range(40)) if name in ("on", "reached") else set())


@pytest.mark.parametrize("pair", list(itertools.permutations(MODES, 2)), ids=" to ".join)
def test_from_each_mode_to_each(pair: tuple[str, str], m: ModuleType, made: Made):
    before = picture(m)
    fix = made(*PURE, pure=True)
    applied = livepatch.apply(fix, mode=MODES[pair[0]])
    for name in (*pair, *pair):
        livepatch.flags[fix.flag] = MODES[name]
        assert applied.mode == livepatch.flags[fix.flag] == MODES[name]
        assert answers(m, name)
        assert applied.status().state == "settled"
        assert applied.status().troubles == 0
        assert livepatch.verify(), str(livepatch.verify())
        if name == "off":
            assert differences(before) == []
    applied.revert()
    assert differences(before) == []
    assert picked(m) == set()


@pytest.mark.parametrize("pair", [p for p in itertools.permutations(MODES, 2) if "shadow" not in p], ids=" to ".join)
def test_calls_under_way_keep_their_side_from_mode_to_mode(pair: tuple[str, str], m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made(), mode=MODES[pair[0]])
    walks = [m.walk(peer) for peer in range(20)]
    first = [next(walk) for walk in walks]
    applied.mode = MODES[pair[1]]
    assert answers(m, pair[1])
    assert [next(walk) for walk in walks] == first
    assert livepatch.verify()
    for walk in walks:
        walk.close()
    assert applied.wait(5), str(applied.status())
    assert answers(m, pair[1])
    applied.revert()
    assert differences(before) == []


@pytest.mark.parametrize("name", ["split 30", "split 70", "reached", "not reached"])
def test_revert_from_a_mode_while_calls_are_under_way(name: str, m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made(), mode=MODES[name])
    walks = [m.walk(peer) for peer in range(20)]
    first = [next(walk) for walk in walks]
    applied.revert()
    assert picked(m) == set()
    assert applied.status().state == "draining"
    assert [next(walk) for walk in walks] == first
    for walk in walks:
        walk.close()
    assert applied.wait(5)
    assert differences(before) == []


def test_to_and_fro_between_modes_while_calls_are_under_way(m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made(), mode="off")
    kept: list[tuple[Any, str]] = []
    for percent in (100, 0, 100, 0, 100):
        for peer in range(5):
            walk = m.walk(peer)
            kept.append((walk, next(walk)))
        applied.mode = livepatch.split(50, key="peer") if percent else "off"
        assert answers(m, "split 70" if percent else "off")
    assert [next(walk) for walk, _ in kept] == [side for _, side in kept]
    for walk, _ in kept:
        walk.close()
    assert applied.wait(5)
    applied.revert()
    assert applied.wait(5)
    assert differences(before) == []


def test_the_mode_is_spelled_and_checked(m: ModuleType, made: Made):
    applied = livepatch.apply(made(), mode=livepatch.split(12.5, key="peer"))
    assert applied.status().to_dict()["mode"] == "split(12.5%, key=peer)"
    assert "split(12.5%, key=peer)" in str(applied.status())
    for wrong, error in ((7, TypeError), ("half", livepatch.PatchError), (None, TypeError)):
        with pytest.raises(error):
            applied.mode = wrong  # type: ignore[assignment]
    assert applied.mode == livepatch.split(12.5, key="peer")


# Several patches on one function

ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
def test_patches_at_modes_on_one_function_in_any_order_out(order: tuple[int, ...], m: ModuleType, made: Made):
    before = picture(m)
    modes: list[Any] = [livepatch.split(60, key="peer"), "on", livepatch.split(40, key="peer")]
    applied = [livepatch.apply(made(word=str(n)), mode=mode) for n, mode in enumerate(modes)]
    top = {peer for peer in range(100) if m.leaf(peer) == "2"}
    assert 20 < len(top) < 60
    assert {m.leaf(peer) for peer in range(100)} == {"2", "1"}
    left = [0, 1, 2]
    for out in order:
        applied[out].revert()
        left.remove(out)
        seen = {m.leaf(peer) for peer in range(100)}
        shown = [str(n) for n in left]
        expected = {"old", *shown[:1]} if 0 in left else {"old"}
        if 1 in left:
            expected = {"1"}
        if 2 in left:
            expected |= {"2"}
            assert {peer for peer in range(100) if m.leaf(peer) == "2"} == top
        assert seen == expected
        assert all(len(set(m.admit(peer))) == 1 for peer in range(50))
        assert livepatch.verify()
    assert differences(before) == []


@pytest.mark.parametrize("mode", [livepatch.split(50, key="peer"), livepatch.at(5, lambda: HEIGHT[0])], ids=str)
def test_a_patch_over_one_that_is_at_a_mode(mode: Any, m: ModuleType, made: Made):
    before = picture(m)
    first = livepatch.apply(made(), mode=mode)
    sides = [m.leaf(peer) for peer in range(40)]
    report = livepatch.check(made("leaf", "walk", word="second"))
    assert report.ok, str(report)
    second = livepatch.apply(made("leaf", "walk", word="second"))
    assert {m.leaf(peer) for peer in range(40)} == {"second"}
    assert livepatch.verify()
    second.mode = "off"
    assert [m.leaf(peer) for peer in range(40)] == sides
    second.mode = "on"
    first.mode = "on"
    second.revert()
    assert m.leaf(1) == "new"
    first.revert()
    assert differences(before) == []


def test_replacing_a_patch_that_is_at_a_mode(m: ModuleType, made: Made):
    before = picture(m)
    first, second = made(), made(word="second")
    livepatch.apply(first, mode=livepatch.split(50, key="peer"))
    applied = livepatch.apply(second, replaces=[first.id])
    assert m.admit(1) == ("second",) * 3
    assert [status.id for status in livepatch.status()] == [second.id]
    applied.revert()
    assert differences(before) == []


def test_immediate_patches_have_modes_too(m: ModuleType, made: Made):
    before = picture(m)
    applied = livepatch.apply(made("leaf"), mode=livepatch.split(50, key="peer"))
    assert {m.leaf(peer) for peer in range(40)} == {"old", "new"}
    applied.mode = "on"
    assert applied.wait(5)
    applied.revert()
    assert applied.wait(5)
    assert differences(before) == []
