"""The house stands on its floors: a file imports only from its own floor or below.

Imports are read from the source and not from `sys.modules`, so an import inside a function, under
`TYPE_CHECKING`, or by `importlib.import_module("...")` counts like one at the top.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

# Ground first. Rooms of one floor may import each other. A file of a room may stand lower than its room: what turns
# edits into bytes knows no Patch, and Patch.save stands on it; the engine's refusals and the rules' judgements become
# rows of one report, which is a value like the errors that carry it.
FLOORS = (
    {"errors", "events", "contents", "compat.report", "compat.screen"},
    {
        "bundle.reading",
        "bundle.naming",
        "bundle.jsontext",
        "bundle.envelope",
        "bundle.keys",
        "bundle.signing",
        "bundle.codec",
        "bundle.disk",
        "state.files",
        "state.checkpoint",
        "state.touches",
        "state.migration",
    },
    {"patch"},
    {"engine"},
    {"compat"},
    {
        "bundle",
        "documents",
        "govern",
        "health",
        "pages",
        "process.arguments",
        "process.distribution",
        "process.left_behind",
        "process.standing",
        "process.switching",
        "state",
    },
    {"process"},
    {"health.soak", "health.soaking", "process.applied", "process.classifying", "process.public"},
    {"loading"},
    {"node", "fleet", "integrations", "probing", "replaying", "testing"},
    {"cli", "__main__"},
    {"__init__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


class Import(NamedTuple):
    line: int
    name: str  # absolute: the module, or for `from m import n` in our own package "m.n"


def module_name(path: Path, source: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts)


def imports(tree: ast.Module, module: str) -> list[Import]:
    """Every import of a file. A package's `module` ends in `.__init__`, so its parent is the package."""
    package = module.split(".")[:-1]
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [Import(node.lineno, alias.name) for alias in names]
            case ast.ImportFrom(module=origin, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                absolute = ".".join([*base, *([origin] if origin else [])])
                found += [Import(node.lineno, f"{absolute}.{alias.name}") for alias in names]
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                relative = len(name) - len(name.lstrip("."))
                base = package[: len(package) - relative + 1] if relative else []
                found.append(Import(node.lineno, ".".join([*base, name.lstrip(".")])))
    return found


def room_of(name: str, modules: set[str]) -> str:
    """The room an absolute name leads to, or the file in it that has a floor of its own.

    `livepatch.apply` is no module, so it leads to `__init__`.
    """
    room, file = f"{name}..".split(".")[1:3]
    if f"{room}.{file}" in FLOOR_OF:
        return f"{room}.{file}"
    exists = any(f"{module}.".startswith(f"livepatch.{room}.") for module in modules)
    return room if exists else "__init__"


def violations(source: Path) -> list[str]:
    """What breaks the rules below a source directory that holds `livepatch/`, one line each."""
    files = {module_name(path, source): path for path in sorted((source / "livepatch").rglob("*.py"))}
    modules = set(files)
    found = []
    for module, path in files.items():
        room = room_of(module, modules)
        if room not in FLOOR_OF:
            found.append(f"{module}: stands on no floor; give it one in {Path(__file__).name}")
            continue
        for line, name in imports(ast.parse(path.read_text(), str(path)), module):
            where = f"{module}:{line}"
            top = name.split(".")[0]
            if top == "livepatch":
                other = room_of(name, modules)
                if FLOOR_OF.get(other, -1) > FLOOR_OF[room]:
                    found.append(f"{where}: {room} imports {name}, which is above it")
                continue
            found += [f"{where}: {broken}" for broken in third_party_rules(module, top)]
    return found


def third_party_rules(module: str, top: str) -> list[str]:
    room = module.split(".")[1]  # also of a file that has a floor of its own
    broken = []
    if top == "bytecode" and module != "livepatch.engine.dispatch":
        broken.append("only engine/dispatch.py imports bytecode")
    if room == "engine" and top in {"packaging", "msgpack", "cryptography"}:
        broken.append(f"the engine knows nothing of {top}")
    pure = module == "livepatch.engine.stack" or room == "compat"
    allowed = {"packaging"} if room == "compat" else set()
    if pure and top not in sys.stdlib_module_names and top not in allowed:
        broken.append(f"a pure file imports {top}")
    return broken


def house(directory: Path, **files: str) -> Path:
    """Build a small source tree; `engine__stack="..."` is engine/stack.py."""
    for name in ("__init__", "errors", "patch", "process__public", *files):
        path = directory / "livepatch" / (name.replace("__", "/") if name != "__init__" else name)
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(name, ""))
    return directory


def test_every_import_stays_on_its_floor_or_below():
    assert (SOURCE / "livepatch").is_dir()
    assert violations(SOURCE) == []


def test_a_sound_house_passes(tmp_path):
    source = house(
        tmp_path,
        engine__stack="from ..errors import LivepatchError\nfrom livepatch.patch import Patch\nimport ast",
        engine__commit="from . import stack\nfrom .stack import plan",
        engine__dispatch="import bytecode",
        compat__checks="import packaging.version\nfrom ..engine import stack",
        bundle__codec="import msgpack\nfrom ..contents.edits import Text",
        bundle__trust="from ..govern import audit\nfrom .codec import encode",
        contents__edits="",
        patch="def save():\n    from livepatch.bundle import codec\n    from livepatch.bundle.codec import encode",
        govern__audit="from ..bundle import trust",
        cli__apply="import rich\nfrom ..process.public import apply",
        __init__="def __getattr__(name):\n    from .cli import main\n    from livepatch import process",
    )
    assert violations(source) == []


@pytest.mark.parametrize(
    ("room", "code", "expected"),
    [
        ("errors", "import livepatch.patch", "above"),
        ("errors", "from . import patch", "above"),
        ("patch", "from .process.public import apply", "above"),
        ("patch", "from livepatch import apply", "above"),
        ("patch", "import livepatch", "above"),
        ("patch", "from .bundle import build", "above"),
        ("patch", "def late():\n    from livepatch.bundle.build import build", "above"),
        ("bundle__codec", "from ..patch import Patch", "above"),
        ("cli__apply", "from livepatch import apply", "above"),
        ("engine__locate", "from ..process.public import apply", "above"),
        ("engine__locate", "from ..process import public", "above"),
        ("engine__locate", "def late():\n    from .. import process", "above"),
        ("engine__locate", "def late():\n    import livepatch.process.public as p", "above"),
        ("engine__locate", "if TYPE_CHECKING:\n    from ..process.public import Applied", "above"),
        ("engine__locate", "import importlib\nimportlib.import_module('livepatch.process.public')", "above"),
        ("engine__locate", "import importlib\nimportlib.import_module('..process.public', __package__)", "above"),
        ("engine__locate", "__import__('livepatch.process.public')", "above"),
        ("engine__locate", "def late():\n    import bytecode", "only engine/dispatch.py"),
        ("engine__locate", "from packaging.version import Version", "knows nothing of packaging"),
        ("process__live", "from .public import apply", "above"),
        ("process__standing", "from . import live", "above"),
        ("engine__dispatch", "import msgpack", "knows nothing of msgpack"),
        ("engine__commit", "def late():\n    from cryptography import x509", "knows nothing of cryptography"),
        ("engine__stack", "import structlog", "pure file imports structlog"),
        ("compat__checks", "def late():\n    import wrapt", "pure file imports wrapt"),
        ("compat__report", "import structlog", "pure file imports structlog"),
        ("bundle__codec", "import bytecode", "only engine/dispatch.py"),
        ("helpers", "", "stands on no floor"),
    ],
)
def test_a_violation_is_found(tmp_path, room, code, expected):
    (found,) = violations(house(tmp_path, **{room: code}))
    assert expected in found
    assert found.startswith(f"livepatch.{room.replace('__', '.')}")
