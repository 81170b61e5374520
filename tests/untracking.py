"""Pytest's own book-keeping is taken out of the heap that a switch walks through.

A session that has collected five thousand tests tracks some hundred thousand objects of pytest's, and each walk through
the heap (``gc.get_referrers``) visits them all: twice as long a walk as that of a process which has loaded the same
modules.  Nothing of it is of a test, and what is not tracked is neither walked nor collected.
"""

from __future__ import annotations

import ctypes
import gc

import pytest

_CONTAINERS = (list, dict, set, tuple, frozenset)
_BOOKKEEPERS = ("_pytest", "pluggy")

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
