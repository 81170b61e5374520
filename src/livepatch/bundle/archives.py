"""The files of a directory, a wheel or an sdist: those that a build reads, within bounds, and nothing outside of it."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from livepatch.errors import BundleError, spelled

__all__ = [
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "MAX_TOTAL_BYTES",
    "NATIVE",
    "NATIVE_SOURCE",
    "digest_of",
    "read_archive",
    "read_directory",
]

MAX_FILES = 50_000
MAX_FILE_BYTES = 32 * 2**20
MAX_TOTAL_BYTES = 1024 * 2**20
_DIGEST = 20  # bytes

NATIVE = (".so", ".pyd", ".dylib")
NATIVE_SOURCE = (".pyx", ".pxd", ".c", ".cc", ".cpp", ".h", ".rs")


def digest_of(data: bytes) -> bytes:
    """What is kept of a file that is not source and has just these bytes."""
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def _wanted(path: PurePosixPath) -> bool:
    if any(part in ("__pycache__", ".git", ".tox", ".nox", ".venv", "node_modules") for part in path.parts):
        return False
    if path.suffix in (".py", *NATIVE, *NATIVE_SOURCE):
        return True
    if path.parent.name.endswith((".dist-info", ".egg-info")):
        return path.name in ("METADATA", "RECORD", "top_level.txt", "PKG-INFO", "SOURCES.txt")
    return path.name in ("PKG-INFO", "pyproject.toml", "setup.cfg")


# What no code reads at run time: documents, types, what translations and metadata are made from.
_NO_DATA = frozenset(
    [
        *(".md", ".rst", ".pyi", ".pyc", ".pyo", ".po", ".pot", ".mo", ".map", ".a", ".o", ".lib", ".orig", ".rej"),
        *(".in", ".am", ".egg", ".whl", ".license", ".lpatch", ".typed"),
    ]
)
_DOCUMENTS = re.compile(
    r"(licen[cs]e|copying|notice|authors|contributors|readme|change(s|log)|news|history|todo|install|makefile|dockerfile"
    r"|requirements)\b.*|py\.typed",
    re.IGNORECASE,
)


def _is_data(path: PurePosixPath) -> bool:
    if any(part.startswith(".") or part == "__pycache__" for part in path.parts) or len(path.parts) < 2:
        return False
    if any(part.endswith((".dist-info", ".egg-info")) for part in path.parts) or path.suffix in _NO_DATA:
        return False
    return not _wanted(path) and not _DOCUMENTS.fullmatch(path.name)


class _Files:
    """Files as they are read, within bounds."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.found: dict[str, bytes] = {}
        self.data: dict[str, bytes] = {}
        self.total = 0

    def add(self, path: str, data: bytes) -> None:
        self.total += len(data)
        if len(self.found) + len(self.data) >= MAX_FILES or self.total > MAX_TOTAL_BYTES:
            raise BundleError(
                "the source tree is too large",
                found=f"more than {len(self.found)} files or {self.total} bytes in {self.origin}",
                expected=f"at most {MAX_FILES} files and {MAX_TOTAL_BYTES} bytes",
                action="give the tree of the package alone",
            )
        self.found[path] = data

    def add_data(self, path: str, stream: IO[bytes]) -> None:
        """Keep the digest of a file that is not source."""
        if len(self.found) + len(self.data) >= MAX_FILES:
            self.add(path, b"")
        digest = hashlib.blake2b(digest_size=_DIGEST)
        while part := stream.read(2**20):
            self.total += len(part)
            if self.total > MAX_TOTAL_BYTES:
                self.add(path, b"")
            digest.update(part)
        self.data[path] = digest.digest()

    def sorted(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """The sources, and the digests of the rest, by path."""
        return dict(sorted(self.found.items())), dict(sorted(self.data.items()))

    def check(self, path: str, size: int) -> None:
        if size > MAX_FILE_BYTES:
            raise BundleError(
                "a file in the source tree is too large",
                found=f"{path}: {size} bytes",
                expected=f"at most {MAX_FILE_BYTES} bytes",
                action="give the tree of the package alone",
            )


def read_directory(root: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The sources below a directory, and the digests of data files, by path.  Raises :class:`BundleError`."""
    files = _Files(str(root))
    try:
        base = root.resolve()
        pending = [("", root)]
        while pending:
            prefix, directory = pending.pop()
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                name, path = prefix + entry.name, Path(entry.path)
                is_link = entry.is_symlink()
                # not Path.resolve, which before 3.13 raises RuntimeError for a link that leads to itself
                if is_link and not Path(os.path.realpath(path)).is_relative_to(base):
                    continue  # what lies outside is no part of the tree
                if path.is_dir() if is_link else entry.is_dir():
                    if not is_link and entry.name not in ("__pycache__", ".git", ".tox", "node_modules"):
                        pending.append((f"{name}/", path))
                    continue
                relative, is_file = PurePosixPath(name), path.is_file() if is_link else entry.is_file()
                if is_file and _wanted(relative):
                    files.check(name, entry.stat().st_size)
                    files.add(name, path.read_bytes())
                elif is_file and _is_data(relative):
                    with path.open("rb") as stream:
                        files.add_data(name, stream)
    except OSError as error:
        raise BundleError(
            "the source tree cannot be read", found=str(error), expected="readable files", action="check permissions"
        ) from error
    return files.sorted()


def read_archive(path: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The same of a wheel or an sdist, of which nothing is unpacked.  Raises :class:`BundleError`."""
    try:
        size = path.stat().st_size
        if size > MAX_TOTAL_BYTES:
            raise BundleError(
                "the archive is too large",
                found=f"{spelled(path.name)}: {size} bytes",
                expected=f"at most {MAX_TOTAL_BYTES} bytes",
                action="give the release of the package alone",
            )
        if zipfile.is_zipfile(path):
            found, data = _read_zip(path).sorted()
        elif tarfile.is_tarfile(path):
            found, data = _read_tar(path).sorted()
        else:
            raise BundleError(
                "the file is no archive",
                found=spelled(str(path)),
                expected="a wheel, or an sdist as .tar.gz or .zip",
                action="name a directory, a wheel or an sdist",
            )
    except BundleError:
        raise
    except Exception as error:  # what the readers raise for damage is not listed anywhere: zlib.error, too
        raise BundleError(
            "the archive cannot be read",
            found=f"{spelled(path.name)}: {error}",
            expected="a wheel or an sdist that is whole",
            action="get or build it anew",
        ) from error
    tops = {name.partition("/")[0] for name in found}
    if len(tops) == 1 and path.suffix != ".whl" and all("/" in name for name in found):
        # An sdist keeps everything in one folder of its own.
        found, data = ({name.partition("/")[2]: one for name, one in each.items()} for each in (found, data))
    return found, data


def _inside(name: str) -> PurePosixPath:
    """The path of a member; it must stay inside the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or (path.parts and ":" in path.parts[0]):
        raise BundleError(
            "the archive names a path outside itself",
            found=spelled(name),
            expected="relative paths without '..'",
            action="do not use this archive",
        )
    return path


def _read_zip(path: Path) -> _Files:
    files = _Files(path.name)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _inside(info.filename)
            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            if info.is_dir() or is_link or not (_wanted(name) or _is_data(name)):
                continue
            with archive.open(info) as stream:
                if not _wanted(name):
                    files.add_data(str(name), stream)
                    continue
                data = stream.read(MAX_FILE_BYTES + 1)
            files.check(str(name), len(data))
            files.add(str(name), data)
    return files


def _read_tar(path: Path) -> _Files:
    files = _Files(path.name)
    with tarfile.open(path) as archive:
        for number, member in enumerate(archive):
            if number > 4 * MAX_FILES:
                files.check("members", MAX_FILE_BYTES + 1)
            name = _inside(member.name)
            if not member.isfile() or not (_wanted(name) or _is_data(name)):
                continue
            stream = archive.extractfile(member)
            if not _wanted(name):
                if stream is not None:
                    files.add_data(str(name), stream)
                continue
            files.check(str(name), member.size)
            if stream is not None:
                files.add(str(name), stream.read())
    return files
