#!/usr/bin/env python3
"""Hold the same cases of live code to livepatch and to other tools that change a running process, and print a table.

    peers.py [TOOL …] [--why]

Each case runs in a process of its own.  ``--why`` prints beneath the table what was wrong.  The tools that exchange
functions (wrapt, mock, ddtrace) are handed functions that are compiled already in the place of the old ones, with their
globals and the cell that super() needs, which their users would have to see to; and wrapt, which takes nothing back,
has the old attribute put back for it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any

from peers_cases import CASES, Case, Undo, run

TIMEOUT = 120  # seconds that a case may take


class Tool:
    """How a tool changes the module of a scene.  `packages` are what it needs."""

    name = ""
    package = ""

    def prepare(self) -> None:
        """Before the module is imported."""

    def change(self, scene: Scene, text: str, changed: tuple[str, ...]) -> Undo:
        raise NotImplementedError

    def version(self) -> str:
        return version(self.package) if self.package else platform.python_version()


class Scene:
    """A module in a package of its own, as pip would have installed it, and a tool to change it."""

    def __init__(self, each: Case, tool: Tool, folder: Path) -> None:
        self.tool, self.folder, self.old = tool, folder, each.old
        self.root = self.tree("1.0", each.old)
        sys.path.insert(0, str(self.root))
        self.path = self.root / "specimen" / "module.py"
        tool.prepare()
        self.module: ModuleType = importlib.import_module("specimen.module")
        self.texts = [each.old]

    def tree(self, number: str, text: str) -> Path:
        root = self.folder / number
        (root / "specimen").mkdir(parents=True)
        (root / "specimen" / "__init__.py").touch()
        (root / "specimen" / "module.py").write_text(text)
        info = root / f"specimen-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: specimen\nVersion: {number}\n")
        return root

    def change(self, text: str, *changed: str) -> Undo:
        return self.tool.change(self, text, changed)

    def write(self, text: str) -> None:
        """As an editor would: with another time, since some look at nothing else."""
        self.path.write_text(text)
        later = time.time() + len(self.texts)
        os.utime(self.path, (later, later))
        importlib.invalidate_caches()


class Livepatch(Tool):
    name = package = "livepatch"

    def __init__(self) -> None:
        self._made = 0

    def change(self, scene: Scene, text: str, changed: tuple[str, ...]) -> Undo:
        import livepatch

        self._made += 1
        new = scene.tree(f"1.{self._made}", text)
        if self._made > 1 and livepatch.status():
            # What goes on top is for what is there: built from the release before it.
            fix = self._on_top(scene, text, changed)
        else:
            fix = livepatch.build(scene.root, new, package="specimen", id=f"FIX-{self._made}")
        return livepatch.apply(fix).revert

    def _on_top(self, scene: Scene, text: str, changed: tuple[str, ...]) -> Any:
        import livepatch

        fix = livepatch.Patch(f"FIX-{self._made}", package="specimen", versions="==1.0")
        for path, function in functions_of(text, changed, scene.module).items():
            fix.replace(f"specimen.module:{path}")(function)
        return fix


class ByText(Tool):
    """A tool that reads the module's file anew; what is taken back is the text."""

    def change(self, scene: Scene, text: str, changed: tuple[str, ...]) -> Undo:  # noqa: ARG002  # the text says it
        scene.texts.append(text)
        scene.write(text)
        self.read(scene)

        def undo() -> None:
            scene.texts.remove(text)
            scene.write(scene.texts[-1])
            self.read(scene)

        return undo

    def read(self, scene: Scene) -> None:
        raise NotImplementedError


class Reload(ByText):
    name = "importlib.reload"

    def read(self, scene: Scene) -> None:
        importlib.reload(scene.module)


class Autoreload(ByText):
    name, package = "IPython autoreload", "ipython"

    def __init__(self) -> None:
        self._objects: dict[Any, Any] = {}

    def read(self, scene: Scene) -> None:
        from IPython.extensions.autoreload import superreload

        superreload(scene.module, old_objects=self._objects)


class Jurigged(ByText):
    name = package = "jurigged"

    def prepare(self) -> None:
        from jurigged.register import registry

        registry.auto_register(filter=lambda path: "specimen" in path)

    def read(self, scene: Scene) -> None:
        from jurigged.register import registry

        registry.get(str(scene.path)).refresh()


def functions_of(text: str, changed: tuple[str, ...], module: ModuleType) -> dict[str, FunctionType]:
    """The new functions, as if they stood in the live module: with its globals, and the live class for super()."""
    namespace: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(text, "<new>", "exec", dont_inherit=True), namespace)
    functions = {}
    for path in changed:
        found: Any = namespace
        live: Any = module
        for name in path.split("."):
            owner = live
            found = found[name] if isinstance(found, dict) else getattr(found, name)
            live = getattr(live, name)
        cells = {"__class__": CellType(owner)} if isinstance(owner, type) else {}
        closure = tuple(
            cells.get(n, c) for n, c in zip(found.__code__.co_freevars, found.__closure__ or (), strict=True)
        )
        made = FunctionType(found.__code__, vars(module), found.__name__, found.__defaults__, closure)
        made.__kwdefaults__ = found.__kwdefaults__
        functions[path] = made
    return functions


def place_of(module: ModuleType, path: str) -> tuple[Any, str]:
    owner: Any = module
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


class ByFunction(Tool):
    """A tool that exchanges one function after the other."""

    def change(self, scene: Scene, text: str, changed: tuple[str, ...]) -> Undo:
        undos = [
            self.exchange(*place_of(scene.module, path), function)
            for path, function in functions_of(text, changed, scene.module).items()
        ]
        return lambda: [undo() for undo in reversed(undos)]

    def exchange(self, owner: Any, name: str, new: FunctionType) -> Undo:
        raise NotImplementedError


class Mock(ByFunction):
    name = "unittest.mock"

    def exchange(self, owner: Any, name: str, new: FunctionType) -> Undo:
        from unittest import mock  # it is what is compared

        patcher = mock.patch.object(owner, name, new)
        patcher.start()
        return patcher.stop


class Wrapt(ByFunction):
    name = package = "wrapt"

    def exchange(self, owner: Any, name: str, new: FunctionType) -> Undo:
        import wrapt

        before = vars(owner)[name]

        def wrapper(_: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return new(*args, **kwargs) if instance is None else new(instance, *args, **kwargs)

        wrapt.wrap_function_wrapper(owner, name, wrapper)
        return lambda: setattr(owner, name, before)


class Ddtrace(ByFunction):
    name, package = "ddtrace wrapping", "ddtrace"

    def exchange(self, owner: Any, name: str, new: FunctionType) -> Undo:
        from ddtrace.internal.wrapping import unwrap, wrap

        function = vars(owner)[name]

        def wrapper(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return new(*args, **kwargs)

        wrap(function, wrapper)
        return lambda: unwrap(function, wrapper)


TOOLS: tuple[Callable[[], Tool], ...] = (Livepatch, Jurigged, Autoreload, Ddtrace, Wrapt, Mock, Reload)


def outcome(each: Case, make: Callable[[], Tool]) -> str:
    """What is wrong, told by a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        with tempfile.TemporaryDirectory() as folder:
            told = run(each, Scene(each, make(), Path(folder)))
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    end = time.monotonic() + TIMEOUT
    with os.fdopen(reader, "rb") as pipe:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, 9)
                os.waitpid(child, 0)
                return f"no end within {TIMEOUT} s"
            time.sleep(0.01)
        told = pipe.read()
    return str(json.loads(told)) if told else "the process died"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=", ".join(make.name for make in TOOLS))
    parser.add_argument("--why", action="store_true", help="print what was wrong, too")
    options = parser.parse_args()
    chosen = [make for make in TOOLS if not options.tools or make.name in options.tools]
    versions = []
    for make in chosen:
        try:
            versions.append(make().version())
        except PackageNotFoundError:
            print(f"{make.name} is not installed; make peers installs it", file=sys.stderr)
            return 1
    print(f"| CPython {platform.python_version()} | " + " | ".join(make.name for make in chosen) + " |")
    print("|---|" + ":-:|" * len(chosen))
    print("| version | " + " | ".join(versions) + " |")
    wrong: list[str] = []
    for each in CASES:
        row = [outcome(each, make) for make in chosen]
        print(f"| {each.name} | " + " | ".join("✗" if why else "✓" for why in row) + " |", flush=True)
        wrong += [f"{each.name}, {make.name}: {why}" for make, why in zip(chosen, row, strict=True) if why]
    if options.why:
        print("\n" + "\n".join(textwrap.shorten(line, 200) for line in wrong))
    return 0


if __name__ == "__main__":
    sys.exit(main())
