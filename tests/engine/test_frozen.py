"""What gc.freeze() hides is looked for once, and again only when more has been frozen."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType

import pytest

from livepatch.engine import frozen
from livepatch.engine.frames import in_flight

here: list[object] = []


def steps() -> Iterator[int]:
    yield 1
    yield 2


def begun() -> Iterator[int]:
    generator = steps()
    next(generator)
    return generator


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    gc.collect()
    frozen._known.clear()
    yield
    gc.unfreeze()
    frozen._known.clear()
    here.clear()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every time that all references are followed."""
    taken: list[int] = []
    follow: Callable[..., Iterator[object]] = frozen.reachable
    monkeypatch.setattr(frozen, "reachable", lambda *roots: taken.append(1) or follow(*roots))
    return taken


def kinds() -> list[str]:
    return [frame.holder for frame in in_flight([steps.__code__])]


def test_the_first_look_follows_all_references_and_the_next_ones_do_not(looks: list[int]):
    here.append(begun())
    gc.freeze()
    assert kinds() == kinds() == ["suspended generator"]
    assert looks == [1]


def test_what_is_frozen_later_is_found_as_well(looks: list[int]):
    gc.freeze()
    assert kinds() == []
    here.append(begun())
    assert kinds() == ["suspended generator"]  # not frozen: the walk finds it
    gc.freeze()
    assert kinds() == ["suspended generator"]
    assert looks == [1, 1]


def test_what_has_ended_is_no_call_any_more(looks: list[int]):
    here.append(begun())
    gc.freeze()
    assert kinds() == ["suspended generator"]
    here.clear()
    assert kinds() == []
    assert looks == [1]


def test_nothing_is_followed_where_nothing_is_frozen(looks: list[int]):
    here.append(begun())
    assert kinds() == ["suspended generator"]
    assert looks == []


def test_functions_are_found_on_the_way(looks: list[int]):
    module = ModuleType("hidden")
    module.copy = FunctionType(steps.__code__, {})  # type: ignore[attr-defined]  # made here
    sys.modules["hidden"] = module
    try:
        gc.freeze()
        assert module.copy in frozen.find([steps.__code__])
    finally:
        del sys.modules["hidden"]
