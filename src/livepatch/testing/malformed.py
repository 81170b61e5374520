"""Arguments that nobody would pass, drawn by hypothesis from a function's signature: what the fix makes of them.

Each function is called in a child, so that what it breaks there is broken nowhere else.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import sys
import typing
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from livepatch.contents.changes import Target
from livepatch.engine.comparing import spelled_call
from livepatch.engine.locate import Found, find
from livepatch.errors import PatchError, shortened
from livepatch.process.applied import Applied
from livepatch.testing.children import goes_on
from livepatch.testing.probing import without_frames

__all__ = ["Unexpected", "unexpected"]

_MOST = 100  # items of a generator
_JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**100])
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from(["", "\x00", "\ud800", "../" * 20, "A" * 10_000, b"\xff" * 10_000])
    | st.lists(st.integers() | st.text(max_size=5), max_size=5)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=5)
    | st.builds(object)
)

Unexpected = dict[str, str]
"""A call, and the exception that it raised: ``call`` and ``raised``."""


def unexpected(
    target: str,
    applied: Applied,
    *,
    examples: int,
    refusals: tuple[type[BaseException], ...],
    instances: Mapping[str, Callable[[], object]],
) -> Unexpected | None:
    """The smallest call of the function at `target` that raises what is no refusal, and not so without the patch.

    The patch is switched off for a call that raises something, to ask the old side.  Raises :class:`PatchError` if
    arguments or an object cannot be made.
    """
    call, strategy = _callable_and_arguments(target, instances)
    met: list[Unexpected] = []

    # No database and always the same draws: whoever signs a result must be able to get it again.
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def ask(arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        goes_on()
        told = spelled_call(*arguments)
        again = _copied(arguments)
        error = _raised(call, arguments)
        if error is None or isinstance(error, refusals):
            return
        mode, applied.mode = applied.mode, "off"
        try:
            before = _raised(call, again)
        finally:
            applied.mode = mode
        if type(before) is type(error):
            return
        text = shortened(f"{type(error).__qualname__}: {error}", 200)
        met.append({"call": told, "raised": text.encode("ascii", "backslashreplace").decode()})
        raise _FoundError

    try:
        ask()
    except _FoundError:
        pass
    except HypothesisException as error:
        raise PatchError(
            f"no calls of {target} could be drawn",
            found=shortened(f"{type(error).__qualname__}: {error}", 200),
            expected="arguments that can be made from the annotations",
            action="pass instances= for its class",
        ) from error
    return met[-1] if met else None


class _FoundError(Exception):
    """A call that nobody expects."""


def _copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as they were before the first call, if they can be copied."""
    try:
        return copy.deepcopy(arguments)
    except Exception:  # noqa: BLE001  # objects of any kind; then the second call gets what the first has left
        return arguments


def _raised(call: Callable[..., Any], arguments: tuple[Any, ...]) -> BaseException | None:
    """What the call raises, without its frames."""
    args, kwargs = arguments
    try:
        _finished(call(*args, **kwargs))
    except HypothesisException:
        raise
    except BaseException as error:  # noqa: BLE001  # SystemExit, too, is an answer
        return without_frames(error)
    return None


def _finished(value: Any) -> None:
    """Run what a call gives to its end: a coroutine, or the first items of a generator."""
    if inspect.iscoroutine(value):
        asyncio.run(value)
    elif inspect.isgenerator(value):
        for _ in itertools.islice(value, _MOST):
            pass
    elif inspect.isasyncgen(value):
        asyncio.run(_some_of(value))


async def _some_of(items: Any) -> None:
    count = 0
    async for _ in items:
        count += 1
        if count == _MOST:
            return


def _callable_and_arguments(
    target: str, instances: Mapping[str, Callable[[], object]]
) -> tuple[Callable[..., Any], st.SearchStrategy[tuple[tuple[Any, ...], dict[str, Any]]]]:
    found = find(Target.parse(target), sys.modules)
    if not isinstance(found, Found) or not isinstance(found.function, FunctionType):
        raise PatchError(
            f"{target} cannot be called by itself",
            found="no live function there",
            expected="a function, or a method of a class",
            action="call it in the probe",
        )
    function, owner = found.function, found.owner_class
    parameters = list(inspect.signature(function, follow_wrapped=False).parameters.values())
    bound: st.SearchStrategy[Any] | None = None
    if owner is not None:
        held = inspect.getattr_static(owner, target.rpartition(":")[2].split(".")[-1], None)
        if isinstance(held, classmethod):
            bound = st.just(owner)
        elif not isinstance(held, staticmethod):
            bound = _objects_of(owner, instances)
    if bound is not None:
        parameters = parameters[1:]
    hints = _hints_of(function)
    by_position = [_values(hints, each) for each in parameters if each.kind in (each.POSITIONAL_ONLY, _EITHER)]
    by_name = {each.name: _values(hints, each) for each in parameters if each.kind is each.KEYWORD_ONLY}
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        by_position += [_JUNK, _JUNK]
    first = [bound] if bound is not None else []
    return function, st.tuples(st.tuples(*first, *by_position), st.fixed_dictionaries(by_name))


_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _hints_of(function: FunctionType) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001  # annotations are somebody's text; without them there is junk to pass
        return {}


def _values(hints: Mapping[str, Any], parameter: inspect.Parameter) -> st.SearchStrategy[Any]:
    """What fits the annotation, as far as hypothesis knows values of it, the default, and what fits nothing."""
    strategy = _JUNK
    if parameter.name in hints:
        typed = st.from_type(hints[parameter.name])
        if not _is_empty(typed):
            strategy = typed | strategy
    if parameter.default is not parameter.empty:
        strategy = st.just(parameter.default) | strategy
    return strategy


def _is_empty(strategy: st.SearchStrategy[Any]) -> bool:
    """Whether hypothesis cannot make values of a type."""
    try:
        strategy.validate()
    except Exception:  # noqa: BLE001  # it says so in several ways
        return True
    return bool(strategy.is_empty)


def _objects_of(owner: type, instances: Mapping[str, Callable[[], object]]) -> st.SearchStrategy[Any]:
    for name in (f"{owner.__module__}:{owner.__qualname__}", owner.__qualname__):
        if name in instances:
            return st.builds(instances[name])
    objects: st.SearchStrategy[Any] = st.from_type(owner)
    if _is_empty(objects):
        raise PatchError(
            f"no object of {owner.__qualname__} can be made",
            found="parameters of its __init__ without annotations that hypothesis knows",
            expected="a class that can be made from its annotations, or a way to make it",
            action=f"pass instances={{'{owner.__module__}:{owner.__qualname__}': function}}",
        )
    return objects
