"""Real packages, each installed under a name of its own, with a patch for them, and a process that drifts from it.

A :class:`Specimen` is a copy of an installed package: the release that runs, and one with a fix in several functions.
A drift is one thing about the process that is not what the patch was built for.  `tests/compat/test_drifts.py` draws
them and holds that each is refused or reported; `tests/drifting.py` says which there are.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import gc
import importlib
import importlib.util
import inspect
import marshal
import random
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, ClassVar

import pytest
from tests.mutants import File, Function, file_of

import livepatch
from livepatch.engine.code import nested_codes

# What the tests need anyway: by distribution, the top-level package and the modules in which functions are fixed.
PACKAGES = {
    "packaging": ("packaging", "version", "specifiers", "utils", "requirements"),
    "pluggy": ("pluggy", "_manager", "_hooks", "_result"),
    "structlog": ("structlog", "processors", "stdlib", "contextvars", "_log_levels"),
    "sortedcontainers": ("sortedcontainers", "sortedlist", "sorteddict"),
    "iniconfig": ("iniconfig", "_parse", "exceptions", ""),
    "msgpack": ("msgpack", "fallback", "ext"),
    "bytecode": ("bytecode", "bytecode", "instr", "cfg"),
    "wrapt": ("wrapt", "importer", "decorators", "patches"),
    "anyio": ("anyio", "_core._sockets", "_core._fileio", "streams.buffered"),
    "idna": ("idna", "core", "codec"),
    "outcome": ("outcome", "_impl", "_util"),
}
_TARGETS = 8
"""How many functions of each package the fix changes."""


@dataclass(frozen=True)
class Fixed:
    """A function that the fix changes: its module, the path of that, and its place among the functions of the file."""

    module: str
    path: str
    index: int
    qualname: str

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"


class _Loader(SourceFileLoader):
    """Compiles each text once; the code objects of each import are its own."""

    optimize = -1
    _compiled: ClassVar[dict[tuple[str, bytes, int], bytes]] = {}

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_bytes()
        key = (self.path, text, self.optimize)
        if key not in self._compiled:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = compile(text, self.path, "exec", dont_inherit=True, optimize=self.optimize)
            self._compiled[key] = marshal.dumps(code)
        return marshal.loads(self._compiled[key])


class _Finder:
    def __init__(self, top: str, optimize: int) -> None:
        self.top, self.loader = top, type("Loader", (_Loader,), {"optimize": optimize})

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] != self.top:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = self.loader(name, spec.loader.path)
        return spec


@dataclass
class Specimen:
    """An installed package under a name of its own, and a patch from it to a release with a fix."""

    distribution: str
    root: Path
    seed: int
    top: str = ""
    version: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    fixed: list[Fixed] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        package, *inner = PACKAGES[self.distribution]
        self.top = f"drifting_{package}"
        self.version = metadata.version(self.distribution)
        found = importlib.util.find_spec(package)
        assert found is not None
        assert found.submodule_search_locations
        folder = Path(found.submodule_search_locations[0])
        own = re.compile(rf"(?m)^(\s*(?:from|import)\s+){package}\b")
        for file in sorted(folder.rglob("*.py")):
            text = own.sub(rf"\g<1>{self.top}", file.read_text(encoding="utf-8"))
            self.texts[f"{self.top}/{file.relative_to(folder).as_posix()}"] = text
        for name in inner:
            path = f"{self.top}/{name.replace('.', '/')}.py" if name else f"{self.top}/__init__.py"
            if path in self.texts:
                self.modules.append(f"{self.top}.{name}".rstrip("."))
                made = file_of(str(self.old / path), self.texts[path])
                assert made is not None, path
                self.files[path] = made
        self.write("old", self.version, self.texts)
        self.write_needed("2.1")
        with self.process():
            self.fixed = self._drawn()
        changed = {path: self._with_fix(path) for path in self.files}
        self.write("new", f"{self.version}.1", {**self.texts, **changed})
        self.patch = self.build()

    # The two releases

    @property
    def old(self) -> Path:
        """The folder into which the release that runs is installed."""
        return self.root / "old"

    @property
    def name(self) -> str:
        """The name of the distribution."""
        return self.top.replace("_", "-")

    def write(self, side: str, version: str, texts: dict[str, str], more: str = "") -> None:
        """Install a release as pip does."""
        for path, text in texts.items():
            file = self.root / side / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        self.write_metadata(side, version, more)

    def write_metadata(self, side: str, version: str, more: str = "", name: str = "") -> None:
        """Say what is installed; `more` are further lines of the metadata."""
        for info in (self.root / side).glob("drift*-1.dist-info"):
            if not info.name.startswith(f"{self.top}_needs-"):
                shutil.rmtree(info)
        info = self.root / side / f"{(name or self.name).replace('-', '_')}-1.dist-info"
        info.mkdir()
        named = f"Metadata-Version: 2.1\nName: {name or self.name}\nVersion: {version}\n"
        (info / "METADATA").write_text(f"{named}Requires-Python: >=3.11\nRequires-Dist: {self.needed}>=2\n{more}")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in self.texts))

    @property
    def needed(self) -> str:
        """The name of another distribution, which both releases ask for."""
        return f"{self.name}-needs"

    def write_needed(self, version: str | None) -> None:
        """Install that, in another version."""
        info = self.old / f"{self.top}_needs-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").unlink(missing_ok=True)
        if version:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.needed}\nVersion: {version}\n")
        else:
            info.rmdir()

    def other(self, one: Fixed) -> livepatch.Patch:
        """A patch of the same function with another body."""
        function: Any = found(one.module, one.qualname)[1]
        patch = livepatch.Patch("OTHER", package=self.name, versions=f"=={self.version}")
        scope: dict[str, Any] = {}
        node = copy.deepcopy(self.function(one).node)
        node.body = ast.parse("raise TypeError('another fix')" + "\nyield" * inspect.isgeneratorfunction(function)).body
        node.decorator_list, node.returns, node.args.defaults = (
            [],
            None,
            [ast.Constant(None) for _ in node.args.defaults],
        )
        node.args.kw_defaults = [default and ast.Constant(None) for default in node.args.kw_defaults]
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        exec(ast.unparse(node), scope)
        patch.replace(str(one))(scope[node.name])
        return patch

    def narrowed(self, one: Fixed) -> livepatch.Patch:
        """A patch after which a function takes one more argument, without a default."""
        node = self.function(one).node
        end = span([*node.args.posonlyargs, *node.args.args][-1])[1]
        text = spliced(self.texts[one.path], [(end, end, ", refuse")])
        self.write("narrowed", f"{self.version}.1", {**self.texts, one.path: text})
        return livepatch.build(self.old, self.root / "narrowed", package=self.name)

    def build(self, **options) -> livepatch.Patch:
        """The patch from the release that runs to the one with the fix."""
        return livepatch.build(self.old, self.root / "new", package=self.name, **options)

    def _drawn(self) -> list[Fixed]:
        rng = random.Random(self.seed)
        called = self._called_by_imports()
        every = [
            Fixed(module, path, index, function.qualname)
            for module, (path, file) in zip(self.modules, self.files.items(), strict=True)
            for index, function in enumerate(file.functions)
            if function.qualname not in called and self._may_be_fixed(module, file, function)
        ]
        # Methods of classes with bases, and functions with decorators, are what some drifts are about.
        special = [each for each in every if self.function(each).node.decorator_list]
        derived = [each for each in every if (c := self.class_of(each)) is not None and c.bases]
        chosen = [*rng.sample(special, min(2, len(special))), *rng.sample(derived, min(2, len(derived)))]
        left = [each for each in every if each not in chosen]
        more = rng.sample(left, min(max(0, _TARGETS - len(set(chosen))), len(left)))
        return sorted(set(chosen) | set(more), key=lambda each: (each.path, each.index))

    def _may_be_fixed(self, module: str, file: File, function: Function) -> bool:
        node = function.node
        alike = [other for other in file.functions if other.qualname == function.qualname]
        if function.code is None or len(alike) > 1 or not (node.args.posonlyargs or node.args.args):
            return False
        if function.qualname.endswith(("__init__", "__new__", "__setattr__", "__getattr__", "__del__")):
            return False
        return node.body[0].lineno > node.lineno and isinstance(found(module, function.qualname)[1], FunctionType)

    def _called_by_imports(self) -> set[str]:
        """What modules call for its effects when they are imported: a patch of that is refused."""
        statements = [s for text in self.texts.values() for s in ast.parse(text).body if isinstance(s, ast.Expr)]
        return {ast.unparse(s.value.func) for s in statements if isinstance(s.value, ast.Call)}

    def _with_fix(self, path: str) -> str:
        lines = self.texts[path].split("\n")
        for one in reversed([each for each in self.fixed if each.path == path]):
            node = self.function(one).node
            documented = ast.get_docstring(node, clean=False) is not None and len(node.body) > 1
            first = node.body[1 if documented else 0]
            line = min([first.lineno, *(d.lineno for d in getattr(first, "decorator_list", ()))])
            indent = lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
            parameter = [*node.args.posonlyargs, *node.args.args][-1].arg
            fix = [f"if {parameter} is NotImplemented:", "    raise ValueError('refused by the fix')"]
            if one is self.fixed[0]:
                fix.append(f"assert {parameter} is not NotImplemented")
            lines[line - 1 : line - 1] = [indent + each for each in fix]
        return "\n".join(lines)

    # What is in the files

    def function(self, one: Fixed) -> Function:
        """A function as the release that runs has it."""
        return self.files[one.path].functions[one.index]

    def class_of(self, one: Fixed) -> ast.ClassDef | None:
        """The class statement around a method."""
        body: list[ast.stmt] = self.files[one.path].tree.body
        kind = None
        for name in one.qualname.split(".")[:-1]:
            kinds = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
            if len(kinds) != 1:
                return None
            kind = kinds[0]
            body = kind.body
        return kind

    # The process

    @contextlib.contextmanager
    def process(self, texts: dict[str, str] | None = None, optimize: int = -1) -> Iterator[pytest.MonkeyPatch]:
        """This process with the package imported, some files with another text.  What is set in it is undone."""
        for path, text in (texts or {}).items():
            (self.old / path).write_text(text, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patching, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patching.setattr(sys, "dont_write_bytecode", True)
            patching.syspath_prepend(str(self.old))
            patching.setattr(sys, "meta_path", [_Finder(self.top, optimize), *sys.meta_path])
            try:
                for name in self.modules:
                    importlib.import_module(name)
                yield patching
            finally:
                for status in reversed(livepatch.status()):
                    livepatch.revert(status.id)
                for path in texts or {}:
                    (self.old / path).write_text(self.texts[path], encoding="utf-8")
                self.write_metadata("old", self.version)
                self.write_needed("2.1")
                for name in [each for each in sys.modules if each.partition(".")[0].startswith(self.top)]:
                    del sys.modules[name]
        gc.collect()

    def holds(self, one: Fixed) -> object:
        """What the process has under the name of a function."""
        return found(one.module, one.qualname)[0]


def found(module: str, qualname: str) -> tuple[object, object]:
    """What a name holds, looked up without asking descriptors, and the function in it, if it is a usual wrapper."""
    value: object = sys.modules[module]
    for name in qualname.split("."):
        kind = value if isinstance(value, type) else None
        mangled = f"_{kind.__name__.lstrip('_')}{name}" if kind and name[:2] == "__" and name[-2:] != "__" else name
        space = value.__dict__ if isinstance(value, (type, ModuleType)) else {}
        if mangled not in space:
            return None, None
        value = space[mangled]
    inner: object = value
    if isinstance(inner, (staticmethod, classmethod)):
        inner = inner.__func__
    elif isinstance(inner, property):
        inner = inner.fget
    inner = inspect.unwrap(inner) if callable(inner) else inner
    return value, inner


# Texts with one thing changed


def spliced(text: str, edits: list[tuple[tuple[int, int], tuple[int, int], str]]) -> str:
    """`text` with something else from one (line, column) to another, columns counted in bytes of UTF-8."""
    lines = text.encode().split(b"\n")
    for (first, begin), (last, end), new in sorted(edits, reverse=True):
        left, right = lines[first - 1][:begin], lines[last - 1][end:]
        lines[first - 1 : last] = (left + new.encode() + right).split(b"\n")
    return b"\n".join(lines).decode()


def span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a node begins and ends."""
    at = vars(node)
    return (at["lineno"], at["col_offset"]), (at["end_lineno"], at["end_col_offset"])


def definitions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions in a text that parses."""
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def code_in(text: str, path: str, qualname: str) -> CodeType | None:
    """The code that a text gives for a name; `None` if it does not compile, or gives none or several."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    codes = [code for code in nested_codes(whole) if code.co_qualname == qualname]
    return codes[0] if len(codes) == 1 else None


def shape(code: CodeType) -> object:
    """What code does, apart from where it stands."""
    return (
        code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags,
        code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_exceptiontable, code.co_qualname,
        tuple(shape(each) if isinstance(each, CodeType) else (type(each), repr(each)) for each in code.co_consts),
    )  # fmt: skip
