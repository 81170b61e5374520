"""What a source tree says of itself: its release, and what that needs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from livepatch.contents.identity import canonical

__all__ = ["Metadata", "distributions_of", "metadata_folder", "read_metadata"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The release; the Pythons that it is for; the other distributions that it needs, apart from those of extras."""

    version: str | None = None
    requires_python: str = ""
    requires: tuple[str, ...] = ()


def metadata_folder(files: Iterable[str], package: str) -> str | None:
    """The folder of the package's metadata, of all that are there."""
    wanted = canonical(package)
    for folder, stem in _folders(files):
        if canonical(stem) == wanted or canonical(stem.rpartition("-")[0]) == wanted:
            return folder
    return None


def distributions_of(files: Mapping[str, bytes]) -> list[str]:
    """The names of the distributions of which there are metadata."""
    names = {stem.rpartition("-")[0] or stem for _, stem in _folders(files)}
    if "PKG-INFO" in files:
        names.add(str(BytesParser().parsebytes(files["PKG-INFO"], headersonly=True).get("Name") or "").strip())
    return sorted(names - {""})


def _folders(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The folders of metadata, each with its name up to the suffix."""
    for name in files:
        folder, _, base = name.rpartition("/")
        if base in ("METADATA", "PKG-INFO") and folder.endswith((".dist-info", ".egg-info")):
            yield folder, folder.rpartition("/")[2].rpartition(".")[0]


def read_metadata(files: Mapping[str, bytes], info: str | None) -> Metadata:
    """What the metadata in the folder `info`, or else the project's own file, say.  What cannot be read is left out."""
    places = [f"{info}/METADATA", f"{info}/PKG-INFO"] if info else []
    for place in [*places, "PKG-INFO"]:
        if place in files:
            said = BytesParser().parsebytes(files[place], headersonly=True)
            version = str(said.get("Version") or "").strip()
            if version:
                return Metadata(
                    version,
                    _specifier(said.get("Requires-Python")),
                    _requirements(said.get_all("Requires-Dist") or ()),
                )
    if "pyproject.toml" in files:
        try:
            project: Any = tomllib.loads(files["pyproject.toml"].decode()).get("project", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            return Metadata()
        if isinstance(project, dict):
            given, listed = project.get("version"), project.get("dependencies")
            return Metadata(
                given if isinstance(given, str) else None,
                _specifier(project.get("requires-python")),
                _requirements(listed if isinstance(listed, list) else ()),
            )
    return Metadata()


def _specifier(said: object) -> str:
    try:
        return str(SpecifierSet(str(said).strip())) if said else ""
    except InvalidSpecifier:
        return ""


def _requirements(said: Iterable[object]) -> tuple[str, ...]:
    """Requirements that hold whatever extras are asked for, each in its one spelling, sorted."""
    found = set()
    for each in said:
        try:
            # packaging evaluates the texts in a marker; none that anybody means has an escape.
            requirement = Requirement(each if isinstance(each, str) and "\\" not in each else "")
        except InvalidRequirement:
            continue
        if requirement.url is None and "extra" not in str(requirement.marker or ""):
            requirement.extras = set()
            requirement.name = canonical(requirement.name)
            found.add(str(requirement))
    return tuple(sorted(found))
