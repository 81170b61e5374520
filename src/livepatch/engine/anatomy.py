"""What an object consists of, read without asking it: no descriptor, ``__eq__`` or ``__repr__`` of its own.

An object of a class that is written in Python has attributes, in its ``__dict__`` and in slots, over the value of the
native type that it derives from.  Of the native types below the parts are known.  All others are opaque.
"""

from __future__ import annotations

import _thread
import collections
import contextvars
import datetime as dt
import decimal
import functools
import gc
import itertools
import operator
import re
import struct
import types
import weakref
from collections.abc import Callable
from types import CellType, FunctionType, MethodType
from typing import Any

from livepatch.engine.namespaces import is_a, is_class, namespace_of
from livepatch.engine.places import descriptor_of, dict_of
from livepatch.engine.stack import ABSENT

__all__ = [
    "PLAIN",
    "STATE",
    "UNIQUE",
    "attributes_of",
    "cell_content",
    "equal_plain",
    "is_frozen",
    "is_native",
    "is_value",
    "members_of",
    "native_base",
    "parts_of",
]

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range})
"""Types whose values are what they are by their value alone."""

STATE = frozenset({_thread.LockType, _thread.RLock, itertools.count})
"""Types whose objects hold what a running program is at, and are made alike."""

UNIQUE = frozenset({object, contextvars.ContextVar})
"""Types whose objects mean nothing but themselves."""

_NATIVE_PARTS = (types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType)
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_REMEMBERED = 4096
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE


def equal_plain(one: object, other: object) -> bool:
    """Whether two values of one plain type are the same: a NaN is itself, and zeros have signs."""
    if type(one) in (float, complex, range):
        return repr(one) == repr(other)
    return one == other


_SUBCLASSABLE = 1 << 10  # Py_TPFLAGS_BASETYPE: no object stands for itself, as None does

_natives: dict[int, tuple[weakref.ref[type], bool]] = {}


def is_native(kind: type) -> bool:
    """Whether a class is implemented in C, so that its objects may hold what nobody sees."""
    if not kind.__flags__ & _HEAP or kind.__flags__ & _IMMUTABLE:
        return True
    known = _natives.get(id(kind))
    if known is None or known[0]() is not kind:
        if len(_natives) > _REMEMBERED:
            _natives.clear()
        known = _natives[id(kind)] = weakref.ref(kind), _has_native_parts(kind)
    return known[1]


def _has_native_parts(kind: type) -> bool:
    for name, value in list(namespace_of(kind).items()):
        if type(value) in _NATIVE_PARTS and value.__objclass__ is kind:
            return True
        own = type(value) is types.GetSetDescriptorType and value.__objclass__ is kind
        if own and name not in ("__dict__", "__weakref__"):
            return True
    return False


def native_base(kind: type) -> type:
    """The native type whose value the objects of a class have: ``object`` if they have none.

    A native type that adds nothing to an object is none, such as ``typing.Generic`` since CPython 3.12.
    """
    return next(each for each in kind.__mro__ if is_native(each) and not _adds_nothing(each))


def _adds_nothing(kind: type) -> bool:
    same_size = (kind.__basicsize__, kind.__itemsize__) == (object.__basicsize__, object.__itemsize__)
    return same_size and kind is not object and bool(kind.__flags__ & _SUBCLASSABLE)


def is_value(kind: type) -> bool:
    """Whether a class gives its objects a hash of their own: they stand for their content and must not change."""
    found = next((namespace_of(each)["__hash__"] for each in kind.__mro__ if "__hash__" in namespace_of(each)), None)
    return found is not None and found is not object.__hash__


def is_frozen(kind: type) -> bool:
    """Whether objects of the class cannot be changed by their own program, such as those of a frozen dataclass."""
    own = next(
        (namespace_of(each)["__setattr__"] for each in kind.__mro__ if "__setattr__" in namespace_of(each)), None
    )
    return getattr(own, "__name__", "") in ("__frozen_setattr", "_frozen_setattrs") or any(
        getattr(namespace_of(each).get("__dataclass_params__"), "frozen", False) for each in kind.__mro__
    )


def attributes_of(value: object) -> dict[str, object]:
    """The attributes that an instance has itself, those in slots included."""
    found: dict[str, object] = {}
    for kind in type(value).__mro__:
        if is_native(kind):
            continue
        for name, descriptor in list(namespace_of(kind).items()):
            if type(descriptor) is types.MemberDescriptorType and descriptor_of(value, name) is descriptor:
                try:
                    found[name] = descriptor.__get__(value, type(value))
                except AttributeError:
                    continue
    found.update(dict_of(value) or {})
    return found


def cell_content(cell: CellType) -> object:
    """What a cell holds, or :data:`~livepatch.engine.stack.ABSENT`."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


# What the class statement and the interpreter put into a class beside what its author wrote.
_BESIDE = frozenset(
    [
        "__dict__",
        "__weakref__",
        "__slotnames__",  # what `copyreg` remembers of a class whose objects were copied
        "__module__",
        "__qualname__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__conditional_annotations__",
        "__classdictcell__",
        "_abc_impl",
        "__abstractmethods__",
    ]
)


def members_of(kind: type) -> dict[str, object]:
    """What the author of a class put into it: its namespace without what each class has, and without slots."""
    return {
        name: value
        for name, value in list(namespace_of(kind).items())
        if name not in _BESIDE and type(value) is not types.MemberDescriptorType
    }


# Parts of native objects

Parts = list[tuple[str, object]]


def _property(value: Any) -> Parts:
    get = namespace_of(property)
    return [(name, get[name].__get__(value)) for name in ("fget", "fset", "fdel")]


def _behind(value: Any) -> Parts:
    kind = staticmethod if is_a(value, staticmethod) else classmethod
    return [("__func__", namespace_of(kind)["__func__"].__get__(value))]


def _partial(value: Any) -> Parts:
    get = namespace_of(functools.partial)
    return [(name, get[name].__get__(value)) for name in ("func", "args", "keywords")]


def _method(value: Any) -> Parts:
    return [("__func__", value.__func__), ("__self__", value.__self__)]


def _native_method(value: Any) -> Parts:
    return [("__name__", value.__name__), ("__self__", value.__self__)]


def _cached(value: Any) -> Parts:
    parameters = (dict_of(value) or {}).get("cache_parameters")
    known = parameters() if is_a(parameters, FunctionType) and parameters.__module__ == "functools" else {}
    wrapped = (dict_of(value) or {}).get("__wrapped__")
    return [("__wrapped__", wrapped), *known.items()]


def _cell(value: CellType) -> Parts:
    return [("cell_contents", cell_content(value))]


def _view(value: Any) -> Parts:
    return [("mapping", next(iter(gc.get_referents(value)), None))]


def _weak(value: Any) -> Parts:
    return [("referent", weakref.ref.__call__(value)), ("__callback__", value.__callback__)]


def _slice(value: Any) -> Parts:
    return [("start", value.start), ("stop", value.stop), ("step", value.step)]


def _error(value: Any) -> Parts:
    return [("args", namespace_of(BaseException)["args"].__get__(value))]


def _pattern(value: Any) -> Parts:
    return [("pattern", value.pattern), ("flags", value.flags)]


def _defaultdict(value: Any) -> Parts:
    return [("default_factory", namespace_of(collections.defaultdict)["default_factory"].__get__(value))]


def _deque(value: Any) -> Parts:
    return [("maxlen", namespace_of(collections.deque)["maxlen"].__get__(value))]


def _variable(value: Any) -> Parts:
    try:
        default = contextvars.Context().run(value.get)  # where nothing is set
    except LookupError:
        default = ABSENT
    return [("name", value.name), ("default", default)]


def _reduced(value: Any) -> Parts:
    base: Any = native_base(type(value))
    # What C would have it pickled as.
    initial = namespace_of(base).get("__getinitargs__")
    arguments = initial(value) if initial is not None else base.__reduce__(value)[1]
    return [(str(i), argument) for i, argument in enumerate(arguments)]


def _arguments(value: Any) -> Parts:
    origin = getattr(value, "__origin__", None)
    return [("__origin__", origin), *((str(i), argument) for i, argument in enumerate(value.__args__))]


def _struct(value: Any) -> Parts:
    return [("format", value.format)]


_REDUCED: tuple[type, ...] = (
    decimal.Decimal,
    dt.date,
    dt.datetime,
    dt.time,
    dt.timedelta,
    dt.timezone,
    type(namespace_of(functools._CacheInfo)["hits"]),  # how a named tuple gives a field
)


def _nothing(_: object) -> Parts:
    return []


_PARTS: dict[type, Callable[[Any], Parts]] = {
    property: _property,
    staticmethod: _behind,
    classmethod: _behind,
    functools.partial: _partial,
    MethodType: _method,
    types.BuiltinMethodType: _native_method,
    type(re.compile("").sub): _native_method,
    functools._lru_cache_wrapper: _cached,
    CellType: _cell,
    types.MappingProxyType: _view,
    weakref.ref: _weak,
    slice: _slice,
    re.Pattern: _pattern,
    collections.defaultdict: _defaultdict,
    collections.deque: _deque,
    contextvars.ContextVar: _variable,
    types.SimpleNamespace: _nothing,
    struct.Struct: _struct,
    types.UnionType: _arguments,
    types.GenericAlias: _arguments,
    operator.itemgetter: _reduced,
    operator.attrgetter: _reduced,
    **dict.fromkeys(_REDUCED, _reduced),
    **dict.fromkeys([object, dict, list, tuple, set, frozenset, collections.OrderedDict], _nothing),
    **dict.fromkeys(PLAIN, _nothing),
    **dict.fromkeys(STATE, _nothing),
}


def parts_of(value: object) -> Parts | None:
    """The parts of the native object in a value, in a fixed order; ``None`` if it is opaque.

    What a container holds is not among them.
    """
    base = native_base(type(value))
    if issubclass(base, BaseException):
        return _error(value)
    read = _PARTS.get(base)
    return read(value) if read is not None and not is_class(value) else None
