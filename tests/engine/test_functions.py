"""Functions made of code: what they hold is what was given, whatever the names are."""

from __future__ import annotations

import inspect
import sys
from types import CellType, CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import pytest

import livepatch
from livepatch.engine.code import nested_codes
from livepatch.engine.functions import make_function

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule


def code_of(source: str, qualname: str) -> CodeType:
    top = compile(source, "<specimen>", "exec", dont_inherit=True)
    return next(code for code in nested_codes(top) if code.co_qualname == qualname)


FIVE = {"a": 5, "default_0": 1, "keyword_0": 2}


@pytest.mark.parametrize(
    ("parameters", "defaults", "kwdefaults", "call", "expected"),
    [
        ("", None, None, "f()", {}),
        ("a", None, None, "f(1)", {"a": 1}),
        ("a, b", (2,), None, "f(1)", {"a": 1, "b": 2}),
        ("a, /, b, *c, d, e, **g", (1, 2), {"e": 3}, "f(d=4)", {"a": 1, "b": 2, "c": (), "d": 4, "e": 3, "g": {}}),
        ("*, d, e", None, {"e": 1, "d": 2}, "f()", {"d": 2, "e": 1}),
        ("default_0, keyword_0", ("x", "y"), None, "f()", {"default_0": "x", "keyword_0": "y"}),
        ("a, *, default_0, keyword_0", (0,), {"default_0": 1, "keyword_0": 2}, "f(5)", FIVE),
    ],
)
def test_defaults(parameters: str, defaults: Any, kwdefaults: Any, call: str, expected: dict[str, object]):
    code = code_of(f"def f({parameters}): return locals()", "f")
    space: dict[str, Any] = {"__name__": "specimen"}
    made = make_function(code, space, (), defaults, kwdefaults)
    assert made.__code__ is code
    assert made.__globals__ is space
    assert (made.__defaults__, made.__kwdefaults__, made.__closure__) == (defaults, kwdefaults, None)
    assert list(made.__kwdefaults__ or ()) == list(kwdefaults or ())
    assert eval(call, {"f": made}) == expected


def test_defaults_are_the_very_objects():
    one, two = object(), []
    made = make_function(code_of("def f(a, *, k): return a, k", "f"), {}, (), (one,), {"k": two})
    assert made()[0] is one
    assert made()[1] is two


NAMES = ["plain", "made", "maker", "scope", "default_0", "keyword_0", "pdefault_0", "__class__", "__private", "n_é"]


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_any_name_is_the_very_cell(name: str):
    code = code_of(f"def outer():\n  {name} = 1\n  def f(a=0, *, k=0): return {name}\n", "outer.<locals>.f")
    cell = CellType("content")
    made = make_function(code, {}, (cell,), (1,), {"k": 2})
    assert made.__closure__ is not None
    assert [held is cell for held in made.__closure__] == [True]
    assert made() == "content"
    cell.cell_contents = "other"
    assert made() == "other"


def test_many_cells_in_their_order():
    names = ["zeta", "alpha", "made", "B", "_c", "default_0", "maker"]
    bound = "; ".join(f"{name} = 0" for name in names)
    code = code_of(f"def outer():\n  {bound}\n  def f(a=0): return {', '.join(names)}\n", "outer.<locals>.f")
    cells = tuple(CellType(name) for name in code.co_freevars)
    made = make_function(code, {}, cells, (1,))
    assert made.__closure__ is not None
    assert [id(held) for held in made.__closure__] == [id(cell) for cell in cells]
    assert made() == tuple(names)


def test_an_unbound_cell_stays_unbound():
    code = code_of("def outer():\n  x = 0\n  def f(): return x\n", "outer.<locals>.f")
    cell = CellType()
    made = make_function(code, {}, (cell,))
    with pytest.raises(NameError, match="x"):
        made()
    cell.cell_contents = 1
    assert made() == 1


def test_it_is_as_if_it_had_been_defined_there():
    source = "def outer():\n  x = 1\n  def f(a, b=2, *, c=3):\n    'words'\n    return x, a, b, c\n  return f\n"
    space: dict[str, Any] = {"__name__": "specimen"}
    exec(compile(source, "<specimen>", "exec", dont_inherit=True), space)
    defined: FunctionType = space["outer"]()
    made = make_function(
        defined.__code__, space, defined.__closure__ or (), defined.__defaults__, defined.__kwdefaults__
    )
    assert inspect.signature(made) == inspect.signature(defined)
    assert made(0) == defined(0) == (1, 0, 2, 3)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__code__", "__annotations__", "__dict__"):
        assert getattr(made, name) == getattr(defined, name), name
    if sys.version_info >= (3, 12):
        assert made.__type_params__ == ()


@pytest.mark.parametrize("name", ["made", "maker", "scope", "default_0", "pdefault_0"])
def test_a_replacement_with_a_variable_of_that_name(name: str, write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(a=1): return 'old'")
    author = write_module(f"def write():\n  {name} = 'new'\n  def f(a=1): return {name}\n  return f\n")
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(author.write())
    applied = livepatch.apply(fix)
    (callee,) = [constant for constant in m.f.__code__.co_consts if isinstance(constant, FunctionType)]
    # Looked at before the call: one of a function without its cells ends the process.
    assert [cell.cell_contents for cell in callee.__closure__ or ()] == ["new"]
    assert m.f() == "new"
    applied.revert()
