"""Whether the new parameters take every call that the old ones took, held against calls that are really made."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from inspect import Parameter as P
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepatch.compat.signature import broken_calls
from livepatch.engine.code import Parameter, parameters_of

MARKS = {
    P.POSITIONAL_ONLY: "/",
    P.POSITIONAL_OR_KEYWORD: "-",
    P.VAR_POSITIONAL: "*",
    P.KEYWORD_ONLY: "=",
    P.VAR_KEYWORD: "**",
}


def ours(signature: inspect.Signature) -> tuple[Parameter, ...]:
    rest = (P.VAR_POSITIONAL, P.VAR_KEYWORD)
    return tuple(
        Parameter(p.name, MARKS[p.kind], p.default is P.empty and p.kind not in rest)
        for p in signature.parameters.values()
    )


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    names = draw(st.permutations("abcde"))
    counts = [draw(st.integers(0, 2)) for _ in range(3)]
    left = iter(names)
    positional_only, plain, keyword = ([*itertools.islice(left, count)] for count in counts)
    optional = draw(st.integers(0, len(positional_only) + len(plain)))
    parameters = [P(name, P.POSITIONAL_ONLY) for name in positional_only]
    parameters += [P(name, P.POSITIONAL_OR_KEYWORD) for name in plain]
    parameters = [p.replace(default=0) if i >= len(parameters) - optional else p for i, p in enumerate(parameters)]
    if draw(st.booleans()):
        parameters.append(P("args", P.VAR_POSITIONAL))
    parameters += [P(name, P.KEYWORD_ONLY, default=draw(st.sampled_from([0, P.empty]))) for name in keyword]
    if draw(st.booleans()):
        parameters.append(P("kwargs", P.VAR_KEYWORD))
    return inspect.Signature(parameters)


def changed(signature: inspect.Signature) -> st.SearchStrategy[inspect.Signature]:
    """Something near: most pairs drawn apart have nothing in common, and nothing is learnt from them."""
    parameters = [*signature.parameters.values()]

    @st.composite
    def change(draw: st.DrawFn) -> inspect.Signature:
        made = list(parameters)
        for _ in range(draw(st.integers(0, 2))):
            i = draw(st.integers(0, len(made)))
            kind = draw(st.sampled_from([*MARKS]))
            name = {P.VAR_POSITIONAL: "args", P.VAR_KEYWORD: "kwargs"}.get(kind) or draw(st.sampled_from("abcdexyz"))
            default = P.empty if kind in (P.VAR_POSITIONAL, P.VAR_KEYWORD) else draw(st.sampled_from([0, P.empty]))
            made[i : i + draw(st.integers(0, 1))] = [P(name, kind, default=default)]
        try:
            return inspect.Signature(made)
        except ValueError:
            return signature

    return change()


CALLS = [
    (count, names)
    for size in range(6)
    for names in itertools.combinations(("a", "b", "c", "d", "e", "x", "y", "z"), size)
    for count in range(8)
]


def function_of(signature: inspect.Signature) -> Callable[..., None]:
    namespace: dict[str, Any] = {}
    exec(f"def f{signature}: pass", namespace)
    return namespace["f"]


def takes(function: Callable[..., None], count: int, names: tuple[str, ...]) -> bool:
    try:
        function(*range(count), **dict.fromkeys(names, 0))
    except TypeError:
        return False
    return True


def broken(old: inspect.Signature, new: inspect.Signature) -> list[tuple[int, tuple[str, ...]]]:
    """Calls that the old side takes and the new does not, out of all that can make a difference here."""
    known = {*old.parameters, *new.parameters}
    # A name that neither side knows is one like any other that neither knows: one of them is enough.
    stranger = next(name for name in "xyzabcde" if name not in known)
    calls = [(count, names) for count, names in CALLS if {*names} <= known | {stranger}]
    before, after = function_of(old), function_of(new)
    return [call for call in calls if takes(before, *call) and not takes(after, *call)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_call_breaks_unless_it_is_said_and_nothing_is_said_unless_one_does(data: st.DataObject):
    old = data.draw(signatures())
    new = data.draw(st.one_of(changed(old), signatures()))
    problems, breaks = broken_calls(ours(old), ours(new)), broken(old, new)
    if not problems:
        assert not breaks, f"{old} -> {new}: {breaks[0]} breaks, and nobody says so"
    elif not breaks:
        assert any(", which is now argument " in problem for problem in problems), f"{old} -> {new}: {problems}"


def signature_of(parameters: str) -> tuple[Parameter, ...]:
    namespace: dict[str, Any] = {}
    exec(f"def f({parameters}): pass", namespace)
    return parameters_of(namespace["f"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a", "a"),
        ("a", "a, b=1"),
        ("a", "a, *rest"),
        ("a, b", "*rest, **named"),
        ("a, /", "b, /"),
        ("a, /", "b"),
        ("a=1", "a=2"),
        ("*, a", "a"),
        ("*, a, b", "*, b, a"),
        ("a, *, b=1", "a, b=1"),
        ("self, a", "this, a"),
        ("cls", "kind"),
        ("*args", "*others"),
        ("**kwargs", "**others"),
    ],
)
def test_what_takes_every_old_call(old: str, new: str):
    assert broken_calls(signature_of(old), signature_of(new)) == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a", "", "1 positional"),
        ("a", "b", "'a'"),
        ("a", "a, b", "'b'"),
        ("a", "a, *, b", "'b'"),
        ("a=1", "a", "'a'"),
        ("a", "a, /", "'a'"),
        ("a", "*, a", "positional"),
        ("*args", "a=1", "positional"),
        ("**kwargs", "a=1", "keyword"),
        ("a, *args", "a, b=1, c=2", "positional"),
        ("a, b", "b, a", "argument 2"),
        ("a, b=1", "a, c=0, b=1", "argument 3"),
        ("a, /, **kwargs", "a, **kwargs", "'a'"),
        ("a, **kwargs", "b, a=1, **kwargs", "argument 2"),
        ("self, a", "a", "argument"),
        ("self, *, key=None", "self", "'key'"),
    ],
)
def test_what_breaks_is_said(old: str, new: str, says: str):
    problems = broken_calls(signature_of(old), signature_of(new))
    assert any(says in problem for problem in problems), problems
