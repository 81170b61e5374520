"""Is what is installed, and what is in memory, of one of the versions that the patch is for?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from livepatch.compat.report import Finding
from livepatch.compat.rows import row

__all__ = ["Distribution", "version_findings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What is installed under the patch's package name, as its metadata and its modules say."""

    installed: str | None
    module_versions: tuple[tuple[str, str], ...] = ()
    """(module, its ``__version__``) of the targets' top-level modules, as they are in memory."""
    foreign_modules: tuple[str, ...] = ()
    """Target modules whose files do not belong to the distribution."""
    needed: tuple[tuple[str, str | None], ...] = ()
    """(name, installed version or ``None``) of the distributions that the releases of the patch ask for."""


def version_findings(package: str, versions: str, distribution: Distribution) -> Iterator[Finding]:
    """Whether what is installed as `package` is of one of the `versions`."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    installed = distribution.installed
    if installed is None:
        yield row(
            "error",
            "not-installed",
            package,
            f"no distribution {package} in this process's environment",
            f"{package} {versions}",
            "correct the package name, or apply the patch where the package is installed",
        )
        return
    try:
        version = Version(installed)
    except InvalidVersion:
        yield row(
            "error",
            "version-unreadable",
            package,
            f"version {installed!r}",
            "a PEP 440 version",
            "repair the installation's metadata",
        )
        return
    # A pre-release inside the bounds has the code that the bounds describe, so it is in range.
    if not SpecifierSet(versions).contains(version, prereleases=True):
        yield row(
            "error",
            "version-out-of-range",
            package,
            f"{package} {installed}",
            f"{package} {versions}",
            "use the patch that was made for this version",
        )
    elif version.is_prerelease:
        yield row(
            "warning",
            "pre-release",
            package,
            f"{package} {installed}, a pre-release",
            "a release",
            "pin the code with expect=, since a pre-release may differ from the release of that number",
        )
    if version.local:
        yield row(
            "warning",
            "local-version",
            package,
            f"{package} {installed}, a local build",
            "a published build",
            "pin the code with expect=, since a local build may have changes of its own",
        )
    for module, said in distribution.module_versions:
        try:
            agrees = Version(said) == version or Version(said).public == version.public
        except InvalidVersion:
            continue
        if not agrees:
            yield row(
                "error",
                "version-disagrees",
                module,
                f"{module}.__version__ is {said}, the installed metadata says {installed}",
                "the imported code and the installed package to be of one version",
                "the package was probably upgraded on disk while the process ran: restart it, or use the patch for the "
                "version in memory where that one is installed",
            )
    for module in distribution.foreign_modules:
        yield row(
            "warning",
            "module-not-in-package",
            module,
            f"{module} does not belong to the distribution {package}",
            "targets in the package whose version is checked",
            "name the distribution that installs the module",
        )
