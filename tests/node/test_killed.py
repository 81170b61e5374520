"""A node that is killed at any moment: the next one finds what was wished for, or what was before, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from pathlib import Path

import pytest
import structlog
from tests.node.stores import ids, patch_file

from livepatch.node.store import Store
from livepatch.node.stored import StoreView

FILES = {name: patch_file(name) for name in "ABCD"}


def live(folder: Path, writer: int, seed: int) -> None:
    """A life: patches come, change and go, and it is told what is about to be wished for, and what is."""
    chance = random.Random(seed)
    with structlog.testing.capture_logs():
        store = Store(folder, guard=chance.choice([0.0, 0.01, 1000.0]))
        with store.restoring():
            os.write(writer, b".")
        while True:
            names = chance.sample(sorted(FILES), chance.randrange(4))
            wishes = [store.install(FILES[name]).wish(chance.choice(["on", "off", "split(5%)"])) for name in names]
            if wishes:
                store.keep_approval(wishes[0].digest, chance.randbytes(30))
            told = ",".join(ids(tuple(wishes)))
            os.write(writer, f"next {told}\n".encode())
            with store.changing(wishes):
                time.sleep(chance.choice([0.0, 0.0005]))
            os.write(writer, f"now {told}\n".encode())


def killed(folder: Path, seed: int, after: float) -> list[str]:
    """A life that is killed; gives what it told."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that other tests have left
        child = os.fork()
    if child == 0:
        try:
            live(folder, writer, seed)
        except BaseException as error:
            os.write(writer, f"failed {error!r}\n".encode())
        finally:
            os._exit(1)
    os.close(writer)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode().removeprefix(".").splitlines()


def kills(folder: Path, number: int) -> int:
    """So many lives in a row, each of which finds what the one before has left; how many came up without something."""
    chance = random.Random(number)
    Store(folder).close()
    fell = 0
    for seed in range(number):
        begun = StoreView(folder).wanted
        told = killed(folder, seed, chance.uniform(0.0, 0.08))
        assert not any(line.startswith("failed") for line in told), told
        sets = [line.partition(" ")[2] for line in told]
        view = StoreView(folder)
        last = sets[-1:] + [line.removeprefix("now ") for line in told if line.startswith("now ")][-1:]
        found = ",".join(ids(view.wanted.patches))
        if last:
            assert found in (last if len(last) == 2 else [*last, *at_start(begun)]), (found, told)
        else:
            assert found in at_start(begun)
        with structlog.testing.capture_logs(), Store(folder) as store:
            fell += store.died
            assert store.wanted.patches in (view.wanted.patches, view.wanted.before)
            assert not list(folder.rglob("*.tmp*"))
            for each in store.wanted.patches:
                store.path_of(each.file)
            store.close(well=chance.random() < 0.5)
    return fell


def at_start(begun) -> list[str]:
    return [",".join(ids(begun.patches)), ",".join(ids(begun.before))]


def test_killed_at_any_moment(tmp_path: Path):
    kills(tmp_path / "store", 10)


@pytest.mark.slow
def test_killed_500_times(tmp_path: Path):
    assert kills(tmp_path / "store", 500) > 50
