"""Drills on a fleet: who practises, what came of it, and who has missed the target."""

from __future__ import annotations

import pytest
from tests.fleet.test_state import OnDisk

from livepatch.errors import StateError
from livepatch.fleet.drilling import Drill, Drilled, ask, drill_in, drilled, missed, tell
from livepatch.fleet.keys import drill_key, drilled_key

NODES = [f"n{number}" for number in range(50)]


@pytest.fixture
def engine(tmp_path):
    made = OnDisk(tmp_path)
    yield made
    made.close()


def test_each_drill_takes_so_many_nodes_and_others():
    cohorts = [{n for n in NODES if Drill.of(f"drill-{k}", NODES, 3).takes(n)} for k in range(20)]
    assert {len(cohort) for cohort in cohorts} == {3}
    assert len(set().union(*cohorts)) > 20
    assert all(Drill.of("all", NODES, 99).takes(node) for node in NODES)


def test_what_is_asked_is_read_again_and_expires(engine):
    store, drill = engine.store(), Drill.of("d", NODES, 3)
    ask(store, drill, ttl=10)
    assert drill_in(store.get(drill_key("d")).value, "d") == drill
    engine.wait(11)
    assert store.get(drill_key("d")) is None
    for wrong in (
        b"{}",
        b'{"type": "drill", "format": 1, "below": "x"}',
        b'{"type": "drill", "format": 1, "below": "-1"}',
    ):
        with pytest.raises(StateError):
            drill_in(wrong, "d")


def test_who_is_late_unwell_or_silent_has_missed_the_target(engine):
    store = engine.store()
    told = {
        "n1": Drilled(ok=True, detect=1.5, restore=0.25),
        "n2": Drilled(ok=True, detect=9.0, restore=1.5),
        "n3": Drilled(ok=False, why="a drill is under way [already]"),
        "n4": Drilled(ok=True),
    }
    for node, what in told.items():
        tell(store, "d", node, what)
    store.put(drilled_key("d", "n5"), b"{}", expected=None)
    found = drilled(store, "d")
    assert {name: found[name] for name in told} == told
    late = missed(["n1", "n2", "n3", "n4", "n5", "n6"], found, 10.0)
    assert late.keys() == {"n2", "n3", "n4", "n5", "n6"}
    assert late["n2"] == "10.5 s to be back, 10 s is the target"
    assert late["n3"] == "a drill is under way [already]"
    assert late["n6"] == "it has not answered"
