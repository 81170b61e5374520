"""What a patch is known by and is for: its id and flag, its package, its versions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from livepatch.errors import PatchError, spelled

__all__ = ["canonical", "check_distribution", "check_ids", "check_name", "check_specifier"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")


def check_name(argument: str, value: str) -> str:
    """An id or a flag.  Raises :class:`PatchError`."""
    if not _NAME.fullmatch(value):
        raise PatchError(
            f"{argument} is no usable name",
            found=spelled(value),
            expected="1 to 128 letters, digits and . _ : + -, beginning with a letter or digit",
            action="give another name, such as 'CVE-2026-1234'",
        )
    return value


def check_ids(argument: str, values: object, own: str) -> tuple[str, ...]:
    """Ids of other patches than `own`, each once.  Raises :class:`PatchError` or :class:`TypeError`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be ids of patches, such as ['CVE-2026-1'], not {spelled(values)}")
    names = tuple(values)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must hold ids of patches, not {spelled(name)}")
        check_name(argument, name)
        if name == own:
            raise PatchError(
                f"{argument} names the patch itself",
                found=own,
                expected="ids of other patches",
                action="leave its own id out",
            )
    return tuple(dict.fromkeys(names))


def check_distribution(value: str) -> str:
    """The name of a distribution.  Raises :class:`PatchError`."""
    if not _DISTRIBUTION.fullmatch(value):
        raise PatchError(
            "package is no distribution name",
            found=spelled(value),
            expected="such as 'nodeclient'",
            action="give the name by which pip knows the package",
        )
    return value


def canonical(distribution: str) -> str:
    """The one spelling of a distribution's name, by which names are compared: small letters, with - between them."""
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(distribution))


def check_specifier(value: str, argument: str = "versions") -> str:
    """A PEP 440 specifier that holds for something, without blanks around it.  Raises :class:`PatchError`."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    right = "a PEP 440 specifier such as '>=2.1,<2.3'"
    if not value.strip():
        raise PatchError(
            f"{argument} is empty",
            found=spelled(value),
            expected=right,
            action="say for which releases it is, such as '>=2.1,<2.3'",
        )
    try:
        if not len(SpecifierSet(value)):
            raise PatchError(
                f"{argument} holds no specifier",
                found=spelled(value),
                expected=right,
                action="say for which releases it is, such as '>=2.1,<2.3'",
            )
    except InvalidSpecifier as error:
        raise PatchError(
            f"{argument} is no PEP 440 specifier",
            found=spelled(value),
            expected=right,
            action="put an operator before the version, such as '==2.1.*'",
        ) from error
    return value.strip()
