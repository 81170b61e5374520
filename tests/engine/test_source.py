"""The lines that are shown of patched code are the patch's own, under a name that says so, and only while it is in."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import linecache
import re
import traceback
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import codes, cycle

import livepatch
from livepatch.engine.disk import code_on_disk
from livepatch.engine.source import SourceFiles, patch_filename

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule


def shown() -> list[str]:
    """The names under which patched code is shown now."""
    return [name for name in linecache.cache if name.startswith("<livepatch")]


def traceback_of(call: Any) -> str:
    try:
        call()
    except ZeroDivisionError:
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


@pytest.fixture
def m(write_module: WriteModule) -> ModuleType:
    return write_module("""
        class C:
            def method(self, n): return 'old'
            @property
            def x(self): return 'old'
        def f(n):
            return 'old'
        def make():
            def made(n): return 'old'
            return made
        def steps(n): yield 'old'
        async def wait(n): return 'old'
    """)


def drive(coroutine: Any) -> object:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value


CASES = {
    "f": ("def f(n):\n    # why\n    return 1000 + (1 / n)", lambda m: m.f(0), 3),
    "C.method": ("def method(self, n):\n    return 1000 + (1 / n)", lambda m: m.C().method(0), 2),
    "C.x": ("@property\n@replace\ndef x(self):\n    n = 0\n    return 1000 + (1 / n)", lambda m: m.C().x, 3),
    "make.<locals>.made": ("def made(n):\n    return 1000 + (1 / n)", lambda m: m.make()(0), 2),
    "steps": ("def steps(n):\n    yield 1000 + (1 / n)", lambda m: next(m.steps(0)), 2),
    "wait": ("async def wait(n):\n    return 1000 + (1 / n)", lambda m: drive(m.wait(0)), 2),
}


@pytest.mark.parametrize(("path", "case"), CASES.items(), ids=CASES.keys())
def test_a_traceback_shows_the_patch_s_own_lines(path: str, case: Any, m: ModuleType, write_fix: WriteFix):
    replacement, call, line = case
    accessor = path == "C.x"
    fix = write_fix(f"{m.__name__}:{path}{'.fget' * accessor}", replacement.replace("@property\n", ""))
    applied = livepatch.apply(fix)
    text = traceback_of(lambda: call(m))
    where = f"{m.__name__}:{path}{'.fget' * accessor}"
    assert f'File "<livepatch {fix.id} {where}>", line {line}, in {path.rpartition(".")[2]}\n' in text
    source, carets = re.search(r"^( *\w+ 1000 \+ \(1 / n\)\n)([ ~^]+)$", text, re.MULTILINE).groups()  # type: ignore[union-attr]  # or the test fails
    assert source[carets.index("~") : carets.rindex("~") + 1] == "1 / n"
    applied.revert()
    assert shown() == []


def test_a_method_is_shown_as_it_is_indented(m: ModuleType, write_module: WriteModule, new_patch: NewPatch):
    author = write_module("""
        def write(fix, target):
            if True:
                @fix.replace(target)
                def method(self, n):
                    '''Words.'''
                    return 1000 + (1 / n)
    """)
    fix = new_patch()
    author.write(fix, f"{m.__name__}:C.method")
    livepatch.apply(fix)
    text = traceback_of(lambda: m.C().method(0))
    assert "line 3, in method" in text
    assert "\n    return 1000 + (1 / n)\n" in text
    assert "def method" in inspect.getsource(m.C.method).splitlines()[0]


def test_a_class_body_and_what_it_adds(m: ModuleType, write_module: WriteModule, new_patch: NewPatch):
    author = write_module("""
        class C:
            def method(self, n):
                return self.added(n)
            def added(self, n):
                return 1 / n
    """)
    fix = new_patch()
    fix.replace(f"{m.__name__}:C")(author.C)
    applied = livepatch.apply(fix)
    text = traceback_of(lambda: m.C().method(0))
    for name, line in (("method", "return self.added(n)"), ("added", "return 1 / n")):
        assert f'File "<livepatch {fix.id} {m.__name__}:C.{name}>", line 2, in {name}\n    {line}\n' in text
    assert author.__file__ not in text
    applied.revert()
    assert shown() == []


def test_a_replacement_that_is_forwarded_to(m: ModuleType, write_module: WriteModule, new_patch: NewPatch):
    author = write_module("""
        def write():
            own = 1000
            def f(n):
                return own + (1 / n)
            return f
    """)
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(author.write())
    applied = livepatch.apply(fix)
    text = traceback_of(lambda: m.f(0))
    assert f'File "<livepatch {fix.id} {m.__name__}:f>", line 2, in f\n    return own + (1 / n)\n' in text
    applied.revert()
    assert shown() == []


WRITTEN = "def f(n):\n    # a comment of the fix\n    inner = lambda: n\n    return inner()\n"


def test_inspect_and_linecache_give_the_source_as_written(m: ModuleType, write_fix: WriteFix):
    fix = write_fix(f"{m.__name__}:f", WRITTEN)
    before = inspect.getsource(m.f)
    applied = livepatch.apply(fix)
    filename = m.f.__code__.co_filename
    assert filename == patch_filename(fix.id, f"{m.__name__}:f")
    for _ in range(2):
        assert inspect.getsource(m.f) == WRITTEN
        assert inspect.getsourcelines(m.f)[1] == 1
        assert inspect.getcomments(m.f) is None
        assert inspect.getsourcefile(m.f) == filename
        assert [linecache.getline(filename, n) for n in (1, 3, 5)] == ["def f(n):\n", "    inner = lambda: n\n", ""]
        linecache.checkcache()  # as every traceback does
    applied.mode = "off"
    assert inspect.getsource(m.f) == before
    applied.mode = "on"
    assert inspect.getsource(m.f) == WRITTEN
    applied.revert()
    assert inspect.getsource(m.f) == before
    assert linecache.getlines(filename) == []


def test_each_patch_shows_its_own_lines(m: ModuleType, write_fix: WriteFix):
    lower = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(n): return 'lower'"))
    upper = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(n): return 'upper'"))
    assert len(shown()) == 2
    assert "upper" in inspect.getsource(m.f)
    upper.revert()
    assert "lower" in inspect.getsource(m.f)
    assert len(shown()) == 1
    next_one = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(n): return 'next'"), replaces=[lower.id])
    assert "next" in inspect.getsource(m.f)
    assert len(shown()) == 1
    next_one.revert()
    assert shown() == []


def test_looking_and_being_refused_show_nothing(m: ModuleType, write_fix: WriteFix):
    assert livepatch.check(write_fix(f"{m.__name__}:f", WRITTEN)).ok
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(write_fix(f"{m.__name__}:f", "def f(n, must): return 'new'"))
    assert shown() == []


# Source that proves nothing


@pytest.mark.parametrize(
    "edited",
    [
        lambda text: text.replace("'new'", "'edited'"),
        lambda text: "# a line more\n" + text,
        lambda text: "def f(:\n",
        lambda text: "\0",
        lambda text: "",
        None,
    ],
    ids=["other code", "other lines", "no Python", "null bytes", "empty", "deleted"],
)
def test_a_file_edited_since_its_import_falls_back_to_the_code_that_ran(
    edited: Any, m: ModuleType, write_module: WriteModule, new_patch: NewPatch
):
    author = write_module("def f(n):\n    return 'new'\n")
    path = Path(author.__file__)
    if edited is None:
        path.unlink()
    else:
        path.write_text(edited(path.read_text()))
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(author.f)
    report = cycle(fix, lambda: m.f(0), "old", "new", m)
    assert codes(report) == []
    applied = livepatch.apply(fix)
    assert (m.f.__code__.co_filename, m.f.__code__.co_firstlineno) == (author.__file__, 1)
    assert shown() == []
    applied.revert()


def test_a_replacement_without_a_file(m: ModuleType, new_patch: NewPatch):
    space: dict[str, Any] = {}
    exec(compile("def f(n):\n    return 1000 + (1 / n)\n", "<typed>", "exec", dont_inherit=True), space)
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(space["f"])
    applied = livepatch.apply(fix)
    assert m.f(1) == 1001
    assert 'File "<typed>", line 2, in f' in traceback_of(lambda: m.f(0))
    assert shown() == []
    applied.revert()
    assert m.f(1) == "old"


def test_a_lambda_stands_as_it_was_written(m: ModuleType, new_patch: NewPatch):
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(lambda n: 1000 + (1 / n))
    applied = livepatch.apply(fix)
    text = traceback_of(lambda: m.f(0))
    assert f'File "{__file__}"' in text
    assert "in f\n" in text
    assert (m.f.__code__.co_name, m.f.__code__.co_qualname) == ("f", "f")
    applied.revert()


def test_source_that_a_loader_gives_and_no_file(m: ModuleType, new_patch: NewPatch):
    text = "def f(n):\n    return 'new'\n"

    class Loader:
        def get_source(self, name: str) -> str:
            return text

    spec = importlib.machinery.ModuleSpec("typed", Loader())  # type: ignore[arg-type]  # as little as linecache needs
    space: dict[str, Any] = {"__name__": "typed", "__loader__": spec.loader, "__spec__": spec}
    exec(compile(text, "typed-in.py", "exec", dont_inherit=True), space)
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(space["f"])
    applied = livepatch.apply(fix)
    assert (m.f(0), inspect.getsource(m.f)) == ("new", text)
    applied.revert()
    linecache.cache.pop("typed-in.py", None)


# Definitions


def definition(function: FunctionType) -> str | None:
    found = SourceFiles().definition(function)
    return None if found is None else found.text


def test_definitions_are_told_apart_by_their_lines(write_module: WriteModule):
    m = write_module("""
        def deco(function): return function
        if True:
            def f(): return 1
        first = f
        @deco
        @deco
        def f():
            return 2
        def outer():
            def f(): return 3
            return f
        pair = [lambda: 1, lambda: 2]
    """)
    assert definition(m.first) == "    def f(): return 1\n"
    assert definition(m.f) == "def f():\n    return 2\n"
    assert definition(m.outer()) == "    def f(): return 3\n"
    assert [definition(one) for one in m.pair] == [None, None]
    assert definition(m.deco) == "def deco(function): return function\n"


def test_a_last_line_without_its_end(write_module: WriteModule):
    m = write_module("def f(): return 'é'")
    assert definition(m.f) == "def f(): return 'é'\n"


def test_code_that_was_rewritten_has_no_definition(write_module: WriteModule):
    m = write_module("def f(): return 1000")
    code = m.f.__code__
    m.f.__code__ = code.replace(co_consts=tuple(2000 if c == 1000 else c for c in code.co_consts))
    assert m.f() in (1000, 2000)
    m.f.__code__ = compile("def f(): return 3000", code.co_filename, "exec").co_consts[0]
    assert definition(m.f) is None


def test_the_future_of_its_file_belongs_to_a_definition(write_module: WriteModule):
    m = write_module("from __future__ import annotations\ndef f(): pass")
    found = SourceFiles().definition(m.f)
    assert found is not None
    assert found.flags == m.f.__code__.co_flags & found.flags != 0


# What a module's own file gives


def test_code_on_disk_is_that_of_a_fresh_import(write_module: WriteModule):
    m = write_module("def f(): return 1\ndef f(): return 2\nclass C:\n    def m(self): return lambda: 3")
    found = code_on_disk(m)
    assert found is not None
    assert {name: len(codes) for name, codes in found.items()} == {"f": 2, "C": 1, "C.m": 1, "C.m.<locals>.<lambda>": 1}
    Path(m.__file__).write_text("def g(): return 1\n")
    assert list(code_on_disk(m) or ()) == ["g"]


def test_looking_at_the_disk_writes_nothing_there(write_module: WriteModule):
    m = write_module("def f(): return 1")
    path = Path(m.__file__)
    path.write_text("def f(): return 12345\n")
    before = {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")}
    assert code_on_disk(m)
    assert {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")} == before


def test_where_the_disk_cannot_tell(write_module: WriteModule):
    m = write_module("def f(): return 1")
    path = Path(m.__file__)
    for text in ("def f(:", "\0", "# coding: nonsense\n"):
        path.write_text(text)
        assert code_on_disk(m) is None
    path.unlink()
    assert code_on_disk(m) is None
    m.__spec__ = None
    assert code_on_disk(m) is None
    assert code_on_disk(ModuleType("made")) is None
    builtin = importlib.util.find_spec("itertools")
    assert builtin is not None
    assert code_on_disk(importlib.util.module_from_spec(builtin)) is None
