"""What the interpreter is seen to be, and that a hook in it neither goes unnoticed nor sees half a switch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import livepatch
from livepatch.engine.environment import observe

SRC = Path(livepatch.__file__).resolve().parents[1]


def run(script: str, *flags: str, folder: Path | None = None) -> list[Any]:
    """The JSON lines that a script prints in a process of its own: an audit hook cannot be taken away again."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC), str(folder or SRC)]), "PYTHONOPTIMIZE": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


@pytest.fixture
def detached() -> Iterator[None]:
    yield
    sys.settrace(None)
    sys.setprofile(None)
    threading.settrace(None)  # type: ignore[arg-type]  # this takes it away
    threading.setprofile(None)


def hook(frame: Any, event: str, arg: object) -> None: ...


class Profiler:
    def __call__(self, frame: Any, event: str, arg: object) -> None: ...


def test_this_very_process():
    environment = observe()
    assert environment.python == sys.version_info[:3]
    assert environment.optimize == sys.flags.optimize
    assert environment.has_gil
    assert (environment.tracing, environment.profiling) == (None, None)


@pytest.mark.parametrize("attach", [sys.settrace, threading.settrace])
def test_a_tracer_is_named(attach: Any, detached: None):
    attach(hook)
    tracing = observe().tracing
    attach(None)
    assert tracing == f"{hook.__module__}.hook"
    assert observe().tracing is None


@pytest.mark.parametrize("attach", [sys.setprofile, threading.setprofile])
def test_a_profiler_is_named_by_its_class(attach: Any, detached: None):
    attach(Profiler())
    profiling = observe().profiling
    attach(None)
    assert profiling == f"{Profiler.__module__}.Profiler"
    assert observe().profiling is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_monitoring_tools_are_named():
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    before = observe().monitoring_tools
    monitoring.use_tool_id(3, "the-watcher")
    try:
        assert set(observe().monitoring_tools) == {*before, "the-watcher"}
    finally:
        monitoring.free_tool_id(3)
    assert observe().monitoring_tools == before


def test_an_interpreter_without_its_lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not observe().has_gil
    assert not observe().stores_are_atomic


@pytest.mark.parametrize(("has_gil", "hooked", "atomic"), [(1, 0, 1), (1, 1, 0), (0, 0, 0), (0, 1, 0)])
def test_stores_are_one_step_only_with_the_lock_and_without_hooks(has_gil: int, hooked: int, atomic: int):
    environment = dataclasses.replace(observe(), has_gil=bool(has_gil), audit_hooked=bool(hooked))
    assert environment.stores_are_atomic is bool(atomic)


OBSERVE = """
import json, sys
from livepatch.engine.environment import observe
def see():
    e = observe()
    print(json.dumps([e.audit_hooked, e.stores_are_atomic, e.optimize]))
"""


@pytest.mark.parametrize(("flag", "level"), [(None, 0), ("-O", 1), ("-OO", 2)])
def test_audit_hooks_and_optimisation(flag: str | None, level: int):
    seen = run(
        OBSERVE
        + textwrap.dedent("""
            see()
            see()
            events = []
            sys.addaudithook(lambda event, args: events.append(event))
            see()
            assert not [event for event in events if 'livepatch' in event], events
        """),
        *([flag] if flag else []),
    )
    assert seen == [[False, True, level], [False, True, level], [True, False, level]]


def test_a_hook_that_refuses_everything_is_noticed_all_the_same():
    seen = run(
        OBSERVE
        + textwrap.dedent("""
            armed = False
            def refuse(event, args):
                if armed and event not in ('object.__getattr__',):
                    raise PermissionError(event)
            see()
            sys.addaudithook(refuse)
            see()
        """)
    )
    assert [audit for audit, _, _ in seen] == [False, True]


TARGET = "".join(f"def f{i}(): return 'old'\n" for i in range(8)) + "LIMIT = ['old']\n"
HOOKED = """
import json, sys
import livepatch, target, fixes
sides = set()
def look(event, args):
    # It runs at every store to a function, and so may any other thread.
    if event == 'object.__setattr__':
        sides.add(tuple(getattr(target, f'f{i}')() for i in range(8)) + tuple(target.LIMIT))
def trial(act):
    sides.clear()
    act()
    assert applied.wait(10)
    print(json.dumps(sorted(map(list, sides))))
sys.addaudithook(look)
before = [getattr(target, f'f{i}').__code__ for i in range(8)]
applied = None
def apply():
    global applied
    applied = livepatch.apply(fixes.bodies)
report = livepatch.check(fixes.bodies)
print(json.dumps([[f.severity, f.code] for f in report.findings]))
trial(apply)
trial(lambda: setattr(applied, 'mode', 'off'))
trial(lambda: setattr(applied, 'mode', 'on'))
trial(lambda: applied.revert())
print(json.dumps([all(getattr(target, f'f{i}').__code__ is before[i] for i in range(8))]))
applied = livepatch.apply(fixes.defaults)
assert applied.wait(10)
answers = [getattr(target, f'f{i}')() for i in range(8)], [getattr(target, f'f{i}').__defaults__ for i in range(8)]
applied.revert()
assert applied.wait(10)
held = [getattr(target, f'f{i}') for i in range(8)]
back = all(f.__code__ is before[i] and f.__defaults__ is None for i, f in enumerate(held))
print(json.dumps([answers[0] == ['new'] * 8, answers[1] == [(1,)] * 8, back]))
"""


def test_no_hook_sees_some_bodies_without_the_others(tmp_path: Path):
    metadata = tmp_path / "specimen-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: specimen\nVersion: 1.0\n")
    (tmp_path / "target.py").write_text(TARGET)
    fixes = ["import livepatch"]
    for name in ("bodies", "defaults"):
        fixes.append(f"{name} = livepatch.Patch('FIX-{name}', package='specimen', versions='==1.0')")
        default = "a=1" if name == "defaults" else ""
        fixes += [f"@{name}.replace('target:f{i}')\ndef f{i}({default}): return 'new'" for i in range(8)]
    fixes.append("bodies.set('target:LIMIT', ['new'])")
    (tmp_path / "fixes.py").write_text("\n".join(fixes) + "\n")
    findings, *trials, identical, defaults = run(HOOKED, folder=tmp_path)
    assert ["info", "audit-hook"] in findings
    assert len(trials) == 4
    for sides in trials:
        assert sides  # the hook did look
        assert [side for side in sides if side not in (["old"] * 9, ["new"] * 9)] == []
    assert identical == [True]
    assert defaults == [True, True, True]
