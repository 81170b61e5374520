"""Which other names hold a value because they were given that very value, and not one that merely equals it.

Identity proves it, unless the interpreter shares such objects among modules by itself (small integers, names, cached
patterns); then the importing module's own source must say ``from m import NAME``.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import tokenize
from pathlib import Path
from types import BuiltinFunctionType, ModuleType

from livepatch.contents.parsing import tree_of
from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.refusal import Place

__all__ = ["bears_identity", "came_from", "imports_name", "is_origin"]

_SMALL = range(-5, 1025)  # 3.15 shares integers up to 1024


def bears_identity(value: object) -> bool:
    """Whether two names that hold `value` must have got it from each other."""
    if value is None or type(value) in (bool, re.Pattern) or value is Ellipsis or value is NotImplemented:
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
    """Whether the name got the value from the target, and not the other way round or both from elsewhere.

    Within one source file the compiler shares equal constants, so there only an assignment proves it.
    """
    home = place.owner
    assert home is not None
    if _module_of(owner) == place.module.__name__:
        given = _given(_text(place.module), owner, name)
        return given is not None and ast.unparse(given) == place.target.qualname
    if bears_identity(value) and is_origin(place, value):
        return True
    return is_module(home) and is_module(owner) and imports_name(owner, home.__name__, place.name, name)


def _module_of(owner: ModuleType | type) -> str:
    return owner.__module__ if is_class(owner) else owner.__name__


def is_origin(place: Place, value: object) -> bool:
    """Whether the value was made at that place, and not taken there from elsewhere."""
    if is_module(value):
        return False
    if is_function(value) or is_class(value) or is_a(value, BuiltinFunctionType):
        return value.__module__ == place.module.__name__
    text = _text(place.module)
    if any(place.name == (item.asname or item.name) for node in _imports(text) for item in node.names):
        return False
    assert place.owner is not None
    return not isinstance(_given(text, place.owner, place.name), (ast.Name, ast.Attribute))


def _given(text: str, owner: ModuleType | type, name: str) -> ast.expr | None:
    """What a module's text assigns to `name`, at its top or in the body of the class `owner`; the last counts."""
    try:
        body: list[ast.stmt] = tree_of(text).body
    except (SyntaxError, ValueError):
        return None
    for segment in owner.__qualname__.split(".") if is_class(owner) else ():
        inner = [node for node in body if isinstance(node, ast.ClassDef) and node.name == segment]
        body = inner[-1].body if inner else []
    found = None
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        bound = [each for target in targets if target is not None for each in ast.walk(target)]
        if any(isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Store) for each in bound):
            # What an augmented assignment, a loop or unpacking gives is nobody's but its own.
            whole = any(isinstance(target, ast.Name) and target.id == name for target in targets)
            found = node.value if whole and isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    return found


def imports_name(importer: ModuleType, module: str, name: str, alias: str) -> bool:
    """Whether the source of `importer` says ``from module import name as alias``.  No source proves nothing."""
    # Most modules that hold an equal value have never heard of the one that it may have come from.
    if all(_absolute(level, origin, importer) != module for level, origin in _origins_in(importer)):
        return False
    text = _text(importer)
    for node in _imports(text):
        if isinstance(node, ast.ImportFrom) and _absolute(node.level, node.module or "", importer) == module:
            given = [(item.name, item.asname or item.name) for item in node.names]
            if (name, alias) in given:
                return True
            if name == alias and ("*", "*") in given and _given(text, importer, name) is None:
                return True  # unless its own assignment comes after
    return False


_FROM = re.compile(r"^[ \t]*from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import\b", re.MULTILINE)


def _origins_in(importer: ModuleType) -> frozenset[tuple[int, str]]:
    """The level and the name of each module that a line of the source may import from.

    A module may hold as many equal values as it has names, and each of them asks.
    """
    filename = _filename(importer)
    if not filename:
        return frozenset()
    try:
        now = Path(filename).stat()
    except (OSError, ValueError):
        return frozenset()
    return _origins(filename, (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns))


@functools.lru_cache(maxsize=4096)
def _origins(filename: str, _: tuple[int, ...]) -> frozenset[tuple[int, str]]:
    return frozenset((len(dots), origin) for dots, origin in _FROM.findall(_read(filename)))


def _text(module: ModuleType) -> str:
    return _read(_filename(module))


def _filename(module: ModuleType) -> str:
    """The file of a module's source; empty if it has none."""
    filename = namespace_of(module).get("__file__")
    return filename if isinstance(filename, str) and filename.endswith(".py") else ""


def _read(filename: str) -> str:
    if not filename:
        return ""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except (SyntaxError, ValueError, OSError):
        return ""


def _imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    try:
        tree = tree_of(text)
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def _absolute(level: int, origin: str, importer: ModuleType) -> str:
    if not level:
        return origin
    package = (namespace_of(importer).get("__package__") or importer.__name__).split(".")
    return ".".join([*package[: len(package) - level + 1], *([origin] if origin else [])])
