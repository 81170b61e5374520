"""One published vulnerability: what its file says of it, and its two releases on disk."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.specifiers import SpecifierSet

__all__ = ["CASES", "Case", "CaseError", "InstallError", "cache", "fetch", "load_cases"]

CASES = Path(__file__).resolve().parent / "cases"
_BLOCK = re.compile(r"^# /// case\n((?:#.*\n)+?)# ///$", re.MULTILINE)  # as PEP 723 writes metadata into a script
_SINGLE = ("id", "package", "vulnerable", "fixed", "what", "shape")


class CaseError(Exception):
    """A case's file does not say what it must."""


class InstallError(Exception):
    """pip could not install a release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case as its file describes it.  The file also has ``exploit() -> bool`` and ``regression() -> None``.

    `modules` are imported before the patch, as a running process would have done.  `requires` are exact requirements,
    the whole closure of them.  `only` picks, out of the fixed release, what the fix is.  `python` is a specifier of the
    versions that the vulnerable release runs on.  `expect` is ``"refused"`` where the fix truly cannot be made in a
    running process.
    """

    id: str
    package: str
    vulnerable: str
    fixed: str
    what: str
    shape: str
    modules: tuple[str, ...]
    requires: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    python: str = ""
    expect: str = "patched"
    file: str = ""

    @classmethod
    def read(cls, path: Path) -> Case:
        """The case that a file describes.  Raises :class:`CaseError`."""
        block = _BLOCK.search(path.read_text(encoding="utf-8"))
        if block is None:
            raise CaseError(f"{path.name} has no '# /// case' block")
        said = tomllib.loads("".join(line[1:].removeprefix(" ") for line in block[1].splitlines(keepends=True)))
        return cls._parse(said, path)

    @classmethod
    def _parse(cls, said: Mapping[str, Any], path: Path) -> Case:
        known = {*_SINGLE, "modules", "requires", "only", "python", "expect"}
        if unknown := sorted(said.keys() - known):
            raise CaseError(f"{path.name} says {unknown[0]!r}, which means nothing")
        for name in (*_SINGLE, "modules"):
            if not said.get(name):
                raise CaseError(f"{path.name} does not say {name!r}")
        if said.get("expect", "patched") not in {"patched", "refused"}:
            raise CaseError(f"{path.name} expects {said['expect']!r}: 'patched' or 'refused' was expected")
        lists = {name: tuple(said.get(name, ())) for name in ("modules", "requires", "only")}
        single = {name: str(said[name]) for name in (*_SINGLE, "python", "expect") if name in said}
        return cls(**single, **lists, file=str(path))

    @property
    def runs_here(self) -> bool:
        """Whether the vulnerable release runs on this Python."""
        return SpecifierSet(self.python).contains(platform.python_version(), prereleases=True)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return asdict(self)

    @property
    def before(self) -> str:
        """The vulnerable release, as pip writes it."""
        return f"{self.package}=={self.vulnerable}"

    @property
    def after(self) -> str:
        """The fixed release, as pip writes it."""
        return f"{self.package}=={self.fixed}"

    def probe(self) -> ModuleType:
        """Import the file.  It binds the package's objects at import, as client code does."""
        spec = importlib.util.spec_from_file_location("probe", self.file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["probe"] = module
        spec.loader.exec_module(module)
        return module


def load_cases(folder: Path, names: Iterable[str] = ()) -> list[Case]:
    """The cases of a folder, all or those whose id, package or file name is named.  Raises :class:`CaseError`."""
    cases = {path: Case.read(path) for path in sorted(folder.glob("*.py"))}
    chosen: dict[Path, Case] = {}
    for name in names:
        found = {path: case for path, case in cases.items() if name in {case.id, case.package, path.stem}}
        if not found:
            raise CaseError(f"no case has the id, the package or the file name {name!r}")
        chosen |= found
    return list((chosen or cases).values())


def cache() -> Path:
    """Where releases are kept: ``$LIVEPATCH_CVES`` or a temporary folder, one for each Python series."""
    root = os.environ.get("LIVEPATCH_CVES") or Path(tempfile.gettempdir(), "livepatch-cves")
    return Path(root, f"{sys.version_info.major}.{sys.version_info.minor}")


def fetch(requirement: str) -> Path:
    """A folder with one release in it and nothing else, from the cache or installed there by pip, without bytecode.

    Raises :class:`InstallError`; nothing is left then that a later run would take for the release.
    """
    folder = cache() / requirement
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as unfinished:
        target = Path(unfinished, "release")
        quietly = ["--quiet", "--disable-pip-version-check", "--no-input"]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                *quietly,
                "--no-deps",
                "--no-compile",
                "--target",
                target,
                requirement,
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no word"]
            raise InstallError(f"pip install {requirement} ended with status {done.returncode}: {said[-1]}")
        target.rename(folder)
    return folder
