"""What lies around the code that a patch was made for, compared with what lies around it here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from livepatch.compat.report import Finding
from livepatch.compat.rows import row
from livepatch.contents.edits import Needs

__all__ = ["drift_findings", "names_of_needed"]


def names_of_needed(needs: Needs) -> set[str]:
    """The distributions whose versions have to be known."""
    return {requirement.name for requirement in _that_apply((*needs.before, *needs.after))}


def drift_findings(package: str, needs: Needs, python: str, installed: Mapping[str, str | None]) -> Iterator[Finding]:
    """Whether this interpreter and what is `installed` are what the two releases ask for.

    A patch may well fit an environment that its release does not support, so these rows warn: the code itself is
    compared elsewhere.
    """
    if needs.python and not SpecifierSet(needs.python).contains(python, prereleases=True):
        yield row(
            "warning",
            "python-unsupported",
            package,
            f"Python {python}",
            f"Python {needs.python}, which the fixed release asks for",
            "test the patch on this Python before you apply it",
        )
    before = {requirement.name: requirement for requirement in _that_apply(needs.before)}
    told = set()
    for requirement in _that_apply(needs.after):
        version = installed.get(requirement.name)
        if _satisfies(version, requirement):
            continue
        told.add(requirement.name)
        old = before.get(requirement.name)
        met = old is not None and _satisfies(version, old)
        yield row(
            "warning",
            "dependency-differs",
            requirement.name,
            _found(requirement.name, version) + (", which the old release was content with" if met else ""),
            f"{_asked(requirement)}, which the fixed release asks for",
            f"see whether the fix uses what {requirement.name} has only there",
        )
    for name, requirement in before.items():
        version = installed.get(name)
        if name not in told and not _satisfies(version, requirement):
            yield row(
                "warning",
                "dependency-differs",
                name,
                _found(name, version),
                f"{_asked(requirement)}, which the release that runs asks for",
                "find out how this process came to be installed so, before it is patched",
            )


def _that_apply(listed: Iterable[str]) -> Iterator[Requirement]:
    for each in listed:
        requirement = Requirement(each)
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _asked(requirement: Requirement) -> str:
    return f"{requirement.name} {requirement.specifier or 'of any version'}"


def _found(name: str, version: str | None) -> str:
    return f"{name} {version}" if version else f"no {name} in this process's environment"


def _satisfies(version: str | None, requirement: Requirement) -> bool:
    if version is None:
        return False
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True  # nobody can tell
