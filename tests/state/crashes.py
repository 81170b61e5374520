"""Data in three files that a migration changes one by one, and disks that fail or crash at any call.

A crash loses what was not synchronised: the end of a file, wholly or in part, and a new name.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from livepatch.state.checkpoint import Checkpoint
from livepatch.state.files import Files
from livepatch.state.migration import Migration, migration_of

NAMES = ("a", "b", "c")


class Crash(BaseException):
    """The process ends here."""


class Disk(Files):
    """Crashes, or with `fails` raises, at call number `at`; remembers what a power cut would lose."""

    def __init__(self, at: int | None = None, *, seed: int = 0, fails: int = 0) -> None:
        self.at, self.fails, self.calls = at, fails, 0
        self.random = random.Random(seed)
        self.dead = False
        self._synced: dict[Path, int] = {}
        self._renamed: list[tuple[Path, Path, bytes | None]] = []

    def tick(self) -> bool:
        """Whether it happens now."""
        self.calls += 1
        if self.dead:
            raise Crash
        if self.at is None or not self.at <= self.calls < self.at + max(self.fails, 1):
            return False
        if self.fails:
            raise OSError(28, "No space left on device")
        self.dead = True
        return True

    def step(self) -> None:
        if self.tick():
            raise Crash

    def write(self, descriptor: int, data: bytes) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._synced.setdefault(path, os.fstat(descriptor).st_size)
        if self.fails and self.at is not None and self.at <= self.calls + 1 < self.at + self.fails:
            super().write(descriptor, data[: len(data) // 2])  # a disk that runs full takes part of it
        if self.tick():
            super().write(descriptor, data[: self.random.randint(0, len(data))])
            raise Crash
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.step()
        super().sync(descriptor)
        self._synced.pop(Path(f"/proc/self/fd/{descriptor}").readlink(), None)

    def replace(self, source: Path, target: Path) -> None:
        self.step()
        self._renamed.append((source, target, target.read_bytes() if target.exists() else None))
        super().replace(source, target)

    def sync_directory(self, path: Path) -> None:
        self.step()
        super().sync_directory(path)
        self._renamed = [each for each in self._renamed if each[1].parent != path]

    def truncate(self, descriptor: int, size: int) -> None:
        self.step()
        super().truncate(descriptor, size)

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)

    def cut_power(self) -> None:
        """Lose some of what was not synchronised."""
        for path, size in self._synced.items():
            if path.exists():
                os.truncate(path, self.random.randint(size, max(size, path.stat().st_size)))
        for source, target, before in reversed(self._renamed):
            if self.random.random() < 0.5 and target.exists():
                target.replace(source)
                if before is not None:
                    target.write_bytes(before)


class Store:
    """The data: in the new form each file ends in an exclamation mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for name in NAMES:
            if not (folder / name).exists():
                (folder / name).write_text(f"{name}-data")

    def read(self) -> list[str]:
        return [(self.folder / name).read_text() for name in NAMES]

    @property
    def version(self) -> int | None:
        """Which form all of it has.  Fails if it has neither, or something is lost."""
        held = self.read()
        if held == [f"{name}-data" for name in NAMES]:
            return None
        assert held == [f"{name}-data!" for name in NAMES], held
        return 1

    def migration(self, step: Callable[[], None], *, checkpoint: bool, fails: bool = False) -> Migration:
        def put(name: str, text: str) -> None:
            beside = self.folder / f"{name}.new"
            beside.write_text(text)
            beside.replace(self.folder / name)

        def change(to: Callable[[str], str]) -> None:
            for name in NAMES:
                step()
                put(name, to((self.folder / name).read_text()))
                if fails and name == "b" and to("x") == "x!":
                    raise ValueError("up fails")

        def restore(saved: list[str]) -> None:
            for name, text in zip(NAMES, saved, strict=True):
                step()
                put(name, text)

        return migration_of(
            "store",
            1,
            lambda: change(lambda text: text if text.endswith("!") else text + "!"),
            lambda: change(lambda text: text.removesuffix("!")),
            None,
            None,
            False,
            of=None,
            follows=None,
            budget=5,
            checkpoint=Checkpoint(self.read, restore) if checkpoint else None,
            touches=None,
            durable=True,
            loop=None,
        )
