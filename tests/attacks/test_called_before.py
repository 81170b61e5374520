"""What the import of a module called under a name that it bound anew afterwards, or by handing it to a function."""

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def case(name, source, was, now, probe):
    return pytest.param(source, was, now, probe, id=name)


WRAPPED = "def wrap(f):\n  def g(): return f()\n  return g\ndef f(): return 0\nf = wrap(f)\nA = f()\n"


@pytest.mark.parametrize(
    ("source", "was", "now", "probe"),
    [
        case("wrapped by hand", WRAPPED, "0", "1", "A, f()"),
        case(
            "a class that a function gives back",
            "def same(c): return c\nclass C:\n  def v(self): return 0\nC = same(C)\nA = C().v()\n",
            "return 0",
            "return 1",
            "A, C().v()",
        ),
        case(
            "a property made by a call",
            "class C:\n  def _x(self): return 0\n  x = property(_x)\nA = C().x\n",
            "0",
            "1",
            "A, C().x",
        ),
        case(
            "a class decorator by hand",
            "def tag(c):\n  c.tag = c.n()\n  return c\nclass C:\n  @classmethod\n  def n(cls): return 0\nC = tag(C)\n",
            "0",
            "1",
            "C.tag, C.n()",
        ),
        case("handed over", "def f(): return 0\ndef twice(g): return g(), g()\nA = twice(f)\n", "0", "1", "A, f()"),
        case(
            "handed on",
            "def f(): return 0\ndef inner(h): return h()\ndef outer(*, g): return inner(g)\nA = [outer(g=f)]\n",
            "0",
            "1",
            "A, f()",
        ),
        case(
            "a class and an object of it, handed over",
            "class C:\n  def v(self): return 0\ndef first(c): return c().v()\ndef second(c): return c.v()\n"
            "A = first(C), second(C())\n",
            "return 0",
            "return 1",
            "A, C().v()",
        ),
        case(
            "what a list holds",
            "def f(): return 0\nALL = [f]\nA = [each() for each in ALL]\n",
            "0",
            "1",
            "A, ALL[0] is f",
        ),
        case(
            "what a loop takes from a table",
            "def f(): return 0\nT = {'f': f}\nA = {}\nfor k, each in T.items():\n  A[k] = each()\n",
            "return 0",
            "return 1",
            "A, T['f'] is f",
        ),
        case(
            "what a decorator has entered",
            "T = {}\ndef enter(f):\n  T[f.__name__] = f\n  return f\n@enter\ndef f(): return 0\nA = T['f']()\n",
            "return 0",
            "return 1",
            "A, T['f'] is f",
        ),
        case(
            "what a function takes from a list",
            "def f(): return 0\nALL = [f]\ndef run(): return [each() for each in ALL]\nA = run()\n",
            "return 0",
            "return 1",
            "A, ALL[0] is f",
        ),
        case(
            "a table of methods in a class",
            "class C:\n  def f(self): return 0\n  T = {'f': f}\n  A = T['f'](None)\n",
            "return 0",
            "return 1",
            "C.A, C.T['f'] is C.f",
        ),
    ],
)
def test_what_was_called_at_import_is_computed_again(releases, source, was, now, probe):
    after = source.replace(was, now)
    assert after != source
    running, fresh = releases({"m.py": source}, {"m.py": after}), {}
    exec(after, fresh)
    seen = eval(probe, vars(running["m"]))
    applied = livepatch.apply(running.build())
    assert eval(probe, vars(running["m"])) == eval(probe, fresh)
    applied.revert()
    assert eval(probe, vars(running["m"])) == seen


def test_what_another_module_gave_under_a_name_that_a_definition_took(releases):
    source = "from PKG.low import g as f\nA = f()\ndef f(): return 'own'\n"
    running = releases({"low.py": "def g(): return 0\n", "m.py": source}, {"low.py": "def g(): return 1\n"})
    applied = livepatch.apply(running.build())
    assert (running["m"].A, running["m"].f()) == (1, "own")
    applied.revert()
    assert running["m"].A == 0


@pytest.mark.parametrize("name", ["ALL", "ALL as EACH"])
def test_what_a_list_of_another_module_holds(releases, name):
    low = "def f(): return 0\nALL = [f]\n"
    source = f"from PKG.low import {name}\nA = [each() for each in {name.rpartition(' ')[2]}]\n"
    running = releases({"low.py": low, "m.py": source}, {"low.py": low.replace("return 0", "return 1")})
    applied = livepatch.apply(running.build())
    assert running["m"].A == [1]
    applied.revert()
    assert running["m"].A == [0]


def test_a_table_that_the_process_has_extended_stays_where_no_statement_calls_what_it_holds(releases):
    source = "def f(): return 0\nT = {'f': f}\ndef run(k): return T[k]()\n"
    running = releases({"m.py": source}, {"m.py": source.replace("return 0", "return 1")})
    running["m"].T["g"] = lambda: 7
    livepatch.apply(running.build())
    assert [running["m"].run(k) for k in "fg"] == [1, 7]
