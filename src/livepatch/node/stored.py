"""What lies in the store of a node, read strictly, by whoever may read it.  Writes nothing, and takes no lock."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from livepatch.bundle import disk
from livepatch.bundle.envelope import LARGEST_FILE, digest
from livepatch.bundle.trustroot import clock
from livepatch.errors import LivepatchError, StateError, spelled
from livepatch.node.wanted import LARGEST, Wanted, Wish

__all__ = ["Installed", "StoreView", "hex_of", "read_file", "telling", "unusable"]

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A patch file in the store: the digests of its bytes and of the patch in it, the patch's id, and where it lies.

    `modules` are those that the patch changes, as a wish holds them.
    """

    file: str
    digest: str
    id: str
    path: Path
    modules: tuple[str, ...] = ()

    def wish(self, mode: str = "on", replaces: Iterable[str] = ()) -> Wish:
        """The wish to run it from now on.  Raises :class:`PatchError` for what is no mode or id."""
        return Wish(
            file=self.file,
            digest=self.digest,
            id=self.id,
            mode=mode,
            replaces=tuple(replaces),
            since=clock(),
            modules=self.modules,
        )


class StoreView:
    """What is in a store, for whoever may read it: children of the node, and commands.  Takes no lock, writes nothing.

    Raises :class:`StateError` if there is no store at `path`, or others than its owner may write to it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"store must be the path of a directory, not {spelled(path)}")
        self.path = Path(os.fsdecode(path)).absolute()
        _check_private(self.path)

    @property
    def wanted(self) -> Wanted:
        """What the node is wished to run, as it is on the disk now.  Raises :class:`StateError`."""
        data = read_file(self.path / "wanted", LARGEST)
        return Wanted() if data is None else Wanted.parse(data)

    @property
    def key_file(self) -> Path:
        """The node's own private key (Ed25519, PEM, mode 0600), which signs its record."""
        return self.path / "node.key"

    @property
    def record_folder(self) -> Path:
        """Where its record lies: for :func:`livepatch.record_to`."""
        return self.path / "record"

    def installed(self) -> tuple[str, ...]:
        """The digests of the patch files that are here."""
        return tuple(f"sha256:{name}" for name in sorted(_named(self.path / "patches", ".lpatch")))

    def path_of(self, file: str) -> Path:
        """Where the patch file of that digest lies.  Raises :class:`StateError` if it is not here, or was changed."""
        self.read(file)
        return self.place_of(file)

    def read(self, file: str) -> bytes:
        """The bytes of the patch file of that digest, as they came.  Raises :class:`StateError`, as `path_of` does."""
        data = read_file(self.place_of(file), LARGEST_FILE)
        if data is None or digest(data) != file:
            raise StateError(
                "a patch file of the store is lost",
                found=f"{'no file' if data is None else 'other bytes'} at {spelled(str(self.place_of(file)))}",
                expected=f"the file of digest {file}",
                action="install the patch file again, or take the patch out of the set that is wished for",
            )
        return data

    def approvals_of(self, patch: str) -> tuple[Path, ...]:
        """The files of approvals of the patch of that digest."""
        folder = self.path / "approvals" / hex_of(patch)
        return tuple(folder / f"{name}.json" for name in sorted(_named(folder, ".json")))

    def place_of(self, file: str) -> Path:
        """Where the patch file of that digest lies, or would."""
        return self.path / "patches" / f"{hex_of(file)}.lpatch"


def _check_private(path: Path) -> None:
    with telling(path):
        about = path.stat()
    mode = stat.S_IMODE(about.st_mode)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or mode & 0o022:
        raise StateError(
            "the store cannot be used",
            found=f"{spelled(str(path))}: "
            + (f"mode {mode:04o}, user {about.st_uid}" if stat.S_ISDIR(about.st_mode) else "no directory"),
            expected=f"a directory of user {os.geteuid()} that nobody else may write to",
            action="choose another path, or look into what others may have put there, and chmod 700 it",
        )


def _named(folder: Path, ending: str) -> Iterator[str]:
    """The names in a folder that are digests, without their ending."""
    with telling(folder), contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.suffix == ending and _HEX.fullmatch(path.stem):
                yield path.stem


def hex_of(value: str) -> str:
    """The digits of a digest, which are a file's name.  Raises :class:`StateError` for what is none."""
    kind, _, name = value.partition(":")
    if kind != "sha256" or not _HEX.fullmatch(name):
        raise StateError(
            "no digest",
            found=spelled(value),
            expected="sha256: and 64 hexadecimal digits in small letters",
            action="give the digest as it was told",
        )
    return name


def read_file(path: Path, most: int) -> bytes | None:
    """The bytes of a file of the store; ``None`` if there is none.  Raises :class:`StateError`."""
    try:
        data = disk.read_at_most(path, most)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise unusable(path, disk.reason(error)) from error
    if data is None or len(data) > most:
        raise unusable(path, "no regular file" if data is None else f"more than {most} bytes")
    return data


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Tell what the system says of a path as a :class:`StateError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, LivepatchError):
            raise
        raise unusable(path, disk.reason(error)) from error


def unusable(path: Path, found: str) -> StateError:
    """What is raised for a store that cannot be read or written."""
    return StateError(
        "the store cannot be used",
        found=f"{spelled(str(path))}: {found}",
        expected="a directory that this process may read and write, with room",
        action="make room, mend the directory, or choose another one",
    )
