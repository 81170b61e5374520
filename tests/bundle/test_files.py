"""Saving and loading: a file is there whole or not at all, and a patch remembers where it came from."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest
from tests.bundle.patches import of_functions

import livepatch
from livepatch.bundle import codec, disk
from livepatch.patch import Origin

CONTENTS = of_functions(2)


@pytest.fixture
def fix():
    """As the builder gives it."""
    made = livepatch.Patch("CVE-2026-1234", package="nodeclient", versions="==2.1.*", summary=CONTENTS.summary)
    made.edits, made.plan = CONTENTS.edits, CONTENTS.plan
    return made


def the_data_of(patch: livepatch.Patch) -> dict:
    return {field.name: getattr(patch, field.name) for field in dataclasses.fields(codec.Contents)}


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_loaded_patch_is_the_saved_one_and_says_where_it_came_from(fix, tmp_path):
    path = tmp_path / "fix.lpatch"
    fix.save(path)
    loaded = livepatch.load(path)
    assert the_data_of(loaded) == the_data_of(fix)
    assert fix.origin is None
    assert loaded.origin == Origin(path=str(path), digest=codec.digest(path.read_bytes()))
    assert (loaded.origin.verified, loaded.origin.vouched) == (False, False)
    assert left_in(tmp_path) == ["fix.lpatch"]


def test_a_loaded_patch_saves_as_the_same_bytes(fix, tmp_path):
    fix.save(tmp_path / "one.lpatch")
    livepatch.load(str(tmp_path / "one.lpatch")).save(str(tmp_path / "two.lpatch"))
    assert (tmp_path / "one.lpatch").read_bytes() == (tmp_path / "two.lpatch").read_bytes()


def test_saving_takes_the_place_of_an_older_file(fix, tmp_path):
    path = tmp_path / "fix.lpatch"
    path.write_bytes(b"older" * 100_000)
    fix.save(path)
    assert livepatch.load(path).id == fix.id


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o644)])
def test_others_may_read_it_as_far_as_the_umask_lets_them(fix, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        fix.save(tmp_path / "fix.lpatch")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fix.lpatch").stat().st_mode) == mode


def test_a_link_stays_and_the_file_that_it_leads_to_is_written(fix, tmp_path):
    (tmp_path / "current").write_text("older")
    (tmp_path / "fix.lpatch").symlink_to("current")
    fix.save(tmp_path / "fix.lpatch")
    assert (tmp_path / "fix.lpatch").is_symlink()
    assert not (tmp_path / "current").is_symlink()
    assert livepatch.load(tmp_path / "current", trust=livepatch.UNSIGNED).id == fix.id


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_stays(fix, tmp_path, linked):
    os.mkfifo(tmp_path / "pipe")
    if linked:
        (tmp_path / "fix.lpatch").symlink_to("pipe")
    with pytest.raises(livepatch.BundleError, match="no regular file"):
        fix.save(tmp_path / ("fix.lpatch" if linked else "pipe"))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("where", ["nowhere/fix.lpatch", ".", "", "x" * 300, "a\0b"])
def test_what_cannot_be_written_is_told_and_leaves_nothing(fix, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(livepatch.BundleError, match="cannot be written"):
        fix.save(where)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_the_older_file(fix, tmp_path, monkeypatch, failing, error):
    path = tmp_path / "fix.lpatch"
    path.write_bytes(b"older")

    def fail(*_args):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
        with pytest.raises(livepatch.BundleError if isinstance(error, OSError) else KeyboardInterrupt):
            fix.save(path)
    assert path.read_bytes() == b"older"
    assert left_in(tmp_path) == ["fix.lpatch"]


def test_what_was_written_in_code_cannot_be_saved(fix, tmp_path):
    fix.set("nodeclient.mempool:LIMIT", 5)
    with pytest.raises(livepatch.BundleError, match=r"a change of nodeclient.mempool:LIMIT, written in code"):
        fix.save(tmp_path / "fix.lpatch")
    other = livepatch.Patch("A", package="a", versions="==1")
    other.post_apply(lambda: None)
    with pytest.raises(livepatch.BundleError, match="a post_apply callback, written in code"):
        other.save(tmp_path / "fix.lpatch")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("path", [5, None, b"fix.lpatch", object()])
def test_a_path_is_a_text(path):
    with pytest.raises(TypeError, match="path must be"):
        livepatch.load(path)


# Who answers for it


def saved(fix, tmp_path) -> Path:
    fix.save(tmp_path / "fix.lpatch")
    return tmp_path / "fix.lpatch"


def test_a_file_is_not_applied_before_somebody_answers_for_it(fix, tmp_path):
    path = saved(fix, tmp_path)
    for patch in (path, str(path), livepatch.load(path), livepatch.load(path, trust=None)):
        with pytest.raises(livepatch.TrustError, match="nothing of it was compiled") as error:
            livepatch.apply(patch)
        assert codec.digest(path.read_bytes()) in error.value.found
        assert "trust root" in error.value.expected
        assert "livepatch.UNSIGNED" in error.value.action


def test_a_caller_may_vouch_for_a_file(fix, tmp_path):
    """There is no such package here: that it is told so means that the patch was looked at."""
    path = saved(fix, tmp_path)
    vouched = livepatch.load(path, trust=livepatch.UNSIGNED)
    assert vouched.origin is not None
    assert (vouched.origin.verified, vouched.origin.vouched) == (False, True)
    for arguments in (
        {"patch": path, "trust": livepatch.UNSIGNED},
        {"patch": livepatch.load(path), "trust": livepatch.UNSIGNED},
        {"patch": vouched},
        {"patch": vouched, "trust": livepatch.UNSIGNED},
    ):
        with pytest.raises(livepatch.IncompatibleError, match="not-installed"):
            livepatch.apply(**arguments)
        assert "not-installed" in [finding.code for finding in livepatch.check(**arguments).errors]


def test_what_is_built_in_this_process_needs_nobody_else(fix):
    with pytest.raises(livepatch.IncompatibleError, match="not-installed"):
        livepatch.apply(fix)
    with pytest.raises(TypeError, match="trust is for patch files"):
        livepatch.apply(fix, trust=livepatch.UNSIGNED)


@pytest.mark.parametrize("trust", ["UNSIGNED", True, {}, object()])
@pytest.mark.parametrize("call", [livepatch.load, livepatch.apply, livepatch.check])
def test_nothing_else_is_trust(fix, tmp_path, call, trust):
    with pytest.raises(TypeError, match=r"trust must be None or livepatch\.UNSIGNED"):
        call(saved(fix, tmp_path), trust=trust)


def test_the_report_on_a_file_that_nobody_answers_for_says_so_and_what_metadata_tell(fix, tmp_path):
    fix.package = "pytest"
    path = saved(fix, tmp_path)
    for patch in (path, livepatch.load(path)):
        report = livepatch.check(patch)
        assert not report.ok
        assert [finding.code for finding in report.errors] == ["unverified", "version-out-of-range"]
        assert report.targets == (
            "nodeclient.m0:Pool.function_0",
            "nodeclient.m0:Pool.function_1",
            "nodeclient.m0:LIMIT_3",
        )


def test_a_whole_new_module_is_a_target(fix, tmp_path):
    fix.edits = (codec.ModuleEdit(module="nodeclient.new", path="nodeclient/new.py", whole="x = 1\n"),)
    assert livepatch.check(saved(fix, tmp_path)).targets == ("nodeclient.new",)


def test_the_sentinel_shows_its_name():
    assert repr(livepatch.UNSIGNED) == "livepatch.UNSIGNED"


def test_reading_tells_what_is_wrong(tmp_path):
    for path, told in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "no regular file"),
        ("/dev/zero", "no regular file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(livepatch.BundleError, match=told):
            livepatch.load(path)


def test_a_pipe_does_not_hold_the_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(livepatch.BundleError, match="no regular file"):
        livepatch.load(tmp_path / "pipe")


def test_a_file_is_read_only_as_far_as_a_patch_file_can_reach(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(livepatch.BundleError, match="too large"):
        disk.read(tmp_path / "huge")


def test_no_descriptor_stays_open(fix, tmp_path):
    path = saved(fix, tmp_path)
    before = list(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        livepatch.load(path)
        fix.save(path)
        for bad in (tmp_path, "/dev/zero", tmp_path / "none"):
            with pytest.raises(livepatch.BundleError):
                livepatch.load(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)
