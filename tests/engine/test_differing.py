# ruff: noqa: E501  # a shape is read faster in one line
"""Constants are the same only by type and value; a difference in code is told by the line of the source that has it."""

from __future__ import annotations

import enum
import itertools
import types
from typing import Any

import pytest
from tests.mutants import file_of

from livepatch.engine.code import nested_codes
from livepatch.engine.differing import differs_where, same_constant, same_shape
from livepatch.engine.matching import matches


class Text(str):
    __slots__ = ()


class Number(enum.IntEnum):
    ONE = 1


ALL: list[Any] = [
    0, 1, 2, 1.0, 0.0, -0.0, True, False, None, ..., 0j, complex(0.0, -0.0), complex(-0.0, 0.0), complex(-0.0, -0.0), 1 + 0j,
    "1", "", b"1", b"", Text("1"), Number.ONE, float("inf"), float("nan"), 10**5000, 10**5000 + 1,
    (), (1,), (True,), (1.0,), (1, 1), ((1,),), (-0.0,), (0.0,),
    frozenset(), frozenset({1}), frozenset({True}), frozenset({1.0}), frozenset({(1,)}), frozenset({(True,)}), frozenset({0.0}), frozenset({-0.0}),
    slice(1, 2), slice(1.0, 2), slice(None, 2), slice(True, 2),
]  # fmt: skip


def test_each_constant_is_the_same_as_itself_only():
    for (i, one), (j, other) in itertools.product(enumerate(ALL), repeat=2):
        assert same_constant(one, other) is (i == j), (one, other)


def test_equal_constants_that_are_other_objects():
    assert same_constant(
        (1, "a" * 50, frozenset({"b", (2.0, None)})), (1, "".join(["a"] * 50), frozenset([(2.0, None), "b"]))
    )
    assert same_constant(slice(1, 2), slice(1, 2))
    assert same_constant(10**5000, 10**5000)


def codes(source: str) -> types.CodeType:
    return next(nested_codes(compile(source, "a.py", "exec", dont_inherit=True)))


@pytest.mark.parametrize(
    "part",
    [
        {"co_consts": (None, True)},
        {"co_names": ("b",)},
        {"co_varnames": ("x",)},
        {"co_flags": 0},
        {"co_qualname": "g"},
        {"co_exceptiontable": b"\x80\x00\x00\x00"},
    ],
)
def test_any_part_of_code(part: dict[str, Any]):
    code = codes("def f(y): return a, 1\n")
    assert same_shape(code, code.replace(co_name="f"))
    assert not same_shape(code, code.replace(**part))


def test_lines_files_and_stack_sizes_are_no_part_of_it():
    code = codes("def f(y): return a, 1\n")
    assert same_shape(code, code.replace(co_firstlineno=9, co_filename="b.py", co_stacksize=90))


def test_a_generator_may_be_marked_as_coroutine_but_nothing_else_may():
    made = types.coroutine(lambda: (yield)).__code__
    unmarked = made.replace(co_flags=made.co_flags & ~0x100)
    assert same_shape(made, unmarked)
    assert not same_shape(unmarked, made)
    plain = codes("def f(): pass\n")
    assert not same_shape(plain.replace(co_flags=plain.co_flags | 0x100), plain)


def told(old: str, new: str, above: int = 10) -> tuple[int, str]:
    """What is told of a process that runs `new` where the source is `old`; lines count from the first of the text."""
    file, other = file_of("a.py", "\n" * above + old), file_of("a.py", "\n" * above + new)
    assert file is not None
    assert other is not None
    live, function = other.functions[-1].code, file.functions[-1]
    assert live is not None
    mismatch = matches(live, file.context, function.qualname, function.text)
    assert mismatch is not None
    line = mismatch.line - above
    assert mismatch.source_line == old.split("\n")[line - 1].strip()
    return line, mismatch.what.replace(f"line {mismatch.line}", f"line {line}")


BASE = "def f(depth):\n    if depth > LIMIT:\n        raise E\n    for x in depth:\n        yield x\n    return 1\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        (BASE, BASE.replace("LIMIT", "MAX"), 2, "the process does not run line 2: `if depth > LIMIT:`"),
        (BASE, BASE.replace("    if depth > LIMIT:\n        raise E\n", ""), 2, "the process does not run line 2: `if depth > LIMIT:`"),
        (BASE, BASE.replace("    for", "    g()\n    for"), 4, "the process runs more than the source says, before line 4: `for x in depth:`"),
        (BASE, BASE.replace("yield x", "yield y"), 5, "the process does not run line 5: `yield x`"),
        (BASE, BASE.replace("depth", "dep"), 1, "parameter depth: the process has dep in its place, line 1: `def f(depth):`"),
        (BASE, BASE.replace("(depth)", "(depth, /)"), 1, "parameter depth: the process has / depth in its place, line 1: `def f(depth):`"),
        (BASE, BASE.replace("(depth)", "(depth, *more)"), 1, "the process has a parameter *more that is not in line 1: `def f(depth):`"),
        (BASE, BASE.replace("yield x", "pass"), 1, "the process runs a function in place of the generator in line 1: `def f(depth):`"),
        (BASE, "async " + BASE.replace("return 1", ""), 1, "the process runs a async generator in place of the generator in line 1: `def f(depth):`"),
        ("def f(\n  a,\n  *,\n  b,\n): pass\n", "def f(\n  a,\n): pass\n", 4, "parameter b by keyword: the process has none, line 4: `b,`"),
        ("@d\ndef f(a):\n    'Says.'\n    return a\n", "@d\ndef f(a):\n    'Said.'\n    return a\n", 3, "the process has another docstring in place of that in line 3: `'Says.'`"),
        ("def f(a):\n    def g(b):\n        return 1\n    class C:\n        def m(self): return 2\n    return g\n", "def f(a):\n    def g(b):\n        return 1\n    class C:\n        def m(self): return 3\n    return g\n", 5, "the process does not run line 5: `def m(self): return 2`"),
        ("def f(a, b):\n    def g():\n        x = 1\n        return a\n    return g\n", "def f(a, b):\n    def g():\n        x = 1\n        return b\n    return g\n", 4, "the process does not run line 4: `return a`"),
        ("def f(a):\n    return [\n        x\n        for x in a\n        if x\n    ]\n", "def f(a):\n    return [\n        x\n        for x in a\n        if y\n    ]\n", 5, "the process does not run line 5: `if x`"),
        ("def f(a):\n    g(a,\n      b=1)\n", "def f(a):\n    g(a,\n      c=1)\n", 2, "the process does not run line 2: `g(a,`"),
        ("def f(a):\n    while a:\n        if b: continue\n        c()\n", "def f(a):\n    while a:\n        if b: break\n        c()\n", 3, ""),
        ("class C:\n    def m(self):\n        return -0.0\n", "class C:\n    def m(self):\n        return 0.0\n", 3, "the process does not run line 3: `return -0.0`"),
        ("def f(x):\n    return x in {1, 2}\n", "def f(x):\n    return x in {True, 2}\n", 2, "the process does not run line 2: `return x in {1, 2}`"),
        ("def f(x): return 1\n", "def f(x): return True\n", 1, "the process does not run line 1: `def f(x): return 1`"),
        ("def f(x):\n    pass\n", "from __future__ import annotations\ndef f(x):\n    pass\n", 1, "the function that the process runs was compiled with other options or `__future__` imports: line 1: `def f(x):`"),
    ],
)  # fmt: skip
def test_the_line_that_the_process_does_not_run(old: str, new: str, line: int, what: str):
    found = told(old, new)
    assert found[0] == line
    assert what in (found[1], "")


def test_a_class_in_a_function_that_stands_elsewhere_by_now():
    source = "def f(a):\n    class C:\n        x = 1\n        def m(self): self.b = self.a = 2\n    return C\n"
    file, moved = file_of("a.py", source), file_of("a.py", "\n\n" + source)
    assert file is not None
    assert moved is not None
    (function,), (other,) = file.functions, moved.functions
    assert other.code is not None
    assert matches(other.code, file.context, "f", function.text) is None
    changed = file_of("a.py", "\n\n" + source.replace("= 2", "= 3"))
    assert changed is not None
    live = changed.functions[0].code
    assert live is not None
    mismatch = matches(live, file.context, "f", function.text)
    assert mismatch is not None
    assert mismatch.line == 4


def test_a_tuple_of_attribute_names_has_no_order():
    source = "def f():\n    class C:\n        def m(self): self.a = self.b = 1\n"
    code = codes(source)
    inner = next(c for c in nested_codes(code) if c.co_name == "C")
    swapped = tuple(k[::-1] if k in (("a", "b"), ("b", "a")) else k for k in inner.co_consts)
    other = code.replace(co_consts=tuple(inner.replace(co_consts=swapped) if k is inner else k for k in code.co_consts))
    assert same_shape(other, code)
    used = codes("def f():\n    class C:\n        x = ('a', 'b')\n")
    assert not same_shape(used, codes("def f():\n    class C:\n        x = ('b', 'a')\n"))


def test_what_shows_in_no_instruction():
    file = file_of("a.py", "def f():\n    return 1\n")
    assert file is not None
    (function,) = file.functions
    assert function.code is not None
    live = function.code.replace(co_consts=(*function.code.co_consts, 2))
    mismatch = differs_where(live, function.code, function.text)
    assert (mismatch.line, mismatch.source_line) == (1, "def f():")
    assert "was not compiled from the source" in str(mismatch)
