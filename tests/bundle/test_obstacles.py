"""What cannot be done live is found when the patch is built."""

from __future__ import annotations

import pytest
from tests.bundle.trees_of import built, codes, functions, names, verdicts

from livepatch.bundle.metadata import Metadata
from livepatch.bundle.obstacles import native_obstacles
from livepatch.bundle.trees import Tree

ENUM = "import enum\nclass E(enum.Enum):\n    A = 1\n    def f(self): return 1\n"
DATA = "import dataclasses\n@dataclasses.dataclass\nclass D:\n    a: int\n    b: int = 1\n    def f(self): return 1\n"
SLOTTED = DATA.replace(".dataclass\n", ".dataclass(slots=True)\n")
ATTRS = "import attr\n@attr.s\nclass D:\n    a = attr.ib()\n"
TUPLE = "import typing\nclass T(typing.NamedTuple):\n    a: int\n    b: int\n"


@pytest.mark.parametrize(
    ("old", "new", "code", "target"),
    [
        ("class C:\n    __slots__ = ('a',)", "class C:\n    __slots__ = ('a', 'b')", "slots-changed", "app.m:C"),
        ("class C: pass", "class C:\n    __slots__ = ()", "slots-changed", "app.m:C"),
        (ENUM, ENUM.replace("A = 1", "A = 1\n    B = 2"), "enum-changed", "app.m:E"),
        (ENUM, ENUM.replace("A = 1", "A = 2"), "enum-changed", "app.m:E"),
        (DATA, DATA.replace("a: int\n", "a: int\n    c: str\n"), "fields-changed", "app.m:D"),
        (SLOTTED, SLOTTED.replace("b: int = 1", "b: int = 2"), "fields-changed", "app.m:D"),
        (ATTRS, ATTRS + "    b = attr.ib()\n", "fields-changed", "app.m:D"),
        (TUPLE, TUPLE.replace("    b: int\n", ""), "fields-changed", "app.m:T"),
        (
            "from collections import namedtuple\nP = namedtuple('P', 'a')",
            "from collections import namedtuple\nP = namedtuple('P', 'a b')",
            "fields-changed",
            "app.m:P",
        ),
        ("class C: pass", "import abc\nclass C(metaclass=abc.ABCMeta): pass", "metaclass-changed", "app.m:C"),
        ("import codecs\ndef s(n): pass", "import codecs\ndef s(n): pass\ncodecs.register(s)",
         "module-effect-changed", "app.m"),
        ("import signal\nN = 1\nsignal.signal(N, None)", "import signal\nN = 2\nsignal.signal(N, None)",
         "module-effect-changed", "app.m"),
        ("import os", "import os\nos.environ['X'] = '1'", "module-effect-changed", "app.m"),
        ("import logging\nlog = logging.getLogger()", "import logging\nlog = logging.getLogger()\nlog.setLevel(10)",
         "module-effect-changed", "app.m"),
        ("import click\n@click.one\ndef f(): pass", "import click\n@click.two\ndef f(): pass",
         "decorator-changed", "app.m:f"),
        ("import functools\nclass C: pass", "import functools\n@functools.total_ordering\nclass C: pass",
         "decorator-changed", "app.m:C"),
    ],
)  # fmt: skip
def test_each_obstacle_is_found(tmp_path, old, new, code, target):
    patch = built(tmp_path, old, new)
    assert code in codes(patch)
    (obstacle, *_) = [o for o in patch.obstacles if o.code == code]
    assert obstacle.target == target
    assert obstacle.found
    assert obstacle.expected
    assert obstacle.action


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ENUM, ENUM.replace("return 1", "return 2")),
        (DATA, DATA.replace("return 1", "return 2")),
        (DATA, DATA.replace("b: int = 1", "b: str = 1")),
        ("X = []", "X = []\nX.append(1)"),
        ("import functools\n@functools.lru_cache\ndef f(): pass", "def f(): pass"),
        ("def deco(f): return f\ndef g(): pass", "def deco(f): return f\n@deco\ndef g(): pass"),
        (
            "import typing\nclass T(typing.TypedDict):\n    a: int",
            "import typing\nclass T(typing.TypedDict):\n    a: int\n    b: int",
        ),
        ("import warnings\nX = 1", "from warnings import warn\nX = 1\nwarn('gone')"),
    ],
)
def test_what_can_be_done_is_no_obstacle(tmp_path, old, new):
    assert codes(built(tmp_path, old, new)) == []


def test_an_obstacle_shows_in_the_plan(tmp_path):
    patch = built(tmp_path, "class C:\n    __slots__ = ('a',)", "class C:\n    __slots__ = ('a', 'b')")
    assert verdicts(patch) == {"app.m:C.__slots__": "taken"} or "cannot" in verdicts(patch).values()


def test_a_registering_decorator_of_the_package_is_another_value_of_the_registry(tmp_path):
    old = "ALL = []\ndef keep(f):\n    ALL.append(f)\n    return f\ndef g(): pass"
    patch = built(tmp_path, old, old.replace("def g", "@keep\ndef g"))
    assert codes(patch) == []
    assert names(patch) == {"ALL": "derived", "g": "changed"}
    assert functions(patch) == {}


def _tree(**natives):
    return Tree(Metadata("1"), {}, {}, {name.replace("__", "/"): data for name, data in natives.items()})


def test_a_native_part_counts_only_if_its_source_changed():
    old = {"app/_x.cpython-311-x86_64-linux-gnu.so": b"1", "app/_x.pyx": b"a", "app/_y.abi3.so": b"1"}
    same = Tree(Metadata("1"), {}, {}, old)
    assert native_obstacles(same, same) == []
    rebuilt = Tree(Metadata("2"), {}, {}, {**old, "app/_x.cpython-311-x86_64-linux-gnu.so": b"2"})
    assert native_obstacles(same, rebuilt) == []
    changed = Tree(Metadata("2"), {}, {}, {**old, "app/_x.cpython-311-x86_64-linux-gnu.so": b"2", "app/_x.pyx": b"b"})
    assert [(o.code, o.target) for o in native_obstacles(same, changed)] == [("native-part-changed", "app._x")]
    unknown = Tree(Metadata("2"), {}, {}, {**old, "app/_y.abi3.so": b"2"})
    assert [o.target for o in native_obstacles(same, unknown)] == ["app._y"]


@pytest.mark.parametrize(
    "text",
    [
        "import ext\nN = 1\next.limit = N",
        "import ext\nN = 1\next.TABLE['x'] = N",
        "from ext import TABLE\nN = 1\nTABLE['x'] = N",
        "import ext\nN = 1\nclass C: pass\next.register(C, N)",
        "import sys\nN = 1\nx = sys.modules.setdefault('app.fake', N)",
        "import logging\nN = 1\nlog = logging.getLogger('a')\nlog.setLevel(N)",
        "import logging\nN = 1\nlog = logging.getLogger('a')\nlog.level = N",
        "import logging\nN = 1\nlog = logging.getLogger('a')\nlog.handlers.append(N)",
        "from ext import Registry\nN = 1\nr = Registry.get()\nr.update(n=N)",
        "from ext import Registry\nN = 1\nr = Registry.get()\ns = [r]\nr['n'] = N",
        "import ext\nN = 1\nt = ext.TABLE\nt['n'] = N",
        "try:\n    import ext\nexcept ImportError:\n    ext = None\nN = 1\next.limit = N",
        "import ext\nN = 1\nfor one in ext.ALL:\n    one.limit = N",
        "import ext\nN = 1\nif ext.OLD:\n    X = N\n    ext.limit = 3",
    ],
)
def test_what_changes_others_objects_is_an_obstacle_and_in_no_program(tmp_path, text):
    patch = built(tmp_path, text, text.replace("N = 1", "N = 2"))
    assert "module-effect-changed" in codes(patch)
    (edit,) = patch.edits
    ran = "".join(s.text.source for side in (edit.before, edit.after) for s in side.program)
    assert not any(word in ran for word in ("limit", "register", "modules", "level", "handlers", "update", "['"))


@pytest.mark.parametrize(
    "text",
    [
        "import collections\nN = 1\nt = collections.OrderedDict()\nt['n'] = N",
        "N = 1\nt = {}\nu = t\nu['n'] = N",
        "N = 1\nt = dict(a=1)\nt.update(n=N)",
        "N = 1\nclass C:\n    def put(self, n): self.n = n\nc = C()\nc.put(N)\nc.m = N",
        "N = 1\ndef make(): return {}\nt = make()\nt['n'] = N",
        "N = 1\nclass C: pass\nC.n = N",
        "import ext\nN = 1\nt = {**ext.TABLE}\nt['n'] = N",
        "import ext\nN = 1\nt = ext.TABLE.copy()\nt['n'] = N",
        "import string\nN = 1\nt = string.Template('a')\nt.n = N",
    ],
)
def test_what_changes_the_packages_own_objects_is_none(tmp_path, text):
    patch = built(tmp_path, text, text.replace("N = 1", "N = 2"))
    assert codes(patch) == []


FILES = {
    "app/__init__.py": "",
    "app/m.py": "def f(): return 1",
    "app/page.html": "a",
    "app/static/x.js": "a",
    "app/static/deep/y.css": "a",
    "app/web/views.py": "def g(): return 1",
    "app/web/templates/far/z.html": "a",
    "app/README.md": "a",
    "app/py.typed": "",
    "app/m.pyi": "a",
    "app/LICENSE.txt": "a",
    "app/tests/data.json": "a",
    "app/locale/de.po": "a",
}


def test_a_file_that_holds_the_version_alone_describes_the_package(tmp_path):
    sides = [
        {"app/__init__.py": "", "app/m.py": f"def f(): return {n}", "app/VERSION": f"1.{n}\n", "app/api": f"{n}.0"}
        for n in (0, 1)
    ]
    patch = built(tmp_path, *sides)
    assert [obstacle.found for obstacle in patch.obstacles] == ["app/api is another, and app.m lies beside it"]
    assert verdicts(patch)["app/VERSION"] == "left-out"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"app/page.html": "b"}, {"app/page.html"}),
        ({"app/static/x.js": "b"}, {"app/static/x.js"}),
        ({"app/static/deep/y.css": "b"}, set()),
        ({"app/m.py": "def f(): return open('far/z.html')", "app/web/templates/far/z.html": "b"}, {"far/z.html"}),
        ({"app/m.py": "def f(): return open('new.sql')", "app/web/new.sql": "b"}, {"new.sql"}),
        ({"app/new.sql": "b"}, set()),
        ({"app/m.py": "def f(): return 1", "app/web/views.py": "def g(): return 2", "app/page.html": "b"}, {"page"}),
        ({"app/README.md": "b", "app/py.typed": "b", "app/m.pyi": "b", "app/LICENSE.txt": "b"}, set()),
        ({"app/tests/data.json": "b", "app/locale/de.po": "b"}, set()),
    ],
)
def test_a_data_file_counts_if_what_is_taken_may_read_it(tmp_path, changed, found):
    new = {**FILES, "app/m.py": "def f(): return 2", **changed}
    patch = built(tmp_path, FILES, new)
    assert codes(patch) == ["data-file-changed"] * len(found)
    assert all(word in obstacle.found for word, obstacle in zip(found, patch.obstacles, strict=True))
    left = {target for target, verdict in verdicts(patch).items() if verdict == "left-out"}
    assert {p for p in changed if p.endswith((".html", ".js", ".css", ".sql"))} <= left
    only = built(tmp_path / "only", FILES, new, only=["[fg]"])
    assert codes(only) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("N = open('x', 'w').write(str(A))", "open"),
        ("def made():\n    with open('x', mode='a') as f: f.write('y')\n    return A\nN = made()", "made() it writes"),
        (
            "import pathlib\ndef made(): return pathlib.Path('x').open('x')\ndef more(): return made(), A\nN = more()",
            "by made() it writes",
        ),
        ("import pathlib\nN = pathlib.Path('x').write_text(str(A))", "write_text"),
        ("import subprocess as s\nN = s.check_output(['id', A])", "starts a process (subprocess.check_output)"),
        ("from os import system\ndef made(): return system(A)\nN = made()", "starts a process (os.system)"),
        ("import shutil\nclass C:\n    def __init__(self): shutil.rmtree('x')\nN = C(), A", "by C.__init__() it"),
        ("import socket\nN = [socket.create_connection(('x', A))]", "talks to the network"),
        ("import os\ndef deco(f):\n    os.mkdir('x')\n    return f\n@deco\ndef f(x=A): pass\nN = f()", "by deco() it"),
        ("import os\nclass C:\n    def __getitem__(self, k): os.mkdir('x')\nN = C()[A]", "by C.__getitem__() it"),
        (
            "import os\nclass C:\n def save(self): os.mkdir('x')\ndef made():\n c = C()\n c.save()\nN = made(), A",
            "by C.save() it",
        ),
        (
            "import os, attr\ndef f(): os.mkdir('x')\n@attr.s\nclass C:\n a = attr.ib(factory=f)\nN = C(), A",
            "by f() it",
        ),
        ("N = open('x').read() * A", ""),
        ("import shutil\nN = shutil.which('x', A)", ""),
        ("def made(): return lambda: open('x', 'w')\nN = made(), A", ""),
        ("import os\nos.mkdir('x')\nN = A", ""),
    ],
)  # fmt: skip
def test_a_statement_that_acts_outside_of_the_process_is_an_obstacle(tmp_path, text, said):
    patch = built(tmp_path, f"A = 100\n{text}", f"A = 10\n{text}")
    assert set(codes(patch)) == ({"module-effect-changed"} if said else set())
    assert all(said in obstacle.found for obstacle in patch.obstacles)


def test_data_files_are_found_in_archives_and_source_layouts(tmp_path):
    old = {"src/app/__init__.py": "def f(): return 1", "src/app/data.json": "1", "data.json": "1", "pyproject.toml": ""}
    new = {**old, "src/app/__init__.py": "def f(): return 2", "src/app/data.json": "2", "data.json": "2"}
    patch = built(tmp_path, old, new)
    assert [o.found.partition(" ")[0] for o in patch.obstacles] == ["app/data.json"]


def test_a_statement_that_acts_is_told_once_and_the_ways_out_are_named(tmp_path):
    old = "import signal\ndef stop(*_): pass\n"
    patch = built(tmp_path, old, f"{old}signal.signal(signal.SIGTERM, stop)\n")
    (obstacle,) = patch.obstacles
    assert (obstacle.code, obstacle.target) == ("module-effect-changed", "app.m")
    assert "line 3 does something when the module is imported" in obstacle.found
    assert (
        obstacle.action
        == "do by hand what it does and build with only= what else changed, or restart with the new release"
    )


def test_a_change_of_the_layout_of_objects_may_be_left_out_with_only(tmp_path):
    patch = built(tmp_path, "class C:\n    __slots__ = ('a',)", "class C:\n    __slots__ = ('a', 'b')")
    assert {obstacle.action for obstacle in patch.obstacles} == {
        "build with only= and without it, or restart the process with the new release"
    }
