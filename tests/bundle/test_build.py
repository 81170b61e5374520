"""What a patch holds, for each kind of change between two trees."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from tests.bundle.trees_of import built, codes, edit_of, functions, names, program, verdicts, write_tree

import livepatch


def test_a_changed_body_is_one_function_edit_and_nothing_else(tmp_path):
    patch = built(
        tmp_path,
        "import os\n\n\n# a comment\n@staticmethod\ndef f(x):\n    return x\n",
        "import os\n@staticmethod\ndef f(x):\n    # another\n    return x + 1\n",
    )
    (edit,) = patch.edits
    assert (edit.module, edit.path, edit.names, edit.attributes, edit.whole) == ("app.m", "app/m.py", (), (), None)
    (f,) = edit.functions
    assert (f.qualname, f.defaults, f.accessor, f.index, f.count) == ("f", False, "", 0, 1)
    assert f.before.source == "@staticmethod\ndef f(x):\n    return x\n"
    assert (f.before.line, f.after.line) == (5, 2)
    assert edit.before.program == edit.after.program == ()
    assert edit.after.imports == ("import os",)
    assert patch.obstacles == ()
    assert verdicts(patch) == {"app.m:f": "taken"}


def test_the_patch_is_for_the_old_version_and_named_after_both(tmp_path):
    patch = built(tmp_path, "x = 1", "x = 2")
    assert (patch.id, patch.package, patch.versions) == ("app-1.0-to-1.1", "app", "==1.0")
    patch = built(tmp_path, "x = 1", "x = 2", id="CVE-1", versions=">=1", summary="s", flag="f")
    assert (patch.id, patch.versions, patch.summary, patch.flag) == ("CVE-1", ">=1", "s", "f")


def test_a_method_is_dedented_but_its_strings_are_not(tmp_path):
    old = 'class C:\n    def f(self):\n        return """a\n        b\n    c"""\n'
    new = old.replace('c"""', 'd"""')
    f = functions(built(tmp_path, old, new))["C.f"]
    assert f.after.source == 'def f(self):\n    return """a\n        b\n    d"""\n'
    assert ast.literal_eval(ast.parse(f.after.source).body[0].body[0].value) == "a\n        b\n    d"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f(): return 1", "def f():\n\n    # why\n    return  1"),
        ('def f():\n    "one"\n    return 1', 'def f():\n    "two"\n    return 1'),
        ("def f(x): return x", "def f(x: int) -> int: return x"),
        ("def f():\n    x = 1\n    return x", "def f():\n    x: int = 1\n    return x"),
        ("x = 1", "x: int = 1  # typed"),
        ("class C:\n    'one'\n    x = 1", "class C:\n    'two'\n    x: int = 1"),
        ("import typing", "import typing\nif typing.TYPE_CHECKING:\n    import os"),
        ("def f(x): return x", "@overload\ndef f(x: int) -> int: ...\ndef f(x): return x"),
        ("__version__ = '1.0'", "__version__ = '1.1'"),
        ("VERSION = (1, 0, 0, 'final', 0)", "VERSION = (1, 1, 0, 'final', 0)"),
        ("__ver_patch__ = 1", "__ver_patch__ = 2"),
        ("_version_patch = 0\n_version_extra = ''", "_version_patch = 1\n_version_extra = '.dev'"),
        ("__author__ = 'a'\n__all__ = []", "__author__ = 'b'\n__all__ = ['x']"),
        ("__all__ = []", "__all__ = []\n__all__ += ['x']"),
        ("import os", ""),
        ("", "import os"),
        ("", "if __name__ == '__main__':\n    print('x')"),
        ("import warnings", "import warnings\nwarnings.warn('old', DeprecationWarning)"),
        ("import typing as t\nT = t.Union[int, str]", "import typing as t\nT = t.Union[int, str, bytes]"),
    ],
)
def test_noise_is_left_out(tmp_path, old, new):
    patch = built(tmp_path, old, new)
    assert patch.edits == ()
    assert patch.obstacles == ()
    assert set(verdicts(patch).values()) <= {"left-out"}


def test_tests_documentation_and_modules_that_nothing_imports_are_left_out(tmp_path):
    old = {"app/__init__.py": "", "app/m.py": "x = 1", "app/tests/test_m.py": "x = 1", "app/gone.py": ""}
    new = {
        "app/__init__.py": "",
        "app/m.py": "x = 2",
        "app/tests/test_m.py": "x = 2",
        "app/fresh.py": "y = 1",
        "app/_version.py": "v = 1",
        "app/docs/conf.py": "a = 1",
    }
    patch = built(tmp_path, old, new)
    assert [e.module for e in patch.edits] == ["app.m"]
    left = {t for t, v in verdicts(patch).items() if v == "left-out"}
    assert {"app/tests/test_m.py", "app.gone", "app.fresh", "app._version", "app/docs/conf.py"} == left


def test_signature_and_defaults(tmp_path):
    patch = built(
        tmp_path, "def f(a, b=1): return a\ndef g(a=1): pass", "def f(a, c=2): return a\ndef g(a=1, *, b): pass"
    )
    assert functions(patch)["f"].defaults is True
    assert functions(patch)["g"].defaults is False


def test_added_and_removed_functions_and_methods(tmp_path):
    old = "def gone(): pass\nclass B: pass\nclass C(B):\n    def gone(self): pass\n    def same(self): pass"
    new = "def fresh(x=[]): pass\nclass B: pass\nclass C(B):\n    def same(self): pass\n    def fresh(cls): pass"
    patch = built(tmp_path, old, new)
    found = functions(patch)
    assert {q: (f.before is None, f.after is None, f.defaults) for q, f in found.items()} == {
        "fresh": (True, False, True),
        "gone": (False, True, False),
        "C.gone": (False, True, False),
        "C.fresh": (True, False, False),
    }
    assert verdicts(patch) == {
        "app.m:fresh": "taken", "app.m:gone": "left-out", "app.m:C.gone": "taken", "app.m:C.fresh": "taken",
        "app.m:C.same": "left-out",
    }  # fmt: skip
    (gone,) = [entry for entry in patch.plan if entry.target == "app.m:C.gone"]
    assert gone.why.startswith("goes where it hides what a base has")


@pytest.mark.parametrize(
    "old",
    [
        "def f(): return 1",
        "class A:\n    def old(self): pass",
        "class A(object):\n    old = 1",
        "LIMIT = 5",
        "class Old(Exception): pass",
    ],
)
def test_a_release_that_only_drops_what_stays_changes_nothing(tmp_path, old):
    new = "class A(object): pass" if "object" in old else "class A: pass" if "A" in old else ""
    patch = built(tmp_path, old, new)
    (entry,) = patch.plan
    assert (entry.verdict, entry.why.partition(",")[0]) == ("left-out", "stays in the process")
    assert (patch.edits, patch.obstacles) == ((), ())


def test_what_stays_is_there_for_what_was_computed_from_it(tmp_path):
    patch = built(tmp_path, "GONE = 3\nLIMIT = GONE * 2", "LIMIT = 4")
    assert names(patch) == {"LIMIT": "changed", "GONE": "removed"}
    assert program(patch, "before") == [("", "GONE = 3"), ("", "LIMIT = GONE * 2")]
    assert verdicts(patch) == {"app.m:GONE": "left-out", "app.m:LIMIT": "taken"}


def test_async_and_nested_functions_are_taken_whole(tmp_path):
    old = "async def a():\n    return 1\ndef outer():\n    def inner():\n        return 1\n    return inner"
    new = old.replace("return 1", "return 2")
    assert set(functions(built(tmp_path, old, new))) == {"a", "outer"}


def test_the_accessors_of_a_property_are_told_apart(tmp_path):
    old = """
    class C:
        @property
        def x(self): return self._x
        @x.setter
        def x(self, value): self._x = value
        @x.deleter
        def x(self): del self._x
    """
    patch = built(tmp_path, old, old.replace("self._x = value", "self._x = int(value)"))
    (f,) = edit_of(patch).functions
    assert (f.qualname, f.accessor, f.index, f.count) == ("C.x", "fset", 0, 1)
    assert f.after.source.startswith("@x.setter\n")
    assert names(patch) == {}


def test_a_new_setter_makes_another_property(tmp_path):
    old = "class C:\n    @property\n    def x(self): return 1\n"
    new = old + "    @x.setter\n    def x(self, value): pass\n"
    patch = built(tmp_path, old, new)
    assert names(patch) == {"C.x": "changed"}
    assert program(patch) == [("C", "@property"), ("C", "@x.setter")]
    assert program(patch, "before") == [("C", "@property")]


def test_variants_under_conditions_are_counted(tmp_path):
    old = "import sys\nif sys.platform == 'win32':\n    def f(): return 1\nelse:\n    def f(): return 2\n"
    patch = built(tmp_path, old, old.replace("return 2", "return 3"))
    (f,) = edit_of(patch).functions
    assert (f.qualname, f.index, f.count) == ("f", 1, 2)
    assert f.after.source == "def f(): return 3\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class C:\n    def f(self): pass", "class C:\n    @property\n    def f(self): pass"),
        ("class C:\n    @staticmethod\n    def f(): pass", "class C:\n    @classmethod\n    def f(cls): pass"),
        ("class C:\n    f = 1", "class C:\n    @property\n    def f(self): pass"),
    ],
)
def test_what_becomes_another_kind_of_thing_is_another_value(tmp_path, old, new):
    patch = built(tmp_path, old, new)
    assert names(patch) == {"C.f": "changed"}
    assert functions(patch) == {}
    assert [scope for scope, _ in program(patch) + program(patch, "before")] == ["C", "C"]
    assert codes(patch) == []


def test_a_function_that_becomes_a_class_reaches_those_who_import_it(tmp_path):
    old = {"app/__init__.py": "from app.m import f", "app/m.py": "def f(): pass"}
    new = {"app/__init__.py": "from app.m import f", "app/m.py": "class f: pass"}
    patch = built(tmp_path, old, new)
    assert [e.module for e in patch.edits] == ["app.m", "app"]
    assert names(patch) == {"f": "changed"}
    assert names(patch, "app") == {"f": "derived"}


def test_constants_regexes_and_class_attributes(tmp_path):
    old = "import re\nLIMIT = 1\nRE = re.compile('a')\nclass C:\n    SIZE = 1\n    KEEP = 2"
    new = "import re\nLIMIT = 2\nRE = re.compile('b')\nclass C:\n    SIZE = 3\n    KEEP = 2\n    NEW = 4"
    patch = built(tmp_path, old, new)
    assert names(patch) == {"LIMIT": "changed", "RE": "changed", "C.SIZE": "changed", "C.NEW": "added"}
    assert program(patch) == [("", "LIMIT = 2"), ("", "RE = re.compile('b')"), ("C", "SIZE = 3"), ("C", "NEW = 4")]
    assert program(patch, "before") == [("", "LIMIT = 1"), ("", "RE = re.compile('a')"), ("C", "SIZE = 1")]


def test_a_new_class_is_taken_whole_and_an_old_one_goes(tmp_path):
    old = "class Old(Exception): pass\ndef f(): raise Old"
    new = "class New(Exception):\n    def __str__(self): return 'x'\ndef f(): raise New"
    patch = built(tmp_path, old, new)
    assert names(patch) == {"New": "added", "Old": "removed"}
    assert set(functions(patch)) == {"f"}
    assert program(patch) == [("", "class New(Exception):")]


def test_changed_bases_are_no_obstacle(tmp_path):
    old = "class A: pass\nclass B:\n    def f(self): return 1\nclass D(B): pass"
    new = "class A: pass\nclass B(A):\n    def f(self): return 2\nclass D(B): pass"
    patch = built(tmp_path, old, new)
    assert codes(patch) == []
    assert names(patch) == {"B": "changed"}
    assert set(functions(patch)) == {"B.f"}
    assert program(patch) == [("", "class B(A):")]


def test_an_import_of_another_object_is_another_value(tmp_path):
    old = "from os.path import join\ndef f(): return join"
    new = "from posixpath import join\nfrom os import sep\ndef f(): return join, sep"
    patch = built(tmp_path, old, new)
    assert names(patch) == {"join": "changed", "sep": "added"}
    assert program(patch) == [("", "from posixpath import join"), ("", "from os import sep")]
    assert edit_of(patch).after.imports == ("from posixpath import join", "from os import sep")


def test_futures_are_kept_apart_from_imports(tmp_path):
    text = "from __future__ import annotations\nimport os\nclass C:\n    import sys\nx = {}"
    edit = edit_of(built(tmp_path, text.format(1), text.format(2)))
    assert edit.after.futures == ("annotations",)
    assert edit.after.imports == ("import os", "import sys")


# What is computed from what changes


def test_a_constant_made_from_a_changed_one_is_derived(tmp_path):
    old = "A = 1\nB = A + 1\nC = 5\nclass K:\n    D = B\n    E = C\ndef f(x=B): return A\ndef g(): return A"
    patch = built(tmp_path, old, old.replace("A = 1", "A = 2"))
    assert names(patch) == {"A": "changed", "B": "derived", "K.D": "derived"}
    f = functions(patch)
    assert set(f) == {"f"}
    assert f["f"].before.source == f["f"].after.source
    assert f["f"].defaults is True
    assert program(patch) == [("", "A = 2"), ("", "B = A + 1"), ("K", "D = B")]


@pytest.mark.parametrize(
    "importing",
    ["from app.m import A\nB = A", "from .m import A\nB = A", "from app import m\nB = m.A", "import app.m\nB = app.m.A",
     "from . import m as x\nB = x.A", "from .m import *\nB = A", "import app.m as q\nB = q.A"],
)  # fmt: skip
def test_derived_values_in_modules_that_did_not_change(tmp_path, importing):
    files = {"app/__init__.py": "", "app/other.py": importing, "app/bystander.py": "A = 1\nB = A"}
    patch = built(tmp_path, {**files, "app/m.py": "A = 1"}, {**files, "app/m.py": "A = 2"})
    assert [e.module for e in patch.edits] == ["app.m", "app.other"]
    assert names(patch, "app.other")["B"] == "derived"
    assert ("A" in names(patch, "app.other")) == ("import A" in importing or "*" in importing)
    assert verdicts(patch)["app.other:B"] == "needed"


def test_a_value_that_a_changed_function_gave_is_derived_with_the_function(tmp_path):
    old = (
        "def make(): return helper()\ndef helper(): return 1\ndef other(): return 2\nX = make()\nY = other()\nZ = make"
    )
    patch = built(tmp_path, old, old.replace("return 1", "return 3"))
    assert names(patch) == {"X": "derived"}
    assert set(functions(patch)) == {"helper"}
    assert program(patch) == [("", "def make(): return helper()"), ("", "def helper(): return 3"), ("", "X = make()")]


def test_only_what_runs_counts(tmp_path):
    """Of a function that makes functions, a call runs the outer part; what it made is replaced in place."""
    old = "def make():\n    def inner():\n        return 1\n    return inner\nX = make()\n@make\ndef f(): pass"
    assert names(built(tmp_path, old, old.replace("return 1", "return 2"))) == {}
    old = "def make(n):\n    def inner(f):\n        f.n = 1\n        return f\n    return inner\n"
    old += "@make(1)\ndef f(): pass\nX = f"
    patch = built(tmp_path, old, old.replace("f.n = 1", "f.n = 2"))
    assert set(functions(patch)) == {"make"}


def test_an_object_made_by_a_changed_class_is_derived(tmp_path):
    old = "class C:\n    N = 1\n    def __init__(self): self.n = self.N\n    def get(self): return 1\nX = C()"
    patch = built(tmp_path, old, old.replace("N = 1", "N = 2"))
    assert names(patch) == {"C.N": "changed", "X": "derived"}
    assert program(patch) == [("", "class C:"), ("", "X = C()")]
    patch = built(tmp_path, old, old.replace("return 1", "return 2"))
    assert names(patch) == {}
    patch = built(tmp_path, old, old.replace("= self.N", "= -self.N"))
    assert names(patch) == {"X": "derived"}


def test_what_a_subclass_changes_is_seen_by_the_method_it_inherits(tmp_path):
    old = "class B:\n    N = 1\n    def __init__(self): self.n = self.N\nclass C(B):\n    N = 2\nX = C()\nY = B()"
    patch = built(tmp_path, old, old.replace("N = 2", "N = 3"))
    assert names(patch) == {"C.N": "changed", "X": "derived"}


def test_an_attribute_set_after_the_class_is_of_the_class(tmp_path):
    old = "class C:\n    def __init__(self, n=1): self.n = n\nC.DEFAULT = C()"
    patch = built(tmp_path, old, old.replace("n=1", "n=2"))
    assert names(patch) == {"C.DEFAULT": "derived"}
    assert ("", "C.DEFAULT = C()") in program(patch)


def test_a_table_takes_all_that_fills_it(tmp_path):
    old = """
    KEYS = ['a']
    TABLE = {}
    TABLE['x'] = 1
    for key in KEYS:
        TABLE[key] = 2
    TABLE.update(y=3)
    OTHER = {}
    OTHER['x'] = 1
    """
    patch = built(tmp_path, old, old.replace("['a']", "['b']"))
    assert names(patch)["TABLE"] == "derived"
    assert "OTHER" not in names(patch)
    assert [line for _, line in program(patch)] == [
        "KEYS = ['b']",
        "TABLE = {}",
        "TABLE['x'] = 1",
        "for key in KEYS:",
        "TABLE.update(y=3)",
    ]
    patch = built(tmp_path, old, old.replace("TABLE['x'] = 1", "TABLE['x'] = 2"))
    assert names(patch)["TABLE"] == "derived"
    assert codes(patch) == []


def test_a_registry_filled_by_a_decorator(tmp_path):
    old = """
    HANDLERS = {}
    LIMIT = 1
    def register(name, limit):
        def keep(function):
            HANDLERS[name] = function, limit
            return function
        return keep
    @register('a', LIMIT)
    def a(): pass
    @register('b', 5)
    def b(): pass
    """
    patch = built(tmp_path, old, old.replace("LIMIT = 1", "LIMIT = 2"))
    assert names(patch) == {"LIMIT": "changed", "HANDLERS": "derived"}
    lines = [line for _, line in program(patch)]
    assert lines.count("@register('a', LIMIT)") == lines.count("@register('b', 5)") == 1


def test_compound_statements_go_whole(tmp_path):
    old = "try:\n    import json\n    X = 1\nexcept ImportError:\n    X = None\n"
    patch = built(tmp_path, old, old.replace("X = 1", "X = 2"))
    assert names(patch) == {"X": "changed"}
    (statement,) = edit_of(patch).after.program
    assert statement.text.source == old.replace("X = 1", "X = 2")


def test_a_class_whose_metaclass_looks_at_it_is_run_whole(tmp_path):
    old = """
    class Meta(type):
        def __new__(mcs, name, bases, body):
            body['NAMES'] = sorted(body)
            return super().__new__(mcs, name, bases, body)
    class C(metaclass=Meta):
        x = 1
    """
    patch = built(tmp_path, old, old.replace("x = 1", "x = 2"))
    assert names(patch) == {"C": "derived", "C.x": "changed"}
    assert program(patch) == [("", "class C(metaclass=Meta):")]


def test_modules_are_in_the_order_in_which_they_are_computed(tmp_path):
    files = {
        "app/__init__.py": "from .a import C",
        "app/a.py": "from .b import B\nC = B",
        "app/b.py": "from .z import A\nB = A",
    }
    patch = built(tmp_path, {**files, "app/z.py": "A = 1"}, {**files, "app/z.py": "A = 2"})
    assert [e.module for e in patch.edits] == ["app.z", "app.b", "app.a", "app"]


def test_a_new_module_that_new_code_imports_is_taken_whole(tmp_path):
    old = {"app/__init__.py": "", "app/m.py": "def f(): return 1"}
    new = {
        "app/__init__.py": "",
        "app/m.py": "from app.fresh import g\ndef f(): return g()",
        "app/fresh.py": "from app.deeper import h\ndef g(): return h",
        "app/deeper.py": "h = 1",
        "app/unused.py": "i = 1",
    }
    patch = built(tmp_path, old, new)
    assert [(e.module, e.whole) for e in patch.edits] == [
        ("app.deeper", "h = 1"),
        ("app.fresh", new["app/fresh.py"]),
        ("app.m", None),
    ]
    assert verdicts(patch)["app.deeper"] == "needed"
    assert verdicts(patch)["app.unused"] == "left-out"


# only=


def test_only_takes_what_is_picked_and_the_new_names_that_it_uses(tmp_path):
    old = "X = 1\ndef f(): return 1\ndef g(): return 1\nclass C:\n    def m(self): return 1"
    new = (
        "import json\nX = 2\nLIMIT = 5\ndef helper(x): return LIMIT, json\ndef f(): return helper(1)\n"
        "def g(): return 2\ndef unrelated(): pass\nclass C:\n    def m(self): return 2"
    )
    patch = built(tmp_path, old, new, only=["app.m:f"])
    assert set(functions(patch)) == {"f", "helper"}
    assert names(patch) == {"LIMIT": "added", "json": "added"}
    found = verdicts(patch)
    assert (found["app.m:f"], found["app.m:helper"], found["app.m:LIMIT"]) == ("taken", "needed", "needed")
    assert (found["app.m:g"], found["app.m:X"], found["app.m:unrelated"]) == ("left-out",) * 3
    assert set(functions(built(tmp_path, old, new, only=["C"]))) == {"C.m"}
    assert set(functions(built(tmp_path, old, new, only=["C.*"]))) == {"C.m"}
    assert set(functions(built(tmp_path, old, new, only=["app.m"]))) == {"f", "g", "helper", "unrelated", "C.m"}
    with pytest.raises(TypeError, match="only must be a list"):
        built(tmp_path, old, new, only="app.m:f")


@pytest.mark.parametrize(
    ("only", "lost", "near"),
    [
        (["app.m:f", "app.m:connct"], ["app.m:connct"], "app.m:connect"),
        (["app.m:f", "C.clsoe", "app.m:conect"], ["C.clsoe", "app.m:conect"], "app.m:C.close"),
        (["app.m", "app.n"], ["app.n"], "app.m:"),
        (["app.m:f", "app.m:same"], ["app.m:same"], "app.m:"),
        (["app.m:nope"], ["app.m:nope"], "app.m:"),
        (["f", "zz*"], ["zz*"], "app.m:"),
        ([], [], "names"),
    ],
)
def test_each_name_in_only_must_pick_something(tmp_path, only, lost, near):
    old = "def f(): return 1\ndef connect(): return 1\ndef same(): return 1\nclass C:\n    def close(self): return 1"
    with pytest.raises(livepatch.PatchError, match="picks nothing") as raised:
        built(
            tmp_path,
            old,
            old.replace("return 1", "return 2").replace("same(): return 2", "same(): return 1"),
            only=only,
        )
    assert all(repr(pattern) in raised.value.found for pattern in lost)
    assert "app.m:f'" not in raised.value.found
    assert ("the same in both trees" in raised.value.found) == ("app.m:same" in lost)
    assert near in raised.value.expected


def test_only_takes_in_the_function_that_is_called_in_another_way(tmp_path):
    old = "def helper(a): return a\ndef f(): return helper(1)"
    new = "def helper(a, b): return a\ndef f(): return helper(1, 2)"
    assert set(functions(built(tmp_path, old, new, only=["app.m:f"]))) == {"f", "helper"}


# Determinism and hostile input


def test_the_same_trees_give_the_same_patch_whatever_the_hash_seed(tmp_path):
    old = "A = 1\nB = A\nC = B\nTABLE = {A: B}\nclass K:\n    X = C\n    def f(self, x=A): return x\n"
    write_tree(
        tmp_path / "old", {"app/__init__.py": "from .m import *", "app/m.py": old, "app/n.py": "from .m import A, B, C"}
    )
    write_tree(
        tmp_path / "new",
        {
            "app/__init__.py": "from .m import *",
            "app/m.py": old.replace("A = 1", "A = 2"),
            "app/n.py": "from .m import A, B, C",
        },
    )
    code = (
        "import sys, livepatch; p = livepatch.build(*sys.argv[1:], package='app');"
        "print(repr((p.edits, p.obstacles, p.plan)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "old"), str(tmp_path / "new")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]  # behind the event
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert "derived" in said.pop()


def test_a_file_that_does_not_parse_is_an_obstacle_only_if_it_changed(tmp_path):
    old = {"app/__init__.py": "", "app/m.py": "x = 1", "app/py2.py": "print 'x'"}
    patch = built(tmp_path, old, {**old, "app/m.py": "x = 2"})
    assert codes(patch) == []
    patch = built(tmp_path, old, {**old, "app/py2.py": "print 'y'"})
    assert codes(patch) == ["unparsable"]
    assert verdicts(patch) == {"app.py2": "cannot"}


def test_a_tree_without_a_version_asks_for_one(tmp_path):
    for side, text in (("old", "x = 1"), ("new", "x = 2")):
        (tmp_path / side / "app").mkdir(parents=True)
        (tmp_path / side / "app" / "__init__.py").write_text(text)
    with pytest.raises(livepatch.BundleError, match="versions="):
        livepatch.build(tmp_path / "old", tmp_path / "new", package="app")
    assert livepatch.build(tmp_path / "old", tmp_path / "new", package="app", versions="==1").edits
    with pytest.raises(livepatch.BundleError, match="no such source tree"):
        livepatch.build(tmp_path / "old", tmp_path / "nowhere", package="app")


META = """
class Meta(type):
    def __new__(mcs, name, bases, body):
        made = super().__new__(mcs, name, bases, body)
        if "limit" in body:
            made.double = body["limit"] * 2
        ALL[name] = made
        return made
ALL = {}
class C(metaclass=Meta):
    limit = 1
    other = 1
"""


def test_a_class_is_run_whole_only_if_what_changes_was_looked_at_when_it_was_made(tmp_path):
    assert names(built(tmp_path / "1", META, META.replace("other = 1", "other = 2"))) == {"C.other": "changed"}
    assert names(built(tmp_path / "2", META, META.replace("limit = 1", "limit = 2"))) == {
        "C": "derived",
        "C.limit": "changed",
    }


def test_names_that_are_gone_when_the_module_has_run_are_no_values(tmp_path):
    old = "N = 1\nhelp = N\nT = []\nfor one in range(help):\n    T.append(one)\ndel help\n"
    assert names(built(tmp_path, old, old.replace("N = 1", "N = 2"))) == {"N": "changed", "T": "derived"}


@pytest.mark.parametrize(
    ("text", "derived"),
    [
        ("A = 1\nX = 1\nB = '(%(A)s)' % locals()", {"B"}),
        ("A = 1\nX = 1\nB = '(%(X)s)' % locals()", set()),
        ("A = 1\nT = '(%(A)s)'\nB = T % vars()", {"B"}),
        ("A = 1\nX = 1\nB = '{A}'.format(**globals())\nC = '{X}'.format_map(globals())", {"B"}),
        ("A = 1\nX = 1\nB = eval('A + 1')\nC = eval('X + 1')", {"B"}),
        ("A = 1\nB = dict(globals())\nA2 = 2", {"B"}),
        ("A = 1\nX = 2\nB = globals()['A']\nC = globals().get('X')\nD = 'X' in globals()", {"B"}),
        ("B = dict(globals())\nA = 1", set()),
        ("A = 1\nclass C:\n    P = 1\n    B = '%(P)s' % locals()\n    D = dict(vars())", set()),
        ("class C:\n    A = 1\n    B = '%(A)s' % locals()\n    D = [vars()]\n    def f(self): return vars()",
         {"C.B", "C.D"}),
        ("A = 1\ndef locals(): return {}\nB = '%(A)s' % locals()", set()),
    ],
)  # fmt: skip
def test_what_reads_a_namespace_as_a_whole_reads_its_names(tmp_path, text, derived):
    patch = built(tmp_path, text, text.replace("A = 1", "A = 5"))
    assert {name for name, kind in names(patch).items() if kind == "derived"} == derived
    assert codes(patch) == []


def test_what_is_written_through_a_namespace_reads_nothing(tmp_path):
    text = "A = 1\nfor one in ('x', 'y'):\n    globals()[one] = one"
    assert codes(built(tmp_path, text, text.replace("A = 1", "A = 5"))) == []


REGISTERING = """
NAMES = {}
def register(name, value):
    NAMES[name] = value
    return value
CACHE = {}
def cached(name):
    if name not in CACHE:
        CACHE[name] = name * 2
    return CACHE[name]
class Kept:
    def __init__(self, name): ALL.append(self)
ALL = []
A = register('a', 1)
B = cached('b')
C = Kept('c')
"""


def test_a_changed_assignment_fills_the_registry_of_what_it_calls(tmp_path):
    patch = built(tmp_path / "1", REGISTERING, REGISTERING.replace("'a', 1", "'a', 2"))
    assert names(patch) == {"A": "changed", "NAMES": "derived"}
    patch = built(tmp_path / "2", REGISTERING, REGISTERING.replace("('b')", "('B')"))
    assert names(patch) == {"B": "changed"}
    patch = built(tmp_path / "3", REGISTERING, REGISTERING.replace("('c')", "('C')"))
    assert names(patch) == {"C": "changed", "ALL": "derived"}


MADE = "def make(v):\n    def inner(): return v, 1\n    return inner\nX = make(3)\n"


def test_what_a_function_that_a_call_gave_has_given_is_derived(tmp_path):
    text = MADE + "Y = X()\nZ = [X]\n"
    patch = built(tmp_path / "1", text, text.replace("v, 1", "v, 2"))
    assert names(patch) == {"X": "derived", "Y": "derived", "Z": "derived"}
    text = MADE.replace("X = make(3)", "@make\ndef f(): pass\nY = f()")
    patch = built(tmp_path / "2", text, text.replace("v, 1", "v, 2"))
    assert names(patch) == {"f": "derived", "Y": "derived"}
    text = "A = 1\nf = lambda: A\nY = f()\ng = lambda: A"
    patch = built(tmp_path / "3", text, text.replace("A = 1", "A = 2"))
    assert names(patch) == {"A": "changed", "f": "derived", "Y": "derived"}
