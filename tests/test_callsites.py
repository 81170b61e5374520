"""Known calls, bound to what they will meet: those of a target's callers, and those of a new body."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

import pytest
from tests.built import Running
from tests.cycles import codes

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def found(report: livepatch.Report, code: str) -> list[str]:
    return [finding.found for finding in report.findings if finding.code == code]


def test_a_call_that_worked_and_would_fail_is_named_with_its_line(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(a, b=1): return a\ndef g():\n  return f(1, 2)\ndef h(): return f(1)\n")
    report = livepatch.check(write_fix(f"{m.__name__}:f", "def f(a): return a"))
    assert set(codes(report)) == {"parameters", "call-breaks"}
    (said,) = found(report, "call-breaks")
    assert said.startswith(
        f"{m.__name__}:g ({m.__file__}:3) calls it, and would fail: calls with 2 positional arguments"
    )


@pytest.mark.parametrize(
    ("old", "call", "new", "breaks"),
    [
        ("class C:\n  def f(self, a, b=1): pass\n", "C().f(1, 2)", "def f(self, a): pass", True),
        ("class C:\n  def f(self, a, b=1): pass\n", "C().f(1)", "def f(self, a): pass", False),
        ("class C:\n  def f(self, a, b=1): pass\n", "C.f(C(), 1, b=2)", "def f(self, a, c=1): pass", True),
        ("class C:\n  @staticmethod\n  def f(a, b=1): pass\n", "C.f(1, 2)", "def f(a): pass", True),
        ("class C:\n  @classmethod\n  def f(cls, a, b=1): pass\n", "C.f(1)", "def f(cls, a): pass", False),
        ("class C:\n  def __init__(self, a, b=1): pass\n  f = 1\n", "C(1, b=2)", "def __init__(self, a): pass", True),
        ("class C:\n  async def f(self, a, b=1): pass\n", "C().f(b=1, a=2)", "async def f(self, a): pass", True),
    ],
)
def test_methods(old: str, call: str, new: str, breaks: bool, write_module: WriteModule, new_patch: NewPatch):
    m = write_module(f"{old}def g(): return {call}\n")
    name = "__init__" if "__init__" in old else "f"
    fix = new_patch()
    decorator = next((line.strip() + "\n" for line in old.splitlines() if line.strip().startswith("@")), "")
    exec(f"@fix.replace('{m.__name__}:C.{name}')\n{decorator}{new}", {"fix": fix})
    report = livepatch.check(fix)
    assert bool(found(report, "call-breaks")) is breaks, report
    assert found(report, "parameters"), "that some call would break is told in any case"


@pytest.mark.parametrize(
    ("old", "call", "new", "breaks"),
    [
        ("def f(a, b): pass", "f(1, **given)", "def f(a): pass", True),
        ("def f(a, b): pass", "f(1, **given)", "def f(a, b, c=1): pass", False),
        ("def f(a, *, b): pass", "f(*given, **given)", "def f(a, *, c): pass", True),
        ("def f(a, b): pass", "f(*given)", "def f(a): pass", True),
        ("def f(a, b): pass", "f(*given)", "def f(a, b=2): pass", False),
        ("def f(a, b=1): pass", "f(**given)", "def f(b=1): pass", True),
        ("def f(a): pass", "f(1, 2, **given)", "def f(): pass", False),  # it never worked
        ("def f(a, b): pass", "f(1, 2, **given)", "def f(a): pass", True),
    ],
)
def test_what_stars_bring_is_what_the_old_side_needed(
    old: str, call: str, new: str, breaks: bool, write_module: WriteModule, write_fix: WriteFix
):
    m = write_module(f"{old}\ndef g(given): return {call}\n")
    report = livepatch.check(write_fix(f"{m.__name__}:f", new))
    assert not found(report, "call-breaks")
    assert any(f"{m.__name__}:g (" in said for said in found(report, "call-may-break")) is breaks, report


def test_what_cannot_be_told_is_a_warning(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(
        "class C:\n  def f(self, a, b=1): pass\ndef g(unknown, args): unknown.f(1, 2); C().f(*args, b=2)\n"
    )
    report = livepatch.check(write_fix(f"{m.__name__}:C.f", "def f(self, a): pass"))
    (said,) = found(report, "call-may-break")
    assert said.count(f"{m.__name__}:g (") == 2
    assert not found(report, "call-breaks")


def test_callers_that_the_patch_changes_too_are_not_told(releases):
    old = (
        "def f(a, b=1): return a\ndef g(): return f(1, 2)\n"
        "def outer():\n  def inner(): return f(1, 2)\n  return inner\nX = f(1)\n"
    )
    new = old.replace("f(a, b=1)", "f(a)").replace("return f(1, 2)", "return f(1)")
    running = releases({"m.py": old}, {"m.py": new})
    report = livepatch.check(running.build())
    assert report.ok
    assert not found(report, "call-breaks")


def test_a_caller_elsewhere_refuses_a_built_patch(releases, write_module: WriteModule):
    old, new = "def f(a, b=1): return a\n", "def f(a): return a\n"
    running = releases({"m.py": old}, {"m.py": new})
    write_module(f"from {running.name}.m import f\ndef plugin(): return f(1, b=2)\n")
    report = livepatch.check(running.build())
    assert codes(report) == ["call-breaks"]
    assert ":plugin (" in found(report, "call-breaks")[0]


# What a new body calls

HELPERS = (
    "import json\ndef helper(a, *, b=1): return a\n"
    "class C:\n  def m(self, a): return a\n  @staticmethod\n  def s(a): return a\n  def f(self, x): return 0\n"
    "def f(x): return 0\n"
)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("helper(1, 2)", "calls helper (line 2 of it)"),
        ("helper(1, c=2)", "calls that pass 'c' by keyword"),
        ("helper()", "calls without 'a'"),
        ("json.dumps()", "calls without 'obj'"),
        ("helper(1, b=2)", ""),
        ("helper(*x)", ""),
        ("helper(**x)", ""),
        ("(lambda helper: helper(1, 2, 3))(max)", ""),
        ("C(1)", ""),
        ("unknown(1)", ""),
        ("x.helper(1, 2)", ""),
    ],
)
def test_a_new_body_that_calls_what_does_not_take_it(
    call: str, says: str, write_module: WriteModule, write_fix: WriteFix
):
    m = write_module(HELPERS.replace("def f(x): return 0\n", "unknown = print\ndef f(x): return 0\n"))
    report = livepatch.check(write_fix(f"{m.__name__}:f", f"def f(x):\n  return {call}"))
    said = found(report, "callee-differs")
    assert report.ok is not bool(says)
    assert len(said) == bool(says)
    assert not says or says in said[0]


@pytest.mark.parametrize(
    ("call", "fits"),
    [("self.m(1)", True), ("self.m(1, 2)", False), ("self.s(1)", True), ("self.s()", False), ("self.absent(1)", True)],
)
def test_a_new_method_that_calls_its_siblings(call: str, fits: bool, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(HELPERS)
    report = livepatch.check(write_fix(f"{m.__name__}:C.f", f"def f(self, x):\n  return {call}"))
    assert (codes(report) == []) is fits, report


def test_a_sibling_that_a_subclass_overrides_is_not_known(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(HELPERS + "class D(C):\n  def m(self, a, b): return a\n")
    assert livepatch.check(write_fix(f"{m.__name__}:C.f", "def f(self, x):\n  return self.m(1, 2)")).ok


def test_a_callee_that_the_patch_changes_along_with_it_takes_what_it_takes_then(releases):
    old = "def h(a): return a\ndef f(x): return h(x)\n"
    new = "def h(a, b=0): return a\ndef f(x): return h(x, 1)\n"
    assert livepatch.check(releases({"m.py": old}, {"m.py": new}).build()).ok


def test_a_call_whose_failure_is_prepared_for_is_left_out(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(HELPERS)
    body = "def f(x):\n  try: return helper(1, c=2)\n  except TypeError: return helper(1)"
    assert livepatch.check(write_fix(f"{m.__name__}:f", body)).ok


@pytest.mark.parametrize("statement", ["with x:", "async with x:"])
def test_a_call_that_a_with_statement_may_make_up_for_is_left_out(
    statement: str, write_module: WriteModule, write_fix: WriteFix
):
    m = write_module(HELPERS + "async def g(x): return x\n")
    body = "async def g(x):\n  {0}return helper(1, c=2)"
    assert livepatch.check(write_fix(f"{m.__name__}:g", body.format(f"{statement} "))).ok
    assert found(livepatch.check(write_fix(f"{m.__name__}:g", body.format(""))), "callee-differs")


@pytest.mark.parametrize(("caught", "told"), [("TypeError", 0), ("(ValueError, TypeError)", 0), ("ValueError", 1)])
def test_a_call_for_where_another_does_not_fit_is_left_out(caught: str, told: int, releases):
    old = "def h(): return 1\ndef f(x): return h()\n"
    new = f"def h(a): return a\ndef f(x):\n  try: return h(x)\n  except {caught}: return h()\n"
    report = livepatch.check(releases({"m.py": old}, {"m.py": new}).build())
    assert len(found(report, "callee-differs")) == told


def test_a_name_that_the_patch_gives_another_object_is_not_judged_by_the_old_one(
    write_module: WriteModule, new_patch: NewPatch
):
    m = write_module("def h(a): return a\ndef f(x): return h(x)\n")
    fix = new_patch()
    exec(
        f"fix.set('{m.__name__}:h', max)\n@fix.replace('{m.__name__}:f')\ndef f(x): return h(x, 1)\n",
        {"fix": fix},
    )
    assert livepatch.check(fix).ok


def test_a_function_that_the_release_makes_a_class_is_not_judged_by_what_it_was(releases):
    old = "def h(a): return a\ndef f(x): return h(x)\n"
    new = "class h:\n  def __init__(self, a, b): self.v = a\ndef f(x): return h(x, 1).v\n"
    report = livepatch.check(releases({"m.py": old}, {"m.py": new}).build())
    assert not found(report, "callee-differs")


@pytest.mark.parametrize("where", ["C", "D"])
def test_an_override_that_comes_with_the_patch_is_met_first(where: str, releases):
    old = "class B:\n  def m(self, a): return a\nclass C(B):\n  def f(self): return self.m(1)\nclass D(C):\n  x = 1\n"
    new = old.replace("self.m(1)", "self.m(1, 2)").replace(
        f"class {where}(B):", f"class {where}(B):\n  def m(self, a, b): return b"
    )
    new = new.replace("  x = 1\n", "  x = 1\n  def m(self, a, b): return b\n") if where == "D" else new
    assert not found(livepatch.check(releases({"m.py": old}, {"m.py": new}).build()), "callee-differs")


def test_code_of_livepatch_itself_is_no_possible_caller(write_module: WriteModule, write_fix: WriteFix):
    importlib.import_module("livepatch.bundle.envelope")  # whose code names a digest, too
    m = write_module("def digest(a): return a\ndef g(h): return h.digest()\n")
    report = livepatch.check(write_fix(f"{m.__name__}:digest", "def digest(a): return 2"))
    assert any(f"{m.__name__}:g" in caller for caller in map(str, report.callers))
    assert not [caller for caller in map(str, report.callers) if "livepatch." in caller]


def test_that_nobody_knows_the_callers_is_told(
    write_module: WriteModule, write_fix: WriteFix, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("met what it does not know")

    monkeypatch.setattr("livepatch.compat.callgraph.live_graph", fail)
    m = write_module("def f(a, b=1): return a\ndef g(): return f(1, 2)\n")
    report = livepatch.check(write_fix(f"{m.__name__}:f", "def f(a): return a"))
    (said,) = found(report, "callers-unknown")
    assert "RuntimeError: met what it does not know" in said


def test_a_call_that_fails_in_the_old_body_too_is_told_and_not_refused(releases, write_module, write_fix):
    old = "def h(a): return a\ndef f(x):\n  if x: return h(x, 1)\n  return 0\n"
    new = old.replace("return 0", "return 1")
    report = livepatch.check(releases({"m.py": old}, {"m.py": new}).build())
    assert report.ok
    (said,) = found(report, "callee-differs")
    assert "its body, the old and the new one, calls h (line 2 of the new one)" in said
    m = write_module(old)
    body = "def f(x):\n  if x: return h(x, 1)\n  return 1"
    assert livepatch.check(write_fix(f"{m.__name__}:f", body)).ok
    assert not livepatch.check(write_fix(f"{m.__name__}:f", body.replace("h(x, 1)", "h(x, 1, 2)"))).ok


def test_a_call_that_only_the_patch_breaks_is_refused_though_the_old_body_makes_it(write_module, new_patch):
    m = write_module("def h(a, b): return a\ndef f(x): return h(x, 1)\n")
    fixes = write_module("def h(a): return a\ndef f(x): return h(x, 1) or 2\n")
    fix = new_patch()
    fix.replace(f"{m.__name__}:h")(fixes.h)
    fix.replace(f"{m.__name__}:f")(fixes.f)
    report = livepatch.check(fix)
    assert not report.ok
    assert found(report, "callee-differs")


def test_a_class_body_that_replaces_methods_is_looked_into(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(HELPERS)
    fix = new_patch()
    module = write_module("class C:\n    def f(self, x):\n        return self.m(1, 2)\n")
    fix.replace(f"{m.__name__}:C")(module.C)
    (said,) = found(livepatch.check(fix), "callee-differs")
    assert "calls self.m (line 2 of it)" in said
