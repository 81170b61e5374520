"""Two releases of a package that a test writes down, the older one imported: what a built patch makes of it."""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
import textwrap
from pathlib import Path
from types import FunctionType, ModuleType

import livepatch

_numbers = itertools.count(1)
_IGNORED = {
    "__abc_tpflags__", "_abc_impl", "__weakref__", "__dict__", "__annotations__", "__annotate__",
    "__annotations_cache__", "__builtins__", "__warningregistry__",
}  # fmt: skip


class Release:
    """A package on disk as pip would have installed it."""

    def __init__(self, root: Path, name: str, version: str, files: dict[str, str]) -> None:
        self.root, self.name = root, name
        for path, text in files.items():
            file = root / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).replace("PKG", name), encoding="utf-8")
        (root / name / "__init__.py").touch()
        info = root / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        listed = [file.relative_to(root).as_posix() for file in sorted(root.rglob("*")) if file.is_file()]
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in listed))


class _Classes(dict[type, bool]):
    """Whether a type is that of classes."""

    def __missing__(self, kind: type) -> bool:
        return self.setdefault(kind, issubclass(kind, type))


class Running:
    """The older release imported, and a patch built from the difference to the newer."""

    def __init__(self, tmp_path: Path, monkeypatch, old: dict[str, str], new: dict[str, str], *imports: str) -> None:
        self.name = f"built{next(_numbers)}"
        self.old = Release(tmp_path / "old", self.name, "1.0", old)
        self.new = Release(tmp_path / "new", self.name, "1.1", {**old, **new})
        monkeypatch.syspath_prepend(str(self.old.root))
        self._monkeypatch = monkeypatch
        paths = imports or tuple(p.removesuffix(".py").replace("/", ".") for p in old if p.endswith(".py"))
        self.modules = {path: self.import_(path) for path in paths}

    def import_(self, path: str) -> ModuleType:
        """Import a module of the package by its path in it."""
        full = f"{self.name}.{path}".removesuffix(".__init__").removesuffix(".")
        module = importlib.import_module(full)
        for name in list(sys.modules):
            if name.split(".")[0] == self.name:
                self._monkeypatch.setitem(sys.modules, name, sys.modules[name])
        return module

    def __getitem__(self, path: str) -> ModuleType:
        return self.modules[path]

    def build(self, **options) -> livepatch.Patch:
        """The patch from the older to the newer release."""
        return livepatch.build(self.old.root, self.new.root, package=self.name, **options)

    def picture(self) -> dict:
        """What the package's functions, modules and classes hold, by identity."""
        seen = {}
        owned = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == self.name]
        for thing in gc.get_referrers(*map(vars, owned)):
            if isinstance(thing, FunctionType):
                seen["function", id(thing)] = (
                    thing, thing.__code__, thing.__defaults__, dict(thing.__kwdefaults__ or {}), thing.__doc__,
                )  # fmt: skip
        tracked = gc.get_objects()
        for thing in itertools.compress(tracked, map(_Classes().__getitem__, map(type, tracked))):
            if str(thing.__module__).split(".")[0] == self.name:
                seen["class", id(thing)] = (thing, dict(vars(thing)), thing.__bases__)
        for module in owned:
            seen["module", id(module)] = (module, dict(vars(module)))
        return seen

    def differences(self, before: dict, after: dict) -> list[str]:
        """What of the first picture is another object in the second."""
        bad = []
        for key, was in before.items():
            now = after.get(key)
            if now is None:
                bad.append(f"{key[0]} {was[0]} is gone")
            elif key[0] == "function":
                bad += [f"{was[0]}: {a!r} -> {b!r}" for a, b in zip(was[1:3], now[1:3], strict=True) if a is not b]
                bad += [f"{was[0]}: {a!r} -> {b!r}" for a, b in zip(was[3:], now[3:], strict=True) if a != b]
            else:
                names = (was[1].keys() | now[1].keys()) - _IGNORED
                bad += [f"{was[0]}.{n}" for n in names if was[1].get(n, bad) is not now[1].get(n, bad)]
                if list(was[1]) != list(now[1]) and not bad and key[0] == "module":
                    bad.append(f"{was[0]}: another order of names")
        return bad
