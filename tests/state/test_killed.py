"""A process that is killed in the middle of it, a fork in the middle of it, and an event loop that goes on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.few_modules import FewModules
from tests.state.crashes import Store
from tests.state.peers import down, forms, up
from tests.test_fork import in_child

import livepatch
from livepatch.process.live import live

if TYPE_CHECKING:
    from tests.conftest import WriteModule
    from tests.state.conftest import Made

SOON = 10.0


@pytest.fixture(autouse=True)
def no_directory_stays() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield
    if live.states.directory is not None:
        live.states.directory.close()
        live.states.directory = None


class Scene:
    """A process whose store of files is changed along with its code."""

    def __init__(self, folder: Path, module: ModuleType) -> None:
        self.folder, self.module = folder, module
        self.store = Store(folder / "data")

    def patch(self, *, checkpoint: bool) -> livepatch.Patch:
        patch = livepatch.Patch("STORE", package="specimen", versions="==1.0")

        @patch.replace(f"{self.module.__name__}:form")
        def form():
            return 1

        patch.migrations = (self.store.migration(lambda: time.sleep(0.0005), checkpoint=checkpoint),)
        return patch

    def live(self, *, checkpoint: bool) -> None:
        fix = self.patch(checkpoint=checkpoint)
        recovery = livepatch.recover(self.folder / "state", [fix])
        assert recovery.ok, recovery
        assert self.store.version == recovery.versions.get("store")
        while True:
            applied = livepatch.apply(fix)
            assert (self.store.version, self.module.form()) == (1, 1)
            applied.revert()
            assert (self.store.version, self.module.form()) == (None, None)


@pytest.fixture
def scene(write_module: WriteModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    module = write_module("def form():\n    return None\n")
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(module))
    return Scene(tmp_path, module)


def killed(scene: Scene, after: float, *, checkpoint: bool) -> None:
    """A life in a process of its own, which is killed at some moment of it."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that other tests have left
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, b".")
            scene.live(checkpoint=checkpoint)
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    assert os.read(reader, 1) == b"."
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    told = os.read(reader, 10_000)
    os.close(reader)
    assert told == b""
    assert os.WIFSIGNALED(status)


def kills(scene: Scene, number: int) -> set[str]:
    """So many lives that are killed; gives what was found after them."""
    outcomes: set[str] = set()
    chance = random.Random(number)
    fix = scene.patch(checkpoint=True)
    for run in range(number):
        checkpoint = run // 10 % 2 == 0  # several lives in a row, for each goes on with what the one before has left
        killed(scene, chance.uniform(0.0, 0.2), checkpoint=checkpoint)
        if run % 5 == 4:  # else the next process finds what this one has left
            fix = scene.patch(checkpoint=checkpoint)
            recovery = livepatch.recover(scene.folder / "state", [fix])
            assert recovery.ok, recovery
            assert scene.store.version == recovery.versions.get("store")
            outcomes.update(each.told for each in recovery.migrations)
            directory = live.states.directory
            assert directory is not None
            directory.close()
            live.states.directory = None
    livepatch.recover(scene.folder / "state", [fix])
    livepatch.apply(fix).revert()
    assert scene.store.version is None
    return outcomes


def test_killed_at_any_moment(scene: Scene):
    kills(scene, 16)


@pytest.mark.slow
def test_killed_a_thousand_times(scene: Scene):
    told = kills(scene, 1000)
    for part in ("up was gone on with", "what was saved", "while down ran", "does not run up again"):
        assert any(part in each for each in told), told


def test_a_durable_migration_needs_a_directory(scene: Scene):
    fix = scene.patch(checkpoint=True)
    assert "migration-without-directory" in [finding.code for finding in livepatch.check(fix).errors]
    with pytest.raises(livepatch.IncompatibleError, match="recover"):
        livepatch.apply(fix)
    livepatch.recover(scene.folder / "state")
    applied = livepatch.apply(fix)
    assert scene.store.version == 1

    def child() -> None:
        applied.revert()  # the code of the child; the data is its parent's
        assert scene.store.version == 1
        assert "migration-without-directory" in [finding.code for finding in livepatch.check(fix).errors]

    in_child(child)
    applied.revert()
    assert scene.store.version is None
    assert "store" not in livepatch.recover(scene.folder / "state").versions
    with pytest.raises(livepatch.StateError, match="already"):
        livepatch.recover(scene.folder / "other")


def test_what_was_in_memory_is_gone_with_its_process(scene: Scene, tmp_path: Path):
    def life() -> None:
        objects = [{"a": 1}]
        fix = livepatch.Patch("MEMORY", package="specimen", versions="==1.0")
        fix.migrate("memory", 1, lambda item: item.update(b=2), lambda item: 1 / 0, objects=objects)
        livepatch.recover(tmp_path / "state")
        applied = livepatch.apply(fix)
        with pytest.raises(livepatch.StateError):
            applied.revert()

    in_child(life)
    recovery = livepatch.recover(tmp_path / "state")
    assert recovery.ok
    (found,) = recovery.migrations
    assert (found.name, found.outcome) == ("memory", "before")
    assert livepatch.recover(tmp_path / "state").migrations == ()


@pytest.mark.parametrize("arguments", [(5,), ("state", 5), ("state", [5])])
def test_wrong_arguments(arguments: Any):
    with pytest.raises(TypeError):
        livepatch.recover(*arguments)


# A fork


def test_a_fork_while_another_thread_migrates(node: ModuleType, made: Made):
    arrived, go_on = threading.Event(), threading.Event()

    def rise(peer: Any) -> None:
        up(peer)
        if peer.name == "20" and threading.current_thread() is thread:
            arrived.set()
            assert go_on.wait(60)

    fix = made(way=(rise, down))
    thread = threading.Thread(target=lambda: livepatch.apply(fix), daemon=True)
    thread.start()
    assert arrived.wait(SOON)

    def child() -> None:
        assert forms(node) == {list, dict}
        applied = livepatch.apply(made(version=1), timeout=5)
        assert forms(node) == {dict}
        applied.revert()
        assert forms(node) == {list}
        assert livepatch.status() == ()

    in_child(child)
    go_on.set()
    thread.join(SOON)
    assert forms(node) == {dict}


def test_a_fork_while_another_thread_takes_data_down(node: ModuleType, made: Made):
    arrived, go_on = threading.Event(), threading.Event()

    def sink(peer: Any) -> None:
        down(peer)
        if peer.name == "20" and threading.current_thread() is thread:
            arrived.set()
            assert go_on.wait(60)

    applied = livepatch.apply(made(way=(up, sink)))
    thread = threading.Thread(target=applied.revert, daemon=True)
    thread.start()
    assert arrived.wait(SOON)

    def child() -> None:
        (status,) = livepatch.status()
        assert livepatch.check(made(version=2)).ok  # the first transaction puts the data right
        assert forms(node) == {dict}
        livepatch.revert(status.id)
        assert forms(node) == {list}

    in_child(child)
    go_on.set()
    thread.join(SOON)
    assert forms(node) == {list}


# An event loop


@pytest.mark.parametrize("given", ["loop", "function"])
def test_slices_in_an_event_loop(given: str, node: ModuleType, made: Made):
    threads: set[int] = set()
    turns: list[int] = []

    def rise(peer: Any) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.001)
        up(peer)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        fix = made(way=(rise, down), loop=loop if given == "loop" else lambda: loop, budget=2)
        done = asyncio.ensure_future(asyncio.to_thread(livepatch.apply, fix))
        while not done.done():
            turns.append(len([peer for peer in node.PEERS if type(peer.inbox) is dict]))
            await asyncio.sleep(0)
        applied = await done
        assert forms(node) == {dict}
        await asyncio.to_thread(applied.revert)

    asyncio.run(main())
    assert threads == {threading.get_ident()}
    assert len(set(turns)) > 5, "the loop goes on between slices"
    assert forms(node) == {list}


def test_a_loop_that_ends_half_way(node: ModuleType, made: Made):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def rise(peer: Any) -> None:
        up(peer)
        if peer.name == "20":
            loop.stop()
        time.sleep(0.002)

    with pytest.raises(livepatch.StateError, match="loop"):
        livepatch.apply(made(way=(rise, down), loop=loop, budget=1))
    thread.join(SOON)
    loop.close()
    assert forms(node) == {list}


def test_a_loop_that_does_not_run(node: ModuleType, made: Made):
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(livepatch.StateError, match="loop"):
            livepatch.apply(made(loop=loop))
    finally:
        loop.close()
    with pytest.raises(livepatch.StateError, match="loop"):
        livepatch.apply(made(loop=loop))
    assert forms(node) == {list}


def test_a_failure_is_recorded_also_if_the_data_cannot_go_back(node: ModuleType, made: Made, monkeypatch: Any):
    failed: list[BaseException] = []
    monkeypatch.setattr(live.announcing, "failed", failed.append)

    def sink(peer: Any) -> None:
        raise KeyError("no way down")

    fix = made(way=(up, sink), name="recorded")
    with livepatch.unit_of_work():
        with pytest.raises(livepatch.StateError, match="no way down"):
            livepatch.apply(fix, consistency="quiescent", timeout=0.05)
    assert len(failed) == 1
    assert forms(node) == {dict}, "it stays as it is, and is in nobody's way"
    (told,) = live.states.told(fix.id)
    assert "no way down" in told.trouble
    livepatch.apply(made(name="another")).revert()
    assert [finding.code for finding in livepatch.check(made(name="recorded")).errors] == ["migration-unfinished"]
