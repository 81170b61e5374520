"""Probes of patches in scratch processes and in this one: before, after, and when a fix was taken away again."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from tests.built import Running
from tests.govern.records import lines_of
from tests.signing import write_patch, write_root

import livepatch
from livepatch.bundle.keyfiles import make_key
from livepatch.cli.main import main
from livepatch.govern.entries import parse
from livepatch.probing import probe as probing
from livepatch.process.live import live as here

OLD = """
LIMIT = 10
def admit(size): return True
def rank(size): return size
"""
NEW = OLD.replace("return True", "return size <= LIMIT")


def probe_of(name: str, condition: str = "m.admit(1000)") -> str:
    return f"from {name} import m\n\ndef vulnerable():\n    # CANARY\n    return {condition}\n"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """Other tests' patches are none of ours."""
    monkeypatch.setattr(here, "known", {})
    yield
    livepatch.probe_after_switches(False)
    structlog.reset_defaults()


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Running(tmp_path, monkeypatch, {"m.py": OLD}, {"m.py": NEW})


@pytest.fixture
def build(node, new_patch):
    def made(*, safe: bool = False, condition: str = "m.admit(1000)", **options: Any) -> livepatch.Patch:
        probe = livepatch.Probe(name="count", source=probe_of(node.name, condition), safe=safe)
        return node.build(id=new_patch().id, probes=[probe], **options)

    return made


def told(probed: livepatch.Probed) -> list[tuple[str, str, str]]:
    return [(each.where, each.expected, each.verdict) for each in probed.outcomes]


def codes(probed: livepatch.Probed) -> list[tuple[str, str]]:
    return [(each.severity, each.code) for each in probed.findings]


def test_a_probe_finds_the_hole_before_and_not_after(node, build, tmp_path):
    fix = build(safe=True)
    fix.save(tmp_path / "fix.lpatch")
    probed = livepatch.probe(tmp_path / "fix.lpatch", trust=livepatch.UNSIGNED)
    assert told(probed) == [("scratch", "open", "vulnerable"), ("scratch", "closed", "fixed")]
    assert probed.ok, str(probed)
    assert node["m"].admit(1000)  # this process was left alone


def test_the_life_of_a_patch_in_this_process(build, tmp_path):
    fix = build(safe=True)
    make_key(tmp_path / "node.pem")
    livepatch.record_to(tmp_path / "record", key=tmp_path / "node.pem")
    try:
        with capture_logs() as logs:
            assert livepatch.probe().outcomes == ()
            applied = livepatch.apply(fix)
            assert told(livepatch.probe()) == [("live", "closed", "fixed")]
            applied.mode = "off"
            assert codes(found := livepatch.probe()) == [("error", "hole-open")]
            assert told(found) == [("live", "switched-off", "vulnerable")]
            applied.mode = livepatch.at(100, lambda: 99)
            assert codes(livepatch.probe()) == [("warning", "hole-open")]
            applied.mode = "on"
            applied.revert()
            found = livepatch.probe()
            assert told(found) == [("live", "taken-out", "vulnerable")]
            assert not found.ok
            assert "the hole is open, since the patch was taken out" in str(found)
    finally:
        livepatch.record_to(None)
    entries = [entry for entry in map(parse, lines_of(tmp_path / "record")) if entry.get("event") == "verified"]
    assert [(entry["patch"]["id"], entry["details"]["ok"]) for entry in entries] == [
        (fix.id, ok) for ok in (True, False, True, False)
    ]
    assert entries[-1]["details"]["probes"] == ["count: vulnerable, live, taken-out"]
    assert entries[-1]["details"]["findings"] == [f"hole-open {fix.id}/count"]
    alarms = [each for each in logs if each["event"] == "livepatch.hole_open"]
    assert [(each["patch"], each["since"], each["log_level"]) for each in alarms] == [
        (fix.id, "switched-off", "error"),
        (fix.id, "taken-out", "error"),
    ]
    assert "CANARY" not in repr(logs) + repr(entries)


def test_a_probe_that_prints_is_heard_by_nobody_and_other_threads_are(node, build, capsys):
    """In this process as in a scratch process: what it says may be how the hole is used."""
    loud = "import sys\n" + probe_of(node.name, "(print('CANARY'), before(), m.admit(1000))[2]")
    loud += "\ndef before():\n    print('to a file', file=sys.stderr, end='')\n    print('CANARY', flush=True)\n"
    fix = build()
    fix.probe("loud", loud, safe=True)
    livepatch.apply(fix)
    capsys.readouterr()
    stop, printed = threading.Event(), []

    def go_on():
        while not stop.is_set():
            print("mine")  # noqa: T201  # it is what the program says
            printed.append("mine")

    thread = threading.Thread(target=go_on)
    before = sys.stdout
    thread.start()
    try:
        with capture_logs():
            found = livepatch.probe()
    finally:
        stop.set()
        thread.join()
    assert sys.stdout is before
    assert ("live", "closed", "fixed") in told(found)
    heard = capsys.readouterr()
    assert heard.out.splitlines() == printed
    assert heard.err == "to a file"


def test_a_later_patch_that_takes_a_fix_away_is_an_alarm(node, build, write_module, new_patch):
    """In this process for the safe one, and in a scratch process with the same patches for the other."""
    first = build(safe=True)
    second = new_patch()
    module = write_module(
        f"import livepatch\nfix = livepatch.Patch({second.id!r}, package={node.name!r}, versions='==1.0')\n"
        f"@fix.replace('{node.name}.m:admit')\ndef admit(size): return True\n"
    )
    livepatch.apply(first)
    applied = livepatch.apply(module.fix)
    for live in (True, False):
        found = livepatch.probe(live=live)
        assert codes(found) == [("error", "hole-open"), ("warning", "probe-missing")]
        assert found.findings[0].target == f"{first.id}/count"
        assert "although the patch is live" in found.findings[0].found
        assert told(found) == [("live" if live else "scratch", "closed", "vulnerable")]
    applied.revert()
    assert livepatch.probe().ok


def test_a_patch_that_soaks_is_asked_about_as_what_it_is(build):
    """Its calls are measured: it counts as live all the same, and goes into the scratch process."""
    applied = livepatch.apply(build(safe=True), mode=livepatch.Measured("on"))
    for live in (True, False):
        found = livepatch.probe(live=live)
        assert told(found) == [("live" if live else "scratch", "closed", "fixed")]
    applied.mode = livepatch.Measured("off")
    found = livepatch.probe()
    assert told(found) == [("live", "switched-off", "vulnerable")]
    assert codes(found) == [("error", "hole-open")]


def test_an_upgrade_that_takes_a_fix_away_is_an_alarm(node, build, tmp_path):
    build().save(tmp_path / "fix.lpatch")
    info = node.old.root / f"{node.name}-1.0.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("Version: 1.0", "Version: 1.2"))
    found = livepatch.probe(tmp_path / "fix.lpatch", trust=livepatch.UNSIGNED)
    assert told(found) == [("scratch", "other-release", "vulnerable")]
    assert codes(found) == [("error", "hole-open")]


@pytest.mark.slow
def test_the_hole_of_a_known_patch_must_be_closed_by_what_is_there(build):
    found = livepatch.probe([], known=build())
    assert told(found) == [("scratch", "not-in", "vulnerable")]
    assert codes(found) == [("error", "hole-open")]


@pytest.mark.slow
def test_a_patch_that_takes_the_place_of_another_must_close_its_hole_too(build):
    other, closed, still = build(), build(), build(condition="m.rank(7) == 7")
    found = livepatch.probe(other, known=[closed, still])
    assert told(found)[2:] == [("scratch", "not-in", "fixed"), ("scratch", "not-in", "vulnerable")]
    assert [each.target for each in found.findings] == [f"{still.id}/count"]


@pytest.mark.slow
def test_a_probe_that_shows_nothing_is_told(build):
    blind = build(condition="False")
    found = livepatch.probe(blind)
    assert codes(found) == [("error", "probe-blind")]


@pytest.mark.slow
def test_what_a_probe_does_to_its_process_no_other_meets_and_nothing_of_it_is_told(node, build):
    ends = build(condition="(print('CANARY'), __import__('sys').stderr.write('CANARY\\n'), __import__('os')._exit(3))")
    ends.probe("fine", probe_of(node.name))
    found = livepatch.probe(ends)
    assert [each.verdict for each in found.outcomes] == ["unknown", "vulnerable", "unknown", "fixed"]
    assert found.outcomes[0].why == "ended with status 3"
    assert "CANARY" not in str(found) + found.to_json()
    assert not found.ok


@pytest.mark.slow
def test_a_probe_that_does_not_answer_is_not_waited_for_for_long(node, build):
    sleeps = build(condition="(__import__('time').sleep(3600), True)[1]")
    found = livepatch.probe([], known=sleeps, timeout=2.0)
    (outcome,) = found.outcomes
    assert outcome.verdict == "unknown"
    assert "within 2 s" in outcome.why  # on a busy machine the process may not even have begun by then
    assert not found.ok


@pytest.mark.parametrize(
    "said", [7, [1, 2], {"CANARY": 1}, {"verdict": "CANARY", "why": ""}, {"verdict": "fixed", "why": 7}]
)
def test_what_a_probe_writes_where_its_process_tells_is_no_answer(said):
    assert probing._read(said) == ("unknown", "something else came from its process")


def test_what_does_not_go_into_a_scratch_process_is_told_and_nothing_is_known(build, node):
    fix = build()
    livepatch.apply(fix)
    info = node.old.root / f"{node.name}-1.0.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("Version: 1.0", "Version: 1.2"))
    found = livepatch.probe()
    assert told(found) == [("scratch", "closed", "unknown")]
    assert found.outcomes[0].why == f"patch {fix.id} does not go into a scratch process: version-out-of-range"
    assert codes(found) == [("error", "probe-inconclusive")]


@pytest.mark.slow
def test_rules_about_code_hold_no_patch_back_in_a_scratch_process(build, node, monkeypatch, tmp_path):
    (tmp_path / "rules.toml").write_text(
        f'[[protected]]\npaths = ["{node.name}.*"]\n\n[[freeze]]\n'
        'from = "2020-01-01T00:00:00Z"\nto = "2199-01-01T00:00:00Z"\n'
    )
    monkeypatch.setenv("LIVEPATCH_POLICY", str(tmp_path / "rules.toml"))
    assert livepatch.probe(build()).ok


# Trust: nothing in a probe is run before the file is verified


@pytest.fixture
def nothing_runs(monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was run")

    monkeypatch.setattr(probing, "Scratch", never)
    monkeypatch.setattr(probing, "asked_apart", never)


def test_no_probe_of_a_file_is_run_that_nobody_answers_for(build, tmp_path, nothing_runs):
    good, bad = tmp_path / "good.lpatch", tmp_path / "bad.lpatch"
    build().save(good)
    write_patch(bad, signers=("alice",))
    write_root(tmp_path / "trust.json")
    trust = livepatch.TrustRoot.load(tmp_path / "trust.json")
    for files, given in (([good], None), ([good], trust), ([bad], trust), ([bad], None)):
        with pytest.raises(livepatch.TrustError):
            livepatch.probe(files, trust=given)
    changed = livepatch.load(write_patch(tmp_path / "whole.lpatch"), trust=trust)
    changed.probe("evil", "def vulnerable():\n    return False\n")
    with pytest.raises(livepatch.TrustError, match="not what was signed any more"):
        livepatch.probe(changed)


def test_arguments_are_checked_before_anything_runs(build, nothing_runs, monkeypatch, tmp_path):
    fix = build()
    for wrong in (7, [7], [None], {"a": 1}.values()):
        with pytest.raises(TypeError):
            livepatch.probe(wrong)
    for options in ({"timeout": "1"}, {"live": 1}):
        with pytest.raises(TypeError):
            livepatch.probe(fix, **options)
    with pytest.raises(livepatch.PatchError, match="there are no patches"):
        livepatch.probe([])
    with pytest.raises(livepatch.PatchError, match="is there twice"):
        livepatch.probe([fix, fix])
    with pytest.raises(livepatch.PatchError, match="is there twice"):
        livepatch.probe(fix, known=[fix])
    with pytest.raises(livepatch.PatchError, match="known patches are for files"):
        livepatch.probe(known=fix)
    with pytest.raises(TypeError, match="known must be"):
        livepatch.probe(fix, known=7)
    with pytest.raises(livepatch.BundleError):
        livepatch.probe(tmp_path / "nowhere.lpatch", trust=livepatch.UNSIGNED)
    with pytest.raises(livepatch.PatchError, match="is not installed here"):
        livepatch.probe(livepatch.Patch("A", package="nowhere-at-all", versions="==1"))
    monkeypatch.setenv("LIVEPATCH_IN_SCRATCH", "new")
    with pytest.raises(livepatch.PatchError, match="a probe cannot start another"):
        livepatch.probe(fix)


def test_what_is_written_into_a_patch_later_is_none_of_what_was_applied(build):
    fix = build(safe=True, owners={"call": "the security team"})
    applied = livepatch.apply(fix)
    fix.probe("later", "def vulnerable():\n    return True\n", safe=True)
    fix.owners = {"call": "nobody"}
    assert told(livepatch.probe()) == [("live", "closed", "fixed")]
    assert applied.status().owners.call == "the security team"
    assert applied.status().to_dict()["owners"] == {"watches": "", "stops": "", "call": "the security team"}
    assert "call the security team" in str(applied.revert())


def test_a_probe_does_not_start_others(build):
    fix = build()
    fix.probes = ()
    fix.probe("again", "import livepatch\ndef vulnerable():\n    return livepatch.probe().ok\n", safe=True)
    livepatch.apply(fix)
    (said,) = livepatch.probe().outcomes
    assert (said.verdict, said.why) == ("unknown", "it raised livepatch.errors.PatchError")


def test_a_process_that_is_switched_meanwhile_is_asked_again(build, monkeypatch):
    applied = livepatch.apply(build(safe=True))
    asked = probing.asked_apart
    switches = iter(["off"])

    def meanwhile(*arguments: Any) -> Any:
        said = asked(*arguments)
        for mode in switches:
            applied.mode = mode
        return said

    monkeypatch.setattr(probing, "asked_apart", meanwhile)
    assert told(livepatch.probe()) == [("live", "switched-off", "vulnerable")]

    def always(*arguments: Any) -> Any:
        applied.mode = "on" if applied.mode == "off" else "off"
        return asked(*arguments)

    monkeypatch.setattr(probing, "asked_apart", always)
    with pytest.raises(livepatch.TransitionError, match="again and again"):
        livepatch.probe()


# After each switch


def test_all_probes_are_asked_after_each_switch(build):
    found: list[livepatch.Probed] = []
    ready = threading.Event()

    def hear(probed: livepatch.Probed) -> None:
        found.append(probed)
        ready.set()

    def next_one() -> livepatch.Probed:
        assert ready.wait(30)
        ready.clear()
        return found[-1]

    fix = build(safe=True)
    livepatch.probe_after_switches(on_probed=hear)
    applied = livepatch.apply(fix)
    assert next_one().ok
    applied.mode = "off"
    assert codes(next_one()) == [("error", "hole-open")]
    livepatch.flags[fix.flag] = "on"
    assert next_one().ok
    livepatch.revert(fix.id)
    assert codes(next_one()) == [("error", "hole-open")]
    livepatch.probe_after_switches(False)
    livepatch.apply(fix).revert()
    assert not ready.wait(0.05)


def test_a_hook_that_fails_and_wrong_arguments(build):
    done = threading.Event()

    def fails(_: object) -> None:
        done.set()
        raise ValueError("CANARY")

    for wrong in ({"on": 1}, {"live": "no"}, {"on_probed": 7}, {"timeout": "1"}):
        with pytest.raises(TypeError):
            livepatch.probe_after_switches(**wrong)
    with capture_logs() as logs:
        livepatch.probe_after_switches(on_probed=fails)
        livepatch.apply(build(safe=True))
        assert done.wait(30)
        (thread,) = [each for each in threading.enumerate() if each.name == "livepatch-probes"] or [None]
        if thread is not None:
            thread.join(30)
    assert [(each["error"], "CANARY" in repr(each)) for each in logs if each["event"] == "livepatch.not_probed"] == [
        ("ValueError", False)
    ]


# On the command line


def test_the_command_asks_records_and_tells_by_its_status(build, tmp_path, capsys):
    path = tmp_path / "fix.lpatch"
    build().save(path)
    make_key(tmp_path / "node.pem")
    assert main(["audit", "probes", str(path)]) == 1  # nobody answers for it
    assert "nobody answers for" in capsys.readouterr().err
    assert main(["audit", "probes", str(path), "--unsigned", "--record", str(tmp_path / "record")]) == 2
    assert "a record is written with a key" in capsys.readouterr().err
    record = ["--record", str(tmp_path / "record"), "--record-key", str(tmp_path / "node.pem")]
    assert main(["audit", "probes", str(path), "--unsigned", *record]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 probes run: as it should be\n")
    assert "count: vulnerable without the patch, in a scratch process" in told
    assert main(["audit", "show", str(tmp_path / "record"), "--event", "verified"]) == 0
    told += capsys.readouterr().out
    assert "ok=True" in told
    assert "CANARY" not in told


def test_the_command_says_so_by_its_status_if_a_release_lost_the_fix(node, build, tmp_path, capsys):
    build().save(tmp_path / "fix.lpatch")
    info = node.old.root / f"{node.name}-1.0.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("Version: 1.0", "Version: 1.2"))
    capsys.readouterr()
    assert main(["audit", "probes", str(tmp_path / "fix.lpatch"), "--unsigned", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in found["findings"]] == ["hole-open"]
    assert not found["ok"]


def test_known_probes_do_not_keep_patches_without_them(build, new_patch, write_module):
    node = write_module("def f(): return 'old'\n")
    plain = new_patch()
    plain.replace(f"{node.__name__}:f")(lambda: "new")
    livepatch.apply(plain).revert()
    fix = build(safe=True)
    livepatch.apply(fix).revert()
    assert list(here.known) == [fix.id]


def test_what_a_process_that_ends_would_find_is_neither_told_nor_left_behind(build, monkeypatch):
    from livepatch.replaying import folders as place

    made: list[Any] = []
    folders = place._Folders()
    monkeypatch.setattr(place, "_folders", folders)
    make = folders.make
    monkeypatch.setattr(folders, "make", lambda: made.append(make()) or made[-1])

    def ends(self: object, question: object) -> tuple[str, str]:
        folders.at_exit()
        return "unknown", "its folder is gone"

    monkeypatch.setattr(probing._Scratches, "ask", ends)
    with capture_logs() as logs:
        with pytest.raises(livepatch.TransitionError, match="of no use any more"):
            livepatch.probe([], known=build())
        assert not made[0].exists()
        with pytest.raises(livepatch.TransitionError, match="of no use any more"):
            livepatch.probe([], known=build())
    assert [each["event"] for each in logs if each["event"] != "livepatch.built"] == []
    assert len(made) == 1
