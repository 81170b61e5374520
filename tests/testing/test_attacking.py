"""Attacks on a patch: a sound fix passes each, and each kind of bad fix fails the one that is made for it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
from pathlib import Path

import pytest
from tests import cycles
from tests.built import Running
from tests.few_modules import FewModules
from tests.signing import key, trust_root

import livepatch
from livepatch.bundle.keyfiles import make_key
from livepatch.testing import ATTACKS, Guard, attack
from livepatch.testing.children import in_child

NODE = """
    class Pool:
        def __init__(self, limit: int = 10) -> None:
            self.limit = limit
            self.waiting = []

        def admit(self, tx: bytes) -> str:
            self.waiting.append(tx)
            return "admitted"

    class Hidden:
        def __init__(self, what):
            self.what = what

        def ask(self, x: int) -> int:
            return x

    def parse(text: str) -> int:
        return len(text)

    def first(text: str) -> str:
        return text[0]
"""
QUICK = ("cycles", "concurrency", "exceptions", "faults", "stack", "memory")


@pytest.fixture
def node(write_module, monkeypatch):
    made = write_module(NODE)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made))
    return made


@pytest.fixture
def fix(node, new_patch):
    fix = new_patch()

    @fix.replace(f"{node.__name__}:Pool.admit")
    def admit(self, tx: bytes) -> str:
        if not isinstance(tx, bytes) or len(tx) > self.limit:
            raise ValueError("refused")
        self.waiting.append(tx)
        return "admitted"

    return fix


def exploit(node):
    def probe():
        return node.Pool().admit(bytes(11))

    return probe


def verdicts(attacked) -> dict[str, str]:
    return {each.name.partition(" ")[0]: each.verdict for each in attacked.results}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux only")
def test_a_sound_fix_passes_every_attack(node, fix):
    before = cycles.picture(node)
    attacked = attack(fix, probe=exploit(node), examples=20)
    assert attacked, str(attacked)
    assert verdicts(attacked) == dict.fromkeys(ATTACKS, "passed")
    assert (attacked.failed, attacked.skipped, attacked.result) == ((), (), "PASSED")
    assert f"passed  malformed {node.__name__}:Pool.admit: 20 calls" in str(attacked)
    assert f"passed  exceptions {node.__name__}:Pool.admit: the probe met it" in str(attacked)
    assert "passed  faults: at examine, plan, stage, store, flip, finish" in str(attacked)
    assert json.loads(json.dumps(attacked.to_dict()))["ok"] is True
    assert cycles.differences(before) == []
    assert livepatch.status() == ()


def test_a_fix_that_does_not_close_the_hole_fails(node, new_patch):
    useless = new_patch()
    useless.replace(f"{node.__name__}:parse")(lambda text: 0)
    attacked = attack(useless, probe=exploit(node), skip={*QUICK, "malformed"})
    assert (attacked.failed, attacked.result, bool(attacked)) == (("exploit",), "FAILED", False)
    assert "does not notice" in str(attacked)


HOLE = """
from {module} import Pool

def vulnerable():
    {body}
"""


def with_probe(fix, node, body: str):
    fix.probe("too-long", HOLE.format(module=node.__name__, body=body))
    return fix


FINDS_IT = """
    try:
        return Pool().admit(bytes(11)) == "admitted"
    except ValueError:
        return False
"""


def test_the_probes_of_the_patch_are_the_exploit(node, fix):
    both = with_probe(fix, node, FINDS_IT)
    both.probe("second", HOLE.format(module=node.__name__, body=FINDS_IT))
    attacked = attack(both, skip={*ATTACKS} - {"exploit", "concurrency", "exceptions"})
    assert attacked, str(attacked)
    told = {each.name: each.said for each in attacked.results if each.verdict == "passed"}
    for name in ("too-long", "second"):
        assert told[f"exploit {name}"] == "'vulnerable' before, 'fixed' after"
    assert told[f"exceptions {node.__name__}:Pool.admit"] == "the probe met it"
    assert "concurrency" in told
    assert livepatch.status() == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return len(Pool().waiting) > 0", "'fixed' without it and with it"),
        (
            FINDS_IT.replace("return False", "raise KeyError('the secret way in')"),
            "unknown: it raised builtins.KeyError",
        ),
        (
            FINDS_IT.replace('== "admitted"', '!= "admitted"').replace("return False", "return True"),
            "'fixed' before, 'vul",
        ),
    ],
    ids=["never", "raises", "the other way round"],
)
def test_a_carried_probe_that_does_not_show_the_fix_fails(node, fix, body, words):
    attacked = attack(with_probe(fix, node, body), skip={*QUICK, "malformed"})
    assert attacked.failed == ("exploit too-long",)
    assert words in str(attacked)
    assert "secret" not in str(attacked)


def test_a_probe_that_is_passed_takes_the_place_of_carried_ones(node, fix):
    attacked = attack(with_probe(fix, node, "return 0"), probe=exploit(node), skip={*QUICK, "malformed"})
    assert verdicts(attacked)["exploit"] == "passed"
    assert "exploit: 'admitted' before, " in str(attacked)


def test_without_any_probe_there_is_no_attack(node, fix):
    with pytest.raises(livepatch.PatchError, match="nothing to try the flaw"):
        attack(fix)


@pytest.mark.parametrize(
    ("body", "met"),
    [
        ("text[0]; return 1", "IndexError: string index out of range"),
        pytest.param("return {'a': 1}[text]", "KeyError: ", marks=pytest.mark.slow),
        pytest.param("raise SystemExit(text)", "SystemExit: ", marks=pytest.mark.slow),
        pytest.param("return parse(text)", "RecursionError: maximum recursion depth exceeded", marks=pytest.mark.slow),
        pytest.param("import os; os._exit(7)", "ended with status 7, and told nothing", marks=pytest.mark.slow),
        ("import os; os.kill(os.getpid(), 11)", "ended by signal 11, and told nothing"),
    ],
)
def test_what_a_fix_raises_for_odd_arguments_is_found(node, write_fix, body, met):
    bad = write_fix(f"{node.__name__}:parse", f"def parse(text: str) -> int:\n    {body}\n")
    (result,) = [
        each
        for each in attack(bad, probe=lambda: node.parse("A"), examples=30, skip={*QUICK, "exploit"}).results
        if each.name.startswith("malformed")
    ]
    assert result.verdict == "failed"
    assert met in result.said
    assert node.parse("ab") == 2


def test_calls_that_take_for_ever_are_ended(node, write_fix):
    bad = write_fix(f"{node.__name__}:parse", "def parse(text: str) -> int:\n    while True: pass\n")
    attacked = attack(bad, probe=print, timeout=0.7, skip={*QUICK, "exploit"})
    assert "no end within 0.7 s" in str(attacked)
    assert not attacked


def test_rules_do_not_ask_for_the_evidence_that_attacks_are_made_for(node, fix, tmp_path, monkeypatch):
    rules = tmp_path / "rules.toml"
    rules.write_text("[[approval]]\nname = 'tried'\nroles = { operator = 1 }\nevidence = ['livepatch-attack']\n")
    monkeypatch.setenv("LIVEPATCH_POLICY", str(rules))
    with pytest.raises(livepatch.IncompatibleError, match="evidence-missing"):
        livepatch.apply(fix)
    assert attack(fix, probe=exploit(node), skip={*QUICK, "malformed"})
    with pytest.raises(livepatch.IncompatibleError, match="evidence-missing"):
        livepatch.apply(fix)


def test_what_the_old_side_raises_as_well_is_not_the_fix_s(node, write_fix):
    same = write_fix(f"{node.__name__}:first", 'def first(text: str) -> str:\n    return "b" + text[0]\n')
    attacked = attack(same, probe=print, examples=30, skip={*QUICK, "exploit"})
    assert attacked.ok, str(attacked)


@pytest.mark.slow
def test_a_refusal_may_be_named(node, write_fix):
    keys = write_fix(f"{node.__name__}:parse", "def parse(text: str) -> int:\n    raise KeyError(text)\n")
    given = {"probe": print, "examples": 10, "skip": {*QUICK, "exploit"}}
    assert not attack(keys, **given)
    assert attack(keys, refusals=[LookupError], **given)


@pytest.mark.slow
def test_an_object_that_cannot_be_made_is_no_attack_that_passes(node, write_fix):
    hidden = write_fix(f"{node.__name__}:Hidden.ask", "def ask(self, x: int) -> int:\n    return x + self.what\n")
    given = {"probe": print, "examples": 10, "skip": {*QUICK, "exploit"}}
    attacked = attack(hidden, **given)
    assert attacked.result != "PASSED"
    assert "instances=" in str(attacked)
    made = attack(hidden, instances={f"{node.__name__}:Hidden": lambda: node.Hidden(1)}, **given)
    assert [each.verdict for each in made.results if each.name.startswith("malformed")] == ["passed"]


def test_a_fix_that_leaves_something_fails(node, fix):
    @fix.post_revert
    def leave():
        node.left = lambda: 1

    attacked = attack(fix, probe=exploit(node), skip={*QUICK, "malformed", "exploit"} - {"cycles"})
    assert attacked.failed == ("cycles",)
    assert " left; expected: the very objects" in str(attacked)


def test_what_goes_wrong_under_load_only_fails(node, fix):
    asked = itertools.count(1)

    def caller():
        if next(asked) == 9:  # twice on each side in peace
            raise OSError("only under load")
        return exploit(node)()

    skip = set(ATTACKS) - {"concurrency"}
    attacked = attack(fix, probe=exploit(node), callers=caller, skip=skip)
    assert attacked.failed == ("concurrency",)
    assert "only under load" in str(attacked)
    with pytest.raises(TypeError, match="callers"):
        attack(fix, probe=exploit(node), callers=1)


def test_without_hypothesis_or_children_it_says_so(node, fix, monkeypatch):
    given = {"probe": exploit(node), "skip": {*QUICK, "exploit"}}
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "hypothesis", None)
        assert "hypothesis is not installed" in str(attack(fix, **given))
    with monkeypatch.context() as patched:
        patched.delattr(os, "fork")
        attacked = attack(fix, **given)
        assert "no children that are copies" in str(attacked)
        with pytest.raises(livepatch.PatchError, match="no fork"):
            in_child(print, 1.0)
    assert not attacked.ok
    assert attacked.result == "FAILED"  # nothing was tried at all


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"probe": 1}, TypeError, "probe"),
        ({"skip": "exploits"}, livepatch.PatchError, "no such attack"),
        ({"refusals": [1]}, TypeError, "refusals"),
        ({"examples": 0}, livepatch.PatchError, "no examples"),
        ({"timeout": -1}, livepatch.PatchError, "timeout"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(node, fix, arguments, error, words):
    with pytest.raises(error, match=words):
        attack(fix, **{"probe": exploit(node), **arguments})
    assert livepatch.status() == ()


def test_a_patch_that_is_in_use_stays_in_use(node, fix):
    livepatch.apply(fix)
    with pytest.raises(livepatch.PatchError, match="is in use here"):
        attack(fix, probe=exploit(node))
    assert [each.id for each in livepatch.status()] == [fix.id]


def test_a_patch_that_does_not_go_in_is_not_attacked(node, new_patch):
    lost = new_patch()
    lost.replace(f"{node.__name__}:nowhere")(lambda: 1)
    with pytest.raises(livepatch.IncompatibleError):
        attack(lost, probe=print)


def statement_in(path: Path) -> dict:
    return json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))


def test_the_outcome_is_evidence_for_the_very_file(tmp_path, monkeypatch):
    running = Running(tmp_path, monkeypatch, {"m.py": "def f(x): return x\n"}, {"m.py": "def f(x): return [x]\n"})
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(running["m"]))
    path, other = tmp_path / "fix.lpatch", tmp_path / "other.lpatch"
    running.build(id="FIX").save(path)
    running.build(id="OTHER").save(other)
    make_key(tmp_path / "key")
    fix = livepatch.load(path, trust=livepatch.UNSIGNED)
    attacked = attack(fix, probe=lambda: running["m"].f(1), examples=10, skip=QUICK)
    assert attacked.ok, str(attacked)
    written = attacked.attest(path, key=tmp_path / "key")
    statement = statement_in(written)
    assert written.name == "fix.lpatch.livepatch-attack.evidence"
    assert statement["predicate"]["result"] == "WARNED"
    assert statement["subject"][0]["digest"]["sha256"] == attacked.digest.removeprefix("sha256:")
    with pytest.raises(livepatch.PatchError, match="on another patch than that in the file"):
        attacked.attest(other, key=tmp_path / "key")
    failed = attack(fix, probe=lambda: 1, skip={*QUICK, "malformed"}).attest(path, key=tmp_path / "key", suite="second")
    assert statement_in(failed)["predicate"]["failedTests"] == ["exploit"]


def test_a_signed_file_is_attacked_and_tested_under_its_trust_root(tmp_path, monkeypatch):
    running = Running(tmp_path, monkeypatch, {"m.py": "def f(x): return x\n"}, {"m.py": "def f(x): return [x]\n"})
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(running["m"]))
    path = tmp_path / "fix.lpatch"
    running.build(id="FIX").save(path)
    for name in ("alice", "carol", "erin"):
        livepatch.sign(path, key=key(name))
    root = trust_root(package=running.name)
    fix = livepatch.load(path, trust=root)
    attacked = attack(fix, probe=lambda: running["m"].f(1), skip=set(ATTACKS) - {"exploit", "cycles"}, trust=root)
    assert attacked.ok, str(attacked)
    with Guard() as guard:
        assert guard.apply(path, trust=root).mode == "on"
        assert running["m"].f(1) == [1]
    with pytest.raises(livepatch.TrustError):
        attack(livepatch.load(path), probe=print)
    assert livepatch.status() == ()
