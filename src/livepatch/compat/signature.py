"""Whether every call that the old parameters took, the new ones take too.

The shapes of call that the old side takes are written out (so many by position, the rest by keyword, optional ones left
out or given) and each is bound to the new parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

from livepatch.engine.code import Parameter

__all__ = ["bind", "broken_calls"]

Parameters = tuple[Parameter, ...]
_ANY = "…"  # a keyword that no parameter can have


def broken_calls(old: Parameters, new: Parameters) -> tuple[str, ...]:
    """Say which calls worked and would fail.  Empty: every call that the old side took, the new one takes.

    The first parameter of a method may get another name, because nobody passes `self` by keyword.
    """
    if old and old[0].name in ("self", "cls", "mcs", "_cls"):
        old = (Parameter(old[0].name, "/", old[0].required), *old[1:])
        if new and new[0].kind == "-":  # nor does anybody pass it to the new side so, through a ** of the old
            new = (Parameter(new[0].name, "/", new[0].required), *new[1:])
    problems = [problem for shape in _shapes(old, new) if (problem := bind(new, *shape)) is not None]
    return tuple(dict.fromkeys([*_moved(old, new), *problems]))


def _positional(parameters: Parameters) -> list[Parameter]:
    return [p for p in parameters if p.kind in "/-"]


def _has(parameters: Parameters, kind: str) -> bool:
    return any(p.kind == kind for p in parameters)


def _shapes(old: Parameters, new: Parameters) -> Iterator[tuple[int, frozenset[str]]]:
    """Calls that the old side takes: how many arguments by position, and which names by keyword.

    What the old side gathered in ``*`` and ``**`` is tried with what the new side could take it for.
    """
    positional = _positional(old)
    by_keyword = {p.name for p in old if p.kind in "-="}
    gathered = [_ANY, *(p.name for p in new if p.kind in "/-=" and p.name not in by_keyword)] if _has(old, "**") else []
    most = max(len(positional), len(_positional(new))) + 1 if _has(old, "*") else len(positional)
    needed = {p.name for p in old if p.kind == "=" and p.required}
    optional = [p.name for p in old if p.kind == "=" and not p.required]
    for count in range(most + 1):
        rest = positional[count:]
        if any(p.kind == "/" and p.required for p in rest):
            continue
        names = frozenset(needed | {p.name for p in rest if p.required})
        yield count, names
        for name in (*optional, *(p.name for p in rest if p.kind == "-" and not p.required)):
            yield count, names | {name}
        for name in gathered:
            yield count, names | {name}


def bind(new: Parameters, count: int, names: frozenset[str]) -> str | None:
    """Bind a call of so many arguments by position and these by keyword; say what is wrong with it, or ``None``."""
    positional = _positional(new)
    bound = {p.name for p in positional[:count]}
    if count > len(positional) and not _has(new, "*"):
        return f"calls with {count} positional arguments, of which it takes {len(positional)}"
    by_keyword = {p.name for p in new if p.kind in "-="}
    for name in sorted(names):
        if name in by_keyword and name in bound:
            return f"calls that pass {name!r} by keyword after {count} positional arguments"
        if name not in by_keyword and not _has(new, "**"):
            return "calls with any other keyword arguments" if name == _ANY else f"calls that pass {name!r} by keyword"
    bound |= names & by_keyword
    missing = next((p.name for p in new if p.required and p.kind in "/-=" and p.name not in bound), None)
    return None if missing is None else f"calls without {missing!r}, which is required now"


def _moved(old: Parameters, new: Parameters) -> Iterator[str]:
    """Parameters that a positional argument would reach no more, or reach another of."""
    places = {p.name: i for i, p in enumerate(_positional(new))}
    for i, p in enumerate(_positional(old)):
        if p.kind == "-" and places.get(p.name, i) != i:
            yield f"calls that pass {p.name!r} as argument {i + 1}, which is now argument {places[p.name] + 1}"
