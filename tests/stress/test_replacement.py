"""A cumulative patch takes the place of others in one switch: no call and no unit is without the fix meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.few_modules import FewModules
from tests.held import fixing

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

CALLERS = 3
CYCLES = [pytest.param(2, id="short"), pytest.param(40, id="long", marks=pytest.mark.slow)]

NODE = """
def leaf():
    return ["SIDE"]
def outer():
    return ["SIDE", *leaf(), *sorted(leaf(), key=lambda _: inner())]
def inner():
    return ["SIDE", *leaf()]
def steps():
    yield ["SIDE", *inner()]
    yield ["SIDE", *outer()]
"""
NAMES = ("leaf", "outer", "inner", "steps")


def _met_both(seen: Counter[frozenset[str]]) -> bool:
    return frozenset(["cumulative"]) in seen and any("first" in sides for sides in list(seen))


@pytest.mark.parametrize("cycles", CYCLES)
def test_nobody_is_without_the_fix_while_it_is_replaced(
    cycles: int, write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = write_module(NODE.replace("SIDE", "old"))
    written = [write_module(NODE.replace("SIDE", word)) for word in ("first", "second", "cumulative")]
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(node, *written))
    # The first two share the fix between them; the last has it all.
    first, second, cumulative = (
        fixing(new_patch(), node, module, *names)
        for module, names in zip(written, (NAMES[:2], NAMES[2:], NAMES), strict=True)
    )
    seen: Counter[frozenset[str]] = Counter()
    problems: list[BaseException] = []
    stop = threading.Event()

    def call() -> None:
        try:
            while not stop.is_set():
                with livepatch.unit_of_work():
                    seen[frozenset([*node.outer(), *(side for sides in node.steps() for side in sides)])] += 1
                seen[frozenset([*node.outer(), *node.leaf()])] += 1
        except BaseException as error:
            problems.append(error)

    livepatch.apply(first).wait(10)
    livepatch.apply(second, consistency="chain").wait(10)
    threads = [threading.Thread(target=call, daemon=True) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        made = 0
        # On a busy machine nobody may have called yet while the one or the other was there.
        while made < cycles or (made < cycles + 60 and not _met_both(seen)):
            made += 1
            assert livepatch.apply(cumulative, replaces=[first.id, second.id]).wait(30)
            # Back to the two in one step each: the cumulative one stays beneath until both lie on it.
            assert livepatch.apply(first).wait(30)
            assert livepatch.apply(second, consistency="chain").wait(30)
            assert livepatch.revert(cumulative.id).state in ("draining", "reverted")
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert problems == []
    assert not [sides for sides in seen if "old" in sides]
    assert _met_both(seen), seen


def test_a_replacement_that_is_cancelled_gives_back_what_it_replaced(
    write_module: WriteModule, new_patch: NewPatch
) -> None:
    node = write_module(NODE.replace("SIDE", "old"))
    fixes = {}
    for word in ("first", "cumulative"):
        fixes[word] = fixing(new_patch(), node, write_module(NODE.replace("SIDE", word)), *NAMES)
    assert livepatch.apply(fixes["first"]).wait(10)
    held = node.steps()
    assert set(next(held)) == {"first"}
    applied = livepatch.apply(fixes["cumulative"], replaces=[fixes["first"].id])
    assert set(node.outer()) == {"cumulative"}
    applied.cancel()
    assert [status.id for status in livepatch.status()] == [fixes["first"].id]
    assert set(node.outer()) == {"first"}
    assert set(next(held)) == {"first"}
    held.close()
    assert livepatch.verify()
