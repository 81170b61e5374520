"""What a patch needs from others, in whichever order they go, and when its own callbacks are called."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.cycles import codes, differences, picture
from tests.held import HOLDS, KINDS, fixing, fresh, held, new_side, soon

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

LEAF = "def leaf(*_): return 'old'\ndef route(): return [leaf(), leaf()]\n"
ALL = ("leaf", *KINDS)
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


# Requires


def test_a_required_patch_must_be_there_and_stays(m: ModuleType, made: Made):
    base = made("leaf", word="base")
    needing = made("as_generator", requires=[base.id])
    assert codes(livepatch.check(needing)) == ["requires-missing"]
    before = picture(m)
    with pytest.raises(livepatch.IncompatibleError, match=base.id):
        livepatch.apply(needing)
    assert differences(before) == []
    livepatch.apply(base)
    applied = livepatch.apply(needing)
    with pytest.raises(livepatch.TransitionError, match=needing.id):
        livepatch.revert(base.id)
    with pytest.raises(livepatch.TransitionError, match=needing.id):
        livepatch.flags[base.flag] = "off"
    assert fresh(m, "as_generator") == ("new", "base", "base")
    cumulative = made("leaf", "as_coroutine", word="cumulative")
    livepatch.apply(cumulative, replaces=[base.id])
    assert fresh(m, "as_generator") == ("new", "cumulative", "cumulative")
    with pytest.raises(livepatch.TransitionError, match=needing.id):
        livepatch.revert(cumulative.id)
    applied.revert()
    livepatch.revert(cumulative.id)
    assert differences(before) == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=lambda order: "".join(map(str, order)))
def test_the_order_of_reverts_does_not_matter(order: tuple[int, ...], m: ModuleType, made: Made):
    before = picture(m)
    fixes = [
        made("leaf", "as_generator", word="0"),
        made("leaf", "as_coroutine", word="1"),
        made("leaf", "as_generator", "as_coroutine", word="2"),
    ]
    patches = [livepatch.apply(fix) for fix in fixes]
    left = [0, 1, 2]
    for out in order:
        patches[out].revert()
        left.remove(out)
        assert m.leaf() == (str(left[-1]) if left else "old")
        for kind, holders in (("as_generator", {0, 2}), ("as_coroutine", {1, 2})):
            having = [n for n in left if n in holders]
            assert fresh(m, kind)[0] == (str(having[-1]) if having else "old")
        assert livepatch.verify()
    assert differences(before) == []


# Callbacks

MOMENTS = ("pre_apply", "post_apply", "pre_revert", "post_revert")


def following(fix: livepatch.Patch, *failing: str) -> list[str]:
    """Note which callbacks are called."""
    called: list[str] = []

    def register(moment: str) -> None:
        def note() -> None:
            called.append(moment)
            if moment in failing:
                raise RuntimeError(f"{moment} fails")

        getattr(fix, moment)(note)

    for moment in MOMENTS:
        register(moment)
    return called


def test_callbacks_come_in_order_and_in_pairs(m: ModuleType, made: Made):
    fix = made()
    called = following(fix)
    applied = livepatch.apply(fix)
    assert called == ["pre_apply", "post_apply"]
    applied.mode = "off"
    applied.mode = "on"
    assert called == ["pre_apply", "post_apply"], "a mode is no apply"
    applied.revert()
    applied.revert()
    assert called == list(MOMENTS)


def test_a_veto_leaves_everything_alone(m: ModuleType, made: Made):
    fix, before = made(), picture(m)
    called = following(fix, "pre_apply")
    with pytest.raises(livepatch.TransitionError, match="pre_apply fails"):
        livepatch.apply(fix)
    assert called == ["pre_apply"]
    assert differences(before) == []
    assert livepatch.status() == ()


def test_what_keeps_the_patch_out_after_pre_apply_is_told(m: ModuleType, made: Made):
    fix = made()
    called = following(fix)
    with held(m):
        with pytest.raises(livepatch.TransitionError):
            livepatch.apply(fix, consistency="quiescent", timeout=0.1)
    assert called == ["pre_apply", "post_revert"]


@pytest.mark.parametrize("failing", MOMENTS[1:])
def test_callbacks_that_fail_are_logged(failing: str, m: ModuleType, made: Made, logged: list[Any]):
    fix, before = made(), picture(m)
    called = following(fix, failing)
    livepatch.apply(fix).revert()
    assert called == list(MOMENTS)
    (event,) = [event for event in logged if event["event"] == "livepatch.callback_failed"]
    assert (event["patch"], event["moment"], event["error"]) == (fix.id, failing, "RuntimeError")
    assert differences(before) == []


def test_post_apply_waits_for_the_last_call(m: ModuleType, made: Made):
    fix = made()
    called = following(fix)
    with held(m):
        applied = livepatch.apply(fix)
        assert not applied.wait(0.1)
        assert called == ["pre_apply"]
    assert applied.wait(5)
    assert soon(lambda: called == ["pre_apply", "post_apply"])
    with held(m):
        applied.revert()
        assert called == list(MOMENTS[:3])
    assert applied.wait(5)
    assert soon(lambda: called == list(MOMENTS))


@pytest.mark.parametrize("way", ["revert", "cancel"])
def test_taken_back_while_it_drains(way: str, m: ModuleType, made: Made):
    fix = made()
    called = following(fix)
    with held(m):
        applied = livepatch.apply(fix)
        getattr(applied, way)()
        assert applied.wait(5)
        assert soon(lambda: len(called) > 1)
    assert called == ["pre_apply", "post_revert"]


def test_callbacks_of_a_patch_that_is_replaced(m: ModuleType, made: Made):
    first, second = made(), made(word="second")
    of_first, of_second = following(first), following(second)
    livepatch.apply(first)
    livepatch.apply(second, replaces=[first.id])
    assert of_first == list(MOMENTS)
    assert of_second == ["pre_apply", "post_apply"]
