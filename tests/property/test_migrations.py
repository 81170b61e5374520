"""Any data goes up and down to what it was; twice up is up; and wherever it fails, it is as before."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livepatch
from livepatch.state.migration import Migration, migration_of
from livepatch.state.run import Run

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
STATES = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), PLAIN, max_size=4), max_size=12)


class Slotted:
    __slots__ = ("__dict__", "new")


class Thing:
    pass


def made(state: dict[str, Any], number: int) -> Any:
    thing: Any = (Thing, Slotted, dict)[number % 3]()
    (thing if isinstance(thing, dict) else vars(thing)).update(copy.deepcopy(state))
    return thing


def inside(thing: Any) -> dict[str, Any]:
    found = dict(thing) if isinstance(thing, dict) else dict(vars(thing))
    return copy.deepcopy(found | ({"new": thing.new} if isinstance(thing, Slotted) and hasattr(thing, "new") else {}))


def get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def put(thing: Any, name: str, value: Any) -> None:
    if isinstance(thing, dict):
        thing[name] = value
    else:
        setattr(thing, name, value)


def take(thing: Any, name: str) -> Any:
    if isinstance(thing, dict):
        return thing.pop(name)
    value = getattr(thing, name)
    delattr(thing, name)
    return value


def has(thing: Any, name: str) -> bool:
    return name in thing if isinstance(thing, dict) else hasattr(thing, name)


def up(thing: Any) -> None:
    """What was in a and b is together in new."""
    if not has(thing, "new"):
        put(thing, "new", {name: take(thing, name) for name in ("a", "b") if has(thing, name)})


def down(thing: Any) -> None:
    for name, value in take(thing, "new").items():
        put(thing, name, value)


def save(thing: Any) -> Any:
    return {name: get(thing, name) for name in ("a", "b") if has(thing, name)}


def restore(thing: Any, saved: Any) -> None:
    if has(thing, "new"):
        take(thing, "new")
    for name, value in saved.items():
        put(thing, name, value)


def migration(objects: list[Any], rise: Any, sink: Any, checkpoint: livepatch.Checkpoint | None) -> Migration:
    options = dict.fromkeys(("of", "follows", "touches", "loop"))
    return migration_of(
        "any", 1, rise, sink, None, lambda: objects, False, budget=1, checkpoint=checkpoint, durable=False, **options
    )


def goes_up_and_down(states: list[dict[str, Any]], where: str | None, fail: int, when: str) -> None:
    objects = [made(state, number) for number, state in enumerate(states)]
    failing = objects[fail % len(objects)] if objects and when != "never" else None
    seen: list[int] = []

    def rise(thing: Any) -> None:
        seen.append(1)
        if thing is failing and when == "before":
            raise ValueError(when)
        up(thing)
        if thing is failing and when == "after":
            raise ValueError(when)

    def sink(thing: Any) -> None:
        if thing is failing and when == "down" and len(seen) == len(objects):
            raise ValueError(when)
        down(thing)

    checkpoint = livepatch.Checkpoint(save, restore, directory=where) if where is not None else None
    checkpoint = livepatch.Checkpoint(save, restore) if where == "" else checkpoint
    run = Run(migration(objects, rise, sink, checkpoint), "ANY")
    before = [inside(thing) for thing in objects]
    if failing is not None and when in ("before", "after"):
        with pytest.raises(livepatch.StateError, match="as it was before"):
            run.up()
    else:
        run.up()
        high = [inside(thing) for thing in objects]
        assert all("new" in state for state in high)
        run.behind = True
        run.up_to_date()
        for thing in objects:
            up(thing)
        assert [inside(thing) for thing in objects] == high
        if failing is not None:
            with pytest.raises(livepatch.StateError, match="as it was before"):
                run.down()
            assert [inside(thing) for thing in objects] == high
        run.down()
    assert [inside(thing) for thing in objects] == before
    run.close()


ARGUMENTS = (STATES, st.sampled_from([None, "", "directory"]), st.integers(0, 100))
WHEN = st.sampled_from(["never", "before", "after", "down"])


def check(states: list[dict[str, Any]], where: str | None, fail: int, when: str) -> None:
    if where == "directory":
        with TemporaryDirectory() as folder:
            goes_up_and_down(states, folder, fail, when)
            assert list(Path(folder).iterdir()) == []
    else:
        goes_up_and_down(states, where, fail, when)


@settings(max_examples=60, deadline=None)
@given(*ARGUMENTS, WHEN)
def test_data_goes_up_and_down(states: list[dict[str, Any]], where: str | None, fail: int, when: str):
    check(states, where, fail, when)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(*ARGUMENTS, WHEN)
def test_ten_thousand_states_go_up_and_down(states: list[dict[str, Any]], where: str | None, fail: int, when: str):
    check(states, where, fail, when)
