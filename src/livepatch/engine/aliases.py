"""Which other names hold a value because they were given that very value, and not one that merely equals it.

Identity proves it, unless the interpreter shares such objects among modules by itself (small integers, names, cached
patterns); then the importing module's own source must say ``from m import NAME``.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from types import BuiltinFunctionType, ModuleType

from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.refusal import Place

__all__ = ["bears_identity", "came_from", "imports_name", "is_origin"]

_SMALL = range(-5, 1025)  # 3.15 shares integers up to 1024


def bears_identity(value: object) -> bool:
    """Whether two names that hold `value` must have got it from each other."""
    if value is None or isinstance(value, (bool, re.Pattern)) or value is Ellipsis or value is NotImplemented:
        return False
    if type(value) is int:
        return value not in _SMALL
    if type(value) is str:
        is_interned = getattr(sys, "_is_interned", None)
        return not is_interned(value) if is_interned is not None else not re.fullmatch(r"\w*", value)
    if type(value) is bytes:
        return len(value) > 1
    if type(value) in (tuple, frozenset):
        return len(value) > 0 and any(bears_identity(item) for item in value)  # type: ignore[arg-type,attr-defined]
    return type(value) is not float or value != 0.0


def came_from(place: Place, value: object, owner: ModuleType | type, name: str) -> bool:
    """Whether the name got the value from the target, and not the other way round or both from elsewhere."""
    home = place.owner
    if is_class(home):
        # A class attribute is taken to other classes; a module's constant that it was made from stays.
        return is_class(owner) and name == place.name and bears_identity(value)
    assert is_module(home)
    if bears_identity(value) and is_origin(home, place.name, value):
        return True
    return is_module(owner) and imports_name(owner, home.__name__, place.name, name)


def is_origin(module: ModuleType, name: str, value: object) -> bool:
    """Whether `module` is where the value under `name` was made, and not one of those that imported it."""
    if is_module(value):
        return False
    if is_function(value) or is_class(value) or is_a(value, BuiltinFunctionType):
        return value.__module__ == module.__name__
    return all(name != (item.asname or item.name) for node in _imports(_text(module)) for item in node.names)


def imports_name(importer: ModuleType, module: str, name: str, alias: str) -> bool:
    """Whether the source of `importer` says ``from module import name as alias``.  No source proves nothing."""
    text = _text(importer)
    # Most modules that hold an equal value have never heard of the one that it may have come from.
    if all(_absolute(len(dots), origin, importer) != module for dots, origin in _FROM.findall(text)):
        return False
    for node in _imports(text):
        if isinstance(node, ast.ImportFrom) and _absolute(node.level, node.module or "", importer) == module:
            given = [(item.name, item.asname or item.name) for item in node.names]
            if (name, alias) in given or (name == alias and ("*", "*") in given):
                return True
    return False


_FROM = re.compile(r"^[ \t]*from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import\b", re.MULTILINE)


def _text(module: ModuleType) -> str:
    filename = namespace_of(module).get("__file__")
    if not isinstance(filename, str) or not filename.endswith(".py"):
        return ""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except (SyntaxError, ValueError, OSError):
        return ""


def _imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def _absolute(level: int, origin: str, importer: ModuleType) -> str:
    if not level:
        return origin
    package = (namespace_of(importer).get("__package__") or importer.__name__).split(".")
    return ".".join([*package[: len(package) - level + 1], *([origin] if origin else [])])
