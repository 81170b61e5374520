"""Readers on four threads watch 64 functions being switched, and never see some on one side and some on the other."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch

WIDTH = 64
READERS = 4
_code_of = operator.attrgetter("__code__")


class Scene:
    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node = write_module(_module("old"))
        self.written = write_module(_module("new"))
        self.fix = new_patch()
        for i in range(WIDTH):
            self.fix.replace(f"{self.node.__name__}:f{i}")(getattr(self.written, f"f{i}"))
        self.functions: list[FunctionType] = [getattr(self.node, f"f{i}") for i in range(WIDTH)]
        self.old_codes: list[CodeType] = list(map(_code_of, self.functions))


def _module(side: str) -> str:
    return "\n".join(f"def f{i}():\n    return {side!r}, {i}" for i in range(WIDTH))


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made.node, made.written))
    return made


class Reader(threading.Thread):
    """Takes snapshots of all code objects, and counts what it saw.

    A snapshot runs no bytecode between its reads, so what is mixed in it was mixed in the process.
    """

    def __init__(self, scene: Scene, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.functions, self.stop = scene.functions, stop
        self.is_old = {id(code) for code in scene.old_codes}.__contains__
        self.old = self.new = self.mixed = 0
        self.met: BaseException | None = None

    @property
    def reads(self) -> int:
        return (self.old + self.new + self.mixed) * WIDTH

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                snapshot = list(map(_code_of, self.functions))
                old = sum(map(self.is_old, map(id, snapshot)))
                if old == WIDTH:
                    self.old += 1
                elif old == 0:
                    self.new += 1
                else:
                    self.mixed += 1
        except BaseException as error:
            self.met = error


def watch(scene: Scene, cycle: Callable[[], object], cycles: int, reads: int) -> list[Reader]:
    """Go through `cycle` as often as said, and until all have read enough and each has seen both sides."""
    stop = threading.Event()
    readers = [Reader(scene, stop) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        while (
            cycles > 0 or sum(reader.reads for reader in readers) < reads or not all(r.old and r.new for r in readers)
        ):
            cycle()
            cycles -= 1
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert [reader.met for reader in readers] == [None] * READERS
    return readers


LENGTHS = [
    pytest.param(2, 15_000, id="short"),
    pytest.param(1_000, 10_000_000, id="long", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("cycles", "reads"), LENGTHS)
def test_no_reader_ever_sees_a_patch_half_applied(scene: Scene, cycles: int, reads: int) -> None:
    applied: list[livepatch.Applied] = []

    def cycle() -> None:
        applied[:] = [livepatch.apply(scene.fix)]
        applied[0].revert()

    readers = watch(scene, cycle, cycles, reads)
    assert sum(reader.mixed for reader in readers) == 0
    assert applied[0].wait(20)
    assert all(map(operator.is_, map(_code_of, scene.functions), scene.old_codes))


@pytest.mark.parametrize(
    ("cycles", "reads"), [(20, 60_000), pytest.param(500, 5_000_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_nor_with_the_flag_going_to_and_fro(scene: Scene, cycles: int, reads: int) -> None:
    applied = livepatch.apply(scene.fix)

    def cycle() -> None:
        applied.mode = "off"
        applied.mode = "on"

    readers = watch(scene, cycle, cycles, reads)
    assert sum(reader.mixed for reader in readers) == 0


def test_the_same_readers_see_a_loop_of_stores_half_done(scene: Scene) -> None:
    new_codes = [getattr(scene.written, f"f{i}").__code__ for i in range(WIDTH)]

    def cycle() -> None:
        for codes in (new_codes, scene.old_codes):
            for function, code in zip(scene.functions, codes, strict=True):
                function.__code__ = code

    readers = watch(scene, cycle, 500, 200_000)
    assert sum(reader.mixed for reader in readers) > 0
