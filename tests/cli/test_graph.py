"""``livepatch graph`` and ``livepatch callers``: what they print, and what their exit status means."""

from __future__ import annotations

import json
import sys

import pytest

from livepatch.cli.main import main

MAIN = """\
from shop.store import Store

def main(thing):
    Store().save()
    thing.save()
    thing.frobnicate()
"""
STORE = """\
class Store:
    def save(self):
        return self.write()

    def write(self):
        return 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(MAIN)
    (package / "store.py").write_text(STORE)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "1.0"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


SOURCES = ["--package-dir", ".", "--package", "shop"]
LIVE = ["--import", "shop.main"]


@pytest.fixture(params=[SOURCES, LIVE], ids=["sources", "live"])
def program(request, here):
    del here
    return request.param


def test_what_an_imported_program_prints_is_not_in_the_answer(here, capsys):
    (here / "shop" / "main.py").write_text(f"print('imported')\n{MAIN}")
    assert main(["callers", "shop.store:Store.save", *LIVE, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["callers"]
    assert told.err == "imported\n"


def test_callers_are_printed_the_certain_ones_first(program, capsys):
    assert main(["callers", "shop.store:Store.save", *program]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "shop.store:Store.save: 1 certain caller, 1 possible"
    assert lines[1].startswith("  shop.main:main  (call, ")
    assert lines[1].endswith("main.py:4)")
    assert lines[2].startswith("  shop.main:main  (perhaps, name, ")


def test_callers_as_json(program, capsys):
    assert main(["callers", "shop.store:Store.save", "--certain", "--json", *program]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["function"] == "shop.store:Store.save"
    assert [(c["caller"], c["certain"], c["line"]) for c in given["callers"]] == [("shop.main:main", True, 4)]


def test_callers_of_callers(program, capsys):
    assert main(["callers", "shop.store:Store.write", "--depth", "2", "--certain", *program]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "shop.store:Store.write",
        "└─ shop.store:Store.save  (call, line 3)",
        "   └─ shop.main:main  (call, line 4)",
    ]


def test_a_graph_is_counted(program, capsys):
    assert main(["graph", *program]) == 0
    assert "certain calls, " in capsys.readouterr().out


def test_what_a_function_calls_as_a_tree(program, capsys):
    assert main(["graph", "--root", "shop.main:main", *program]) == 0
    out = capsys.readouterr().out
    assert out.startswith("shop.main:main\n")
    assert "shop.store:Store.write  (call, line 3)" in out
    assert "?? .frobnicate(), line 6" in out


def test_a_path_and_its_absence(program, capsys):
    assert main(["graph", "--path", "shop.main:main", "shop.store:Store.write", *program]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "shop.main:main"
    assert [line.split()[0] for line in lines[1:]] == ["shop.store:Store.save", "shop.store:Store.write"]
    assert main(["graph", "--path", "shop.store:Store.write", "shop.main:main", *program]) == 1
    assert capsys.readouterr().out == "no path from shop.store:Store.write to shop.main:main\n"
    assert main(["graph", "--json", "--path", "shop.store:Store.write", "shop.main:main", *program]) == 1
    assert json.loads(capsys.readouterr().out) == {"path": None}


def test_dot_and_json(program, capsys):
    assert main(["graph", "--dot", "--root", "shop.main:main", *program]) == 0
    assert '"shop.main:main" -> "shop.store:Store.save"' in capsys.readouterr().out
    assert main(["graph", "--json", *program]) == 0
    given = json.loads(capsys.readouterr().out)
    assert {"functions", "edges", "unknown"} == set(given)
    assert any(f["name"] == "shop.store:Store.write" for f in given["functions"])


def test_a_name_that_is_not_there(program, capsys):
    assert main(["callers", "shop.main:write", *program]) == 2
    error = capsys.readouterr().err
    assert "there is no such function in the graph" in error
    assert "such as shop.store:Store.write" in error


def test_the_package_must_be_said(here, capsys):
    del here
    assert main(["graph", "--package-dir", "."]) == 2
    assert "give --package NAME" in capsys.readouterr().err


def test_one_of_the_two_programs_must_be_said(here, capsys):
    del here
    with pytest.raises(SystemExit) as ended:
        main(["graph"])
    assert ended.value.code == 2
    assert "--package-dir" in capsys.readouterr().err


def test_what_cannot_be_imported(here, capsys):
    del here
    assert main(["graph", "--import", "nothing_like_it"]) == 2
    assert "cannot be imported" in capsys.readouterr().err


def test_sources_are_not_run_and_what_does_not_compile_is_told(here, capsys):
    (here / "shop" / "bad.py").write_text("def f(:\n")
    (here / "shop" / "loud.py").write_text("open('ran', 'w')\n")
    assert main(["graph", *SOURCES]) == 0
    assert "does not compile: shop/bad.py" in capsys.readouterr().err
    assert not (here / "ran").exists()
    assert "shop" not in sys.modules
