"""What is installed under a distribution's name, as its metadata says and as its modules in memory say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType

from livepatch.compat.versions import Distribution
from livepatch.engine.pace import paced
from livepatch.engine.source import lines_of

__all__ = ["look_up"]

_STATED = re.compile(r"""__version__ *(?:: *\w+ *)?= *(['"])([^'"]*)\1""")


def look_up(
    package: str, targets: Iterable[str], modules: dict[str, ModuleType], needed: Iterable[str] = ()
) -> Distribution:
    """Facts about `package`, and which versions of the `needed` distributions there are.

    `targets` are the names of the modules that the patch touches.
    """
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return Distribution(installed=None)
    versions_of = tuple((name, _installed(name)) for name in paced(sorted(needed)))
    tops = {name.partition(".")[0] for name in targets}
    owned = _top_levels(found)
    versions = []
    for top in sorted(tops & owned if owned else ()):
        said = getattr(modules.get(top), "__dict__", {}).get("__version__")
        # A package may say something else on purpose; one that was upgraded under the process says so on disk, too.
        if isinstance(said, str) and (said == _version(found) or not _says_so_on_disk(found, modules[top], said)):
            versions.append((top, said))
    return Distribution(
        installed=_version(found),
        module_versions=tuple(versions),
        needed=versions_of,
        foreign_modules=tuple(sorted(tops - (owned or {package.replace("-", "_"), package.lower().replace("-", "_")}))),
    )


def _says_so_on_disk(found: metadata.Distribution, module: ModuleType, said: str) -> bool:
    """Whether the file that the distribution has installed for a module states that ``__version__``."""
    filename = str(getattr(module, "__file__", None) or "")
    listed = (path for path in found.files or () if path.name == Path(filename).name)
    if not filename or all(Path(str(found.locate_file(path))) != Path(filename) for path in listed):
        return False
    stated = [match[2] for line in lines_of(filename, {}) if (match := _STATED.match(line))]
    return stated == [said]


def _installed(name: str) -> str | None:
    try:
        return _version(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return None


def _version(found: metadata.Distribution) -> str:
    """The version that the metadata says; empty if it says none."""
    try:
        named = "Version" in found.metadata
        said: object = found.metadata["Version"] if named else ""
    except Exception:  # noqa: BLE001  # metadata that is missing fails in another way on each version of Python
        return ""
    return said if isinstance(said, str) else ""


def _top_levels(found: metadata.Distribution) -> set[str]:
    """The top-level modules that the distribution installs; empty if its metadata does not tell."""
    listed = (found.read_text("top_level.txt") or "").split()
    if listed:
        return set(listed)
    tops = set()
    for path in found.files or ():
        if path.suffix == ".pth" or path.parts[0].startswith("__editable__"):
            return set()  # an editable install: its modules lie elsewhere
        if path.suffix in (".py", ".so", ".pyd") and not path.parts[0].startswith((".", "__pycache__")):
            tops.add(path.parts[0].partition(".")[0])
    return tops
