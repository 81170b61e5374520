"""Closures follow their maker: when a function's code changes, so does that of the functions it made.

The instances of a nested function share one code object, a constant of the outer function's code.  When the outer code
is exchanged, live instances of each nested function whose body differs get the counterpart of the same name, and on
the way back the very constant that they had.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import cast

from livepatch.engine.code import nested_codes, same_code
from livepatch.engine.commit import slot_of
from livepatch.engine.pace import paced
from livepatch.engine.refusal import Refusal
from livepatch.engine.stack import Stack, Write
from livepatch.engine.sweep import sweep

__all__ = ["Followers", "follow", "with_constant"]

_SHAPE_FLAGS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


@dataclass(frozen=True, slots=True)
class Followers:
    """The writes for live closures; those that must stay as they are, and why; seconds that the heap walk took."""

    writes: tuple[Write, ...]
    left: tuple[Refusal, ...]
    walked: float | None


def follow(writes: Iterable[Write], *stacks: Stack, known: Container[int] = ()) -> Followers:
    """Find the live closures that the code changes among `writes` concern.  Changes nothing.

    An instance may have got its code from any side that its maker has had, so all those that `stacks` know are asked.
    Those with an id among the `known` are changed by themselves.
    """
    changes = [
        (write, write.after)
        for write in writes
        if write.slot.name == "__code__" and isinstance(write.before, CodeType) and isinstance(write.after, CodeType)
    ]
    pairs: dict[int, tuple[CodeType, CodeType | None]] = {}
    held: Counter[int] = Counter()
    spaces = []
    for write, after in paced(changes):
        owner = write.slot.owner
        if owner is None:
            continue  # a closure that has been dropped meanwhile
        makers = versions_of(write, stacks)
        original = next((s.originals[write.slot] for s in stacks if write.slot in s.originals), write.before)
        held.update(id(nested) for maker in (*makers, after) for nested in nested_codes(maker))
        for maker in makers:
            pairs.update((id(pair[0]), pair) for pair in _pairs(maker, after, keep_equal=maker is original))
        spaces.append(cast("FunctionType", owner).__globals__)
    if not pairs:
        return Followers((), (), None)
    constants = [pair[0] for pair in pairs.values()]
    swept = sweep({}, constants=constants, held=held, spaces=spaces)
    found: list[Write] = []
    left: list[Refusal] = []
    for key, (before, counterpart) in pairs.items():
        instances = [instance for instance in swept.copies.get(key, ()) if id(instance) not in known]
        if instances and (counterpart is None or not same_shape(before, counterpart)):
            left.append(_left(len(instances), before, counterpart))
        elif instances:
            label = before.co_qualname
            found += [Write(slot_of(instance, "__code__", label), before, counterpart) for instance in instances]
    return Followers(tuple(found), tuple(left), swept.walked)


def _left(count: int, before: CodeType, after: CodeType | None) -> Refusal:
    return Refusal(
        "closures-left-behind",
        f"{count} live instances of {before.co_qualname}, "
        + ("which have no single counterpart" if after is None else "whose parameters or variables differ"),
        "a counterpart with the same parameters and free variables",
        "have the objects that hold them made anew; until then they run the code they have",
    )


def versions_of(write: Write, stacks: Iterable[Stack]) -> list[CodeType]:
    """The code objects that a function has had and may get again, but for the one that it gets now."""
    values = [write.before]
    for stack in stacks:
        values.append(stack.originals.get(write.slot))
        values += [layer.values.get(write.slot) for layer in stack.layers]
    codes = {id(code): code for code in values if isinstance(code, CodeType) and code is not write.after}
    return list(codes.values())


def _pairs(before: CodeType, after: CodeType, *, keep_equal: bool) -> Iterable[tuple[CodeType, CodeType | None]]:
    """Nested functions of the old code that differ in the new, each with its counterpart if there is just one like it.

    With `keep_equal`, those that do the same are left out: an instance keeps the object that it was made with.
    """
    old, new = _by_name(before), _by_name(after)
    for name, codes in old.items():
        others = list(new.get(name, ()))
        rest = []
        for code in codes:
            twin = next((other for other in others if other is code or same_code(code, other)), None)
            if twin is None:
                rest.append(code)
                continue
            others.remove(twin)
            if twin is not code and not keep_equal:
                yield code, twin
        for code in rest:
            # Several of one name and shape are several lambdas, say, and which became which is a guess.
            alike = [other for other in others if same_shape(code, other)]
            single = len(alike) == 1 and sum(same_shape(code, other) for other in rest) == 1
            yield code, alike[0] if single else None


def _by_name(code: CodeType) -> dict[str, list[CodeType]]:
    named: dict[str, list[CodeType]] = {}
    for nested in nested_codes(code):
        # Comprehensions and class bodies run at once and leave no function behind.
        if nested.co_flags & inspect.CO_NEWLOCALS and nested.co_name not in (
            "<listcomp>",
            "<setcomp>",
            "<dictcomp>",
            "<genexpr>",
        ):
            named.setdefault(nested.co_qualname, []).append(nested)
    return named


def _shape(code: CodeType) -> tuple[object, ...]:
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return (
        code.co_freevars,
        names,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & _SHAPE_FLAGS,
    )


def same_shape(one: CodeType, other: CodeType, *, parameters: bool = True) -> bool:
    """Whether an instance made for one code can run the other: the same free variables, and parameters if asked."""
    return _shape(one) == _shape(other) if parameters else one.co_freevars == other.co_freevars


def empty_cells(code: CodeType) -> tuple[CellType, ...]:
    """Unbound cells, to make a function of code that is only looked at."""
    return tuple(CellType() for _ in code.co_freevars)


def with_constant(code: CodeType, old: CodeType, new: CodeType) -> CodeType:
    """The same code, making `new` where it made `old`, or the one nested function of that name, at whatever depth."""
    nested = list(nested_codes(code))
    if all(constant is not old for constant in nested):
        (old,) = (constant for constant in nested if constant.co_qualname == old.co_qualname)
    return _exchange(code, old, new)


def _exchange(code: CodeType, old: CodeType, new: CodeType) -> CodeType:
    constants = tuple(
        new
        if constant is old
        else _exchange(constant, old, new)
        if isinstance(constant, CodeType) and any(nested is old for nested in nested_codes(constant))
        else constant
        for constant in code.co_consts
    )
    return code.replace(co_consts=constants)
