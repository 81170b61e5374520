"""Whether every call that the old parameters took, the new ones take too."""

from __future__ import annotations

from livepatch.engine.code import Parameter

__all__ = ["broken_calls"]


def broken_calls(old: tuple[Parameter, ...], new: tuple[Parameter, ...]) -> tuple[str, ...]:
    """Say which calls worked and would fail.  Empty: every call that the old side took, the new one takes.

    The first parameter of a method may have another name (`self`), because nobody passes it by keyword.
    """
    problems: list[str] = []
    old_positional, new_positional = _positional(old), _positional(new)
    old_rest, new_rest = _has(old, "*"), _has(new, "*")
    new_names = {p.name for p in new if p.kind in "-="}
    if old_rest and not new_rest:
        problems.append("calls with more positional arguments, which went into *" + _named(old, "*"))
    if _has(old, "**") and not _has(new, "**"):
        problems.append("calls with other keyword arguments, which went into **" + _named(old, "**"))
    for i, parameter in enumerate(old_positional):
        other = new_positional[i] if i < len(new_positional) else None
        if other is None:
            if not new_rest:
                problems.append(f"calls that pass {parameter.name!r} by position")
        elif not parameter.required and other.required:
            problems.append(f"calls that leave out {parameter.name!r}, which is now required")
        if parameter.kind == "-" and parameter.name not in new_names and not _has(new, "**"):
            if not (i == 0 and parameter.name in ("self", "cls")):
                problems.append(f"calls that pass {parameter.name!r} by keyword")
        elif parameter.kind == "-" and parameter.name in new_names and other is not None and other.name != parameter.name:
            problems.append(f"calls that pass {parameter.name!r} by position, where {other.name!r} is now")
    for i, parameter in enumerate(new_positional[len(old_positional) :]):
        if parameter.required and not _keyword_only_required(old, parameter.name):
            problems.append(f"calls without {parameter.name!r}, which is new and required")
        elif old_rest and not new_rest and i == 0:
            continue
    for parameter in (p for p in old if p.kind == "="):
        same = next((p for p in new if p.name == parameter.name and p.kind in "-="), None)
        if same is None and not _has(new, "**"):
            problems.append(f"calls that pass {parameter.name!r} by keyword")
        elif same is not None and same.required and not parameter.required:
            problems.append(f"calls that leave out {parameter.name!r}, which is now required")
    taken = {p.name for p in old}
    for parameter in (p for p in new if p.kind == "="):
        if parameter.required and parameter.name not in taken:
            problems.append(f"calls without {parameter.name!r}, which is new and required")
        elif parameter.required and any(p.name == parameter.name and p.kind == "-" for p in old):
            problems.append(f"calls that pass {parameter.name!r} by position")
    return tuple(dict.fromkeys(problems))


def _positional(parameters: tuple[Parameter, ...]) -> list[Parameter]:
    return [p for p in parameters if p.kind in "/-"]


def _has(parameters: tuple[Parameter, ...], kind: str) -> bool:
    return any(p.kind == kind for p in parameters)


def _named(parameters: tuple[Parameter, ...], kind: str) -> str:
    return next(p.name for p in parameters if p.kind == kind)


def _keyword_only_required(parameters: tuple[Parameter, ...], name: str) -> bool:
    return any(p.name == name and p.kind == "=" and p.required for p in parameters)
