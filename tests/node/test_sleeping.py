"""A process that imports nothing of what patches change loads nothing for them, and wakes up when it does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.node.releases import Package
from tests.test_fork import in_child

from livepatch.node import following
from livepatch.node.boot import Given, environment
from livepatch.node.sleeping import Sleeper
from livepatch.node.store import Store
from livepatch.node.wanted import Wish

ROOT = Path(__file__).resolve().parents[2]
FILES = {"one.py": "x = 1\n", "two.py": "x = 2\n", "three.py": "x = 3\n"}


@pytest.fixture(autouse=True)
def events() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    package = Package(tmp_path, monkeypatch, FILES)
    yield package
    package.forget()


class Waking:
    """What a sleeper wakes."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.told: list[str] = []
        self.fails = fails

    def __call__(self, module: str) -> Waking:
        self.told.append(f"woken by {module.rpartition('.')[2]}")
        if self.fails is not None:
            raise self.fails
        return self

    def come(self, module: str) -> None:
        self.told.append(module.rpartition(".")[2])


def wish(*modules: str) -> Wish:
    digest = f"sha256:{len(modules):064x}"
    return Wish(file=digest, digest=digest, id=f"FIX-{len(modules)}", modules=modules)


def soon(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def write(folder: Path, *wishes: Wish) -> None:
    with Store(folder) as store:
        wanted = store.wanted.wishing(wishes).proved()
    (folder / "wanted.new").write_bytes(wanted.to_bytes())
    (folder / "wanted.new").replace(folder / "wanted")


def test_the_first_module_wakes_it_and_the_others_are_passed_on(package: Package, tmp_path: Path):
    waking = Waking()
    store = tmp_path / "store"
    write(store, wish(f"{package.name}.one", f"{package.name}.two"))
    Sleeper(store, waking).start()
    package.import_("three")
    assert waking.told == []
    package.import_("one")
    assert waking.told == ["woken by one"]
    package.import_("two")
    assert waking.told == ["woken by one", "two"]


def test_a_module_that_is_there_already_wakes_it_and_so_does_a_patch_of_unknown_modules(
    package: Package, tmp_path: Path
):
    package.import_("one")
    for number, wishes in enumerate([(wish(f"{package.name}.one"),), (wish(),)]):
        waking = Waking()
        store = tmp_path / f"store-{number}"
        write(store, *wishes)
        Sleeper(store, waking).start()
        assert waking.told == ["woken by "]


def test_a_wish_that_comes_later(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "EVERY", 0.01)
    package.import_("one")
    store = tmp_path / "store"
    waking = Waking()
    Sleeper(store, waking).start()
    write(store, wish(f"{package.name}.two"))
    time.sleep(0.1)
    assert waking.told == []
    write(store, wish(f"{package.name}.one", f"{package.name}.two"))
    soon(lambda: waking.told == ["woken by "])


def test_what_cannot_wake_up_hinders_no_import(package: Package, tmp_path: Path, events: list[Any]):
    waking = Waking(fails=ZeroDivisionError("mine"))
    write(tmp_path / "store", wish(f"{package.name}.one", f"{package.name}.two"))
    Sleeper(tmp_path / "store", waking).start()
    assert package.import_("one").x == 1
    assert package.import_("two").x == 2
    assert waking.told == ["woken by one"]
    assert [each["event"] for each in events] == ["livepatch.restoring_failed"]


def test_a_child_of_a_fork_sleeps_on(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "EVERY", 0.01)
    waking = Waking()
    sleeper = Sleeper(tmp_path / "store", waking)
    sleeper.start()

    def body() -> None:
        write(tmp_path / "store", wish(f"{package.name}.one"))
        time.sleep(0.1)
        package.import_("one")
        soon(lambda: bool(waking.told))

    in_child(body)
    assert waking.told == []


def test_a_small_tool_loads_little(tmp_path: Path):
    name = "livepatch_no_such_module"
    write(tmp_path / "store", wish(name))
    (tmp_path / f"{name}.py").write_text("")
    heavy = "[n for n in ('livepatch.process.public', 'cryptography', 'structlog', 'bytecode') if n in sys.modules]"
    with Store(tmp_path / "store"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; print({heavy}); import {name}; print(len({heavy}))"],
            env={
                **os.environ,
                **environment(Given(store=str(tmp_path / "store")), {"PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.splitlines() == ["[]", "4"], done.stderr
