"""Switches that meet: from several threads, from inside a switch, from patched code, and across a fork."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests import cycles

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch

_OURS = str(Path(livepatch.__file__).parent)
_CORE = ("live", "transition", "commit", "events")

NODE = """
    LIMIT = 123456

    def f():
        return "old f"

    def g():
        return "old g"

    def during(action):
        action()
        return "old during"

    def steps():
        yield "old"
        yield "old"
"""
FIX = """
    def f():
        return "new f"

    def g():
        return "new g"

    def during(action):
        action()
        return "new during"

    def steps():
        yield "new"
        yield "new"
"""


class Scene:
    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node, self.written, self.new_patch = write_module(NODE), write_module(FIX), new_patch

    def fix(self, *names: str) -> livepatch.Patch:
        fix = self.new_patch()
        for name in names or ("f", "g"):
            fix.replace(f"{self.node.__name__}:{name}")(getattr(self.written, name))
        return fix


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    monkeypatch.setattr("livepatch.live.sys", FewModules(made.node, made.written))
    return made


@pytest.fixture
def structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _in_thread(action: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    met: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, met


def test_threads_that_apply_at_once_all_get_in(scene: Scene) -> None:
    fixes = [scene.fix("f"), scene.fix("g"), scene.fix("during")]
    started = [_in_thread(lambda fix=fix: livepatch.apply(fix)) for fix in fixes]  # type: ignore[misc]
    for thread, _ in started:
        thread.join(30)
    assert [met for _, met in started] == [[], [], []]
    assert {status.id for status in livepatch.status()} == {fix.id for fix in fixes}
    assert (scene.node.f(), scene.node.g()) == ("new f", "new g")


def test_of_two_threads_with_one_patch_one_is_told_that_it_is_applied(scene: Scene) -> None:
    fix = scene.fix()
    started = [_in_thread(lambda: livepatch.apply(fix)) for _ in range(2)]
    for thread, _ in started:
        thread.join(30)
    errors = [error for _, met in started for error in met]
    assert len(errors) == 1
    assert isinstance(errors[0], livepatch.IncompatibleError)
    assert cycles.codes(errors[0].report) == ["already-applied"]
    assert livepatch.revert(fix.id).state == "reverted"


def test_a_second_thread_is_refused_when_its_time_is_up(scene: Scene, structlog_as_it_was: None) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait_inside(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        inside.set()
        go_on.wait(30)
        raise structlog.DropEvent

    structlog.configure(processors=[wait_inside])
    thread, met = _in_thread(lambda: livepatch.apply(scene.fix("f")))
    assert inside.wait(30)
    with pytest.raises(livepatch.TransitionError, match="another thread") as caught:
        livepatch.apply(scene.fix("g"), timeout=0.05)
    assert caught.value.timeout == 0.05
    assert scene.node.g() == "old g"
    go_on.set()
    thread.join(30)
    assert met == []


def test_a_patched_function_may_apply_switch_and_revert(scene: Scene) -> None:
    fix = scene.fix("during", "f")
    assert scene.node.during(lambda: livepatch.apply(fix)) == "old during"
    assert scene.node.during(lambda: livepatch.flags.__setitem__(fix.flag, "off")) == "new during"
    assert scene.node.during(lambda: livepatch.flags.__setitem__(fix.flag, "on")) == "old during"
    assert scene.node.during(lambda: livepatch.revert(fix.id)) == "new during"
    assert scene.node.during(lambda: None) == "old during"


INSIDE: dict[str, Callable[[Scene, livepatch.Patch], object]] = {
    "apply": lambda scene, fix: livepatch.apply(scene.fix("g")),
    "check": lambda scene, fix: livepatch.check(scene.fix("g")),
    "revert": lambda scene, fix: livepatch.revert(fix.id),
    "flags": lambda scene, fix: livepatch.flags.__setitem__(fix.flag, "off"),
}


@pytest.mark.parametrize("inside", INSIDE)
def test_a_log_processor_that_switches_is_refused(scene: Scene, inside: str, structlog_as_it_was: None) -> None:
    fix = scene.fix("f")
    met: list[BaseException] = []

    def processor(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        try:
            INSIDE[inside](scene, fix)
        except livepatch.LivepatchError as error:
            met.append(error)
        livepatch.status()
        assert livepatch.verify()
        raise structlog.DropEvent

    structlog.configure(processors=[processor])
    applied = livepatch.apply(fix)
    assert [type(error) for error in met] == [livepatch.TransitionError]
    assert "in the middle of a switch" in str(met[0])
    assert applied.mode == "on"
    assert (scene.node.f(), scene.node.g()) == ("new f", "old g")


def test_status_and_flags_can_be_read_while_others_switch(scene: Scene) -> None:
    fix, over = scene.fix("f"), scene.fix("f")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            livepatch.status()
            list(livepatch.flags)
            repr(livepatch.verify())

    readers = [_in_thread(read) for _ in range(2)]
    for _ in range(15):
        livepatch.apply(fix)
        livepatch.apply(over, replaces=[fix.id])
        livepatch.flags[over.flag] = "off"
        livepatch.revert(over.id)
    stop.set()
    for thread, met in readers:
        thread.join(30)
        assert met == []


def test_looking_through_the_heap_breaks_no_tuple_that_another_thread_is_making(scene: Scene) -> None:
    """``tuple(generator)`` fails where somebody else holds the unfinished tuple, as gc.get_objects() does."""
    stop = threading.Event()

    def make_tuples() -> None:
        while not stop.is_set():
            tuple(str(i) for i in range(30))

    makers = [_in_thread(make_tuples) for _ in range(2)]
    fix = scene.fix("steps")
    suspended = scene.node.steps()
    next(suspended)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        applied = livepatch.apply(fix)
        for _ in range(10):
            assert applied.status().state == "draining"
            livepatch.check(scene.fix("during"))
        applied.revert()
    finally:
        sys.setswitchinterval(before)
        stop.set()
    for thread, met in makers:
        thread.join(30)
        assert met == []


# Across a fork


class Stopper:
    """Holds its thread where a function of the core returns for the first time, until it is let go."""

    def __init__(self, code: CodeType | None) -> None:
        self.code, self.where = code, ""
        self.seen: dict[CodeType, None] = {}
        self.stopped, self.go_on = threading.Event(), threading.Event()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "return" or not code.co_filename.startswith(_OURS) or Path(code.co_filename).stem not in _CORE:
            return
        self.seen[code] = None
        if code is self.code and not self.where:
            self.where = code.co_qualname
            self.stopped.set()
            self.go_on.wait(30)

    def run(self, action: Callable[[], object]) -> None:
        sys.setprofile(self)
        try:
            action()
        finally:
            sys.setprofile(None)
            self.stopped.set()


def _child(action: Callable[[], None]) -> str:
    """What a forked child has to complain of."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what this is about
        pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_child_has_the_patch_and_may_revert_it_by_itself(scene: Scene) -> None:
    before = cycles.picture(scene.node)
    applied = livepatch.apply(scene.fix())

    def child() -> None:
        assert (scene.node.f(), scene.node.g()) == ("new f", "new g")
        assert livepatch.verify()
        assert applied.revert().state == "reverted"
        assert (scene.node.f(), scene.node.g()) == ("old f", "old g")
        assert cycles.differences(before) == []

    assert _child(child) == ""
    assert (scene.node.f(), scene.node.g()) == ("new f", "new g")
    assert applied.mode == "on"


@pytest.mark.parametrize("operation", ["apply", "off", "revert"])
def test_a_child_forked_in_the_middle_of_anothers_switch_is_whole(scene: Scene, operation: str) -> None:
    fix = scene.fix()
    fix.add(scene.node.__name__, ADDED=1)
    before = cycles.picture(scene.node)
    actions = {
        "apply": lambda: livepatch.apply(fix),
        "off": lambda: livepatch.flags.__setitem__(fix.flag, "off"),
        "revert": lambda: livepatch.revert(fix.id),
    }

    def child() -> None:
        applied = [status.id for status in livepatch.status()]
        on = bool(applied) and livepatch.flags[fix.flag] == "on"
        assert livepatch.verify()
        assert (scene.node.f(), scene.node.g()) == (("new f", "new g") if on else ("old f", "old g"))
        assert hasattr(scene.node, "ADDED") is on
        for patch_id in applied:
            livepatch.revert(patch_id)
        assert cycles.differences(before) == []
        again = livepatch.apply(fix, timeout=1)
        assert (scene.node.f(), scene.node.g()) == ("new f", "new g")
        again.revert()
        assert cycles.differences(before) == []

    def begin() -> None:
        for status in livepatch.status():
            livepatch.revert(status.id)
        if operation != "apply":
            livepatch.apply(fix)

    begin()
    counted = Stopper(None)
    counted.run(actions[operation])
    assert len(counted.seen) > 5
    problems = []
    for code in counted.seen:
        begin()
        stopper = Stopper(code)
        thread, met = _in_thread(lambda: stopper.run(actions[operation]))  # noqa: B023  # ends within the loop
        assert stopper.stopped.wait(30)
        said = _child(child)
        stopper.go_on.set()
        thread.join(30)
        assert met == []
        if said:
            problems.append(f"forked at the return of {stopper.where}: {said.strip().splitlines()[-1]}")
    assert problems == []
