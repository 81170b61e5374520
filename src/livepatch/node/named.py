"""What an agent is given by name, ``module:name``, where nobody writes a call: probes, and who tells the height."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livepatch.errors import LivepatchError, PatchError, shortened, spelled

if TYPE_CHECKING:
    from livepatch.health.probes import HealthProbe

__all__ = ["check_name", "findable", "function_named", "probes_named"]

_PROBES = "a livepatch.HealthProbe, several, or a function of no argument that gives these"


def check_name(option: str, name: str) -> tuple[str, str]:
    """The module, and the name in it, of ``module:name``.  Raises :class:`PatchError`."""
    module, _, qualified = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *qualified.split("."))):
        raise PatchError(
            f"{option} is no name of something in a module",
            found=spelled(name),
            expected="module:name, such as client.status:height",
            action="correct it",
        )
    return module, qualified


def function_named(option: str, name: str) -> Callable[[], Any]:
    """The function of that name.  Raises :class:`PatchError`."""
    found = _object(option, name)
    if not callable(found):
        raise _unfit(option, name, f"{spelled(found)}", "a function that takes nothing")
    function: Callable[[], Any] = found
    return function


def probes_named(option: str, names: Iterable[str]) -> tuple[HealthProbe, ...]:
    """The probes of those names: each is a probe, several, or a function of no argument that gives these.

    Raises :class:`PatchError`.
    """
    from livepatch.health.probes import HealthProbe

    found: list[HealthProbe] = []
    for name in names:
        given = _object(option, name)
        if callable(given):
            given = _called(option, name, given)
        several = [given] if isinstance(given, HealthProbe) else given
        if isinstance(several, (str, bytes)) or not isinstance(several, Iterable):
            raise _unfit(option, name, spelled(given), _PROBES)
        for each in several:
            if not isinstance(each, HealthProbe):
                raise _unfit(option, name, f"{spelled(each)} among them", "livepatch.HealthProbe objects")
            found.append(each)
    return tuple(found)


@contextmanager
def findable(folder: str) -> Iterator[None]:
    """For the block, modules in that folder are found as well, behind all others."""
    if not folder or folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _object(option: str, name: str) -> Any:
    module, qualified = check_name(option, name)
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise PatchError(
            f"{option} {name} cannot be had",
            found=f"import {module}: {type(error).__name__}: {shortened(str(error), 200)}",
            expected="a module that can be imported before the program runs",
            action="correct the name, or put its folder on PYTHONPATH",
        ) from error
    for part in qualified.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            near = ", ".join(each for each in getattr(found, "__dict__", ()) if not each.startswith("_"))
            raise PatchError(
                f"{option} {name} cannot be had",
                found=f"no {part} in {spelled(found)}; it has {shortened(near, 200) or 'nothing'}",
                expected="a name of it",
                action="correct the name",
            ) from error
    return found


def _called(option: str, name: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except LivepatchError:
        raise
    except Exception as error:
        raise _unfit(option, name, f"{type(error).__name__}: {shortened(str(error), 200)}", _PROBES) from error


def _unfit(option: str, name: str, found: str, expected: str) -> PatchError:
    return PatchError(f"{option} {name} will not do", found=found, expected=expected, action="name something else")
