"""The command line: what it prints, what its exit status means, and that no file gets to steer the terminal."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import structlog
from tests.bundle.patches import of_functions
from tests.cli.trees import AFTER, BEFORE, tree
from tests.graphs import graph

import livepatch
from livepatch.bundle import codec
from livepatch.bundle.envelope import UnverifiedBundle
from livepatch.cli.main import main
from livepatch.cli.output import visible
from livepatch.contents.edits import (
    AttributeDefault,
    FunctionEdit,
    ModuleEdit,
    Obstacle,
    PlanEntry,
    Side,
    Statement,
    Text,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return tmp_path


@pytest.fixture
def fix(here, capsys):
    """The path of a file that ``livepatch build`` made; what it printed is still to be read."""
    del capsys
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    assert main(["build", "old", "new", "--package", "nodeclient", "--id", "CVE-2026-1234", "-o", "fix.lpatch"]) == 0
    return "fix.lpatch"


def write(**changes) -> str:
    Path("made.lpatch").write_bytes(codec.encode(dataclasses.replace(of_functions(1), **changes)))
    return "made.lpatch"


# build


def test_build_writes_the_patch_that_build_gives(fix, capsys):
    assert capsys.readouterr().out == (
        "wrote fix.lpatch\n"
        "patch CVE-2026-1234 for nodeclient ==2.1.0\n"
        "  flag:     CVE-2026-1234\n"
        "  file:     fix.lpatch\n"
        f"  digest:   {codec.digest(Path(fix).read_bytes())}\n"
        "  verified: no: nothing here proves who made it\n"
        "\n"
        "plan\n"
        "  taken:    constant nodeclient.mempool:MAX_SIZE\n"
        "  taken:    method nodeclient.mempool:Mempool.admit\n"
        "\n"
        "values, computed in the process\n"
        "  changed:  nodeclient.mempool:MAX_SIZE\n"
        "\n"
        "1 function in 1 module\n"
    )
    livepatch.build("old", "new", package="nodeclient", id="CVE-2026-1234").save("api.lpatch")
    assert Path("api.lpatch").read_bytes() == Path(fix).read_bytes()


def test_build_takes_what_it_is_told(here, capsys):
    tree(here / "old")
    tree(here / "new", AFTER)
    options = ["--only", "nodeclient.mempool:MAX_SIZE", "--versions", ">=2,<3", "--summary", "less", "--flag", "size"]
    assert main(["build", "old", "new", "--package", "nodeclient", "--id", "A:1", *options, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["file"], made["versions"], made["summary"], made["flag"]) == ("A:1.lpatch", ">=2,<3", "less", "size")
    assert made["targets"] == ["nodeclient.mempool:MAX_SIZE"]
    assert livepatch.load("A:1.lpatch").id == "A:1"


def test_build_leaves_a_file_that_is_there_alone_unless_it_is_told_to_replace_it(here, capsys):
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    command = ["build", "old", "new", "--package", "nodeclient", "--id", "A"]
    for output in ([], ["-o", "fix.lpatch"]):
        path = Path(output[-1] if output else "A.lpatch")
        path.write_text("signed")
        assert main([*command, *output]) == 2
        assert "is there already" in capsys.readouterr().err
        assert path.read_text() == "signed"
        assert main([*command, *output, "--force"]) == 0
        assert livepatch.load(path).id == "A"


def test_build_says_that_there_is_nothing_to_change(here, capsys):
    tree(here / "old")
    tree(here / "same")
    tree(here / "new", BEFORE.replace("Whatever its size.", "Of any size."))
    command = ["build", "old", "same", "--package", "nodeclient", "--id", "A"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.err == "livepatch build: nothing to change, and no file written: the two do not differ\n"
    assert main(["build", "old", "new", *command[3:]]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("left-out: ")
    assert "1 difference left out" in said.err
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["edits"] == []
    assert main(["build", "old", "new", *command[3:], "--only", "nowhere"]) == 2
    assert "--only picks nothing" in capsys.readouterr().err
    assert not list(here.glob("*.lpatch"))


def test_build_writes_the_file_and_says_what_cannot_be_done_live(here, monkeypatch, capsys):
    made = livepatch.Patch("A", package="nodeclient", versions="==1")
    made.obstacles = (Obstacle(code="native", target="a", found="C\x1b[2J", expected="Python", action="restart"),)
    monkeypatch.setattr("livepatch.bundle.build.build", lambda *_args, **_options: made)
    assert main(["build", "old", "new", "--package", "nodeclient"]) == 1
    assert capsys.readouterr().err == (
        "livepatch build: cannot be done live: [native] a: found C\\x1b[2J; expected Python; do: restart\n"
    )
    assert livepatch.load("A.lpatch").obstacles == made.obstacles


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere", "new", "--package", "nodeclient"],
        ["old", "new", "--package", "-"],
        ["old", "new", "--package", "nodeclient", "--id", "no id"],
        ["old", "new", "--package", "nodeclient", "--versions", "newest"],
        ["old", "new", "--package", "nodeclient", "-o", "nowhere/fix.lpatch"],
    ],
)
def test_what_cannot_be_built_is_told_without_a_traceback(here, capsys, arguments):
    tree(here / "old")
    tree(here / "new", AFTER)
    assert main(["build", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("livepatch build: ")
    assert captured.err.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["new", "old"]


# show

DIFF = """
nodeclient.mempool:Mempool.admit
--- a/nodeclient/mempool.py
+++ b/nodeclient/mempool.py
@@ -23,5 +23,7 @@
 
         Whatever its size.
         \"""
+    if len(transaction) > MAX_SIZE:
+        return "refused"
     self.waiting.append(transaction)
     return "admitted"

nodeclient.mempool, statements
--- a/nodeclient/mempool.py
+++ b/nodeclient/mempool.py
@@ -5,1 +5,1 @@
-MAX_SIZE = 4096
+MAX_SIZE = 1024
"""  # noqa: W293  # as a diff has it


def test_show_prints_manifest_plan_and_diff(fix, capsys):
    capsys.readouterr()
    assert main(["show", fix]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("patch CVE-2026-1234 for nodeclient ==2.1.0\n")
    assert shown.endswith("1 function in 1 module\n" + DIFF)
    assert "\x1b" not in shown
    assert main(["show", fix, "--no-diff"]) == 0
    assert capsys.readouterr().out == shown.removesuffix(DIFF)


@pytest.mark.parametrize("count", [20, 21, 300])
def test_what_was_not_picked_of_a_large_release_does_not_hide_what_was(here, capsys, count):
    def module(value: int) -> str:
        return BEFORE + "".join(f"\n\ndef f{n}():\n    return {value}\n" for n in range(count + 1))

    tree(here / "old", module(1))
    tree(here / "new", module(2))
    picked = ["--only", "nodeclient.mempool:f7", "-o", "fix.lpatch"]
    assert main(["build", "old", "new", "--package", "nodeclient", "--id", "A", *picked]) == 0
    said = capsys.readouterr().out
    assert "taken:    function nodeclient.mempool:f7" in said
    left = [line for line in said.splitlines() if "(not among what was picked)" in line]
    assert len(left) == (count if count <= 20 else 1)
    assert (f"and {count - 1} more; --json tells each" in left[0]) == (count > 20)
    assert main(["show", "fix.lpatch", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert sum(entry["why"] == "not among what was picked" for entry in plan) == count


def test_show_is_coloured_on_a_terminal_only(fix, capsys, monkeypatch):
    def shown(*options: str) -> str:
        capsys.readouterr()
        assert main(["show", fix, *options]) == 0
        return capsys.readouterr().out

    assert "\x1b" not in shown()
    coloured = shown("--color", "always")
    assert "\x1b[31m-MAX_SIZE = 4096\x1b[0m\n\x1b[32m+MAX_SIZE = 1024\x1b[0m\n" in coloured
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert shown() == coloured
    assert "\x1b" not in shown("--color", "never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown()
    assert shown("--color", "always") == coloured


def test_json_holds_the_whole_file(fix, capsys):
    capsys.readouterr()
    assert main(["show", fix, "--json"]) == 0
    text = capsys.readouterr().out
    shown = json.loads(text)
    contents = codec.decode(UnverifiedBundle(Path(fix).read_bytes()))
    assert text.isascii()
    assert {name: shown[name] for name in shown if name not in OWN} == json.loads(
        json.dumps(dataclasses.asdict(contents))
    )
    assert {name: shown[name] for name in OWN} == {
        "file": fix,
        "digest": codec.digest(Path(fix).read_bytes()),
        "format": 1,
        "signatures": [],
        "verified": False,
        "targets": ["nodeclient.mempool:Mempool.admit", "nodeclient.mempool:MAX_SIZE"],
    }


OWN = ("file", "digest", "format", "signatures", "verified", "targets")


def test_show_shows_every_part(capsys):
    edit = ModuleEdit(
        module="a",
        path="a.py",
        before=Side(futures=("annotations",), imports=("import x",)),
        after=Side(imports=("import y",), program=(Statement(scope="C", text=Text(source="LIMIT = 1\n", line=7)),)),
        functions=(
            FunctionEdit(qualname="new", before=None, after=Text(source="def new():\n    pass\n", line=9)),
            FunctionEdit(
                qualname="gone", before=Text(source="def gone(): pass\n", line=5), after=None, accessor="fget"
            ),
        ),
        attributes=(
            AttributeDefault(class_qualname="C", name="one", expression="0"),
            AttributeDefault(class_qualname="C", name="each", expression="[]", shared=False),
            AttributeDefault(class_qualname="C", name="unknown", expression="", reason="it is an argument"),
        ),
    )
    whole = ModuleEdit(module="b", path="b.py", whole="x = 1\n")
    path = write(
        edits=(edit, whole),
        requires=("B-1", "B-2"),
        obstacles=(Obstacle(code="native", target="a", found="C", expected="Python", action="restart"),),
        plan=(PlanEntry(target="a:f", what="function", verdict="cannot", why="it is native"),),
    )
    assert main(["show", path]) == 0
    shown = capsys.readouterr().out
    for part in (
        "  summary:  reject oversized peer lists\n",
        "  requires: B-1, B-2\n",
        "  cannot:   function a:f (it is native)\n",
        "  a:C.one starts as 0\n  a:C.each starts as [], one of its own for each object\n",
        "  a:C.unknown starts as unknown, it is an argument\n",
        "  [native] a: found C; expected Python; do: restart\n",
        "2 functions in 2 modules\n",
        "a:new\n--- a/a.py\n+++ b/a.py\n@@ -0,0 +9,2 @@\n+def new():\n+    pass\n",
        "a:gone.fget\n--- a/a.py\n+++ b/a.py\n@@ -5,1 +0,0 @@\n-def gone(): pass\n",
        "a:C, statements\n--- a/a.py\n+++ b/a.py\n@@ -0,0 +7,1 @@\n+LIMIT = 1\n",
        "a, imports\n--- a/a.py\n+++ b/a.py\n-from __future__ import annotations\n-import x\n+import y\n",
        "b, a new module\n--- a/b.py\n+++ b/b.py\n@@ -0,0 +1,1 @@\n+x = 1\n",
    ):
        assert part in shown


def test_nothing_in_a_file_steers_the_terminal(capsys):
    evil = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\u2066\u200b\x85\u2028"
    source = f"def f():\n    return {evil!r} or '{evil}'\n"
    edit = ModuleEdit(
        module="a",
        path="a\u202e.py",
        functions=(FunctionEdit(qualname="f", before=None, after=Text(source=source, line=1)),),
    )
    path = write(
        summary=f"fine\r{evil}\nverified: yes\n\n\x1b[1mplan",
        edits=(edit,),
        plan=(PlanEntry(target=evil, what=evil, verdict="taken", why=f"x\n{evil}"),),
        obstacles=(Obstacle(code="native", target=evil, found=evil, expected=evil, action=evil),),
    )
    for color in ("never", "always"):
        assert main(["show", path, "--color", color]) == 0
        shown = capsys.readouterr().out
        for ink in ("0", "1", "31", "32", "33", "36"):
            shown = shown.replace(f"\x1b[{ink}m", "")
        assert all(character.isprintable() or character == "\n" for character in shown)
        assert "\n  verified: no" in shown
        assert "\nverified: yes" not in shown
    assert main(["show", path, "--json"]) == 0
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_visible_leaves_what_people_read():
    assert visible("naïve 名前 😀\n\tx") == "naïve 名前 😀\n\tx"
    assert visible("\r\x7f\u202e\ufeff") == "\\r\\x7f\\u202e\\ufeff"


def test_a_text_too_long_to_compare_is_shown_whole(capsys):
    sides = [Text(source="".join(f"x{(i * by) % 3000}\n" for i in range(3000)), line=1) for by in (7, 11)]
    edit = ModuleEdit(module="a", path="a.py", functions=(FunctionEdit(qualname="f", before=sides[0], after=sides[1]),))
    assert main(["show", write(edits=(edit,))]) == 0
    assert "@@ -1,3000 +1,3000 @@" in capsys.readouterr().out


def test_what_the_terminal_cannot_show_is_spelled_out(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["show", write(summary="größer")]) == 0
    assert b"  summary:  gr\\xf6\\xdfer\n" in raw.getvalue()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["old", "new", "--package", "nodeclnt"],
            "or a module of that name; do: give the tree of that distribution, or correct --package",
        ),
        (["old", "new", "--package", "nodeclnt"], "the source tree is not of nodeclnt; found: nodeclient in old"),
        (["old", "other", "--package", "nodeclient"], "the source tree is not of nodeclient; found: idna in other"),
        (["old", "new", "--package", "nodeclient", "--only", "fe"], "without --only and see the plan"),
        (["bare", "new", "--package", "nodeclient"], "do: give --versions, such as '==1.2.3'"),
    ],
)
def test_errors_of_build_name_what_is_there_and_the_options(here, capsys, arguments, told):
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    shutil.rmtree(tree(here / "bare") / "nodeclient-2.1.0.dist-info")
    other = tree(here / "other")
    (other / "nodeclient").rename(other / "idna")
    (other / "nodeclient-2.1.0.dist-info").rename(other / "idna-3.6.dist-info")
    assert main(["build", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "only=" not in error


# check


def findings(capsys, *arguments: str, status: int) -> dict[str, str]:
    capsys.readouterr()
    assert main(["check", *arguments, "--json"]) == status
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (status == 0)
    return {f"{finding['code']} {finding['target']}": finding["found"] for finding in report["findings"]}


def test_check_says_that_the_sources_fit(fix, capsys):
    capsys.readouterr()
    assert main(["check", fix, "--package-dir", "old"]) == 0
    assert capsys.readouterr().out == (
        "patch CVE-2026-1234 for nodeclient ==2.1.0 fits these sources\n"
        "  changes nodeclient.mempool:Mempool.admit\n"
        "  changes nodeclient.mempool:MAX_SIZE\n"
        "  next: check it in the process that is to take it\n"
    )


@pytest.fixture
def ruled(fix, monkeypatch):
    """A file of rules by which `fee` is protected; it calls `Mempool.admit`, as a call graph would say."""
    made = graph("nodeclient.mempool:fee -> nodeclient.mempool:Mempool.admit")
    monkeypatch.setattr("livepatch.bundle.governing.graph_of_sources", lambda _files: made)
    Path("rules.toml").write_text("[[protected]]\npaths = ['nodeclient.mempool:fee']\n")
    assert fix
    return "rules.toml"


def test_check_judges_by_rules_too(fix, ruled, capsys):
    way = "protected code calls it: nodeclient.mempool:fee -> nodeclient.mempool:Mempool.admit (rules.toml)"
    told = findings(capsys, fix, "--package-dir", "old", "--policy", ruled, status=1)
    assert told == {
        "protected-path nodeclient.mempool:Mempool.admit": way,
    }
    claimed = write_again(fix, compatible_with=">=2")
    assert findings(capsys, claimed, "--package-dir", "old", "--policy", ruled, status=1) == told
    arguments = [claimed, "--package-dir", "old", "--policy", ruled, "--at-height", "1200"]
    shared = "mode at(1200) for a patch with a change of nodeclient.mempool:MAX_SIZE, which all calls share"
    assert findings(capsys, *arguments, status=1) == {**told, "mode-unsuitable ": shared}
    (edit,) = codec.decode(UnverifiedBundle(Path(claimed).read_bytes())).edits
    write_again(claimed, edits=(dataclasses.replace(edit, names=()),))
    assert findings(capsys, *arguments, status=0) == told
    assert main(["check", *arguments]) == 0
    out = capsys.readouterr().out
    assert "fits these sources, and touches protected code (1 warning)" in " ".join(out.split())
    *_, last = out.splitlines()
    assert last == "  next: judge the 1 warning, then check it in the process that is to take it"


def write_again(path: str, **changes) -> str:
    contents = dataclasses.replace(codec.decode(UnverifiedBundle(Path(path).read_bytes())), **changes)
    Path("again.lpatch").write_bytes(codec.encode(contents))
    return "again.lpatch"


def test_a_value_is_judged_by_the_functions_that_name_it(here, capsys, monkeypatch):
    source = (
        "LIMIT = 1\nclass C:\n    most = 1\n    def a(self): return self.most\ndef f(): return LIMIT\ndef g(): pass\n"
    )
    other = "from nodeclient import mempool\ndef h(): return mempool.LIMIT\n"
    for name, text, version in [("old", source, "2.1.0"), ("new", source.replace("= 1", "= 2"), "2.1.1")]:
        tree(here / name, text, version)
        (here / name / "nodeclient" / "other.py").write_text(other)
    livepatch.build("old", "new", package="nodeclient", id="A").save("fix.lpatch")
    names = [f"nodeclient.mempool:{name}" for name in ("f", "g", "C.a")] + ["nodeclient.other:h"]
    made = graph(*(f"{name} -> nowhere:else" for name in names))
    monkeypatch.setattr("livepatch.bundle.governing.graph_of_sources", lambda _files: made)
    for protected, status, touched in [
        ("nodeclient.mempool:g", 0, []),
        ("nodeclient.mempool:f", 1, ["nodeclient.mempool:LIMIT"]),
        ("nodeclient.mempool:C.a", 1, ["nodeclient.mempool:C.most"]),
        ("nodeclient.other", 1, ["nodeclient.mempool:LIMIT"]),
    ]:
        Path("rules.toml").write_text(f"[[protected]]\npaths = ['{protected}']\n")
        told = findings(capsys, "fix.lpatch", "--package-dir", "old", "--policy", "rules.toml", status=status)
        assert [name.split()[1] for name in told if name.startswith("protected-path")] == touched, protected


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("[[protectd]]", "an unknown key"),
        ("[[protected]]\npaths = ['*']", "protected[0].paths[0]"),
        (None, "No such file"),
    ],
)
def test_rules_that_cannot_be_read_are_status_2(fix, capsys, rules, told):
    if rules is not None:
        Path("rules.toml").write_text(rules)
    capsys.readouterr()
    assert main(["check", fix, "--package-dir", "old", "--policy", "rules.toml"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert said.err.count("\n") == 1


def test_a_height_is_a_whole_number(fix, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check", fix, "--package-dir", "old", "--at-height", "-5"])
    assert caught.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize(("when", "coloured"), [("always", True), ("auto", False), ("never", False)])
def test_a_report_is_coloured_on_terminals_only(fix, capsys, when, coloured):
    capsys.readouterr()
    assert main(["check", fix, "--package-dir", "new", "--color", when]) == 1
    assert ("\x1b[31m" in capsys.readouterr().out) is coloured


def test_claims_waivers_and_round_trips_are_built_and_shown(here, capsys):
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    command = ["build", "old", "new", "--package", "nodeclient", "--id", "A", "--compatible-with", ">=2"]
    command += ["--waive", "nodeclient.mempool:Mempool.admit", "that admit is another's"]
    command += ["--round-trip", "nodeclient.wire:dump", "nodeclient.wire:load", "nodeclient.wire:ALL"]
    assert main(command) == 0
    capsys.readouterr()
    assert main(["show", "A.lpatch", "--no-diff"]) == 0
    shown = capsys.readouterr().out
    assert "  claims:   compatible with nodeclient >=2\n" in shown
    assert "  nodeclient.mempool:Mempool.admit: that admit is another's\n" in shown
    assert "  nodeclient.wire:dump and nodeclient.wire:load with nodeclient.wire:ALL\n" in shown
    assert main(["show", "A.lpatch", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["compatible_with"] == ">=2"
    assert facts["waivers"] == [{"target": "nodeclient.mempool:Mempool.admit", "reason": "that admit is another's"}]
    assert facts["round_trips"] == [
        {"encode": "nodeclient.wire:dump", "decode": "nodeclient.wire:load", "values": "nodeclient.wire:ALL"}
    ]
    for wrong in (["--compatible-with", "newest"], ["--waive", "admit", "why"], ["--round-trip", "a", "b", "c"]):
        assert main([*command[:7], *wrong, "--force"]) == 2


def test_snapshots_are_built_and_shown(here, capsys):
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    command = ["build", "old", "new", "--package", "nodeclient", "--id", "A"]
    names = ["nodeclient.disk:load", "nodeclient.disk:ALL"]
    assert main([*command, "--snapshot", *names, "--snapshot-back", *names, "nodeclient.disk:store"]) == 0
    capsys.readouterr()
    assert main(["show", "A.lpatch", "--json"]) == 0
    load, examples = names
    assert json.loads(capsys.readouterr().out)["snapshots"] == [
        {"load": load, "examples": examples, "store": "", "rollback": False},
        {"load": load, "examples": examples, "store": "nodeclient.disk:store", "rollback": True},
    ]
    assert main([*command, "--snapshot", "load", "ALL", "--force"]) == 2


def test_check_says_what_differs_and_where(fix, capsys):
    assert findings(capsys, fix, "--package-dir", "new", status=1) == {
        "version-out-of-range nodeclient": "nodeclient 2.1.1",
        "before-differs nodeclient.mempool:Mempool.admit": (
            "'if len(transaction) > MAX_SIZE:' in the definition in line 21 of nodeclient/mempool.py"
        ),
        "before-differs nodeclient.mempool": "'MAX_SIZE = 1024' in line 5 of nodeclient/mempool.py",
    }


def test_comments_layout_and_what_the_fix_does_not_touch_do_not_count(here, fix, capsys):
    other = BEFORE.replace("        self.waiting.append", "        # why not\n\n        self.waiting.append ")
    other = other.replace("/ 100", "/ 10").replace("4096", "(4096)")
    assert findings(capsys, fix, "--package-dir", str(tree(here / "other", other)), status=0) == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('return "admitted"', 'return "taken"', "before-differs nodeclient.mempool:Mempool.admit"),
        ("-> str", "-> object", "before-differs nodeclient.mempool:Mempool.admit"),
        ("Whatever its size.", "Whatever.", "before-differs nodeclient.mempool:Mempool.admit"),
        ("def admit", "async def admit", "before-differs nodeclient.mempool:Mempool.admit"),
        ("class Mempool:", "class Pool:", "before-differs nodeclient.mempool:Mempool.admit"),
        ("    def admit", "    @staticmethod\n    def admit", "before-differs nodeclient.mempool:Mempool.admit"),
        ("4096", "4095", "before-differs nodeclient.mempool"),
        ("import math", "import math as maths", "before-differs nodeclient.mempool"),
        ("def fee", "def fee(", "source-unreadable nodeclient.mempool"),
    ],
)
def test_every_difference_in_what_the_fix_touches_counts(here, fix, capsys, old, new, expected):
    assert old in BEFORE
    other = tree(here / "other", BEFORE.replace(old, new, 1))
    assert list(findings(capsys, fix, "--package-dir", str(other), status=1)) == [expected]


TABLE = "RULES = {\n    'fee': 1,\n    'size': 4096,\n    'peers': [8, 9],\n}\n"


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        ("4096", "512", "\"'size': 512,\" in line 7", "\"'size': 4096,\""),
        ("    'size': 4096,\n", "", "\"'peers': [8, 9],\" in line 7", "\"'size': 4096,\""),
        ("8, 9", "8", "the end of it in the statement in line 5", "\"'peers': [8, 9],\""),
        ("8, 9]", "8, 9,\n10]", "'10],' in line 9", "the end of it"),
        ("RULES = {", "RULES = OTHER or {", "'RULES = OTHER or {' in line 5", "'RULES = {'"),
        ("RULES", "OTHER", "no such statement in", "'RULES = {'"),
    ],
)
def test_the_line_is_told_in_which_a_table_differs(here, capsys, old, new, found, expected):
    source = BEFORE.replace("MAX_SIZE = 4096  # bytes\n", TABLE)
    other = tree(here / "other", source.replace(old, new, 1))
    edit = ModuleEdit(
        module="nodeclient.mempool",
        path="nodeclient/mempool.py",
        before=Side(program=(Statement(text=Text(source=TABLE, line=5)),)),
    )
    file = write(edits=(edit,))
    capsys.readouterr()
    assert main(["check", file, "--package-dir", str(other), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["found"].startswith(found)
    assert finding["found"].endswith(" of nodeclient/mempool.py") is ("such" not in found and "the end" not in found)
    assert finding["expected"] == expected


def test_check_takes_wheels_and_sdists_and_downloads_nothing(here, fix, capsys, monkeypatch):
    with zipfile.ZipFile("nodeclient-2.1.0-py3-none-any.whl", "w") as wheel:
        for file in sorted(Path("old").rglob("*")):
            wheel.write(file, file.relative_to("old"))
    with tarfile.open("nodeclient-2.1.0.tar.gz", "w:gz") as sdist:
        sdist.add("old", "nodeclient-2.1.0")
    for archive in ("nodeclient-2.1.0-py3-none-any.whl", "nodeclient-2.1.0.tar.gz"):
        assert main(["check", fix, "--package-dir", archive]) == 0
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    capsys.readouterr()
    assert main(["check", fix, "--package-dir", "nodeclient==2.1.0"]) == 2
    assert "expected: a directory, a wheel or an sdist" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(here, fix, capsys):
    (here / "old" / "nodeclient" / "mempool.py").unlink()
    assert list(findings(capsys, fix, "--package-dir", "old", status=1)) == ["file-missing nodeclient.mempool"]


def test_what_the_patch_brings_must_be_new(capsys, here):
    tree(here / "old")
    edits = (
        ModuleEdit(
            module="nodeclient.mempool",
            path="nodeclient/mempool.py",
            functions=(FunctionEdit(qualname="fee", before=None, after=Text(source="def fee(): pass\n", line=1)),),
            names=(codec.NameEdit(qualname="MAX_SIZE", kind="added"),),
        ),
        ModuleEdit(module="nodeclient", path="nodeclient/__init__.py", whole="x = 1\n"),
        ModuleEdit(module="nodeclient.new", path="nodeclient/new.py", whole="x = 1\n"),
    )
    assert findings(capsys, write(edits=edits), "--package-dir", "old", status=1) == {
        "before-differs nodeclient.mempool:fee": "a function in line 30 of nodeclient/mempool.py",
        "before-differs nodeclient.mempool:MAX_SIZE": "the name, in line 5 of nodeclient/mempool.py",
        "before-differs nodeclient": "the module, in nodeclient/__init__.py",
    }


def test_an_unknown_version_and_obstacles_are_warnings(capsys, here):
    (tree(here / "old") / "nodeclient-2.1.0.dist-info" / "METADATA").unlink()
    obstacle = Obstacle(code="native", target="a", found="C", expected="Python", action="restart")
    assert findings(capsys, write(edits=(), obstacles=(obstacle,)), "--package-dir", "old", status=0) == {
        "version-unknown nodeclient": "no metadata that tell the version",
        "native a": "C",
    }


ODD = ["def f(:\n", "x = 1\ny = 2\n", "-" * 100_000 + "1\n", "x = " + "f(" * 90 + ")" * 90 + "\n"]


@pytest.mark.parametrize("text", ODD, ids=["no Python", "two statements", "deep", "less deep"])
def test_a_before_side_that_is_odd_is_told(capsys, here, text):
    tree(here / "old")
    edit = ModuleEdit(
        module="nodeclient.mempool",
        path="nodeclient/mempool.py",
        functions=(FunctionEdit(qualname="fee", before=Text(source=text, line=1), after=None),),
    )
    assert findings(capsys, write(edits=(edit,)), "--package-dir", "old", status=1).keys() & {
        "source-unreadable nodeclient.mempool:fee",
        "source-unreadable nodeclient.mempool",
        "before-differs nodeclient.mempool:fee",
    }


# Usage, and the process around it


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["apply", "fix.lpatch"],
        ["show"],
        ["show", "fix.lpatch", "--colour", "always"],
        ["check", "fix.lpatch"],
        ["check", "fix.lpatch", "--package", "old"],
        ["build", "old", "new"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: livepatch")


@pytest.mark.parametrize("command", [["show"], ["check", "--package-dir", "."]])
@pytest.mark.parametrize("bad", ["nowhere.lpatch", ".", "bad.lpatch"])
def test_a_file_that_cannot_be_read_ends_with_2(command, bad, capsys):
    Path("bad.lpatch").write_bytes(b"PK\x03\x04")
    assert main([command[0], bad, *command[1:]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"livepatch {command[0]}: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["build"], ["show"], ["check"]])
def test_help_says_what_the_exit_status_means(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "exit status:\n  0  " in shown
    assert "\n  1  " in shown
    assert "\n  2  " in shown


def livepatch_command(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "livepatch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
        **options,
    )


def test_it_runs_as_a_module():
    with livepatch_command("show", write()) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("patch CVE-2026-1234 for nodeclient ==2.1.*\n")


def test_a_reader_that_goes_away_is_no_error():
    many = dataclasses.asdict(of_functions(200))
    assert many
    Path("many.lpatch").write_bytes(codec.encode(of_functions(200)))
    with livepatch_command("show", "many.lpatch") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_the_document_names_every_option(capsys):
    document = (SOURCE.parent / "docs" / "command-line.md").read_text(encoding="utf-8")
    for command in ("build", "show", "check"):
        section = document.partition(f"## livepatch {command} ")[2].partition("\n## ")[0]
        with pytest.raises(SystemExit):
            main([command, "--help"])
        options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", capsys.readouterr().out.partition("options:")[2]))
        assert options - {"-h", "--help"} == set(re.findall(r"`(--?[a-z][a-z-]*)", section)) - {"--json`"}, command


def test_a_command_leaves_the_logging_of_the_process_as_it_was(fix):
    assert Path(fix).exists()
    assert not structlog.is_configured()


def test_owners_probes_and_what_is_under_embargo_are_built_and_shown(here, capsys):
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    Path("embargo.toml").write_text('until = "2198-01-01T00:00:00Z"\nreporter = "Mallory"\n')
    Path("count.py").write_text("def vulnerable():\n    return False\n")
    line = ["build", "old", "new", "--package", "nodeclient", "--id", "A"]
    options = ["--owner", "watches", "operations", "--owner", "call", "security", "--embargo", "embargo.toml"]
    assert main([*line, *options, "--probe", "count.py", "--safe-probe", "count.py"]) == 2
    assert "a probe of that name already" in capsys.readouterr().err
    assert main([*line, *options, "--safe-probe", "count.py"]) == 0
    told = capsys.readouterr().out
    assert "  owners:   watched by operations, call security\n" in told
    assert "  embargo:  until 2198-01-01T00:00:00Z\n" in told
    assert "  count, in a process that is in use, too\n" in told
    assert "Mallory" not in told
    assert main(["show", "A.lpatch", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == 2
    assert facts["owners"] == {"watches": "operations", "stops": "", "call": "security"}
    assert (facts["embargo"], facts["probes"]) == ({"until": "2198-01-01T00:00:00Z"}, [{"name": "count", "safe": True}])
    assert main(["show", "A.lpatch", "--embargoed"]) == 0
    assert "    def vulnerable():\n        return False\n" in (told := capsys.readouterr().out)
    assert "  reporter: Mallory\n" in told
    probe = livepatch.Probe(name="count", source=Path("count.py").read_text(), safe=True)
    embargo = livepatch.Embargo(until="2198-01-01T00:00:00Z", reporter="Mallory")
    owners = {"watches": "operations", "call": "security"}
    made = livepatch.build("old", "new", package="nodeclient", id="A", owners=owners, embargo=embargo, probes=[probe])
    assert made.to_bytes() == Path("A.lpatch").read_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--owner", "call", "a", "--owner", "call", "b"], "--owner call is given twice"),
        (["--owner", "wakes", "a"], "a role that there is not"),
        (["--probe", "nowhere.py"], "a probe cannot be read"),
        (["--embargo", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_what_a_patch_cannot_carry_is_told(here, capsys, options, told):
    tree(here / "old")
    assert main(["build", "old", "old", "--package", "nodeclient", "--id", "A", *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "; do: " in error


@pytest.mark.parametrize("wrong", [{"probes": "x"}, {"probes": ["x"]}, {"embargo": "x"}, {"owners": "x"}])
def test_build_takes_values_of_their_types_only(here, wrong):
    tree(here / "old")
    with pytest.raises(TypeError, match=next(iter(wrong))):
        livepatch.build("old", "old", package="nodeclient", **wrong)


# The output and Ctrl-C


def test_an_output_that_cannot_be_written_is_told_and_ends_the_command(fix):
    def shown(redirection: str) -> tuple[int, str]:
        command = f'"{sys.executable}" -m livepatch show {fix} --no-diff {redirection}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def told(found: str) -> tuple[int, str]:
        rest = "expected: a file or pipe with room; do: what was asked may be done; send the output elsewhere\n"
        return 2, f"livepatch show: the output cannot be written; found: {found}; {rest}"

    assert shown(">&-") == told("standard output is closed")
    if Path("/dev/full").exists():
        assert shown("> /dev/full") == told("No space left on device")


def test_an_interrupted_command_says_so_and_has_the_status_that_shells_know(fix, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("livepatch.cli.show.described", interrupted)
    monkeypatch.setattr("livepatch.cli.main._write_no_more", lambda: None)
    capsys.readouterr()
    assert main(["show", fix]) == 130
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("livepatch show: interrupted; found: Ctrl-C, or a SIGINT; expected: ")
