"""What may be written in a change: pins, a replacement, a wrapper.  For a wrong one the error names the argument."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from livepatch.errors import PatchError, spelled

__all__ = ["check_source", "check_wrapper", "pins_of"]


def pins_of(expect: str | Iterable[str] | None) -> tuple[str, ...]:
    """The fingerprints in ``expect=``.  Raises :class:`PatchError` or :class:`TypeError`."""
    if expect is None:
        return ()
    if not isinstance(expect, (str, Iterable)):
        raise TypeError(f"expect must be a fingerprint or several, not {spelled(expect)}")
    pins = (expect,) if isinstance(expect, str) else tuple(expect)
    for pin in pins:
        if not isinstance(pin, str):
            raise TypeError(f"expect must be a fingerprint or several, not {spelled(pin)}")
        if not re.fullmatch(r"cp3\d+(-O{1,2})?:[0-9a-f]{32}", pin):
            raise PatchError(
                "expect is no fingerprint", found=spelled(pin), expected="what livepatch.fingerprint('m:f') gives"
            )
    if not pins:
        raise PatchError("expect is empty", found=spelled(expect), expected="one fingerprint or more, or None")
    return pins


def check_wrapper(wrapper: Callable[..., Any]) -> None:
    """Raise :class:`PatchError` unless it can be called as ``wrapper(wrapped, instance, args, kwargs)``."""
    try:
        inspect.signature(wrapper).bind(None, None, (), {})
    except TypeError as error:
        raise PatchError(
            "wrapper cannot be called with four positional arguments",
            found=str(error),
            expected="wrapper(wrapped, instance, args, kwargs)",
            action="call wrapped(*args, **kwargs) in it for what was there before",
        ) from error
    except ValueError:
        return  # native, with no signature to look at


def check_source(source: object) -> None:
    """Raise :class:`TypeError` unless a replacement shows its Python functions plainly.

    A decorated one would hide which is meant.
    """
    inner: tuple[object, ...]
    if isinstance(source, type):
        return
    if isinstance(source, property):
        inner = tuple(f for f in (source.fget, source.fset, source.fdel) if f is not None)
    elif isinstance(source, (staticmethod, classmethod)):
        inner = (source.__func__,)
    elif isinstance(source, functools.cached_property):
        inner = (source.func,)
    else:
        inner = (source,)
    if not inner:
        raise TypeError("replacement must hold a function, and this property has no accessor")
    for function in inner:
        if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
            raise TypeError(
                "replacement must be a plain function or a class, perhaps as staticmethod, classmethod, property "
                f"or cached_property, not {spelled(source)}; the target keeps its own decorators, leave them out here"
            )
