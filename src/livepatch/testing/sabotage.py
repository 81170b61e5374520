"""Deliberately bad patches: does whoever watches notice that a function of the fix is broken?"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from livepatch.contents.changes import Target
from livepatch.engine.locate import Found, find
from livepatch.errors import ExpectationError, LivepatchError, counted, shortened
from livepatch.patch import Patch
from livepatch.testing.guard import Guard
from livepatch.testing.probing import Probe, answer_of, check_probe, told

__all__ = ["BAD", "DRILL", "Drilled", "Row", "changed_functions", "drill", "drill_id", "sabotage"]

DRILL = "broken on purpose, by a drill of livepatch"
BAD = {"raises": f"raise RuntimeError({DRILL!r})", "gives nothing": "return"}
"""How a function is broken, and the body that does it."""


def changed_functions(applied_targets: tuple[str, ...]) -> Iterator[tuple[str, FunctionType]]:
    """The functions among the targets of a report, each with its path."""
    for text in applied_targets:
        if ":" not in text:
            continue
        found = find(Target.parse(text), sys.modules)
        if isinstance(found, Found) and isinstance(found.function, FunctionType):
            yield text, found.function


def drill_id(patch: Patch) -> str:
    """The id of what breaks a function of it."""
    return f"{patch.id}-drill"


def sabotage(patch: Patch, target: str, function: FunctionType, how: str) -> Patch:
    """A patch to go on top of `patch` that breaks one function of it in one of the ways of :data:`BAD`."""
    bad = Patch(drill_id(patch), package=patch.package, versions=patch.versions, summary=DRILL)
    bad.replace(target)(_broken(function, BAD[how]))
    return bad


def _broken(function: FunctionType, body: str) -> FunctionType:
    """A function with the parameters and of the kind of another, with that body."""
    given = inspect.signature(function, follow_wrapped=False)
    plain = [
        each.replace(annotation=each.empty, default=None if each.default is not each.empty else each.empty)
        for each in given.parameters.values()
    ]
    head = "async def" if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else "def"
    lines = [f"{head} {function.__name__.lstrip('<').rstrip('>')}{inspect.Signature(plain)}:", f"    {body}"]
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        lines.append("    yield")
    namespace: dict[str, Any] = {"__name__": __name__}
    exec("\n".join(lines), namespace)  # noqa: S102  # a body of ours, and names that are a live function's own
    made: FunctionType = next(value for value in namespace.values() if isinstance(value, FunctionType))
    made.__defaults__ = function.__defaults__
    made.__kwdefaults__ = dict(function.__kwdefaults__) if function.__kwdefaults__ else None
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One function, broken in one way, and what the check said: nothing, if it did not notice."""

    target: str
    how: str
    said: str

    def __str__(self) -> str:
        return f"{self.target} {self.how}: {self.said or 'not noticed'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """Which broken functions a check has noticed.  True if all of them; `untried` could not be broken, and why."""

    patch: str
    noticed: tuple[Row, ...]
    unnoticed: tuple[Row, ...]
    untried: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Something was broken, and everything that was broken was noticed."""
        return bool(self.noticed) and not self.unnoticed

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        total = len(self.noticed) + len(self.unnoticed)
        told = f"{self.patch}: {len(self.noticed)} of {counted(total, 'sabotage')} noticed"
        return "\n  ".join([told, *map(str, self.unnoticed), *(f"not tried: {each}" for each in self.untried)])


def drill(patch: Patch, check: Callable[[], object], **options: Any) -> Drilled:
    """Break one function of the patch after the other, on top of it, and see whether `check` notices.

    `check` is a test or a health probe: it notices by raising, or by returning ``False``; a coroutine function will do.
    Each function once raises, and once gives nothing.  `options` are those of :func:`livepatch.apply` for the patch.

    Raises :class:`ExpectationError` if `check` complains of the patch itself, or anything is not as it was, whatever
    `apply` raises, and :class:`TypeError` for a wrong argument.  All is taken out.
    """
    check_probe("check", check)
    noticed: list[Row] = []
    unnoticed: list[Row] = []
    untried: list[str] = []
    with Guard() as guard:
        applied = guard.apply(patch, **options)
        if said := _noticed(check):
            raise ExpectationError(
                f"the check complains of {patch.id} itself",
                found=said,
                expected="a check that is content with the patch, and with nothing worse",
                action="correct the check, or the patch",
            )
        for target, function in changed_functions(applied.report.targets):
            for how in BAD:
                try:
                    bad = guard.apply(sabotage(patch, target, function, how))
                except LivepatchError as error:
                    untried.append(f"{target} {how}: {shortened(str(error), 300)}")
                    continue
                try:
                    said = _noticed(check)
                finally:
                    bad.revert()
                (noticed if said else unnoticed).append(Row(target=target, how=how, said=said))
    return Drilled(patch=patch.id, noticed=tuple(noticed), unnoticed=tuple(unnoticed), untried=tuple(untried))


def _noticed(check: Probe) -> str:
    """What the check complains of; empty if of nothing."""
    outcome = answer_of(check)
    return told(outcome) if outcome.error is not None or outcome.value is False else ""
