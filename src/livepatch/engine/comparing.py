"""What two sides gave, compared and told in short texts, whatever the values are and do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from livepatch.errors import shortened, spelled

__all__ = ["Outcome", "compared", "spelled_call", "spelled_outcome"]

_ITEMS = 6  # of a container, or arguments of a call
_LENGTH = 200  # characters of a text


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave: a value, or the exception that it raised."""

    value: Any
    error: BaseException | None = None


class _NotComparableError(Exception):
    pass


def compared(old: Outcome, new: Outcome) -> tuple[bool, str]:
    """Whether the outcomes are alike, and if that cannot be told (they count as different then) why.

    Values are alike if they are identical or, with the same type, equal; NaN equals NaN.  Exceptions are alike if
    they have the same type and the same text.  Raises nothing but :class:`KeyboardInterrupt`.
    """
    try:
        if old.error is None and new.error is None:
            return _equal(old.value, new.value), ""
        if type(old.error) is not type(new.error):
            return False, ""
        return str(old.error) == str(new.error) and str(_args(old)) == str(_args(new)), ""
    except KeyboardInterrupt:
        raise
    except _NotComparableError as error:
        return False, f"not comparable: {error}"
    except BaseException as error:  # noqa: BLE001  # a comparison is somebody's code, and none of the caller's affair
        return False, f"not comparable: comparing raised {_kind(error)}"


def spelled_call(args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """The arguments of a call in at most 200 characters."""
    given = [_told(value) for value in args[:_ITEMS]]
    given += [f"{name}={_told(value)}" for name, value in itertools.islice(kwargs.items(), _ITEMS)]
    if len(args) > _ITEMS or len(kwargs) > _ITEMS:
        given.append("…")
    return shortened(", ".join(given), _LENGTH)


def spelled_outcome(outcome: Outcome) -> str:
    """What a call gave in at most 200 characters; an exception with its text only if that is a plain value."""
    if outcome.error is None:
        return shortened(_told(outcome.value), _LENGTH)
    return shortened(f"raised {_kind(outcome.error)}({', '.join(map(_told, _args(outcome)[:_ITEMS]))})", _LENGTH)


def _equal(old: Any, new: Any) -> bool:
    if old is new:
        return True
    kind = type(old)
    if kind is not type(new):
        return False
    equality: object = kind.__eq__
    if equality is object.__eq__:
        raise _NotComparableError(f"{kind.__module__}.{kind.__qualname__} has no == of its own")
    answer = old == new
    if type(answer) is not bool:
        return _all(answer, old, new)
    if answer:
        return True
    if isinstance(old, (float, complex)):
        return bool(old != old and new != new)  # noqa: PLR0124  # what is unequal to itself is NaN
    # Unequal containers may be so for a NaN in them alone.
    if isinstance(old, (list, tuple)):
        return len(old) == len(new) and all(map(_equal, old, new))
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_equal(value, new[key]) for key, value in old.items())
    return False


def _all(answer: Any, old: Any, new: Any) -> bool:
    """What an ``==`` means that answers for each element, as that of arrays does."""
    every = getattr(answer, "all", None)
    if not callable(every):
        return bool(answer)
    # Shapes that differ may have been made to fit: (1, 3) and (2, 3) have all elements equal then.
    alike = all(str(getattr(old, name, "")) == str(getattr(new, name, "")) for name in ("shape", "dtype"))
    return alike and bool(every())


def _args(outcome: Outcome) -> tuple[object, ...]:
    return outcome.error.args if outcome.error is not None else ()


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _told(value: object, depth: int = 2) -> str:
    """A value in a few characters: plain values and builtin containers of them are shown, else the type."""
    kind = type(value)
    if depth == 0 or kind not in _BRACKETS:
        return spelled(value)
    before, after, items = _BRACKETS[kind]
    try:
        told = [items(item, depth - 1) for item in itertools.islice(_items(value), _ITEMS)]
    except RuntimeError:  # changed meanwhile, by another thread
        return spelled(value)
    return before + ", ".join([*told, "…"] if len(value) > _ITEMS else told) + after  # type: ignore[arg-type]


def _items(value: Any) -> Iterable[Any]:
    return value.items() if type(value) is dict else value


def _pair(item: tuple[object, object], depth: int) -> str:
    return f"{_told(item[0], depth)}: {_told(item[1], depth)}"


_BRACKETS: dict[type, tuple[str, str, Callable[[Any, int], str]]] = {
    list: ("[", "]", _told),
    tuple: ("(", ")", _told),
    set: ("{", "}", _told),
    frozenset: ("frozenset({", "})", _told),
    dict: ("{", "}", _pair),
}
