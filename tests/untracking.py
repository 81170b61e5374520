"""What belongs to pytest and to libraries that only tests use is taken out of the heap that a switch walks through.

A session that has collected five thousand tests tracks some hundred thousand objects of pytest's, and each walk through
the heap (``gc.get_referrers``) visits them all: twice as long a walk as that of a process which has loaded the same
modules.  The functions and classes of the libraries are as many again.  Nothing of it is of a test, and what is not
tracked is neither walked nor collected.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from types import CellType, FunctionType, GenericAlias, GetSetDescriptorType, MemberDescriptorType, ModuleType

# Its plugin imports it at the end of a session at the latest, and then it asks the heap who holds what trio registers.
import hypothesis  # noqa: F401
import pytest

_CONTAINERS = (list, dict, set, tuple, frozenset)
_BOOKKEEPERS = ("_pytest", "pluggy")

# No test patches anything of theirs.
_LIBRARIES = frozenset(
    """
    _pytest anyio argcomplete attr attrs cvss execnet hypothesis idna iniconfig jsonschema jsonschema_specifications
    nats openfeature opentelemetry outcome pluggy prometheus_client pygments pytest referencing securesystemslib
    sniffio sortedcontainers trio tuf urllib3 xdist
    """.split()
)
_PARTS = (
    *_CONTAINERS,
    *(CellType, GenericAlias, GetSetDescriptorType, MemberDescriptorType, classmethod, property, staticmethod),
)

_keep = ctypes.pythonapi.Py_IncRef
_keep.argtypes, _keep.restype = [ctypes.py_object], None
_untrack = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes, _untrack.restype = [ctypes.py_object], None


def untrack_bookkeeping(session: pytest.Session) -> int:
    """Untrack what pytest keeps of its tests, but nothing that is beneath a test's parameters; give how many it was."""
    seen: set[int] = set()
    pending: list[object] = [session.items]
    untracked = 0
    for item in session.items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            seen.add(id(item.callspec.params))
    while pending:
        each = pending.pop()
        kept = type(each).__module__.partition(".")[0] in _BOOKKEEPERS
        if id(each) in seen or not (kept or type(each) in _CONTAINERS):
            continue
        seen.add(id(each))
        pending.extend(gc.get_referents(each))
        if gc.is_tracked(each):
            _untrack(each)
            untracked += 1
    return untracked


def untrack_libraries() -> int:
    """Untrack the functions and classes of libraries that only tests use, and what these consist of; give how many.

    They are kept for good: the end of a function, unlike that of a list, expects that it is tracked.
    """
    seen: set[int] = {id(sys.modules)}
    modules = [module for name, module in list(sys.modules.items()) if _is_of_a_library(name)]
    pending: list[object] = [vars(module) for module in modules if isinstance(module, ModuleType)]
    untracked = 0
    while pending:
        each = pending.pop()
        if id(each) in seen or not _belongs(each):
            continue
        seen.add(id(each))
        pending.extend(gc.get_referents(each))
        if gc.is_tracked(each):
            _keep(each)
            _untrack(each)
            untracked += 1
    return untracked


def _belongs(value: object) -> bool:
    if isinstance(value, ModuleType):
        return _is_of_a_library(vars(value).get("__name__"))
    if type(value) in _PARTS:
        return True
    return _is_of_a_library((value if isinstance(value, (FunctionType, type)) else type(value)).__module__)


def _is_of_a_library(name: object) -> bool:
    return str(name).partition(".")[0] in _LIBRARIES
