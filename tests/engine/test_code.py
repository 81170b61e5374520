"""What code is apart from lines and files, and code compiled alone as if it stood in its place."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import types
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

import livepatch
from livepatch.engine.code import (
    compile_in_context,
    fingerprint,
    kind_of,
    names_loaded,
    names_stored,
    nested_codes,
    parameters_of,
    private_names,
    same_code,
)

SRC = Path(livepatch.__file__).resolve().parents[1]


def defined(source: str, filename: str = "specimen.py") -> FunctionType:
    space: dict[str, Any] = {"__name__": "specimen"}
    exec(compile(source, filename, "exec", dont_inherit=True), space)
    return space["f"]


def codes_in(source: str, filename: str = "specimen.py") -> dict[str, CodeType]:
    top = compile(source, filename, "exec", dont_inherit=True)
    return {code.co_qualname: code for code in nested_codes(top)}


# Fingerprints


def returning(*expressions: str) -> list[str]:
    return [f"def f(a, b, c): return {expression}" for expression in expressions]


OPERATORS = [*"+ - * / // % ** @ << >> & | ^ < <= > >= == != and or".split(), "is", "is not", "in", "not in"]
VARIANTS = {
    "operators": returning(*(f"a {operator} b" for operator in OPERATORS)),
    "unary operators": returning("a", "-a", "+a", "~a", "not a"),
    "order": returning("a - b", "b - a", "a - b - c", "a - (b - c)"),
    "constants": returning(
        "1", "1.0", "1j", "True", "False", "0", "0.0", "-0.0", "0j", "-1", "2", "257", "10**30", "None", "...", "''",
        "'1'", "b'1'", "'a'", "'a '", "b''", "()", "(1,)", "(1.0,)", "(True,)", "((1,),)", "(1, 2)", "(2, 1)",
        "1e308 * 10", "'\\u00e9'", "'e\\u0301'", "'\\ud800'", "f'{a}'", "f'{a!r}'", "f'{a:>3}'",
    ),
    "sets of constants": returning("a in {1, 2}", "a in {1.0, 2}", "a in {1, 3}", "a in (1, 2)", "a in {1, (2,)}"),
    "slices": returning("a[1:2]", "a[1:3]", "a[1.0:2]", "a[1:2:1]", "a[:2]", "a[1, 2]", "a[1]"),
    "names": returning("x", "y", "a.x", "a.y", "x.a", "x()", "x(a)", "x(a=a)", "x(b=a)", "x(*a)", "x(**a)", "a"),
    "calls": returning("x(a, b)", "x(b, a)", "x(a, x=b)", "x(a, y=b)", "x.y(a)", "y.x(a)", "x(a)(b)"),
    "statements": [
        f"def f(a, b, c):\n  {body}"
        for body in (
            "pass",
            "raise a",
            "raise a from b",
            "return a",
            "yield a",
            "yield from a",
            "assert a",
            "del a",
            "a = b",
            "b = a",
            "a += b",
            "a -= b",
            "a.x = b",
            "a[0] = b",
            "global x; x = a",
            "import x",
            "import x as y",
            "from x import y",
            "from .x import y",
            "from ..x import y",
            "with a: b",
            "for x in a: b",
            "for x in a:\n    if b: break",
            "for x in a:\n    if b: continue\n    c",
            "while a: b",
            "'words'",
            "'other words'",
            "if a: return b\n  return c",
            "if not a: return b\n  return c",
        )
    ],
    "handlers": [
        f"def f(a, b, c):\n  try:\n    a()\n  {handler}: b\n  return c"
        for handler in ("except ValueError", "except KeyError", "except", "finally", "except ValueError as e")
    ]
    + ["def f(a, b, c):\n  a()\n  try: pass\n  except ValueError: b\n  return c"],
    "nested functions": [
        f"def f(a):\n  {inner}"
        for inner in (
            "return lambda: 1",
            "return lambda: 2",
            "return lambda b: 1",
            "return lambda: a",
            "return [b for b in a]",
            "return [b for b in a if b]",
            "return {b for b in a}",
            "return (b for b in a)",
            "def g(): return 1",
            "def h(): return 1",
            "class g: x = 1",
            "class g: x = 2",
        )
    ],
    "parameters": [
        f"def f({parameters}): return 1"
        for parameters in ("", "a", "b", "a, b", "b, a", "a, /", "*a", "**a", "*, a", "a, *, b", "a, *b", "a, **b")
    ],
    "defaults": [
        f"def f(a, b{default}): return 1"
        for default in (
            "", "=1", "=1.0", "=True", "='1'", "=b'1'", "=None", "=0.0", "=-0.0", "=()", "=(1,)", "=(1.0,)", "=((1,),)",
            "=[]", "={}", "=int", "=lambda: 1", "=...",
        )
    ],
    "keyword defaults": [
        f"def f(*, a{one}, b{two}): return 1"
        for one, two in [("", ""), ("=1", ""), ("", "=1"), ("=1", "=1"), ("=1", "=2"), ("=2", "=1"), ("=1.0", "=1")]
    ],
    "kinds": ["def f(): return 1", "async def f(): return 1", "def f(): yield 1", "async def f(): yield 1"],
}  # fmt: skip


@pytest.mark.parametrize("sources", VARIANTS.values(), ids=VARIANTS.keys())
def test_whatever_differs_gives_another_fingerprint(sources: list[str]):
    by_pin: dict[str, str] = {}
    for source in sources:
        pin = fingerprint(defined(source))
        assert by_pin.setdefault(pin, source) == source
    assert len(by_pin) == len(sources)


PLAIN = """
def f(a, b=2, *, k=(1, 'x')):
    total = a + b
    if total > 1000:
        return [lambda: total + x for x in k]
    return {'one', 'two', total}
"""
MOVED = {
    "lines": "\n" * 30 + PLAIN,
    "comments": PLAIN.replace("    total", "    # why\n    total").replace("1000:", "1000:  # !"),
    "blank lines": PLAIN.replace("    if", "\n\n    if"),
    "indentation": PLAIN.replace("    ", "  "),
    "parentheses and spaces": PLAIN.replace("a + b", "(a  +  b)").replace("total > 1000", "(total>1000)"),
    "quotes and number forms": PLAIN.replace("'x'", '"x"').replace("1000", "1_000").replace("'one'", '"one"'),
    "annotations": PLAIN.replace("(a, b=2, *, k=", "(a: int, b: str = 2, *, k: int = ").replace("):\n", ") -> int:\n"),
    "a decorator": "def same(f): return f\n@same" + PLAIN,
    "neighbours": "import os\ndef g(): return 1\n" + PLAIN,
}  # fmt: skip


@pytest.mark.parametrize("source", MOVED.values(), ids=MOVED.keys())
def test_what_means_the_same_has_the_same_fingerprint(source: str):
    assert source != PLAIN
    function, moved = defined(PLAIN), defined(source, "another_file.py")
    assert fingerprint(moved) == fingerprint(function)
    assert same_code(moved.__code__, function.__code__)


def test_running_it_does_not_change_its_fingerprint():
    function = defined(PLAIN)
    pin = fingerprint(function)
    for _ in range(5_000):  # the interpreter rewrites hot code for itself
        function(1, 2)
    assert fingerprint(function) == pin


def test_it_is_the_same_in_every_process_and_from_cached_code(tmp_path: Path):
    (tmp_path / "specimen.py").write_text(PLAIN)
    pins = {fingerprint(defined(PLAIN))}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", "import livepatch, specimen; print(livepatch.fingerprint('specimen:f'))"],
            env={
                **os.environ,
                "PYTHONPATH": f"{SRC}{os.pathsep}{tmp_path}",
                "PYTHONHASHSEED": seed,
                "PYTHONDONTWRITEBYTECODE": "",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        pins.add(done.stdout.strip())
    assert len(pins) == 1
    assert (tmp_path / "__pycache__").exists()


def test_it_says_for_which_interpreter_it_holds():
    tag, _, digest = fingerprint(defined(PLAIN)).partition(":")
    assert tag.startswith(f"cp{sys.version_info.major}{sys.version_info.minor}")
    assert len(digest) == 32


def test_it_can_be_asked_for_other_code_under_the_same_defaults():
    one, other = defined("def f(a=1): return 1"), defined("def f(a=2): return 2")
    assert fingerprint(one, other.__code__) not in (fingerprint(one), fingerprint(other))
    assert fingerprint(one, one.__code__) == fingerprint(one)


# The same code


def test_what_compares_equal_need_not_be_the_same_code():
    one, other = (defined(f"def f(a): return a in {{{value}, 7}}").__code__ for value in ("1", "True"))
    assert not same_code(one, other)
    assert same_code(one, one)
    assert not same_code(one, one.replace(co_qualname="C.f"))
    assert same_code(one, one.replace(co_filename="other.py", co_firstlineno=99))


def test_a_generator_made_awaitable_is_the_same_code():
    plain = defined("def f(): yield 1")
    marked = types.coroutine(defined("def f(): yield 1"))
    assert plain.__code__.co_flags != marked.__code__.co_flags
    assert same_code(plain.__code__, marked.__code__)
    assert kind_of(plain.__code__) == "generator"
    assert kind_of(marked.__code__) == "generator-based coroutine"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def f(): return 1", "function"),
        ("def f(): yield 1", "generator"),
        ("async def f(): return 1", "coroutine"),
        ("async def f(): yield 1", "async generator"),
        ("def f(): return (x for x in [])", "function"),
        ("async def f(): return [x async for x in y]", "coroutine"),
        ("f = lambda: (yield)", "generator"),
    ],
)
def test_kinds(source: str, kind: str):
    assert kind_of(defined(source).__code__) == kind


# Parameters and names

KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "/",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "-",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "=",
    inspect.Parameter.VAR_KEYWORD: "**",
}


@pytest.mark.parametrize(
    "form",
    [
        "",
        "a",
        "a=1",
        "a, /",
        "a, b=1, /",
        "a, /, b, c=1",
        "*a",
        "**a",
        "*, a",
        "*, a=1, b",
        "a, *b, c, d=1, **e",
        "a, b=1, /, c=2, *d, e, f=3, **g",
    ],
)
def test_parameters_are_those_that_inspect_sees(form: str):
    function = defined(f"def f({form}):\n  local = 1\n  return lambda: [local, locals()]")
    expected = [
        (p.name, KINDS[p.kind], p.default is p.empty and KINDS[p.kind] not in ("*", "**"))
        for p in inspect.signature(function).parameters.values()
    ]
    assert [(p.name, p.kind, p.required) for p in parameters_of(function)] == expected


def test_parameters_are_those_of_the_function_itself():
    function = defined("import functools\ndef inner(x): pass\n@functools.wraps(inner)\ndef f(*args, k=1): pass")
    function.__signature__ = inspect.Signature()
    assert [p.name for p in parameters_of(function)] == ["args", "k"]


@pytest.mark.parametrize(
    ("body", "loaded", "stored"),
    [
        ("return a + b", {"b"}, set()),
        ("return len(a)", {"len"}, set()),
        ("return a.b.c", set(), set()),
        ("import b; return b", set(), set()),
        ("global b; b = a", set(), {"b"}),
        ("global b; b += a", {"b"}, {"b"}),
        ("return [b for x in a]", {"b"}, set()),
        ("return lambda: (lambda: b)", {"b"}, set()),
        ("class C:\n    x = 1\n    y = x + b", {"b"}, set()),
        ("class C:\n    def m(self): return b, x", {"b", "x"}, set()),
        ("class C:\n    global b\n    b = 1", set(), {"b"}),
        ("def g():\n    global b\n    b = 1", set(), {"b"}),
        ("local = 1\n  return lambda: local + b", {"b"}, set()),
        ("try: b()\n  except c as e: return e", {"b", "c"}, set()),
        ("return __name__, __file__", {"__file__"}, set()),
    ],
)
def test_names_that_are_looked_up_and_stored(body: str, loaded: set[str], stored: set[str]):
    code = defined(f"def f(a):\n  {body}").__code__
    assert names_loaded(code) == loaded
    assert names_stored(code) == stored


def test_private_names():
    code = defined("def f(self, __a):\n  self.__b = lambda: __c\n  return __d__, _e, self.x.__g").__code__
    assert private_names(code) == {"__a", "__b", "__c", "__g"}


# In context

TREE = """
def f(a, b=1):
    return a + b
class C:
    def m(self, __p=0):
        self.__x = [__y for __y in 'ab']
        return super().m(), __class__, __p
    class D:
        def m(self):
            return self.__x, lambda: __class__
        async def co(self):
            async with self as x:
                yield x
    def make(self, k):
        def made(a):
            return self.__x, k, a, super().m
        return made
def make(k, j=0):
    i = j
    def made(a, *, b=2):
        def inner():
            nonlocal j
            j = a
            return i, j, k, b
        return inner
    class Local:
        def m(self):
            return k, self.__x, super()
    for made_in_loop in ():
        pass
    return made, Local
class __Odd:
    def m(self):
        return self.__x
"""
PLACES = {
    "f": {},
    "C.m": {},
    "C.D.m": {},
    "C.D.co": {},
    "C.make": {},
    "C.make.<locals>.made": {"C.make": ("self", "k", "made")},
    "make": {},
    "make.<locals>.made": {"make": ("k", "j", "i", "made", "Local")},
    "make.<locals>.made.<locals>.inner": {"make": ("k", "j", "i"), "make.<locals>.made": ("a", "b", "inner")},
    "make.<locals>.Local.m": {"make": ("k", "j", "i", "Local")},
    "__Odd.m": {},
}


def node_of(qualname: str, tree: ast.AST, prefix: str = "") -> Any:
    for child in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if prefix + child.name == qualname:
                return child
            inner = prefix + child.name + ("." if isinstance(child, ast.ClassDef) else ".<locals>.")
        found = node_of(qualname, child, inner)
        if found is not None:
            return found
    return None


@pytest.mark.parametrize("qualname", PLACES)
def test_compiled_alone_it_is_what_the_compiler_makes_in_place(qualname: str):
    expected = codes_in(TREE)[qualname]
    node = node_of(qualname, ast.parse(TREE))
    before = ast.dump(node, include_attributes=True)
    code = compile_in_context(node, qualname, "<alone>", enclosing=PLACES[qualname], first_line=node.lineno)
    assert same_code(code, expected)
    assert code.co_flags == expected.co_flags
    assert (code.co_qualname, code.co_name, code.co_filename) == (qualname, expected.co_name, "<alone>")
    assert list(code.co_lines()) == list(expected.co_lines())
    assert list(code.co_positions()) == list(expected.co_positions())
    assert ast.dump(node, include_attributes=True) == before


@pytest.mark.parametrize("first_line", [1, 500])
@pytest.mark.parametrize("qualname", ["f", "C.m", "make.<locals>.made"])
def test_lines_are_counted_from_where_they_are_said_to_stand(qualname: str, first_line: int):
    expected = codes_in(TREE)[qualname]
    node = node_of(qualname, ast.parse(TREE))
    code = compile_in_context(node, qualname, "<alone>", enclosing=PLACES[qualname], first_line=first_line)
    moved = [line and line - node.lineno + first_line for *_, line in expected.co_lines()]
    assert [line for *_, line in code.co_lines()] == moved
    assert code.co_firstlineno == first_line
    assert same_code(code, expected)


def test_any_source_may_take_the_place():
    node = ast.parse("@decorator(nonsense)\ndef other(self: int, a=unknown()) -> str: return self.__x, a").body[0]
    code = compile_in_context(node, "_C.D.m", "<alone>")  # type: ignore[arg-type]  # a definition
    assert (code.co_qualname, code.co_name) == ("_C.D.m", "m")
    assert code.co_names == ("_D__x",)
    assert code.co_varnames == ("self", "a")


def test_variables_of_an_invisible_scope_and_variables_kept_free():
    node: Any = ast.parse("def f(a):\n  def g(): return a\n  return brought, g").body[0]
    code = compile_in_context(node, "C.f", "<alone>", outside=["brought", "unused"])
    assert code.co_freevars == ("brought",)
    kept = compile_in_context(
        node,
        "C.f",
        "<alone>",
        outside=["brought", "unused"],
        keep_free={"C.f": ("unused",), "C.f.<locals>.g": ("brought",)},
    )
    assert kept.co_freevars == ("brought", "unused")
    assert [inner.co_freevars for inner in nested_codes(kept)] == [("a", "brought")]
    assert "g" in kept.co_varnames
    assert len(node.body) == 2  # the source itself is left alone


@pytest.mark.parametrize(
    "source", ["def f():\n  nonlocal nowhere", "def f(a):\n  global a", "def f():\n  x = 1\n  global x"]
)
def test_what_does_not_compile_says_so(source: str):
    with pytest.raises(SyntaxError):
        compile_in_context(ast.parse(source).body[0], "C.f", "<alone>")  # type: ignore[arg-type]  # a definition


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with 3.12")
def test_type_parameters_are_free_variables():
    source = "def f[T](a: T) -> T:\n  return T, a\nclass C[U]:\n  def m(self): return U"
    for qualname, names in (("f", ["T"]), ("C.m", ["U"])):
        expected = codes_in(source)[qualname]
        assert expected.co_freevars == tuple(names)
        code = compile_in_context(node_of(qualname, ast.parse(source)), qualname, "<alone>", outside=names)
        assert code.co_freevars == expected.co_freevars
