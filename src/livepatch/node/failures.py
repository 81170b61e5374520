"""Errors on their way from a node to who asked it: the same class, the same words, the whole report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from livepatch import errors
from livepatch.compat.report import Caller, Finding, Report
from livepatch.errors import IncompatibleError, LivepatchError, NodeError, TransitionError, spelled

__all__ = ["plain", "rebuilt", "report_of"]

_KINDS: Mapping[str, type[LivepatchError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, LivepatchError) and kind.__module__ == errors.__name__
}
_PARTS = ("found", "expected", "action")
T = TypeVar("T")


def plain(error: BaseException) -> dict[str, Any]:
    """The error as plain values.  Of one that livepatch does not raise on purpose nothing is told but its class."""
    if not isinstance(error, LivepatchError):
        error = NodeError(
            "the node failed over the request",
            found=f"{type(error).__module__}.{type(error).__qualname__}",
            expected="an answer",
            action="see the node's log; whether it was done, its status says",
        )
    kind = next(each.__name__ for each in type(error).__mro__ if _KINDS.get(each.__name__) is each)
    told: dict[str, Any] = {"kind": kind, "message": str(error)}
    told |= {part: getattr(error, part) for part in _PARTS}
    if isinstance(error, TransitionError):
        told["timeout"] = error.timeout
    if isinstance(error, IncompatibleError):
        told["report"] = error.report.to_dict()
    return told


def rebuilt(told: Mapping[str, Any]) -> LivepatchError:
    """The error itself, to be raised where the node was asked.  Raises :class:`NodeError` for what is none."""
    kind = _KINDS.get(_taken(told, "kind", str))
    if kind is None:
        raise _odd("kind", told.get("kind"))
    message = _taken(told, "message", str)
    error = kind.__new__(kind, message)  # its words are made already, from parts that are handed over beside them
    error.args = (message,)
    error.found, error.expected, error.action = (_taken(told, part, str) for part in _PARTS)
    if isinstance(error, TransitionError):
        timeout = told.get("timeout")
        error.timeout = timeout if isinstance(timeout, int | float) else None
    if isinstance(error, IncompatibleError):
        error.report = report_of(_taken(told, "report", dict))
    return error


def report_of(told: Mapping[str, Any]) -> Report:
    """The report that :meth:`Report.to_dict` made plain.  Raises :class:`NodeError` for what is none."""
    return Report(
        **{name: _taken(told, name, str) for name in ("patch_id", "package", "versions")},
        targets=_texts(told, "targets"),
        waived=_texts(told, "waived"),
        protected=_taken(told, "protected", bool),
        findings=tuple(_made(Finding, each, _FINDING) for each in _taken(told, "findings", list)),
        callers=tuple(_made(Caller, each, _CALLER) for each in _taken(told, "callers", list)),
    )


_FINDING = dict.fromkeys(("code", "severity", "target", "found", "expected", "action"), str)
_CALLER = {"target": str, "caller": str, "file": str, "line": int, "certain": bool}


def _made(kind: type[T], told: object, fields: Mapping[str, type]) -> T:
    if not isinstance(told, dict):
        raise _odd(kind.__name__, told)
    return kind(**{name: _taken(told, name, of) for name, of in fields.items()})


def _texts(told: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found: Iterable[object] = _taken(told, name, list)
    if not all(isinstance(each, str) for each in found):
        raise _odd(name, found)
    return tuple(map(str, found))


def _taken(told: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = told.get(name)
    if type(value) is not kind:
        raise _odd(name, value)
    return value


def _odd(name: str, value: object) -> NodeError:
    return NodeError(
        "the node's answer is not understood",
        found=f"{name}: {spelled(value)}",
        expected="an error or a report of livepatch",
        action="ask with the livepatch that the node has; what was asked for may have been done: see its status",
    )
