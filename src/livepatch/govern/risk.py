"""The facts by which a patch is classified: measured where they can be, declared where not; each with its source."""

from __future__ import annotations

import difflib
import functools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from types import CodeType, FunctionType
from typing import Protocol, cast

from livepatch.bundle.trust import targets
from livepatch.compat.policy import Policy
from livepatch.compat.protected import ModeFacts, Touched, judge_protected
from livepatch.compat.reach import Call, Graph
from livepatch.contents.changes import Addition, Attachment, Replacement, Wrapping
from livepatch.contents.edits import ModuleEdit
from livepatch.engine.pace import breathe, paced
from livepatch.errors import PolicyError, spelled
from livepatch.govern.criteria import WORDS
from livepatch.govern.data import state_of
from livepatch.govern.severity import Severity
from livepatch.patch import Patch

__all__ = ["Fact", "Risk", "assess"]

_MOST = 4_000_000  # comparisons of two lines
_DORMANT = ModeFacts("at", "at(height)")


@dataclass(frozen=True, slots=True)
class Fact:
    """A word or a number, and where it comes from; ``None``: nobody knows, and `source` says what would tell."""

    value: str | float | None
    source: str

    def __str__(self) -> str:
        value = "not known" if self.value is None else self.value if isinstance(self.value, str) else f"{self.value:g}"
        return f"{value} ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """All facts.

    `fits`: whether the patch goes into what runs.  `cvss`: the score of the flaw, 0 to 10.  `exploitability` and
    `exposure`: what is known of attacks, and from where they come.  `consensus`: whether code that policy protects is
    touched.  `state`: what becomes of data, at the worst.  `places` and `lines`: how much changes.  `reach`: how many
    functions certainly come to call what changes, directly or through others, or may call it directly.
    """

    fits: Fact
    cvss: Fact
    exploitability: Fact
    exposure: Fact
    consensus: Fact
    state: Fact
    places: Fact
    lines: Fact
    reach: Fact

    def facts(self) -> dict[str, Fact]:
        """The facts by their names."""
        return {name: getattr(self, name) for name in self.__slots__}


class Graphed(Graph, Protocol):
    """A call graph that can be followed either way."""

    def callers(self, name: str) -> Sequence[Call]:
        """Who calls a function."""


def assess(
    patch: Patch,
    *,
    fits: bool,
    touched: Iterable[Touched],
    graph: Graph | None,
    policy: Policy,
    place: str,
    severity: Severity | None,
    exploitability: str | None,
    exposure: str | None,
) -> Risk:
    """Gather the facts.  `place` says in words what it was held against; `graph` is the call graph of that.

    What is declared goes before what a vector says.  Raises :class:`PolicyError` or :class:`TypeError` for a word that
    is none.
    """
    touched = list(touched)
    lines, counted_by = _lines(patch)
    return Risk(
        fits=Fact("yes" if fits else "no", place),
        cvss=Fact(None, "pass cvss=")
        if severity is None
        else Fact(severity.score, f"{severity.rating}, {severity.vector}"),
        exploitability=_declared("exploitability", exploitability, severity.exploitability if severity else ""),
        exposure=_declared("exposure", exposure, severity.exposure if severity else ""),
        consensus=_consensus(patch, policy, graph, touched, place),
        state=Fact(*state_of(patch)),
        places=Fact(len(targets(patch)) + _written(patch), "the patch"),
        lines=Fact(lines, counted_by),
        reach=Fact(None, f"no call graph of {place}")
        if graph is None
        else Fact(_reach(cast("Graphed", graph), touched), place),
    )


def _declared(name: str, given: str | None, by_vector: str) -> Fact:
    if given is None:
        return Fact(by_vector, "the vector") if by_vector else Fact(None, f"pass {name}=, or --{name}")
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a str, not {spelled(given)}")
    if given not in WORDS[name]:
        raise PolicyError(
            f"{name} is no word for it",
            found=spelled(given),
            expected=f"one of {', '.join(WORDS[name])}",
            action="pass one of them, or nothing",
        )
    return Fact(given, "declared")


def _consensus(patch: Patch, policy: Policy, graph: Graph | None, touched: list[Touched], place: str) -> Fact:
    if not policy.protected:
        return Fact(None, "no rule protects anything: livepatch.protect, or a policy file")
    guarding = judge_protected(
        policy, graph, touched, _DORMANT, compatible_with=patch.compatible_with, waivers=patch.waivers
    )
    if guarding.guarded:
        return Fact("touched", place)
    if guarding.waived:
        return Fact("waived", f"by the author: {', '.join(guarding.waived)}")
    if graph is None:
        return Fact(None, f"no call graph of {place}")
    return Fact("none", place)


# How much changes


def _written(patch: Patch) -> int:
    """The places of the changes that were written in code."""
    return sum(len(c.names) if isinstance(c, (Addition, Attachment)) else 1 for c in patch.changes)


def _lines(patch: Patch) -> tuple[int, str]:
    number = sum(sum(_edited(edit)) for edit in patch.edits)
    new = 0
    for change in patch.changes:
        if isinstance(change, Replacement):
            new += sum(_length(function.__code__) for function in _functions(change.source))
        elif isinstance(change, Wrapping) and isinstance(change.wrapper, FunctionType):
            new += _length(change.wrapper.__code__)
        else:
            new += 1
    told = ["lines removed and added"] if patch.edits or not new else []
    return number + new, " and ".join([*told, *(["lines of new code"] if new else [])])


def _edited(edit: ModuleEdit) -> Iterator[int]:
    """How many lines differ: of each function, and of the statements that values are computed by."""
    if edit.whole is not None:
        yield len(edit.whole.splitlines())
        return
    for function in edit.functions:
        yield _differing(
            function.before.source if function.before else "", function.after.source if function.after else ""
        )
    yield _differing("\n".join(edit.before.imports), "\n".join(edit.after.imports))
    before, after = ("\n".join(each.text.source for each in side.program) for side in (edit.before, edit.after))
    yield _differing(before, after)


def _differing(before: str, after: str) -> int:
    breathe()
    old, new = _trimmed(before.splitlines(), after.splitlines())
    if len(old) * len(new) > _MOST:
        return len(old) + len(new)  # at the worst: no patch gets smaller by being too large to be compared
    matcher = difflib.SequenceMatcher(None, old, new)
    return sum(b - a + d - c for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal")


def _trimmed(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """What is left of both without the lines with which both begin, and those with which both end."""
    begin = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    old, new = old[begin:], new[begin:]
    end = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(old), reversed(new), strict=False)))
    return old[: len(old) - end], new[: len(new) - end]


def _functions(source: object) -> Iterator[FunctionType]:
    if isinstance(source, FunctionType):
        yield source
    elif isinstance(source, (staticmethod, classmethod)):
        yield from _functions(source.__func__)
    elif isinstance(source, property):
        for accessor in (source.fget, source.fset, source.fdel):
            yield from _functions(accessor)
    elif isinstance(source, functools.cached_property):
        yield from _functions(source.func)
    elif isinstance(source, type):
        for value in vars(source).values():
            yield from _functions(value)


def _length(code: CodeType) -> int:
    """The lines from that of its ``def`` to its last one."""
    last = [line for _, _, line in code.co_lines() if line is not None]
    inner = [code.co_firstlineno + _length(code) - 1 for code in code.co_consts if isinstance(code, CodeType)]
    return max([code.co_firstlineno, *last, *inner]) - code.co_firstlineno + 1


# Who comes to call it


def _reach(graph: Graphed, touched: list[Touched]) -> int:
    changed = {name for place in touched for name, _ in place.functions if name in graph.functions}
    direct = {call.caller for name in changed for call in paced(graph.callers(name))}
    seen = set(changed)
    left = deque(changed)
    while left:
        for call in paced(graph.callers(left.popleft())):
            if call.certain and call.caller not in seen:
                seen.add(call.caller)
                left.append(call.caller)
    return len((seen | direct) - changed)
