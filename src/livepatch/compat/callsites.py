"""Known calls, bound to the parameters that they will meet: those of a target's callers, and those of a new body."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from livepatch.compat.calls.model import Edge, Shape
from livepatch.compat.report import Finding
from livepatch.compat.rows import row
from livepatch.compat.signature import bind, broken_calls
from livepatch.engine.code import Parameter
from livepatch.engine.facts import TargetFacts

__all__ = ["callee_findings", "caller_findings", "callers_unknown", "needs_callers"]

Parameters = tuple[Parameter, ...]
_SHOWN = 3


def needs_callers(facts: TargetFacts) -> bool:
    """Whether some call that the old side takes would fail, so that it counts who makes it."""
    return bool(broken_calls(*facts.parameters))


def caller_findings(facts: TargetFacts, edges: Iterable[Edge], changed: Iterable[str]) -> Iterator[Finding]:
    """Each call that worked and would fail: an error if it certainly leads to the target, else a warning.

    `changed` are the functions that the patch changes itself: they make other calls from then on.
    """
    old, new = (_without_self(parameters, bound=facts.bound) for parameters in facts.parameters)
    replaced = tuple(changed)
    doubtful: list[str] = []
    for edge in edges:
        if edge.shape is None or _is_past(edge.caller) or _is_within(edge.caller, replaced):
            continue
        where = f"{edge.caller} ({edge.file}:{edge.line})"
        problem = _fails(edge.shape, old, new)
        if problem and edge.certain and not (edge.shape.star or edge.shape.double_star):
            yield row(
                "error",
                "call-breaks",
                facts.target,
                f"{where} calls it, and would fail: {problem}",
                "every known call to work as before",
                "give new parameters defaults and keep old names, or change that caller in the patch, too",
            )
        elif problem:
            doubtful.append(f"{where}: {problem}")
    if doubtful:
        more = f"; and {len(doubtful) - _SHOWN} more" if len(doubtful) > _SHOWN else ""
        yield row(
            "warning",
            "call-may-break",
            facts.target,
            f"calls that may lead to it, or pass * or **, would fail: {'; '.join(doubtful[:_SHOWN])}{more}",
            "every call that may be one to work as before",
            "see whether they can reach it",
        )


def callers_unknown(breaking: Iterable[TargetFacts], why: str) -> Finding:
    """The warning where some call would fail, and nobody can say who makes it."""
    return row(
        "warning",
        "callers-unknown",
        ", ".join(str(facts.target) for facts in breaking),
        why,
        "to know who calls what takes other arguments from now on",
        "look for callers by hand, and report this with the patch: livepatch does not know what it met",
    )


def callee_findings(
    facts: TargetFacts, changed: Mapping[str, Parameters], rebound: Collection[str]
) -> Iterator[Finding]:
    """Calls of the new body that the live function which they lead to does not take: an error where they are new.

    `changed` gives what functions take, by name, that the patch changes; `rebound` are the names in modules and classes
    that it gives another object.
    """
    for call in facts.passes:
        if any(place in rebound for place in call.places):
            continue
        takes = call.parameters
        if call.name in changed:
            takes = _without_self(changed[call.name], bound=call.bound)
        problem = bind(takes, call.positional, frozenset(call.keywords))
        failed = call.before and bind(call.parameters, call.positional, frozenset(call.keywords)) is not None
        if problem is not None and failed:
            yield row(
                "warning",
                "callee-differs",
                facts.target,
                f"its body, the old and the new one, calls {call.callee} (line {call.line} of the new one), and "
                f"{call.name} takes no {problem}",
                f"{call.name} as it was where the patch was made",
                "that call fails with the patch as it does without: see whether it is ever made, and which release "
                "that function is from",
            )
        elif problem is not None:
            yield row(
                "error",
                "callee-differs",
                facts.target,
                f"its new body calls {call.callee} (line {call.line} of it), and {call.name} takes no {problem}",
                f"{call.name} as it was where the patch was made",
                "find out which release that function is from, and build the patch for that; or bring it in the patch",
            )


def _is_past(caller: str) -> bool:
    """Whether it is the body of a module, which has run."""
    return caller.partition(":")[2].partition("#")[0] == "<module>"


def _is_within(caller: str, functions: tuple[str, ...]) -> bool:
    name = caller.partition("#")[0]
    return any(name == each or name.startswith(f"{each}.<locals>") for each in functions)


def _without_self(parameters: Parameters, *, bound: bool) -> Parameters:
    return parameters[1:] if bound and parameters and parameters[0].kind in "/-" else parameters


def _fails(shape: Shape, old: Parameters, new: Parameters) -> str:
    """What is wrong with a call that the old side took; empty if nothing is, or it never worked.

    What ``*`` and ``**`` bring is not known: they are taken to bring what the old side still needed.
    """
    names = frozenset(shape.keywords)
    count = shape.positional
    if shape.star or shape.double_star:
        given = {p.name for p in old if p.kind in "/-"} if shape.star else set()
        missing = [p.name for p in old if p.required and p.kind in "-=" and p.name not in names]
        positional = [p for p in old if p.kind in "/-"]
        if shape.star:
            count = max(count, len([p for p in positional if p.required and p.name not in names]))
        if shape.double_star:
            after = {p.name for p in positional[:count]}
            names |= {name for name in missing if name not in after} - (given if shape.star else set())
    if bind(old, count, names) is not None:
        return ""
    return bind(new, count, names) or ""
