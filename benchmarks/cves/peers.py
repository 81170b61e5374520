"""What else a program could do to take a fix in while it runs: store code objects bare, or reload modules."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

__all__ = ["reload_modules", "swap_code"]


def swap_code(before: Path, after: Path, only: Collection[str]) -> None:
    """Give every changed function that both releases have the code object of the fixed one."""
    for name, old, new in _changed_modules(before, after, only):
        module = sys.modules[name]
        wanted = [entry.partition(":")[2] for entry in only if entry.partition(":")[0] == name]
        codes = dict(_codes(compile(new, str(module.__file__), "exec")))
        for qualname, code in _codes(compile(old, str(module.__file__), "exec")):
            if "<locals>" in qualname or (wanted and qualname not in wanted):
                continue
            function = _function(module, qualname)
            if function is not None and qualname in codes and _differ(code, codes[qualname]):
                function.__code__ = codes[qualname]


def reload_modules(site: Path, before: Path, after: Path, only: Collection[str]) -> None:
    """Put the fixed release where the vulnerable one lies, at `site`, and reload the changed modules.

    What was imported last is reloaded first, as it tends to be what others import from.
    """
    changed = {name for name, *_ in _changed_modules(before, after, only)}
    switched = site.with_name("switched")
    switched.symlink_to(after)
    switched.replace(site)
    importlib.invalidate_caches()
    for name, module in reversed(list(sys.modules.items())):
        if name in changed:
            importlib.reload(module)


def _changed_modules(before: Path, after: Path, only: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Each imported module whose source differs by more than comments and layout, and both texts."""
    wanted = {entry.partition(":")[0] for entry in only}
    for name in list(sys.modules):
        path = Path(*name.split("."))
        for relative in (Path(f"{path}.py"), path / "__init__.py"):
            if (wanted and name not in wanted) or not ((before / relative).is_file() and (after / relative).is_file()):
                continue
            old, new = ((tree / relative).read_text(encoding="utf-8") for tree in (before, after))
            if ast.dump(ast.parse(old)) != ast.dump(ast.parse(new)):
                yield name, old, new


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _differ(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do different things, wherever in their files they stand."""
    inner = [[each for each in code.co_consts if isinstance(each, CodeType)] for code in (one, other)]
    return (
        _own_parts(one) != _own_parts(other)
        or len(inner[0]) != len(inner[1])
        or any(_differ(a, b) for a, b in zip(*inner, strict=True))
    )


def _own_parts(code: CodeType) -> tuple[Any, ...]:
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    return code.co_code, repr(constants), code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars


def _function(module: Any, qualname: str) -> FunctionType | None:
    found = module
    for name in qualname.split("."):
        try:
            found = inspect.getattr_static(found, name)
        except AttributeError:
            return None
        if isinstance(found, property):
            found = found.fget
        found = getattr(found, "__func__", found)
    found = inspect.unwrap(found) if callable(found) else found
    return found if isinstance(found, FunctionType) else None
