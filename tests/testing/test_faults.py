"""Failures on request, functions broken on purpose, and patches in any order."""

from __future__ import annotations

import sys
import threading

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test
from tests import cycles
from tests.few_modules import FewModules

import livepatch
from livepatch.testing import STEPS, ExpectationError, InjectedFaultError, drill, fail_at, machine

NODE = """
    import functools

    class Pool:
        def __init__(self):
            self.waiting = []

        def admit(self, tx):
            self.waiting.append(tx)
            return "admitted"

        @staticmethod
        def kind():
            return "old"

        @classmethod
        def made(cls):
            return "old"

        @property
        def size(self):
            return 0

    def check(tx, /, most=10, *, strict=False):
        return "old"

    def steps(n):
        yield "old"

    async def fetch():
        return "old"

    @functools.lru_cache
    def price(n):
        return "old"
"""
FIX = """
    def describe(fix, node):
        for name in ("Pool", "check", "steps", "fetch", "price"):
            fix.replace(f"{node}:{name}")(globals()[name])

    class Pool:
        def admit(self, tx):
            return "refused"

        @staticmethod
        def kind():
            return "new"

        @classmethod
        def made(cls):
            return "new"

        @property
        def size(self):
            return len(self.waiting)

    def check(tx, /, most=20, *, strict=True):
        return "new"

    def steps(n):
        yield "new"

    async def fetch():
        return "new"

    def price(n):
        return "new"
"""


@pytest.fixture
def node(write_module, monkeypatch):
    made = write_module(NODE)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made))
    return made


@pytest.fixture
def fix(node, new_patch, write_module):
    fix = new_patch()
    write_module(FIX).describe(fix, node.__name__)
    return fix


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_a_step_leaves_everything_as_it_was(node, fix, step):
    before = cycles.picture(node)
    over, begun = threading.Event(), threading.Event()

    def work():
        with livepatch.unit_of_work():
            begun.set()
            over.wait()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    try:
        error = OSError("mine") if step == "plan" else None
        with pytest.raises(OSError if error else InjectedFaultError) as caught, fail_at(step, error=error) as fault:
            livepatch.apply(fix, consistency="chain")
        assert fault.reached
        assert caught.value is fault.error
        assert sys.getprofile() is None
        assert cycles.differences(before) == []
        assert livepatch.status() == ()
    finally:
        over.set()
        thread.join()
    livepatch.apply(fix).revert()


def test_a_failure_may_strike_a_revert(node, fix):
    applied = livepatch.apply(fix)
    with pytest.raises(InjectedFaultError), fail_at("store"):
        applied.revert()
    assert node.check(1) == "new"
    assert applied.mode == "on"


def test_a_step_that_nothing_reaches_is_no_test_that_passes(fix):
    with pytest.raises(ExpectationError, match="nothing reached the step flip"), fail_at("flip"):
        livepatch.apply(fix, consistency="immediate")
    with pytest.raises(livepatch.PatchError, match="there is no such step"), fail_at("stores"):
        pass
    with pytest.raises(ZeroDivisionError), fail_at("store"):
        raise ZeroDivisionError


def test_another_profile_function_comes_back(fix):
    def mine(frame, event, argument):
        pass

    sys.setprofile(mine)
    try:
        with pytest.raises(InjectedFaultError), fail_at("store"):
            livepatch.apply(fix)
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


def everything(node):
    import asyncio

    pool = node.Pool()
    assert pool.admit(1) == "refused"
    assert pool.size == 0
    assert (pool.kind(), pool.made(), node.check(1), list(node.steps(1)), node.price(1)) == (
        "new", "new", "new", ["new"], "new",
    )  # fmt: skip
    assert asyncio.run(node.fetch()) == "new"


@pytest.mark.slow
def test_a_check_that_looks_at_everything_notices_every_broken_function(node, fix):
    before = cycles.picture(node)
    drilled = drill(fix, lambda: everything(node))
    assert drilled.ok, str(drilled)
    assert drilled.untried == ()
    assert len(drilled.noticed) == 16
    assert {row.target.partition(":")[2].partition(".f")[0] for row in drilled.noticed} == {
        "Pool.admit", "Pool.kind", "Pool.made", "Pool.size", "check", "steps", "fetch", "price",
    }  # fmt: skip
    assert str(drilled) == f"{fix.id}: 16 of 16 sabotages noticed"
    assert cycles.differences(before) == []


def test_what_a_check_does_not_notice_is_named(node, new_patch):
    one, _ = two(node, new_patch)
    one.replace(f"{node.__name__}:Pool.admit")(lambda self, tx: "refused")
    drilled = drill(one, lambda: node.check(1) != "old")
    assert not drilled
    assert [(row.target.partition(":")[2], row.how) for row in drilled.noticed] == [("check", "raises")]
    assert f"{node.__name__}:check gives nothing: not noticed" in str(drilled)
    assert len(drilled.unnoticed) == 3


def test_a_check_that_complains_of_the_fix_is_no_check(node, fix):
    with pytest.raises(ExpectationError, match=r"complains of .* itself; found: False"):
        drill(fix, lambda: node.check(1) == "old")
    assert livepatch.status() == ()


def two(node, new_patch):
    fixes = []
    for side in ("a", "b"):
        fix = new_patch()
        fix.replace(f"{node.__name__}:check")((lambda tx, /, most=10, *, strict=False: "a") if side == "a" else _b)
        fixes.append(fix)
    return fixes


def _b(tx, /, most=10, *, strict=False):
    return "b"


_FINDING = (hypothesis.Phase.generate,)  # and not to the smallest example
SHORT = hypothesis.settings(max_examples=4, stateful_step_count=6, deadline=None, database=None, derandomize=True)


def test_patches_in_any_order(node, new_patch):
    before = cycles.picture(node)
    seen = set()

    def probe():
        seen.add(node.check(1))
        return node.check(1)

    drawn = machine(*two(node, new_patch), probe=probe)
    run_state_machine_as_test(drawn, settings=SHORT)
    assert seen == {"old", "a", "b"}
    assert cycles.differences(before) == []
    assert hasattr(drawn.TestCase, "runTest")


def test_a_patch_that_leaves_something_is_found(node, new_patch):
    one, other = two(node, new_patch)
    asked = []

    @one.post_revert
    def leave():
        asked.append(None)

    drawn = machine(one, other, probe=lambda: (node.check(1), len(asked)))
    with pytest.raises(ExpectationError, match="the probe answers otherwise than before"):
        run_state_machine_as_test(
            drawn, settings=hypothesis.settings(SHORT, max_examples=20, stateful_step_count=6, phases=_FINDING)
        )
    assert livepatch.status() == ()


def test_without_hypothesis_the_error_says_what_to_install(node, fix, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "livepatch.testing.drawing", raising=False)
    with pytest.raises(livepatch.PatchError, match=r"needs hypothesis; .*livepatch\[testing\]"):
        machine(fix, probe=print)
    with pytest.raises(livepatch.PatchError, match="needs patches"):
        machine(probe=print)
    with pytest.raises(livepatch.PatchError, match="needs patches"):
        machine(fix, fix, probe=print)
    with pytest.raises(TypeError, match="patch"):
        machine("fix", probe=print)
