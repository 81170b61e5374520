"""What may be written in a change: pins, a replacement, a wrapper, a default.

For a wrong one the error names the argument.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import keyword
import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

from livepatch.contents.edits import AttributeDefault
from livepatch.errors import PatchError, spelled

__all__ = [
    "check_default",
    "check_names",
    "check_source",
    "check_wrapper",
    "maker_of",
    "pins_of",
    "told_default",
]


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
                "expect is no fingerprint",
                found=spelled(pin),
                expected="what livepatch.fingerprint('m:f') gives",
                action="take it from livepatch.fingerprint in a process that runs the code that it was written for",
            )
    if not pins:
        raise PatchError(
            "expect is empty",
            found=spelled(expect),
            expected="one fingerprint or more, or None",
            action="give the fingerprint of the code that it was written for, or leave expect out",
        )
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


def check_names(names: Iterable[str], called: str, example: str) -> None:
    """Raise :class:`PatchError` unless there are names, and each can be written after a dot."""
    names = list(names)
    odd = next((name for name in names if not name.isidentifier() or keyword.iskeyword(name)), None)
    if odd is not None:
        raise PatchError(
            "names holds no usable name", found=spelled(odd), expected="Python identifiers", action="correct the name"
        )
    if not names:
        raise PatchError(
            "names is empty",
            found=called,
            expected=f"one name or more, such as {example}",
            action="say what is to be there",
        )


# The default of a shadow variable


def check_default(name: str, default: object) -> None:
    """Raise :class:`PatchError` for a default that all objects would share, or a factory that cannot be called."""
    if inspect.iscoroutinefunction(default) or inspect.isasyncgenfunction(default):
        raise PatchError(
            f"the default of {name} is a coroutine function",
            found=spelled(default),
            expected="a plain factory: nothing awaits what an attribute gives",
            action="make the value where it can be awaited, and assign it",
        )
    if callable(default):
        _check_factory(name, default)
    elif type(default).__hash__ is None:
        raise PatchError(
            f"the default of {name} would be one object for all",
            found=spelled(default),
            expected="a plain value, or a factory that gives each object its own",
            action=f"give a factory, such as {name}={type(default).__qualname__}",
        )


def _check_factory(name: str, factory: Callable[..., object]) -> None:
    arguments = (None,) if _takes_the_object(factory) else ()
    try:
        inspect.signature(factory).bind(*arguments)
    except TypeError as error:
        raise PatchError(
            f"the factory of {name} cannot be called",
            found=str(error),
            expected="a callable without parameters, or a function of one: the object",
            action="put it into a lambda",
        ) from error
    except ValueError:
        return  # native, with no signature to look at


def maker_of(default: object) -> Callable[[object], object]:
    """What gives the default for an object.  A factory is called: a plain function of one parameter with the object."""
    if not callable(default):
        return lambda _: default
    if inspect.iscoroutinefunction(default):
        raise TypeError(f"default must be a value or a plain factory, not {spelled(default)} that is to be awaited")
    factory: Callable[..., object] = default
    return factory if _takes_the_object(factory) else lambda _: factory()


def told_default(default: object) -> str:
    """A default in a few words."""
    if isinstance(default, type):
        return f"{default.__qualname__}()"
    if not callable(default):
        return spelled(default)
    return f"what {getattr(default, '__qualname__', type(default).__qualname__)} gives"


def written_attributes(qualname: str, names: Mapping[str, object]) -> tuple[AttributeDefault, ...]:
    """What a class's objects lack, as it can be written into a file; nothing if one of the defaults cannot."""
    texts = {name: _text_of(default) for name, default in names.items()}
    if not all(texts.values()):
        return ()
    return tuple(
        AttributeDefault(class_qualname=qualname, name=name, expression=text, shared=not callable(names[name]))
        for name, text in texts.items()
    )


def _text_of(default: object) -> str:
    """A default as an expression that needs no names but builtin ones; empty if it cannot be written so."""
    if isinstance(default, type):
        builtin: object = getattr(builtins, default.__name__, None)
        return f"{default.__name__}()" if builtin is default else ""
    if type(default) is tuple:
        parts = [_text_of(each) for each in default]
        return (
            f"({', '.join(parts)}{',' * (len(parts) == 1)})" if all(parts) and not any(map(callable, default)) else ""
        )
    plain = type(default) in (type(None), bool, int, str, bytes) or (type(default) is float and math.isfinite(default))
    return repr(default) if plain else ""


def _takes_the_object(factory: object) -> bool:
    if not isinstance(factory, FunctionType):
        return False
    code = factory.__code__
    return (
        code.co_argcount == 1
        and not factory.__defaults__
        and code.co_kwonlyargcount == len(factory.__kwdefaults__ or ())
    )
