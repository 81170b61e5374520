"""Where the source of a package comes from: a directory, a wheel, an sdist, or a release that pip downloads."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from livepatch.bundle.metadata import Metadata, distributions_of, metadata_folder, normalised, read_metadata
from livepatch.errors import BundleError

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "MAX_TOTAL_BYTES", "Tree", "open_tree"]

MAX_FILES = 50_000
MAX_FILE_BYTES = 32 * 2**20
MAX_TOTAL_BYTES = 1024 * 2**20

_NATIVE = (".so", ".pyd", ".dylib")
_NATIVE_SOURCE = (".pyx", ".pxd", ".c", ".cc", ".cpp", ".h", ".rs")
_NOT_PACKAGES = frozenset(
    [
        "tests",
        "test",
        "testing",
        "docs",
        "doc",
        "examples",
        "example",
        "benchmarks",
        "benchmark",
        "tools",
        "scripts",
        "build",
        "dist",
        "ci",
        "requirements",
        "setup",
        "conftest",
        "noxfile",
        "tasks",
        "fabfile",
        "bin",
    ]
)


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one package.

    `sources` are its Python files by path in the tree, `natives` its compiled or other code, and `modules` maps the
    name of each module to the path of its file.  `data` are the digests of files that its code may read: templates,
    tables, schemas.
    """

    metadata: Metadata
    sources: Mapping[str, bytes]
    modules: Mapping[str, str]
    natives: Mapping[str, bytes] = field(default_factory=dict)
    data: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The release, if the tree says."""
        return self.metadata.version


def open_tree(source: str | Path, package: str) -> Tree:
    """Read the tree of `package`: a directory, a wheel, an sdist, or ``name==version`` to be downloaded with pip.

    Raises :class:`BundleError` if there is nothing that can be read.
    """
    path = Path(source)
    if path.is_dir():
        return _tree(*_read_directory(path), package, str(source))
    if path.is_file():
        return _tree(*_read_archive(path), package, str(source))
    if isinstance(source, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*", source):
        return _downloaded(source, package)
    raise BundleError(
        "there is no such source tree",
        found=str(source),
        expected="a directory, a wheel, an sdist, or name==version",
        action="correct the path",
    )


# Files


def _wanted(path: PurePosixPath) -> bool:
    if any(part in ("__pycache__", ".git", ".tox", ".nox", ".venv", "node_modules") for part in path.parts):
        return False
    if path.suffix in (".py", *_NATIVE, *_NATIVE_SOURCE):
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
        digest = hashlib.blake2b(digest_size=20)
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


def _read_directory(root: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    files = _Files(str(root))
    try:
        base = root.resolve()
        pending = [root]
        while pending:
            directory = pending.pop()
            for entry in sorted(directory.iterdir()):
                relative = PurePosixPath(entry.relative_to(root).as_posix())
                if entry.is_symlink() and not entry.resolve().is_relative_to(base):
                    continue  # what lies outside is no part of the tree
                if entry.is_dir():
                    if not entry.is_symlink() and entry.name not in ("__pycache__", ".git", ".tox", "node_modules"):
                        pending.append(entry)
                elif entry.is_file() and _wanted(relative):
                    files.check(str(relative), entry.stat().st_size)
                    files.add(str(relative), entry.read_bytes())
                elif entry.is_file() and _is_data(relative):
                    with entry.open("rb") as stream:
                        files.add_data(str(relative), stream)
    except OSError as error:
        raise BundleError(
            "the source tree cannot be read", found=str(error), expected="readable files", action="check permissions"
        ) from error
    return files.sorted()


def _read_archive(path: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    try:
        if zipfile.is_zipfile(path):
            found, data = _read_zip(path).sorted()
        elif tarfile.is_tarfile(path):
            found, data = _read_tar(path).sorted()
        else:
            raise BundleError(
                "the file is no archive", found=str(path), expected="a wheel, or an sdist as .tar.gz or .zip"
            )
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, RuntimeError, NotImplementedError) as error:
        raise BundleError(
            "the archive cannot be read", found=f"{path.name}: {error}", expected="a wheel or an sdist that is whole"
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
            found=name[:200],
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


def _downloaded(requirement: str, package: str) -> Tree:
    with tempfile.TemporaryDirectory(prefix="livepatch-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--prefer-binary", "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  # our own interpreter; the requirement was matched
        files = sorted(Path(folder).iterdir())
        if done.returncode or len(files) != 1:
            said = (done.stderr.strip().splitlines() or ["nothing was downloaded"])[-1]
            raise BundleError(
                "the release cannot be downloaded",
                found=f"{requirement}: {said[:300]}",
                expected="a release that pip finds",
                action="correct the version, or give the path of a directory, wheel or sdist",
            )
        return _tree(*_read_archive(files[0]), package, requirement)


# Which files, and what they are called


def _tree(files: dict[str, bytes], data: dict[str, bytes], package: str, origin: str) -> Tree:
    info = metadata_folder(files, package)
    listed = _recorded(files, info) if info else None
    code = {name: data for name, data in files.items() if name.endswith((".py", *_NATIVE, *_NATIVE_SOURCE))}
    if listed is not None:
        listed |= _beside(listed, data)
        data = {name: digest for name, digest in data.items() if name in listed}
        code = {name: data for name, data in code.items() if name in listed}
        roots = [""]
    else:
        roots = ["src/"] if any(name.startswith("src/") and name.endswith(".py") for name in code) else [""]
        tops = _tops(code, roots[0], package, files, info)
        code = {
            name: data
            for name, data in code.items()
            if name.startswith(roots[0]) and _first(name.removeprefix(roots[0])) in tops
        }
        data = {
            name: digest
            for name, digest in data.items()
            if name.startswith(roots[0]) and name.removeprefix(roots[0]).partition("/")[0] in tops
        }
    sources = {name: data for name, data in code.items() if name.endswith(".py")}
    _must_be_of(package, files, info, code, origin)
    if not sources:
        raise BundleError(
            "the source tree has no Python files of the package",
            found=origin,
            expected=f"the modules of {package}",
            action="give the directory that holds the package, or correct package=",
        )
    modules: dict[str, str] = {}
    for name in sorted(sources, key=lambda n: (not n.endswith("/__init__.py"), n)):
        modules.setdefault(_module_name(name.removeprefix(roots[0])), name)
    modules = {name: path for name, path in modules.items() if name}
    natives = {name: data for name, data in code.items() if not name.endswith(".py")}
    data = {name.removeprefix(roots[0]): digest for name, digest in data.items()}
    return Tree(read_metadata(files, info), sources, dict(sorted(modules.items())), natives, data)


def _must_be_of(package: str, files: Mapping[str, bytes], info: str | None, code: Iterable[str], origin: str) -> None:
    """Raise :class:`BundleError` if the tree tells which distributions it holds, and this is none of them."""
    names = distributions_of(files)
    modules = {_first(name.removeprefix("src/")) for name in code}
    if names and info is None and normalised(package) not in map(normalised, (*names, *modules)):
        raise BundleError(
            f"the source tree is not of {package}",
            found=f"{', '.join(names[:5])} in {origin}",
            expected=f"metadata of {package}, or a module of that name",
            action="give the tree of that distribution, or correct package=",
        )


def _first(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def _module_name(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) if all(part.isidentifier() for part in parts) else ""


def _recorded(files: Mapping[str, bytes], info: str) -> set[str] | None:
    """The files that are the distribution's: those that its RECORD lists, and what lies beside them unclaimed.

    A tree to which a fix was applied by hand may have files that its RECORD does not know.
    """
    own = _listed(files, info)
    if not any(name in files for name in own if name.endswith(".py")):
        return None
    others = {name.rpartition("/")[0] for name in files if name.endswith(".dist-info/RECORD")} - {info}
    claimed = {name for other in others for name in _listed(files, other)}
    packages = {name.rpartition("/")[0] for name in own if name.endswith("/__init__.py")}
    found = set(own)
    for name in files:
        parents = [name[: m.start()] for m in re.finditer("/", name)]
        if name not in claimed and not packages.isdisjoint(parents):
            found.add(name)
    return found


def _beside(listed: set[str], data: Iterable[str]) -> set[str]:
    """The files that lie in folders of the distribution, whether or not its RECORD knows them."""
    packages = {name.rpartition("/")[0] for name in listed if name.endswith("/__init__.py")}
    return {name for name in data if any(name[: match.start()] in packages for match in re.finditer("/", name))}


def _listed(files: Mapping[str, bytes], info: str) -> set[str]:
    record = files.get(f"{info}/RECORD")
    if record is None:
        return set()
    prefix = info.rpartition("/")[0]
    rows = csv.reader(record.decode("utf-8", "replace").splitlines())
    return {(f"{prefix}/{row[0]}" if prefix else row[0]) for row in rows if row}


def _tops(code: Iterable[str], root: str, package: str, files: Mapping[str, bytes], info: str | None) -> set[str]:
    """The top-level packages and modules that are the package's own."""
    names = {_first(name.removeprefix(root)) for name in code if name.startswith(root)}
    if info and f"{info}/top_level.txt" in files:
        listed = set(files[f"{info}/top_level.txt"].decode("utf-8", "replace").split())
        if listed & names:
            return listed & names
    alike = {name for name in names if normalised(name) == normalised(package)}
    if alike:
        return alike | {name for name in names if name.startswith("_") and name.lstrip("_") in alike}
    return {name for name in names if name not in _NOT_PACKAGES and not name.startswith(".")}
