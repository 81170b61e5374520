"""A patch that soaks: a bad one is taken back within two readings, a good one ends as plain code.

Time is real here, and short.  What is compared are numbers of readings, which a busy machine does not change.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

import pytest
import structlog
from tests.test_fork import in_child

import livepatch
from livepatch.bundle.keyfiles import make_key
from livepatch.errors import PatchError
from livepatch.govern import audit
from livepatch.health import soaking
from livepatch.health.probes import HealthProbe, Heartbeat, LoopLag, rss
from livepatch.health.series import Series

TICK = 0.05  # seconds between two readings


@pytest.fixture
def soak():
    """Let a patch soak, and see that no thread and no patch is left."""
    made, before = [], set(threading.enumerate())

    def left():
        return [each.name for each in {*threading.enumerate()} - before if each.name.startswith("livepatch-")]

    def make(patch, **given):
        given = {"interval": TICK, "during": 600, **given}
        made.append(livepatch.soak(patch, **given))
        return made[-1]

    yield make
    for each in made:
        each.stop()
        assert each.wait(30) is not None
    deadline = time.monotonic() + 10
    while left() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left() == []


class Load:
    """Calls of a function, on and on, in a thread."""

    def __init__(self, call):
        self._call, self._stop = call, threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def _run(self):
        while not self._stop.is_set():
            try:
                self._call()
            except ValueError:
                pass
            time.sleep(0.0002)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def target(m, name="f"):
    return f"{m.__name__}:{name}"


def test_one_that_blocks_the_main_thread_is_rolled_back_meanwhile(write_module, write_fix, soak):
    """The event loop stands still inside the new code, until the patch has been taken back."""
    m = write_module("import threading\ngate = threading.Event()\nasync def f(): return 'old'\n")
    fix = write_fix(target(m), "async def f():\n    gate.wait(20)\n    return 'blocked'")

    async def scenario():
        # So far apart that no busy machine delays the loop by as much.
        rules = [livepatch.Rule("loop/lag", above=0.7, in_a_row=1)]
        made = soak(fix, probes=[LoopLag()], rules=rules, interval=0.5)
        threading.Thread(target=lambda: (made.wait(20), m.gate.set())).start()
        answer = "old"
        while answer == "old" and not made.over:  # until the new side is met
            answer = await m.f()
            await asyncio.sleep(0)
        assert answer == "blocked"
        assert made.over
        assert await m.f() == "old"
        return made

    made = asyncio.run(asyncio.wait_for(scenario(), 60))
    found = made.wait(30)
    assert (found.outcome, found.verdict.state) == ("rolled-back", "breach")
    assert found.readings <= 2
    assert found.verified
    assert "loop/lag" in found.why
    assert livepatch.status() == ()


def test_one_that_leaks_is_rolled_back_within_two_readings(write_module, write_fix, soak):
    m = write_module("kept = []\ndef f(): return 'old'\n")
    fix = write_fix(
        target(m), "def f():\n    if len(kept) < 8:\n        kept.append(b'x' * 15_000_000)\n    return 'new'"
    )
    with Load(m.f):
        made = soak(fix, probes=[rss()], before=TICK * 4, rules=[livepatch.Rule("process/rss", plus=10e6)])
        found = made.wait(30)
    m.kept.clear()
    assert (found.outcome, found.readings) == ("rolled-back", 2)
    assert m.f() == "old"


def test_one_that_raises_on_one_call_in_a_hundred_is_rolled_back_within_two_readings(write_module, write_fix, soak):
    m = write_module("calls = [0]\ndef f(): return 'old'\n")
    fix = write_fix(
        target(m),
        "def f():\n    calls[0] += 1\n    if calls[0] % 100 == 1:\n        raise ValueError\n    return 'new'",
    )

    def burst():
        for _ in range(100):
            m.f()

    def many():
        for _ in range(10):
            try:
                burst()
            except ValueError:
                pass

    with Load(many):
        made = soak(fix, rules=[livepatch.Rule("*/errors", above=0.005)])
        found = made.wait(30)
    assert (found.outcome, found.readings) == ("rolled-back", 2)
    assert found.verdict.reasons[0].probe == f"{target(m)}/errors"
    assert m.f() == "old"


def test_one_that_doubles_latency_is_rolled_back_within_two_readings(write_module, write_fix, soak):
    m = write_module("import time\ndef f(): time.sleep(0.002)\n")
    fix = write_fix(target(m), "def f(): time.sleep(0.02)")
    original = m.f.__code__
    with Load(m.f):
        made = soak(fix, before=TICK * 8, rules=[livepatch.Rule("*/latency", times=1.5)])
        found = made.wait(30)
    assert (found.outcome, found.readings) == ("rolled-back", 2)
    assert found.detect_seconds > 0
    assert found.restore_seconds >= 0
    assert "detected in" in str(found)
    assert "restored in" in str(found)
    assert m.f.__code__ is original
    (series,) = found.series
    assert len(series.points) >= 8  # with its baseline


def test_one_that_is_well_stays_as_plain_code(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    fix = write_fix(target(m), "def f(): return 'new'")
    rules = [
        livepatch.Rule("*/errors", above=0.5),
        livepatch.Rule("ease", below=-1),
        livepatch.Rule("*/calls", times=0.01),
    ]
    with Load(m.f), structlog.testing.capture_logs() as events:
        made = soak(
            fix, probes=[HealthProbe("ease", lambda: 1, quick=True)], before=TICK * 6, during=TICK * 4, rules=rules
        )
        assert made.stage == "baseline"
        assert m.f() == "old"
        found = made.wait(30)
        assert found, found.why
        assert m.f() == "new"
    assert made.applied.mode == "on"
    assert made.applied.measured == ()
    assert (made.stage, found.outcome, found.verdict.state) == ("passed", "passed", "ok")
    assert found.detect_seconds is found.restore_seconds is None
    assert json.loads(json.dumps(found.to_dict()))["outcome"] == "passed"
    assert json.loads(json.dumps(made.status()))["stage"] == "passed"
    names = [event["event"] for event in events]
    assert [name for name in names if name in ("livepatch.soaking", "livepatch.soaked")] == [
        "livepatch.soaking", "livepatch.soaked",
    ]  # fmt: skip
    assert livepatch.verify().ok


def test_what_is_unknown_never_passes(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    known = [1]
    fix = write_fix(target(m), "def f(): return 'new'")
    made = soak(fix, probes=[HealthProbe("x", lambda: known[0])], during=TICK * 6, rules=[livepatch.Rule("x", above=5)])
    while made.stage == "baseline":
        time.sleep(0.001)
    known[0] = None
    found = made.wait(30)
    assert (found.outcome, found.verdict.state) == ("rolled-back", "unknown")
    assert found.why.startswith("unknown never passes")
    assert m.f() == "old"


def test_one_whose_verdict_is_unknown_for_too_long_is_rolled_back_before_the_end(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    fix = write_fix(target(m), "def f(): return 'new'")
    made = soak(fix, probes=[HealthProbe("x", lambda: None)], unknown=TICK * 4, rules=[livepatch.Rule("x", above=5)])
    assert made.wait(30).verdict.state == "unknown"


def test_one_whose_baseline_shows_nothing_never_goes_live(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    fix = write_fix(target(m), "def f(): return 'new'")
    seen = set()
    made = soak(fix, before=TICK * 4, rules=[livepatch.Rule("*/latency", times=2)])
    while not made.over:
        seen.add(m.f.__code__.co_consts and made.stage)
        time.sleep(0.005)
    found = made.wait(0)
    assert found.outcome == "failed"
    assert "of 3" in found.why
    assert "live" not in seen
    assert livepatch.status() == ()


def test_a_revert_and_a_mode_by_somebody_else_end_the_watch_and_stay(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\ndef g(): return 'old'\n")
    quiet = {"probes": [HealthProbe("x", lambda: 1, quick=True)], "rules": [livepatch.Rule("x", above=5)]}
    first = soak(write_fix(target(m), "def f(): return 'new'"), **quiet)
    second = soak(
        write_fix(target(m, "g"), "def g(): return 'new'"),
        probes=[HealthProbe("x", int, quick=True)],
        rules=quiet["rules"],
    )
    for each in (first, second):
        while each.stage == "baseline":
            time.sleep(0.001)
    first.applied.revert()
    second.applied.mode = livepatch.split(100)
    assert (first.wait(30).outcome, second.wait(30).outcome) == ("failed", "failed")
    assert "reverted" in first.outcome.why
    assert "split(100%)" in second.outcome.why
    assert (m.f(), m.g()) == ("old", "new")


def test_who_is_told_of_the_end_may_fail(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    told = []

    def on_end(outcome):
        told.append(outcome)
        raise KeyError("secret")

    given = {"probes": [HealthProbe("x", int, quick=True)], "rules": [livepatch.Rule("x", above=5)], "during": TICK * 3}
    made = soak(write_fix(target(m), "def f(): return 'new'"), on_end=on_end, **given)
    assert made.wait(30).ok
    assert told == [made.outcome]


def test_one_who_exits_when_told_of_the_end_leaves_the_others_under_watch(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\ndef g(): return 'old'\n")
    shown = [0]
    with livepatch.Watchdog([HealthProbe("x", lambda: shown[0], quick=True)], interval=TICK) as watchdog:
        given = {"rules": [livepatch.Rule("x", above=5)], "watchdog": watchdog, "interval": 1.0}
        second = soak(write_fix(target(m, "g"), "def g(): return 'new'"), **given)
        first = soak(
            write_fix(target(m), "def f(): return 'new'"), during=TICK * 3, on_end=lambda _: sys.exit(1), **given
        )
        assert first.wait(30).ok
        shown[0] = 9
        assert second.wait(30).outcome == "rolled-back"


@pytest.mark.parametrize("before", [0, 60])
def test_a_child_of_a_fork_does_not_wait_for_what_nobody_watches_there(write_module, write_fix, soak, before):
    m = write_module("def f(): return 'old'\n")
    made = soak(
        write_fix(target(m), "def f(): return 'new'"), rules=[livepatch.Rule("*/errors", above=0.5)], before=before
    )
    while made.stage != ("baseline" if before else "live"):
        time.sleep(0.001)

    def child():
        assert made.wait(20).outcome == "failed"
        assert "forked" in made.outcome.why
        assert asyncio.run(made.settled()) is made.outcome
        assert m.f() == ("old" if before else "new")
        json.dumps(made.status())

    in_child(child)
    assert not made.over


def test_stop_takes_it_back(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    made = soak(
        write_fix(target(m), "def f(): return 'new'"),
        probes=[HealthProbe("x", int, quick=True)],
        rules=[livepatch.Rule("x", above=5)],
    )
    while made.stage == "baseline":
        time.sleep(0.001)
    made.stop()
    assert asyncio.run(made.settled()).why == "it was stopped"
    assert m.f() == "old"


def test_a_call_that_holds_the_switch_open_does_not_hold_up_the_way_back(write_module, write_fix, soak):
    """The switch to the new side still drains, for a coroutine of the old side that waits; it is turned round."""
    m = write_module("async def wait(gate):\n    await gate.wait()\n    return f()\ndef f(): return 'old'\n")
    fix = write_fix(target(m), "def f(): return 'new'")
    fix.replace(target(m, "wait"))(
        write_module("async def wait(gate):\n    await gate.wait()\n    return f(), 1\n").wait
    )
    bad = [0]

    async def scenario():
        gate = asyncio.Event()
        task = asyncio.create_task(m.wait(gate))
        await asyncio.sleep(0)
        made = soak(
            fix, probes=[HealthProbe("x", lambda: bad[0])], rules=[livepatch.Rule("x", above=5)], consistency="chain"
        )
        while made.stage == "baseline":  # noqa: ASYNC110  # another thread sets it
            await asyncio.sleep(0.001)
        assert made.applied.switching
        assert m.f() == "new"
        bad[0] = 9
        while m.f() != "old":  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.001)
        gate.set()
        assert await task == "old"
        return made

    made = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert made.wait(30).outcome == "rolled-back"
    assert livepatch.status() == ()


def test_one_that_an_endless_call_keeps_from_being_measured_is_taken_out_again(
    write_module, write_fix, soak, monkeypatch
):
    m = write_module("async def f(gate):\n    await gate.wait()\n    return 'old'\n")
    fix = write_fix(target(m), "async def f(gate):\n    await gate.wait()\n    return 'new'")
    code = m.f.__code__
    monkeypatch.setattr(soaking, "_MINUTE", 0.0)
    monkeypatch.setattr(soaking, "_LOCK", 0.01)

    async def scenario():
        gate = asyncio.Event()
        task = asyncio.create_task(m.f(gate))
        await asyncio.sleep(0)
        made = soak(fix, before=TICK * 4, rules=[livepatch.Rule("*/errors", above=0.5)], consistency="chain")
        found = await made.settled()
        gate.set()
        assert await task == "old"
        return found

    found = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert found.outcome == "failed"
    assert "could not go live" in found.why
    assert livepatch.status() == ()
    until_settled = time.monotonic() + 10
    while m.f.__code__ is not code and time.monotonic() < until_settled:
        time.sleep(0.01)
    assert m.f.__code__ is code


def test_a_watchdog_that_ran_before_gives_the_baseline_and_watches_several(write_module, write_fix):
    m = write_module("def f(): return 'old'\ndef g(): return 'old'\n")
    lag = [1.0]
    rules = [livepatch.Rule("x", times=2)]
    with livepatch.Watchdog([HealthProbe("x", lambda: lag[0], "s")], interval=0.02) as dog:
        while len(dog.series().get("x", Series("x")).points) < 8:
            time.sleep(0.005)
        made = [
            livepatch.soak(
                write_fix(target(m, name), f"def {name}(): return 'new'"), rules=rules, before=0.1, watchdog=dog
            )
            for name in ("f", "g")
        ]
        while any(each.stage == "baseline" for each in made):
            time.sleep(0.001)
        assert (m.f(), m.g()) == ("new", "new")
        lag[0] = 3.0
        assert [each.wait(30).outcome for each in made] == ["rolled-back"] * 2
        assert (m.f(), m.g()) == ("old", "old")
        assert dog.running
    assert not dog.running


def test_of_two_under_one_watchdog_each_is_judged_by_its_own_calls(write_module, write_fix):
    m = write_module("def f(): return 'old'\ndef g(): return 'old'\n")
    bad = write_fix(target(m), "def f(): raise ValueError")
    good = write_fix(target(m, "g"), "def g(): return 'new'")
    rules = [livepatch.Rule("*/errors", above=0.5)]
    with livepatch.Watchdog(interval=TICK) as dog, Load(m.f), Load(m.g):
        made = [livepatch.soak(fix, rules=rules, during=TICK * 8, watchdog=dog) for fix in (bad, good)]
        found = [each.wait(30) for each in made]
    assert [each.outcome for each in found] == ["rolled-back", "passed"]
    assert [{s.name for s in each.series} for each in found] == [{f"{target(m, name)}/errors"} for name in "fg"]


def test_a_watchdog_that_ends_leaves_the_patch_as_it_is_and_says_so(write_module, write_fix):
    m = write_module("def f(): return 'old'\n")
    with livepatch.Watchdog([HealthProbe("x", int, quick=True)], interval=0.02) as dog:
        made = livepatch.soak(
            write_fix(target(m), "def f(): return 'new'"), rules=[livepatch.Rule("x", above=5)], watchdog=dog
        )
        while made.stage == "baseline":
            time.sleep(0.001)
    assert made.wait(30).outcome == "failed"
    assert "watchdog was stopped" in made.outcome.why
    assert m.f() == "new"


def test_the_record_says_why_with_the_series(write_module, write_fix, soak, tmp_path):
    m = write_module("def f(): return 'old'\n")
    make_key(tmp_path / "node")
    record = livepatch.record_to(tmp_path / "record", key=tmp_path / "node", who="alice")
    try:
        value = [1]
        fix = write_fix(target(m), "def f(): return 'new'")
        made = soak(fix, probes=[HealthProbe("x", lambda: value[0], "blocks")], rules=[livepatch.Rule("x", above=5)])
        while made.stage == "baseline":
            time.sleep(0.001)
        value[0] = 9
        assert made.wait(30).outcome == "rolled-back"
    finally:
        livepatch.record_to(None)
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "record").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    entries = [line for line in lines if line.get("event") in ("reverted", "breach", "verified", "rolled_back")]
    assert [(each["event"], each["phase"]) for each in entries] == [
        ("reverted", "intent"),
        ("reverted", "done"),
        ("breach", "noted"),
        ("verified", "noted"),
        ("rolled_back", "noted"),
    ]
    assert {each["who"] for each in entries} == {"watchdog"}
    breach, rolled_back = entries[2]["details"], entries[4]["details"]
    assert "is above 5" in breach["why"]
    assert breach["series"][0].startswith("x: ")
    assert breach["series"][0].endswith("9 9 blocks")
    assert rolled_back["detect_ms"] > 0
    assert rolled_back["restore_ms"] >= 0
    assert audit.verify(tmp_path / "record", key=record.key, deep=True).ok


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"rules": []}, PatchError),
        ({"rules": [5]}, TypeError),
        ({"rules": "x"}, TypeError),
        ({"rules": livepatch.Rule("x", above=1)}, TypeError),
        ({"rules": [livepatch.Rule("y", above=1)]}, PatchError),
        ({"rules": [livepatch.Rule("x", times=2)], "before": 0.1}, PatchError),
        ({"rules": [livepatch.Rule("x", shifts="up")], "before": 20}, PatchError),
        ({"during": 0}, PatchError),
        ({"during": float("nan")}, PatchError),
        ({"during": "1"}, TypeError),
        ({"before": -1}, PatchError),
        ({"before": float("inf")}, PatchError),
        ({"unknown": -1}, PatchError),
        ({"interval": 0}, PatchError),
        ({"interval": "1"}, TypeError),
        ({"probes": [5]}, TypeError),
        ({"watchdog": 5, "probes": ()}, TypeError),
        ({"watchdog": livepatch.Watchdog(), "probes": ()}, PatchError),
        ({"watchdog": livepatch.Watchdog()}, PatchError),
        ({"mode": "on"}, PatchError),
        ({"replaces": ["X"]}, PatchError),
        ({"on_end": 5}, TypeError),
        ({"timeout": -1}, PatchError),
    ],
)
def test_what_could_never_be_met_is_refused_and_nothing_has_changed(write_module, write_fix, given, error):
    m = write_module("def f(): return 'old'\n")
    code, threads = m.f.__code__, set(threading.enumerate())
    fix = write_fix(target(m), "def f(): return 'new'")
    with pytest.raises(error):
        livepatch.soak(
            fix, **{"probes": [HealthProbe("x", int, quick=True)], "rules": [livepatch.Rule("x", above=1)], **given}
        )
    assert m.f.__code__ is code
    assert livepatch.status() == ()
    assert set(threading.enumerate()) == threads


def test_a_patch_that_does_not_fit_is_refused_as_ever(new_patch):
    fix = new_patch()
    fix.replace("nowhere_at_all:f")(lambda: 1)
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.soak(fix, probes=[HealthProbe("x", int, quick=True)], rules=[livepatch.Rule("x", above=1)])
    assert not any(thread.name == "livepatch-watchdog" for thread in threading.enumerate())


def test_a_patch_of_protected_code_soaks_only_where_it_is_applied(write_module, soak):
    m = write_module("def f(): return 'old'\n")
    fix = livepatch.Patch("SAFE", package="specimen", versions="==1.0", compatible_with="==1.*")
    fix.replace(target(m))(write_module("def f(): return 'new'\n").f)
    given = {"probes": [HealthProbe("x", int, quick=True)], "rules": [livepatch.Rule("x", above=1)], "during": TICK * 4}
    with livepatch.protect(m.__name__):
        with pytest.raises(livepatch.PolicyError, match="cannot soak from off to on"):
            livepatch.soak(fix, **given)
        assert livepatch.status() == ()
        assert not any(thread.name == "livepatch-watchdog" for thread in threading.enumerate())
        applied = livepatch.apply(fix, mode=livepatch.at(5, lambda: 5))
        assert soak(applied, **given).wait(30).ok
        assert m.f() == "new"


def test_one_that_is_live_is_watched_from_now_on_and_keeps_its_mode(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    applied = livepatch.apply(write_fix(target(m), "def f(): return 'new'"), mode=livepatch.split(100))
    made = soak(
        applied, probes=[HealthProbe("x", int, quick=True)], during=TICK * 4, rules=[livepatch.Rule("x", above=1)]
    )
    assert made.stage == "live"
    assert made.wait(30).ok
    assert applied.mode == livepatch.split(100)
    applied.revert()
    with pytest.raises(PatchError, match="reverted"):
        livepatch.soak(applied, rules=[livepatch.Rule("*/errors", above=1)])


def test_a_main_loop_that_beats_no_more_is_seen(write_module, write_fix, soak):
    m = write_module("def f(): return 'old'\n")
    heart = Heartbeat()
    heart.beat()
    made = soak(
        write_fix(target(m), "def f(): return 'new'"),
        probes=[heart],
        rules=[livepatch.Rule("main/heartbeat", above=TICK * 3)],
    )
    assert made.wait(30).outcome == "rolled-back"


@pytest.mark.slow
def test_of_200_clean_patches_that_soak_at_most_2_in_100_are_rolled_back(write_module, write_fix):
    """All of them at once, under one watchdog and under load, each with three rules."""
    names = [f"f{number}" for number in range(200)]
    m = write_module("".join(f"def {name}(x): return sorted(range(x))\n" for name in names))
    calls = [vars(m)[name] for name in names]

    def everybody():
        for name in names:
            getattr(m, name)(50)

    rules = [
        livepatch.Rule("*/latency", shifts="up", least=0.0005),
        livepatch.Rule("*/errors", above=0.01),
        livepatch.Rule("process/rss", plus=200e6),
    ]
    with livepatch.Watchdog([rss()], interval=0.1) as dog, Load(everybody):
        soaks = [
            livepatch.soak(
                write_fix(target(m, name), f"def {name}(x): return sorted(range(x)) or 0"),
                rules=rules, before=20, during=15, watchdog=dog,
            )
            for name in names
        ]  # fmt: skip
        found = [each.wait(300) for each in soaks]
    assert all(each is not None for each in found)
    kept = sum(each.ok for each in found)
    assert kept >= 196, "\n".join(str(each) for each in found if not each.ok)
    assert [vars(m)[name] for name in names] == calls
