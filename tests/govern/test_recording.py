"""What the process does is on the disk before it is done, and what came of it after; or it is not done."""

from __future__ import annotations

import os
import threading

import pytest
import structlog
from structlog.testing import capture_logs
from tests.few_modules import FewModules
from tests.govern.records import lines_of
from tests.signing import write_patch, write_root

import livepatch
from livepatch.bundle.keyfiles import make_key
from livepatch.bundle.trust import UNSIGNED
from livepatch.errors import AuditError
from livepatch.govern import audit, files, recording
from livepatch.govern.entries import is_checkpoint, parse
from livepatch.process import public

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def structlog_as_it_was():
    yield
    structlog.reset_defaults()  # what has captured events counts as configured ever after


@pytest.fixture
def node(write_module, monkeypatch):
    module = write_module("def first():\n    return 'old'\n\ndef second():\n    return 'old'\n")
    monkeypatch.setattr(public, "sys", FewModules(module))
    monkeypatch.setattr("livepatch.process.applied.sys", FewModules(module))
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(module))
    return module


@pytest.fixture
def fix(node, new_patch):
    patch = new_patch()
    for name in ("first", "second"):

        def replacement():
            return "new"

        replacement.__name__ = replacement.__qualname__ = name
        patch.replace(f"{node.__name__}:{name}")(replacement)
    return patch


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "node.pem"
    make_key(path)
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "record"


@pytest.fixture
def record(folder, key):
    yield livepatch.record_to(folder, key=key, who="alice", origin="node7.example.com/livepatch")
    livepatch.record_to(None)


@pytest.fixture
def disk(monkeypatch):
    """Whether the disk takes what is written."""
    state = {"full": False, "left": 10**6}
    through = files.write_through

    def write(descriptor, data, offset):
        state["left"] -= 1
        if state["full"] or state["left"] < 0:
            raise OSError(28, "No space left on device")
        through(descriptor, data, offset)

    monkeypatch.setattr(files, "write_through", write)
    monkeypatch.setattr(files, "give_reserve", lambda folder: False)
    return state


def told(folder):
    """What was recorded, but for what the record says of itself."""
    entries = [parse(line) for line in lines_of(folder) if not is_checkpoint(line)]
    return [(each["event"], each["phase"]) for each in entries if each["event"] not in ("opened", "stopped")]


def entries_of(folder, event=""):
    read = map(parse, lines_of(folder))
    return [each for each in read if "event" in each and event in ("", each["event"])]


def test_nothing_is_recorded_unless_it_is_asked_for(fix, tmp_path):
    livepatch.apply(fix).revert()
    assert not list(tmp_path.glob("**/record-*"))


def test_every_action_is_announced_and_its_result_told(fix, node, record, folder):
    assert livepatch.check(fix).ok
    applied = livepatch.apply(fix)
    applied.mode = "off"
    applied.mode = "off"  # which does nothing
    livepatch.flags[fix.flag] = "on"
    assert livepatch.verify()
    applied.revert()
    applied.revert()
    assert told(folder) == [
        ("checked", "noted"),
        *(("applied", phase) for phase in ("intent", "done")),
        *(("mode_changed", phase) for phase in ("intent", "done")),
        *(("mode_changed", phase) for phase in ("intent", "done")),
        ("verified", "noted"),
        *(("reverted", phase) for phase in ("intent", "done")),
    ]
    found = audit.verify(folder, key=record.key, deep=True)
    assert (found.ok, found.flaws, found.unfinished) == (True, (), ())


def test_an_entry_says_what_was_done_to_what_by_whom(fix, node, record, folder):
    with recording.acting_as("bob"):
        livepatch.apply(fix)
    intent, done = entries_of(folder, "applied")
    assert (intent["who"], done["who"], done["of"]) == ("bob", "bob", intent["index"])
    assert intent["patch"] == done["patch"]
    assert intent["patch"].keys() == {"digest", "id", "package", "versions"}
    assert intent["patch"]["digest"].startswith("code-sha256:")
    assert intent["versions"]["specimen"] == "1.0"
    assert done["details"]["targets"] == [f"{node.__name__}:first", f"{node.__name__}:second"]
    assert done["details"]["mode"] == "on"
    livepatch.revert(fix.id)
    assert entries_of(folder, "reverted")[0]["who"] == "alice"


def test_the_intent_is_on_the_disk_before_the_code_changes_and_the_result_before_anybody_hears_of_it(
    fix, node, record, monkeypatch
):
    seen = []
    through = files.write_through

    def write(descriptor, data, offset):
        through(descriptor, data, offset)
        seen.append((parse(data.splitlines()[0])["phase"], node.first()))

    monkeypatch.setattr(files, "write_through", write)
    structlog.configure(processors=[lambda logger, method, event: seen.append((event["event"], node.first())) or ""])
    try:
        livepatch.apply(fix)
    finally:
        structlog.reset_defaults()
    assert seen == [("intent", "old"), ("done", "new"), ("livepatch.applied", "new")]


def test_what_is_refused_is_recorded_as_failed(fix, node, record, folder, new_patch):
    other = new_patch()
    other.replace(f"{node.__name__}:missing")(lambda: None)
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(other)
    applied = livepatch.apply(fix)
    needing = livepatch.Patch("NEEDING", package="specimen", versions="==1.0", requires=[fix.id])
    needing.add(node.__name__, added=1)
    livepatch.apply(needing)
    with pytest.raises(livepatch.TransitionError):
        applied.revert()
    assert told(folder)[:2] == [("applied", "intent"), ("applied", "failed")]
    assert entries_of(folder, "applied")[1]["details"] == {"error": "IncompatibleError", "findings": ["no-such-name"]}
    assert told(folder)[-2:] == [("reverted", "intent"), ("reverted", "failed")]
    livepatch.revert("NEEDING")


def test_what_went_in_and_was_turned_round_is_recorded_as_failed_once_it_is_back(fix, node, record, folder):
    @fix.post_apply
    def strikes():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        livepatch.apply(fix)
    assert node.first() == "old"
    assert told(folder) == [("applied", "intent"), ("applied", "done"), ("applied", "failed")]
    assert entries_of(folder, "applied")[2]["details"] == {"error": "KeyboardInterrupt"}


def test_a_switch_that_is_cancelled_while_it_drains_is_recorded(write_module, new_patch, record, folder):
    module = write_module(
        "import threading\nin_it, go_on = threading.Event(), threading.Event()\n"
        "def held():\n    in_it.set()\n    go_on.wait(30)\n    return other()\ndef other():\n    return 'old'\n"
    )
    patch = new_patch()
    patch.replace(f"{module.__name__}:other")(lambda: "new")
    patch.replace(f"{module.__name__}:held")(lambda: "new")
    thread = threading.Thread(target=module.held)
    thread.start()
    module.in_it.wait(30)
    applied = livepatch.apply(patch)
    assert applied.status().state == "draining"
    applied.cancel()
    module.go_on.set()
    thread.join()
    assert told(folder)[2:] == [("rolled_back", "intent"), ("rolled_back", "done")]
    assert entries_of(folder, "rolled_back")[1]["details"]["switch_of"] == [patch.id]


# A full disk stops patching, not the node


def test_what_cannot_be_announced_is_not_done(fix, node, record, folder, disk):
    original = node.first.__code__
    disk["full"] = True
    with pytest.raises(livepatch.AuditError, match="No space left"):
        livepatch.apply(fix)
    assert node.first.__code__ is original
    assert livepatch.status() == ()
    disk["full"] = False
    applied = livepatch.apply(fix)
    disk["full"] = True
    with pytest.raises(livepatch.AuditError):
        applied.mode = "off"
    with pytest.raises(livepatch.AuditError) as caught:
        applied.revert()
    assert (node.first(), applied.mode) == ("new", "on")
    assert "record_to(None)" in caught.value.action
    livepatch.record_to(None)  # as the error says
    applied.revert()
    assert node.first.__code__ is original


@pytest.mark.parametrize("action", ["apply", "off", "revert"])
def test_what_is_done_and_cannot_be_told_is_taken_back(fix, node, record, folder, disk, action):
    called = []
    fix.pre_apply(lambda: called.append("pre_apply"))
    fix.post_revert(lambda: called.append("post_revert"))
    originals = node.first.__code__, node.second.__code__
    applied = livepatch.apply(fix) if action != "apply" else None
    disk["left"] = 1  # the intent
    act = {
        "apply": lambda: livepatch.apply(fix),
        "off": lambda: setattr(applied, "mode", "off"),
        "revert": lambda: applied.revert(),
    }
    with capture_logs() as logs, pytest.raises(livepatch.AuditError):
        act[action]()
    disk["left"] = 10**6
    assert [each["event"] for each in logs] == ["livepatch.not_recorded"]
    if action == "apply":
        assert (node.first.__code__, node.second.__code__) == originals
        assert (livepatch.status(), called) == ((), ["pre_apply", "post_revert"])
    else:
        assert (node.first(), node.second(), applied.mode) == ("new", "new", "on")
    assert livepatch.verify()
    assert audit.verify(folder, deep=True).ok


def test_the_node_goes_on_and_what_changes_nothing_is_only_logged(fix, node, record, disk):
    livepatch.apply(fix)
    disk["full"] = True
    with capture_logs() as logs:
        assert livepatch.verify()
        livepatch.check(fix)
    assert [each["what"] for each in logs if each["event"] == "livepatch.not_recorded"] == ["verified", "checked"]
    assert node.first() == "new"


# Whose record


def test_a_child_records_as_itself(fix, node, record, folder):
    livepatch.apply(fix)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            livepatch.revert(fix.id)
            status = 0 if node.first() == "old" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert node.first() == "new"
    livepatch.revert(fix.id)
    assert [each["process"]["pid"] for each in entries_of(folder, "reverted")] == [pid, pid, os.getpid(), os.getpid()]
    assert audit.verify(folder, key=record.key, deep=True).flaws == ()


def test_every_checkpoint_is_handed_on_and_what_that_raises_is_only_logged(fix, node, folder, key):
    notes = []

    def keep(note):
        notes.append(note)
        raise RuntimeError

    recorded = livepatch.record_to(folder, key=key, on_checkpoint=keep)
    with capture_logs() as logs:
        livepatch.apply(fix)
    livepatch.record_to(None)
    assert len(notes) == 3
    assert [each["event"] for each in logs].count("livepatch.on_checkpoint_failed") == 2
    assert audit.verify(folder, key=recorded.key, checkpoints=notes).ok


def test_another_record_takes_the_place_of_the_one_before(fix, node, record, folder, key, tmp_path):
    livepatch.apply(fix)
    livepatch.record_to(tmp_path / "other", key=key)
    livepatch.revert(fix.id)
    assert ("reverted", "done") not in told(folder)
    assert ("reverted", "done") in told(tmp_path / "other")
    assert len(entries_of(folder, "stopped")) == 1


def test_a_record_that_cannot_be_opened_leaves_the_one_before_in_use(fix, node, record, folder, key, tmp_path):
    (tmp_path / "other.pem").write_text("text")
    (tmp_path / "other.pem").chmod(0o600)
    with pytest.raises(livepatch.AuditError):
        livepatch.record_to(tmp_path / "other", key=tmp_path / "other.pem")
    for wrong in ({"key": None}, {"key": key, "who": 1}, {"key": key, "on_checkpoint": 1}, {"key": key, "origin": b""}):
        with pytest.raises(TypeError):
            livepatch.record_to(tmp_path / "other", **wrong)
    with pytest.raises(livepatch.AuditError, match="cannot have that name"):
        livepatch.record_to(tmp_path / "other", key=key, origin="two words")
    livepatch.apply(fix)
    assert told(folder) == [("applied", "intent"), ("applied", "done")]


def test_each_refusal_of_a_file_that_is_not_signed_as_asked_is_recorded_once(record, folder, tmp_path):
    root = livepatch.TrustRoot.load(write_root(tmp_path / "trust.json"))
    for release, value in (("1.0", 1), ("1.1", 2)):
        package = tmp_path / release / "spec"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"def f():\n    return {value}\n")
    file = tmp_path / "fix.lpatch"
    livepatch.build(tmp_path / "1.0", tmp_path / "1.1", package="spec", versions="==1.0", id="FILE-2").save(file)
    for call in (livepatch.load, livepatch.check, livepatch.apply):
        with pytest.raises(livepatch.TrustError):
            call(file, trust=root)
    events = ("loaded", "checked", "applied")
    assert told(folder) == [("built", "noted"), *((event, "failed") for event in events)]
    for event in events:
        (entry,) = entries_of(folder, event)
        assert entry["details"]["file"] == str(file)
        assert entry["details"]["error"] == "TrustError"
        assert "sign" in entry["details"]["message"]
    assert livepatch.load(file).id == "FILE-2"
    assert len(told(folder)) == 4


def test_a_file_that_nobody_answers_for_is_recorded_as_refused(record, folder, tmp_path):
    for release, value in (("1.0", 1), ("1.1", 2)):
        package = tmp_path / release / "spec"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"def f():\n    return {value}\n")
    fix = livepatch.build(tmp_path / "1.0", tmp_path / "1.1", package="spec", versions="==1.0", id="FILE-1")
    fix.save(tmp_path / "fix.lpatch")
    with pytest.raises(livepatch.TrustError):
        livepatch.apply(tmp_path / "fix.lpatch")
    assert not livepatch.check(tmp_path / "fix.lpatch").ok
    assert told(folder) == [("built", "noted"), ("applied", "failed"), ("checked", "noted")]
    digests = {each["patch"]["digest"] for event in ("built", "applied") for each in entries_of(folder, event)}
    assert digests == {livepatch.load(tmp_path / "fix.lpatch", trust=UNSIGNED).origin.digest}


def test_who_signs_a_patch_file_is_recorded(record, folder, tmp_path):
    path = write_patch(tmp_path / "fix.lpatch", signers=())
    make_key(tmp_path / "alice")
    signer = livepatch.sign(path, key=tmp_path / "alice")
    entry = entries_of(folder)[-1]
    assert (entry["event"], entry["phase"], entry["who"]) == ("signed", "noted", "alice")
    assert entry["details"] == {"keyid": signer.id, "signatures": 1}
    loaded = livepatch.load(path)
    assert entry["patch"] == {
        "digest": loaded.origin.digest, "id": loaded.id, "package": loaded.package, "versions": loaded.versions,
    }  # fmt: skip
    before = len(entries_of(folder))
    with pytest.raises(livepatch.errors.TrustError):
        livepatch.sign(path, key=tmp_path / "nobody")
    assert len(entries_of(folder)) == before


def test_migrations_are_recorded_between_the_intent_and_the_result(fix, node, record, folder):
    data = {"version": 1}

    def up():
        data["version"] = 2

    def down():
        data["version"] = 1

    fix.migrate("index", version=2, up=up, down=down)
    livepatch.apply(fix).revert()
    told = [(each["event"], each["phase"], each["details"].get("way")) for each in entries_of(folder)[1:]]
    assert told == [
        ("applied", "intent", None), ("migrated", "noted", "up"), ("applied", "done", None),
        ("reverted", "intent", None), ("migrated", "noted", "down"), ("reverted", "done", None),
    ]  # fmt: skip
    entry = entries_of(folder)[2]
    assert entry["patch"] == {"id": fix.id}
    assert (entry["details"]["migration"], entry["details"]["version"], entry["details"]["objects"]) == ("index", 2, 1)


def test_a_migration_that_fails_is_recorded_as_failed(fix, node, record, folder):
    def up():
        raise ValueError("a secret of the program's own")

    fix.migrate("index", version=2, up=up, down=lambda: None)
    with pytest.raises(livepatch.errors.StateError):
        livepatch.apply(fix)
    failed = entries_of(folder)[2]
    assert (failed["event"], failed["phase"]) == ("migrated", "failed")
    assert (failed["details"]["error"], failed["details"]["cause"]) == ("StateError", "ValueError")
    assert "failed on the way up" in failed["details"]["message"]
    assert b"a secret" not in b"".join(lines_of(folder))
    assert [each["phase"] for each in entries_of(folder)[1:]] == ["intent", "failed", "failed"]


@pytest.mark.parametrize("character", ["x", "\u6f22", "\U0001f512", "\x00"])
def test_what_is_too_long_for_an_entry_is_cut_and_never_refused(record, folder, character):
    recording.note("checked", None, findings=[character * 1000] * 900, text=character * 100_000, number=10**5000)
    recording.note("checked", None, share=float("nan"), most=float("inf"), least=-(10**30))
    entry, odd = entries_of(folder)[-2:]
    assert len(entry["details"]["findings"]) + entry["details"]["findings_more"] == 900
    assert entry["details"]["findings"]
    assert {type(value) for value in odd["details"].values()} == {str}


@pytest.mark.parametrize("who", [" ", "\n", "al\u202eice", "alice\x1b[2J", "x" * 201, "\ud800"])
def test_nobody_acts_under_a_name_that_cannot_be_read(folder, key, who):
    with pytest.raises(AuditError, match="nobody can be recorded under that name"):
        livepatch.record_to(folder, key=key, who=who)
    assert not folder.exists()
    with pytest.raises(AuditError, match="nobody can be recorded under that name"), recording.acting_as(who):
        raise AssertionError("run in nobody's name")


def test_a_missing_key_says_how_to_make_one(folder, tmp_path):
    with pytest.raises(TypeError, match="livepatch keygen"):
        livepatch.record_to(folder)  # type: ignore[call-overload]  # a mistake, made on purpose
    with pytest.raises(AuditError, match="livepatch keygen"):
        livepatch.record_to(folder, key=tmp_path / "nowhere.pem")
    assert not folder.exists()
