# ruff: noqa: E501  # a shape is read faster in one line
"""A definition compiled by itself is the code that its whole file gives, lines included."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import CodeType

import pytest
from tests.mutants import File, file_of

from livepatch.contents.edits import Text
from livepatch.engine.code import nested_codes
from livepatch.engine.compiling import Context, compile_function
from livepatch.engine.differing import same_shape

SHAPES = {
    "plain": "x = 1\ndef f(a, /, b=1, *c, d=2, **e) -> int:\n    return a\ndef g(): pass\n",
    "decorated": "@d\n# why\n@d(\n  2)\ndef f():\n    return 1\n@(\n    d\n)\nasync def g():\n    await f()\n",
    "class chains": "class _C(B, metaclass=M):\n    class D:\n        def __m(self): return self.__x, __y, super().m(), __class__\n    def n(self, __p, *, __k=1): return [__p for _ in __k]\n",
    "closures": "def f(a):\n    b = 1\n    class C:\n        k: int = a\n        def m(self): return __class__, a, self.z\n        async def n(self): self.y = [q async for q in b]\n    def g(c: int): return lambda: (a, b, c, g)\n    return g, C\n",
    "imports": "def f(): return os.sep.join(x.y()), path.join(), q.r(), s.t(), annotations.u(), v.w()\nimport os.path as path, os, a.x\nfrom m import (\n    q,\n    r as s,\n)\nfrom z import *\ntry: import x\nexcept E:\n    if 1: x = None\nclass C:\n    import v\n    def g(self): return v.w(), q.w()\ndef h():\n    import w\n    w.x()\n",
    "futures": "from __future__ import annotations, division\ndef f(a: int) -> str:\n    def g(b: x) -> y: return annotations.z(), division.z()\n    return g\n",
    "strings over lines": "class C:\n    def m(self):\n        '''Says.\n\n            more\n        '''\n        return f'''{self}\n        a''' 'b\\\n        c'\n",
    "an annotation's namesake": "class C:\n    def __annotate__(self, x: int = 1) -> str: return x\n",
    "conditions": "if A:\n    def f(): return 1\nelse:\n\tdef f():\n\t\tassert __debug__, 3\n\t\treturn 2\nwhile B:\n  with C:\n    try: pass\n    finally:\n      def g(): yield 1\n",
    "its own super": "_super = super\nclass C:\n    def m(self): return super().m(), super\n    def n(self): return 1\n",
    "super": "class C:\n    def m(self): return super().m()\n    def n(self):\n        x = super(C, self)\n        return super(C, self).n(), x\n    def o(self): return super(C, self)\n",
    "constants": "def f(): return 1, 1.0, True, -0.0, 0.0, 0j, -0j, b'', '', None, ..., (1, (True, 1.0)), x in {1, 2.0, (True, -0.0)}, x[1:2], 1e999, 0x" + "f" * 5000 + "\n",
}  # fmt: skip
if sys.version_info >= (3, 12):
    SHAPES["type parameters"] = (
        "class A[T, __U]:\n    def a(self, x: T) -> T: return T, x\n    def b(self): return 1\n    class B[V]:\n        def c[W: T](self, w: W = None): return T, V, W, super().c\n        def d(self): return __U\ndef f[T](x: T) -> T:\n    type L = list[T]\n    class C[Q]:\n        def m(self): return T, Q, L\n    return C\n"
    )
if sys.version_info >= (3, 14):
    SHAPES["template strings"] = "class C:\n    def m(self): return t'''{self}\n        a'''\n"


def lines(code: CodeType) -> list[object]:
    return [(one.co_firstlineno, [line for *_, line in one.co_lines()]) for one in (code, *nested_codes(code))]


def read(source: str) -> File:
    file = file_of("/a/file.py", source)
    assert file is not None
    assert file.functions
    return file


@pytest.mark.parametrize("source", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("above", [0, 300])
def test_the_code_and_the_lines_of_the_whole_file(source: str, above: int):
    file = read("\n" * above + source)
    for function in file.functions:
        assert function.code is not None
        code = compile_function(file.context, function.qualname, function.text, like=function.code)
        assert same_shape(function.code, code), function.qualname
        assert lines(function.code) == lines(code)
        assert code.co_filename == "/a/file.py"


def test_without_live_code_a_place_in_a_plain_class_is_assumed():
    file = read("class C:\n    def m(self): return super().m()\n")
    (function,) = file.functions
    assert function.code is not None
    assert same_shape(function.code, compile_function(file.context, "C.m", function.text))


def test_the_function_of_a_property_is_named_with_or_without_the_accessor():
    text = Text(source="@x.setter\ndef x(self, value): self._x = value\n", line=5)
    context = Context((), (), "a.py")
    plain = compile_function(context, "C.x", text, accessor="fset")
    assert plain.co_qualname == "C.x"
    assert same_shape(plain, compile_function(context, "C.x.fset", text, accessor="fset"))


@pytest.mark.parametrize(
    ("source", "context"),
    [
        ("def g(): pass\n", Context((), (), "a.py")),
        ("class f: pass\n", Context((), (), "a.py")),
        ("def f(): pass\ndef f(): pass\n", Context((), (), "a.py")),
        ("", Context((), (), "a.py")),
        ("def f(:\n", Context((), (), "a.py")),
        ("def f(): '\0'\n", Context((), (), "a.py")),
        ("def f(): '\ud800'\n", Context((), (), "a.py")),
        ("def f(): " + "-" * 100_000 + "1\n", Context((), (), "a.py")),
        ("def f(): return " + "(" * 500 + ")" * 500 + "\n", Context((), (), "a.py")),
        ("def f(): pass\n", Context(("telepathy",), (), "a.py")),
        ("def f(): pass\n", Context((), ("import",), "a.py")),
        ("def f(): pass\n", Context((), (), "a\0.py")),
    ],
)
def test_what_is_no_definition_is_a_syntax_error(source: str, context: Context):
    with pytest.raises(SyntaxError):
        compile_function(context, "f", Text(source=source, line=1))


@pytest.mark.parametrize("line", [30_000, 2**31 - 10])
def test_a_line_far_down_costs_no_blank_lines(line: int):
    code = compile_function(Context((), (), "a.py"), "f", Text(source="def f():\n    return 1\n", line=line))
    assert code.co_firstlineno == line


def test_a_line_that_no_file_has():
    with pytest.raises(SyntaxError):
        compile_function(Context((), (), "a.py"), "f", Text(source="def f(): pass\n", line=2**80))


@pytest.mark.parametrize("options", [["-O"], ["-OO"]])
def test_optimized_interpreters(options: list[str]):
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from livepatch.engine.matching import matches
        from tests.mutants import file_of
        source = 'class C:\\n    def m(self):\\n        "Says."\\n        assert self, 1\\n        return __debug__\\n'
        file = file_of("a.py", source)
        (function,) = file.functions
        print(matches(function.code, file.context, function.qualname, function.text))
    """
    command = [sys.executable, *options, "-c", textwrap.dedent(program), "."]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "None\n"
