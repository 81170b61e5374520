"""Statements run apart from the live modules: they see what the modules hold, and leave no trace in them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from livepatch.contents.edits import ModuleEdit, Side, Statement, Text
from livepatch.engine.scratch import Scratch, ScratchError


def make(monkeypatch, **sources):
    """Live modules with these sources; a double underscore in a name stands for a dot."""
    made = {}
    for name, source in sources.items():
        dotted = name.replace("__", ".")
        module = ModuleType(dotted)
        module.__package__ = dotted if any(o.startswith(name + "__") for o in sources) else dotted.rpartition(".")[0]
        if any(o.startswith(name + "__") for o in sources):
            module.__path__ = []
        monkeypatch.setitem(sys.modules, dotted, module)
        parent, _, last = dotted.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], last, module)
        exec(source, vars(module))
        made[dotted] = module
    return made


def side(*statements):
    return Side(
        program=tuple(
            Statement(text=Text(source=s, line=1))
            if isinstance(s, str)
            else Statement(scope=s[0], text=Text(source=s[1], line=1))
            for s in statements
        )
    )


def scratch(modules, *names):
    return Scratch("P", [ModuleEdit(module=name, path=f"{name}.py") for name in names or modules], sys.modules)


def test_statements_bind_names_in_the_copy_alone(monkeypatch):
    modules = make(monkeypatch, sandbox="LIMIT = 1\nFACTOR = 3")
    it = scratch(modules)
    it.run("sandbox", side("LIMIT = FACTOR * 2", "NEW = LIMIT + 1"))
    assert (it.namespace("sandbox")["LIMIT"], it.namespace("sandbox")["NEW"]) == (6, 7)
    assert modules["sandbox"].LIMIT == 1
    assert not hasattr(modules["sandbox"], "NEW")


def test_imports_between_modules_of_the_patch_give_the_copies(monkeypatch):
    modules = make(
        monkeypatch,
        pkg="",
        pkg__low="LIMIT = 1",
        pkg__high="from pkg.low import LIMIT\nimport pkg.low\nfrom pkg import low",
    )
    it = scratch(modules, "pkg.low", "pkg.high")
    it.run("pkg.low", side("LIMIT = 50"))
    it.run(
        "pkg.high",
        side(
            "from pkg.low import LIMIT",
            "A = pkg.low.LIMIT",
            "B = low.LIMIT",
            "from .low import LIMIT as C",
            "import pkg.low as l",
            "D = l.LIMIT",
        ),
    )
    names = it.namespace("pkg.high")
    assert [names[n] for n in ("LIMIT", "A", "B", "C", "D")] == [50] * 5
    assert (modules["pkg.high"].LIMIT, modules["pkg.low"].LIMIT) == (1, 1)


def test_a_statement_of_a_class_body_sees_the_class_and_binds_apart_from_it(monkeypatch):
    modules = make(monkeypatch, sandbox="class C:\n  BASE = 2\n  __hidden = 5\n  def m(self): return 1")
    it = scratch(modules)
    it.run(
        "sandbox",
        side(
            ("C", "TWICE = BASE * 2"),
            ("C", "__hidden = __hidden + 1"),
            ("C", "@staticmethod\ndef m(): return super, TWICE"),
            ("C", "def who(self): return __class__"),
        ),
    )
    assert it.member("sandbox", "C", "TWICE") == 4
    assert it.member("sandbox", "C", "__hidden") == 6
    assert isinstance(it.member("sandbox", "C", "m"), staticmethod)
    assert it.member("sandbox", "C", "who")(None) is modules["sandbox"].C
    assert it.member("sandbox", "C", "who").__qualname__ == "C.who"
    assert not hasattr(modules["sandbox"].C, "TWICE")
    assert modules["sandbox"].C._C__hidden == 5


def test_what_fails_is_told_with_its_line_and_leaves_nothing(monkeypatch):
    modules = make(monkeypatch, sandbox="X = 1")
    it = scratch(modules)
    with pytest.raises(ScratchError) as caught:
        it.run("sandbox", Side(program=(Statement(text=Text(source="X = 2\nY = X / 0", line=40)),)))
    assert caught.value.refusal.code == "statement-failed"
    assert "ZeroDivisionError at line 41" in caught.value.refusal.found
    assert modules["sandbox"].X == 1


@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("import pkg\nX = pkg.late.N", "import 'pkg.late' first"),
        ("from pkg.here import gone", "import 'pkg.here' first"),
        ("import gone_for_good", "has 'gone_for_good'"),
        ("import pkg\nX = pkg.nothing", ""),
    ],
)
def test_a_module_that_a_statement_lacks_is_named_with_the_remedy(monkeypatch, tmp_path, statement, remedy):
    make(monkeypatch, sandbox="X = 1", pkg="", pkg__here="")
    (tmp_path / "late.py").write_text("N = 5")
    sys.modules["pkg"].__path__ = [str(tmp_path)]
    with pytest.raises(ScratchError) as caught:
        scratch(sys.modules, "sandbox").run("sandbox", side(statement))
    action = caught.value.refusal.action
    assert action.endswith("build with only= and without it, or restart with the fixed package")
    assert remedy in action
    assert action.startswith("build") == (not remedy)


def test_source_that_does_not_compile_is_told(monkeypatch):
    it = scratch(make(monkeypatch, sandbox=""))
    with pytest.raises(ScratchError) as caught:
        it.run("sandbox", side("X = = 1"))
    assert caught.value.refusal.code == "does-not-compile"


def test_a_definition_can_be_had_without_binding_its_name(monkeypatch):
    import ast

    it = scratch(make(monkeypatch, sandbox="def f(): return 'live'"))
    made = it.define("sandbox", "", Side(), ast.parse("def f(a=1): return 'new'").body, "f", "sandbox:f")
    assert made() == "new"
    assert it.namespace("sandbox")["f"]() == "live"


def test_an_expression_has_its_value_and_leaves_no_name(monkeypatch):
    it = scratch(make(monkeypatch, sandbox="N = 4"))
    assert it.evaluate("sandbox", Side(), "[N,\n N]", "sandbox:C.x") == [4, 4]
    assert not any(name.startswith("__livepatch") for name in it.namespace("sandbox"))
