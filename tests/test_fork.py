"""A process that forks, with a patch in it or in the middle of a switch: both sides of the fork come to a good end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import structlog

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch
from livepatch.process import live

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

SOURCE = """
def one():
    return "SIDE"

def two():
    return "SIDE"

def held(arrived, go_on):
    arrived.set()
    assert go_on.wait(60)
    return "SIDE", one()

def steps():
    yield "SIDE"
    yield one()
"""
NAMES = ("one", "two", "held", "steps")
SOON = 10.0


@pytest.fixture(autouse=True)
def silent_log() -> Iterator[None]:
    """A fork while another thread prints would leave structlog's lock taken in the child."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
    raise structlog.DropEvent


class Scene:
    def __init__(self, node: Any, fix: livepatch.Patch) -> None:
        self.node, self.fix = node, fix

    def sides(self) -> set[str]:
        return {self.node.one(), self.node.two()}


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    node, written = (write_module(SOURCE.replace("SIDE", side)) for side in ("old", "new"))
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(node, written))
    fix = new_patch()
    for name in NAMES:
        fix.replace(f"{node.__name__}:{name}")(getattr(written, name))
    return Scene(node, fix)


def in_child(body: Callable[[], None]) -> None:
    """Run `body` in a forked child; what it raises there is raised here."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are other threads is what is tested
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            body()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(writer)
    end = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            pytest.fail("the child did not end")
        time.sleep(0.005)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    assert told == ""


class Held:
    """A call in a thread of its own, which stands on the old side until it is let go."""

    def __init__(self, scene: Scene) -> None:
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.answer: Any = None
        self._scene = scene
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.arrived.wait(SOON)

    def _run(self) -> None:
        self.answer = self._scene.node.held(self.arrived, self.go_on)

    def let_go(self) -> Any:
        self.go_on.set()
        self.thread.join(SOON)
        assert not self.thread.is_alive()
        return self.answer


def test_a_patch_holds_in_the_child_and_is_reverted_there_alone(scene: Scene) -> None:
    code = id(scene.node.one.__code__)
    applied = livepatch.apply(scene.fix)

    def child() -> None:
        assert scene.sides() == {"new"}
        assert [status.state for status in livepatch.status()] == ["settled"]
        livepatch.flags[scene.fix.id] = "off"
        assert scene.sides() == {"old"}
        applied.revert()
        assert applied.wait(SOON)
        assert id(scene.node.one.__code__) == code
        assert livepatch.status() == ()
        assert livepatch.verify()
        livepatch.apply(scene.fix)
        assert scene.sides() == {"new"}

    in_child(child)
    assert scene.sides() == {"new"}
    assert [status.mode for status in livepatch.status()] == ["on"]


def test_while_an_old_call_of_another_thread_drains(scene: Scene) -> None:
    held = Held(scene)
    applied = livepatch.apply(scene.fix)
    assert applied.status().state == "draining"

    def child() -> None:
        assert scene.sides() == {"new"}
        assert applied.wait(SOON), applied.status()  # the thread and its call are not here
        assert livepatch.verify()
        applied.revert()
        assert applied.wait(SOON)
        assert scene.sides() == {"old"}

    in_child(child)
    assert applied.status().state == "draining"
    assert held.let_go() == ("old", "old")
    assert applied.wait(SOON)
    assert scene.sides() == {"new"}


def test_while_a_generator_of_the_forking_thread_is_suspended(scene: Scene) -> None:
    items = [scene.node.steps()]
    assert next(items[0]) == "old"
    applied = livepatch.apply(scene.fix)

    def child() -> None:
        assert not applied.wait(0.2)  # it came along, and is still on the old side
        assert list(items.pop()) == ["old"]
        assert applied.wait(SOON), applied.status()
        assert scene.sides() == {"new"}
        assert livepatch.verify()

    in_child(child)
    assert applied.status().state == "draining"
    assert list(items.pop()) == ["old"]
    assert applied.wait(SOON)


def test_while_a_unit_of_another_thread_is_open(scene: Scene) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with livepatch.unit_of_work():
            begun.set()
            assert go_on.wait(60)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(SOON)
    applied = livepatch.apply(scene.fix)
    assert applied.status().units == 1

    def child() -> None:
        assert applied.wait(SOON), applied.status()  # that unit is not here
        assert livepatch.verify()

    in_child(child)
    assert applied.status().units == 1
    go_on.set()
    thread.join(SOON)
    assert applied.wait(SOON)


def test_while_a_unit_of_the_forking_thread_is_open(scene: Scene) -> None:
    unit = livepatch.unit_of_work()
    unit.__enter__()
    try:
        applied = livepatch.apply(scene.fix)

        def child() -> None:
            assert not applied.wait(0.2)
            assert scene.sides() == {"old"}
            unit.__exit__(None, None, None)
            assert applied.wait(SOON), applied.status()
            assert scene.sides() == {"new"}

        in_child(child)
        assert not applied.wait(0)
        assert scene.sides() == {"old"}
    finally:
        unit.__exit__(None, None, None)
    assert applied.wait(SOON)


PLACES = [
    "livepatch.process.examining.survey",
    "livepatch.process.switching.plan",
    "livepatch.engine.transition.commit",
]


@pytest.mark.parametrize("place", PLACES)
def test_while_another_thread_applies(scene: Scene, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The other thread stands in the middle of it: the child has the patch wholly or not at all, and works on."""
    module, _, name = place.rpartition(".")
    whole = getattr(sys.modules[module], name)
    arrived, go_on = threading.Event(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is thread:  # and not the thread that settles, in the child
            arrived.set()
            assert go_on.wait(60)
        return whole(*args, **kwargs)

    monkeypatch.setattr(place, slow)
    thread = threading.Thread(target=lambda: livepatch.apply(scene.fix), daemon=True)
    thread.start()
    assert arrived.wait(SOON)

    def child() -> None:
        assert scene.sides() == {"old"}
        assert livepatch.status() == ()
        assert livepatch.verify()
        applied = livepatch.apply(scene.fix, timeout=5)
        assert applied.wait(SOON)
        assert scene.sides() == {"new"}
        applied.revert()
        assert applied.wait(SOON)
        assert scene.sides() == {"old"}

    try:
        in_child(child)
    finally:
        go_on.set()
        thread.join(SOON)
    assert not thread.is_alive()
    assert scene.sides() == {"new"}


def test_forks_at_any_moment_while_another_thread_applies_and_reverts(scene: Scene) -> None:
    livepatch.apply(scene.fix).revert()  # a module that is being imported at the fork stays locked in the child
    stop = threading.Event()
    met: list[BaseException] = []

    def cycle() -> None:
        try:
            while not stop.is_set():
                # A generator would stay in the child, suspended for ever, for its thread is not there.
                with livepatch.unit_of_work():
                    applied = livepatch.apply(scene.fix)
                applied.revert()
                assert applied.wait(SOON)
        except BaseException as error:
            met.append(error)

    def child() -> None:
        assert len(scene.sides()) == 1
        for status in livepatch.status():
            livepatch.revert(status.id, timeout=5)
        end = time.monotonic() + SOON
        while live.live.state.open is not None and time.monotonic() < end:
            time.sleep(0.001)
        assert live.live.state.open is None
        assert scene.sides() == {"old"}
        assert livepatch.verify()
        applied = livepatch.apply(scene.fix, timeout=5)
        assert applied.wait(SOON)
        assert scene.sides() == {"new"}

    thread = threading.Thread(target=cycle, daemon=True)
    thread.start()
    try:
        for _ in range(15):
            in_child(child)
    finally:
        stop.set()
        thread.join(30)
    assert met == []
    assert scene.sides() == {"old"}
