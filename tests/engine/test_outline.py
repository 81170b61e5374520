# ruff: noqa: E501  # a shape is read faster in one line
"""An outline finds every definition of a file, and each of them, compiled by itself, gives the code of the whole."""

from __future__ import annotations

import ast
import inspect
import io
import json
import sys
import textwrap
import typing
from pathlib import Path
from types import CodeType

import pytest

from livepatch.engine import pace
from livepatch.engine.code import nested_codes
from livepatch.engine.outline import Outline, outline_of


def outlined(text: str) -> Outline:
    found = outline_of(io.StringIO(textwrap.dedent(text)).readlines())
    assert found is not None
    return found


def functions_in(text: str) -> list[CodeType]:
    top = compile(text, "whole", "exec", dont_inherit=True)
    functions = [c for c in nested_codes(top) if c.co_flags & inspect.CO_NEWLOCALS and c.co_name.isidentifier()]
    return [c for c in functions if c.co_name != "__annotate__"]  # no definition of its own


def unproved(text: str) -> list[str]:
    """The functions of a file whose own lines do not give their code."""
    outline = outlined(text)
    missed = []
    for code in functions_in(textwrap.dedent(text)):
        blocks = [block for block in outline.blocks_of(code) or () if block.first == code.co_firstlineno]
        if not any(outline.gives(block, code) for block in blocks):
            missed.append(code.co_qualname)
    return missed


SHAPES = {
    "plain": "def f(a, b=1, *c, d, **e): return a\ndef g(): pass\n",
    "decorated": "def d(f): return f\n@d\n@d\n# why\ndef f():\n    return 1\n@(\n    d\n)\nclass C:\n    @d\n    def m(self): pass\n",
    "text at the margin": 'def f():\n    x = """\ndef g(): pass\nclass C:\n"""\n    return x\ndef h(): return 2\n',
    "long headings": "def f(\n    a,\n    b=(1,\n2),\n):\n    return (a,\nb)\nclass C(\n    dict\n):\n    def m(self): return super().copy()\n",
    "continued lines": "def f(): \\\n  return 1 + \\\n2\nx = 1; y = 2\ndef g(): return 3\n",
    "under conditions": "import sys\nif sys:\n    try:\n        def f(): return sys.path\n    except Exception:\n        def f(): return 2\n",
    "closures": "def f(a):\n    b = 1\n    def g(c):\n        nonlocal b\n        def h(): return a, b, c, g\n        return h\n    return g\n",
    "a method of a local class": "def f(a):\n    class C:\n        def m(self): return __class__, a, self.__x\n    return C\n",
    "private names": "class _C:\n    class D:\n        def __m(self): return self.__x, __y\n    def n(self, __p): return [__p for _ in __p]\n",
    "tabs": "class C:\n\tdef m(self):\n\t\tif self:\n\t\t\treturn 1\n\t\treturn 2\n\tdef n(self): pass\n",
    "async": "async def f():\n    async with g() as x:\n        return [y async for y in x]\nclass C:\n    async def m(self): await self\n",
    "a future": "from __future__ import annotations\ndef f(a: int) -> str:\n    def g(b: x): pass\n    return g\n",
    "imports at the end": "def f(): return os.sep.join(x.y()), path.join(), q.r(), s.t()\ndef h(): import w; return w.x()\n"
    "import os.path as path, os, a.x; from m import (\n    q,\n    r as s,\n)\ntry: import x\nexcept ImportError: x = None\n",
    "comments and form feeds": "# a\n\n\x0cclass C:\n  # b\n\n    # c\n  def m(self):\n# d\n    return 1\n\n# e\n",
    "f-strings": "def f(a):\n    return f'def g(): {a!r:>{a}} import b {{'\nimport c\ndef h(): return c.d()\n",
    "no last line": "def f():\n    return 'é'",
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
def test_each_definition_by_itself_gives_the_code_of_the_whole_file(text: str):
    assert unproved(text) == []


@pytest.mark.parametrize("module", [json.decoder, textwrap, ast, pytest], ids=lambda module: module.__name__)
def test_real_files(module: typing.Any):
    assert unproved(Path(module.__file__).read_text(encoding="utf-8")) == []


def test_other_code_is_not_proved():
    outline = outlined("def f(): return 1\n")
    (other,) = functions_in("def f(): return 2\n")
    (block,) = outline.blocks["f"]
    assert not outline.gives(block, other)


def test_names_that_a_file_gives_several_times():
    outline = outlined("""
        def f(): pass
        class C:
            def f(self): pass
            def f(self): return 1
        def f(): pass
    """)
    assert {name: len(blocks) for name, blocks in outline.blocks.items()} == {"f": 2, "C.f": 2}


def test_a_global_definition_is_left_to_the_whole_file():
    text = "def f():\n    global g\n    def g(): return 1\n"
    codes = {code.co_name: code for code in functions_in(text)}
    assert outlined(text).blocks_of(codes["g"]) is None
    assert outlined(text).blocks_of(codes["f"]) is not None


def test_syntax_is_given_with_its_def_in_the_first_line():
    outline = outlined(
        "class C:\n    @d(\n        1)\n    def m(self):\n        # why\n        return 1\n    # after\nx = 1\n"
    )
    (block,) = outline.blocks["C.m"]
    node, text = outline.parsed(block, "file")
    assert text == "    def m(self):\n        # why\n        return 1\n"
    assert (node.name, node.lineno, node.end_lineno, node.body[0].lineno) == ("m", 1, 3, 3)
    assert node.decorator_list == []


@pytest.mark.parametrize("text", ["def f(:\n  '''", "x = (\n", "if 1:\n    a\n  b\n"])
def test_what_is_no_python_has_no_outline(text: str):
    assert outline_of(text.splitlines(keepends=True)) is None


def test_a_long_file_is_read_in_small_steps(monkeypatch: pytest.MonkeyPatch):
    naps: list[float] = []
    monkeypatch.setattr(pace.time, "sleep", naps.append)
    monkeypatch.setattr(pace, "is_alone", lambda: False)
    lines = "".join(f"def f{i}(a):\n    return a + {i}\n" for i in range(2_000)).splitlines(keepends=True)
    outline = outline_of(lines)
    assert outline is not None
    assert len(outline.blocks) == 2_000
    assert len(naps) > 5


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with 3.12")
def test_type_parameters_of_a_function():
    assert unproved("def f[T](a: T) -> T: return a\n") == []
