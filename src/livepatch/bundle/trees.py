"""Where the source of a package comes from: a directory, a wheel, an sdist, or a release that pip downloads."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from livepatch.bundle.archives import NATIVE, NATIVE_SOURCE, read_archive, read_directory
from livepatch.bundle.metadata import Metadata, distributions_of, metadata_folder, read_metadata
from livepatch.contents.identity import canonical
from livepatch.errors import BundleError, spelled

__all__ = ["Tree", "open_tree"]

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
    if os.path.isdir(path):  # noqa: PTH112  # before 3.14 a Path raises for what can be no path
        return _tree(*read_directory(path), package, str(source))
    if os.path.isfile(path):  # noqa: PTH113  # as above
        return _tree(*read_archive(path), package, str(source))
    if isinstance(source, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*", source):
        return _downloaded(source, package)
    raise BundleError(
        "there is no such source tree",
        found=spelled(str(source)),
        expected="a directory, a wheel, an sdist, or name==version",
        action="correct the path",
    )


def _downloaded(requirement: str, package: str) -> Tree:
    with tempfile.TemporaryDirectory(prefix="livepatch-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--prefer-binary", "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  # our own interpreter; the requirement was matched
        files = sorted(Path(folder).iterdir())
        if done.returncode or len(files) != 1:
            said = (done.stderr.strip().splitlines() or ["nothing was downloaded"])[-1]
            without_pip = said.endswith("No module named pip")
            raise BundleError(
                "the release cannot be downloaded",
                found=f"{requirement}: {said[:300]}",
                expected="pip in this environment" if without_pip else "a release that pip finds",
                action=("install pip" if without_pip else "correct the version")
                + ", or give the path of a directory, wheel or sdist",
            )
        return _tree(*read_archive(files[0]), package, requirement)


# Which files, and what they are called


def _tree(files: dict[str, bytes], data: dict[str, bytes], package: str, origin: str) -> Tree:
    info = metadata_folder(files, package)
    listed = _recorded(files, info) if info else None
    code = {name: data for name, data in files.items() if name.endswith((".py", *NATIVE, *NATIVE_SOURCE))}
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
            found=spelled(origin),
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
    if names and info is None and canonical(package) not in map(canonical, (*names, *modules)):
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
    alike = {name for name in names if canonical(name) == canonical(package)}
    if alike:
        return alike | {name for name in names if name.startswith("_") and name.lstrip("_") in alike}
    return {name for name in names if name not in _NOT_PACKAGES and not name.startswith(".")}
