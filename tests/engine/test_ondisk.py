# ruff: noqa: E501  # a shape is read faster in one line
"""The file on disk tells apart why a process runs other code than a patch was made for."""

from __future__ import annotations

import importlib.util
import itertools
import py_compile
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from tests.mutants import file_of

from livepatch.engine.compiling import Context
from livepatch.engine.matching import matches
from livepatch.engine.ondisk import DiskSays, disk_says

LONG_AGO, SOON = 0.0, time.time() + 1e6
OLD = "import os\n\n@staticmethod\ndef f(x):\n    return os.path.join(x, 'old')\n"
NEW = OLD.replace("old", "new")
_numbers = itertools.count()

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a module to a file and load it."""

    def load(source: str) -> ModuleType:
        path = tmp_path / f"ondisk_{next(_numbers)}.py"
        path.write_text(source, encoding="utf-8")
        return loaded(path)

    return load


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(module: ModuleType, source: str) -> None:
    assert module.__file__ is not None
    Path(module.__file__).write_text(source, encoding="utf-8")


def code_of(module: ModuleType, path: str = "f") -> CodeType:
    value: Any = module
    for name in path.split("."):
        value = vars(value)[name]
    code: CodeType = getattr(value, "__func__", value).__code__
    return code


def says(module: ModuleType, before: str, *, path: str = "f", began: float = LONG_AGO, index: int = 0) -> DiskSays:
    """What is said of a live function of the module to a patch that is made for the function of `before`."""
    file = file_of("pkg/mod.py", before)
    assert file is not None
    texts = [function.text for function in file.functions if function.qualname == path][index : index + 1]
    live = code_of(module, path)
    assert matches(live, file.context, path, texts[0]) is not None
    return disk_says(module, file.context, path, texts, live, began=began)


def test_another_release_is_installed(load: Load):
    said = says(load(NEW), OLD)
    assert said.cause == "modified"
    assert said.refusal.code == "before-differs"
    assert said.refusal.found.endswith(": the process does not run line 5: `return os.path.join(x, 'old')`")
    assert "build the patch from the files that are installed" in said.refusal.action
    assert not said.is_own


def test_the_release_that_the_patch_is_for_was_put_in_place_under_the_process(load: Load):
    module = load(NEW)
    write(module, OLD)
    said = says(module, OLD)
    assert said.cause == said.refusal.code == "upgraded-on-disk"
    assert "the file holds what the patch was made for: the process does not run line 5" in said.refusal.found
    assert said.refusal.action == "restart the process, then apply the patch"


@pytest.mark.parametrize("source", ["def f(x): return 3\n", "def g(x): return 3\n"])
def test_something_else_was_put_in_place_under_the_process(load: Load, source: str):
    module = load(NEW)
    write(module, source)
    said = says(module, OLD)
    assert said.cause == "upgraded-on-disk"
    assert "the file holds neither" in said.refusal.found
    assert "build the patch anew" in said.refusal.action


def test_a_file_that_is_older_than_the_process_was_not_upgraded(load: Load):
    module = load(OLD.replace("@staticmethod\n", ""))
    function = vars(module)["f"]
    function.__code__ = function.__code__.replace(co_consts=(None, "other"))
    said = says(module, OLD, began=SOON)
    assert said.cause == said.refusal.code == "changed-in-memory"
    assert "take out what changes functions" in said.refusal.action


def test_code_from_another_file_was_put_in_by_somebody(load: Load):
    module = load(OLD)
    other: dict[str, Any] = {}
    exec(compile("def f(x): return 3\n", "/elsewhere/tool.py", "exec"), other)
    vars(module)["f"].__func__.__code__ = other["f"].__code__
    said = says(module, OLD)
    assert said.cause == "changed-in-memory"
    assert "(it is from /elsewhere/tool.py)" in said.refusal.found


def test_code_of_another_patch_is_told_from_that_of_strangers(load: Load):
    module = load(OLD)
    other: dict[str, Any] = {}
    exec(compile("def f(x): return 3\n", "<livepatch A module:f>", "exec"), other)
    vars(module)["f"].__func__.__code__ = other["f"].__code__
    said = says(module, OLD)
    assert "(it is from <livepatch A module:f>)" in said.refusal.found
    assert "revert the patch that it is from" in said.refusal.action


def test_this_process_began_before_now(load: Load):
    module = load(NEW)
    write(module, OLD)
    live = code_of(module)
    file = file_of("pkg/mod.py", OLD)
    assert file is not None
    said = disk_says(module, file.context, "f", [file.functions[0].text], live)
    assert said.cause == "upgraded-on-disk"


def test_without_a_file_nothing_can_be_told(load: Load):
    module = load(NEW)
    assert module.__file__ is not None
    Path(module.__file__).unlink()
    for cached in Path(module.__file__).parent.rglob("*.pyc"):
        cached.unlink()
    said = says(module, OLD)
    assert said.cause == "no-source"
    assert said.refusal.code == "before-differs"
    bare = ModuleType("bare")
    exec(NEW, vars(bare))
    assert says(bare, OLD).cause == "no-source"


def test_a_file_that_is_no_python_tells_nothing(load: Load):
    module = load(NEW)
    write(module, "def f(:\n")
    assert says(module, OLD).cause in ("no-source", "upgraded-on-disk")


def test_compiled_files_without_source(load: Load):
    module = load(NEW)
    assert module.__file__ is not None
    path = Path(module.__file__)
    compiled = path.with_suffix(".pyc")
    py_compile.compile(str(path), str(compiled), doraise=True)
    path.unlink()
    assert says(loaded(compiled), OLD).cause == "modified"


VARIANTS = "import sys\nif sys:\n    def f():\n        return 1\nelse:\n    def f():\n        return 2\n"


def test_another_definition_of_the_name_that_the_file_also_has(load: Load):
    said = says(load(VARIANTS), VARIANTS, index=1)
    assert said.is_own
    assert not says(load(VARIANTS), VARIANTS.replace("2", "3"), index=1).is_own


SHAPES = {
    "futures": ("from __future__ import (  # why\n    annotations,\n)\ndef f(x: y): return 1\n", "f"),
    "decorated": ("import functools\nclass C:\n    @staticmethod\n    # why\n    def f():\n        '''a\n  b'''\n        return 1\n", "C.f"),
    "a global of a class": ("class C:\n    global f\n    def f(): return 1\n", "f"),
    "a class inside": ("def f():\n    class C:\n        def m(self): self.a = 1\n    return C\n", "f"),
    "in a block": ("try:\n\tdef f():\n\t\treturn 1\nfinally:\n\tpass\n", "f"),
}  # fmt: skip
if sys.version_info >= (3, 12):
    SHAPES["type parameters"] = ("class C[T]:\n    def f(self): return T, 1\n", "C.f")


@pytest.mark.parametrize(("source", "path"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("above", ["", "\n\n"])
def test_the_file_gives_the_live_code(load: Load, source: str, path: str, above: str):
    module = load(source)
    write(module, above + source)
    text = file_of("a.py", "def f(self, x): return 2\n")
    assert text is not None
    said = disk_says(module, Context((), (), "a.py"), path, [text.functions[0].text], code_of(module, path))
    assert said.cause == "modified"
