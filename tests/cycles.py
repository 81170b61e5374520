"""What functions, classes and modules hold, by identity; and the whole life of a patch held against it."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import pytest

import livepatch
from livepatch.process import live

_ABSENT = object()
# What the interpreter makes on first use, or keeps for itself.
_OWN = frozenset(
    ["__annotations__", "__annotations_cache__", "__annotate__", "__warningregistry__", "__abstractmethods__"]
)
_LAZY = sys.version_info >= (3, 14)  # annotations are made on demand there


@dataclass(frozen=True)
class Picture:
    """Identities of all that a patch may write; holds no code object, so that it adds no reference to one."""

    functions: dict[int, tuple[FunctionType, dict[str, Any]]]
    namespaces: dict[int, tuple[Any, dict[str, Any]]]


def _attributes(function: FunctionType) -> dict[str, Any]:
    return {
        "__code__": id(function.__code__),
        "__defaults__": id(function.__defaults__),
        "__kwdefaults__": (id(function.__kwdefaults__), dict(function.__kwdefaults__ or {})),
        "__closure__": id(function.__closure__),
        "__annotations__": {} if _LAZY else dict(function.__annotations__),
        "__annotate__": id(function.__annotate__) if _LAZY else 0,
        "__doc__": function.__doc__,
        "__name__": function.__name__,
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__dict__": dict(vars(function)),
        "__type_params__": getattr(function, "__type_params__", ()),
    }


def picture(*modules: ModuleType) -> Picture:
    """The functions whose globals are those of `modules`, wherever they are held, their classes, and the modules."""
    functions: dict[int, tuple[FunctionType, dict[str, Any]]] = {}
    namespaces: dict[int, tuple[Any, dict[str, Any]]] = {}
    for function in gc.get_referrers(*map(vars, modules)) if modules else ():
        if type(function) is FunctionType:
            functions[id(function)] = (function, _attributes(function))
    owners: list[Any] = [*modules]
    while owners:
        owner = owners.pop()
        if id(owner) not in namespaces:
            namespaces[id(owner)] = (owner, dict(vars(owner)))
            names = {module.__name__ for module in modules}
            owners += [v for v in vars(owner).values() if isinstance(v, type) and v.__module__ in names]
    return Picture(functions, namespaces)


def differences(before: Picture) -> list[str]:
    """What no longer is what it was, in words."""
    changed = []
    for function, was in before.functions.values():
        now = _attributes(function)
        changed += [f"{function.__qualname__}.{name}" for name in was if was[name] != now[name]]
    for owner, held in before.namespaces.values():
        now = vars(owner)
        for name in (held.keys() | now.keys()) - _OWN:
            if held.get(name, _ABSENT) is not now.get(name, _ABSENT):
                changed.append(f"{owner.__name__}:{name}")
    return changed


def settle(timeout: float = 20.0) -> None:
    """Wait until nothing drains: whoever holds code, such as a test, looks like a call, and that takes a search."""
    end = time.monotonic() + timeout
    while live.live.state.open is not None and time.monotonic() < end:
        time.sleep(0.001)


def cycle(
    fix: livepatch.Patch, probe: Callable[[], object], old: object, new: object, *modules: ModuleType
) -> livepatch.Report:
    """Check, apply, off, on, revert: the probe gives the right side each time, and nothing else ever changes."""
    assert probe() == old
    before = picture(*modules)
    report = livepatch.check(fix)
    assert report.ok, str(report)
    assert differences(before) == [], "check changed something"
    applied = livepatch.apply(fix)
    assert probe() == new
    assert livepatch.verify(), str(livepatch.verify())
    assert differences(before), "nothing was written"
    applied.mode = "off"
    settle()
    assert probe() == old
    assert differences(before) == [], "off differs from the original"
    livepatch.flags[fix.flag] = "on"
    assert probe() == new
    applied.revert()
    settle()
    assert probe() == old
    assert differences(before) == [], "revert left something"
    assert livepatch.status() == ()
    return report


def codes(report: livepatch.Report, severity: str = "error") -> list[str]:
    """The codes of a report's findings of one severity."""
    return [finding.code for finding in report.findings if finding.severity == severity]


def refused(fix: livepatch.Patch, code: str, *modules: ModuleType) -> livepatch.Finding:
    """The finding that refuses the patch, after proof that check and apply left everything alone."""
    before = picture(*modules)
    report = livepatch.check(fix)
    assert code in codes(report), f"no {code} among: {report}"
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(fix)
    assert code in codes(caught.value.report)
    assert differences(before) == []
    finding = next(f for f in report.findings if f.code == code and f.severity == "error")
    assert finding.found
    assert finding.expected
    assert finding.action
    return finding
