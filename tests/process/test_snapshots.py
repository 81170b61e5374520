"""Snapshots: data that is there already is read by both sides before anything is live, or the patch does not go in."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import livepatch

if TYPE_CHECKING:
    from tests.conftest import WriteModule

_numbers = itertools.count(1)
EXAMPLES = [b'["a", "b"]', b"[]"]
SAME = "def parse(data): return list(json.loads(data))"


@pytest.fixture
def disk(write_module: WriteModule) -> ModuleType:
    return write_module(
        """
        import json
        STORED = [b'["a", "b"]', b'[]']
        def parse(data): return json.loads(data)
        def write(names): return json.dumps(names).encode()
        def load(data): return parse(data)
        def store(names): return write(names)
        """,
        name=f"snapshots_{next(_numbers)}",
    )


def refused(fix: livepatch.Patch) -> list[tuple[str, str]]:
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(fix)
    assert livepatch.status() == ()
    assert livepatch.verify().checked == 0
    return [(each.code, each.found) for each in caught.value.report.errors]


def test_sides_that_read_what_is_there_go_in(disk, write_fix):
    fix = write_fix(f"{disk.__name__}:parse", SAME)
    fix.snapshot(disk.load, EXAMPLES, disk.store, rollback=True)
    report = livepatch.check(fix)
    assert report.ok
    assert ["1 snapshot to be made by apply, before anything is live"] == [
        each.found for each in report.findings if each.code == "round-trips-to-come"
    ]
    livepatch.apply(fix).revert()


@pytest.mark.parametrize(
    ("target", "body", "told"),
    [
        ("parse", "def parse(data): return dict.fromkeys(json.loads(data), 0)",
         [("round-trip-differs", "example 1, loaded by the new side gives {'a': 0, 'b': 0}"),
          ("round-trip-differs", "example 2, loaded by the new side gives {}")]),
        ("parse", "def parse(data): return json.loads(data)[1:]",
         [("round-trip-differs", "example 1, loaded by the new side gives ['b']")]),
        ("parse", "def parse(data): raise KeyError(len(data))",
         [("round-trip-failed", "example 1, loaded by the new side: raised builtins.KeyError(10)"),
          ("round-trip-failed", "example 2, loaded by the new side: raised builtins.KeyError(2)")]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stores", [True, False])
def test_what_the_old_side_has_written_and_the_new_reads_otherwise_refuses(disk, write_fix, target, body, told, stores):
    fix = write_fix(f"{disk.__name__}:{target}", body)
    fix.snapshot(disk.load, EXAMPLES, disk.store if stores else None)
    assert refused(fix) == told


def test_what_the_new_side_writes_the_old_must_read_if_rollback_is_promised(disk, write_fix):
    body = "def write(names): return json.dumps({'version': 2, 'names': names}).encode()"
    promises = write_fix(f"{disk.__name__}:write", body)
    promises.snapshot(disk.load, EXAMPLES, disk.store, rollback=True)
    (first, _) = refused(promises)
    assert first == (
        "round-trip-differs",
        "example 1, stored by the new side and loaded by the old gives {'version': 2, 'names': ['a', 'b']}",
    )
    promises_nothing = write_fix(f"{disk.__name__}:write", body)
    promises_nothing.snapshot(disk.load, EXAMPLES, disk.store)
    livepatch.apply(promises_nothing).revert()


def test_a_new_side_that_cannot_store_what_it_loads_is_no_way_back(disk, write_fix):
    fix = write_fix(f"{disk.__name__}:write", "def write(names): return [][len(names)]")
    fix.snapshot(disk.load, EXAMPLES, disk.store, rollback=True)
    assert refused(fix)[0] == (
        "round-trip-failed",
        "example 1, stored by the new side: raised builtins.IndexError('list index out of range')",
    )


def test_an_example_that_the_old_side_does_not_load_is_no_example(disk, write_fix):
    fix = write_fix(f"{disk.__name__}:parse", SAME)
    fix.snapshot(disk.load, [b"[", *EXAMPLES])
    ((code, found),) = refused(fix)
    assert code == "round-trip-failed"
    assert found.startswith("example 1, which the old side does not load: raised json.decoder.JSONDecodeError(")


def test_a_side_that_changes_what_it_stores_is_not_taken_for_another(disk, write_fix):
    """Each step loads the example anew."""
    body = "def write(names):\n    text = json.dumps(names).encode()\n    names.clear()\n    return text"
    fix = write_fix(f"{disk.__name__}:write", body)
    fix.snapshot(disk.load, EXAMPLES, disk.store, rollback=True)
    livepatch.apply(fix).revert()


def test_examples_may_be_files_and_are_read_when_they_are_given(disk, write_fix, tmp_path):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, data in zip(files, EXAMPLES, strict=True):
        file.write_bytes(data)
    fix = write_fix(f"{disk.__name__}:parse", SAME)
    fix.snapshot(disk.load, files)
    files[0].write_bytes(b"no JSON")
    assert fix.snapshots[0].examples == tuple(EXAMPLES)
    livepatch.apply(fix).revert()


def test_examples_that_run_nothing_of_the_patch_are_told(disk, write_fix):
    fix = write_fix(f"{disk.__name__}:write", "def write(names): return json.dumps(list(names)).encode()")
    fix.snapshot(disk.load, EXAMPLES)
    applied = livepatch.apply(fix)
    assert [each.found for each in applied.report.findings if each.code == "round-trip-misses"] == [
        "examples that run no function of the patch, of load"
    ]
    applied.revert()


def test_a_file_carries_names_and_they_are_followed(disk, new_patch, write_fix, tmp_path):
    name = disk.__name__
    fix = new_patch()
    fix.snapshot(f"{name}:load", f"{name}:STORED", f"{name}:store", rollback=True)
    fix.snapshot(f"{name}:load", f"{name}:STORED")
    fix.save(tmp_path / "fix.lpatch")
    assert livepatch.load(tmp_path / "fix.lpatch").snapshots == fix.snapshots
    changed = write_fix(f"{name}:parse", "def parse(data): return json.loads(data)[1:]")
    changed.snapshots = fix.snapshots[1:]
    assert [code for code, _ in refused(changed)] == ["round-trip-differs"]
    fix.snapshot(json.loads, EXAMPLES)
    with pytest.raises(livepatch.BundleError, match="stored data"):
        fix.save(tmp_path / "fix.lpatch")


@pytest.mark.parametrize(
    ("arguments", "how", "error", "told"),
    [
        ((json.loads, []), {}, livepatch.PatchError, "examples"),
        ((json.loads, b"{}"), {}, TypeError, "examples"),
        ((json.loads, [b""] * 1001), {}, livepatch.PatchError, "1001"),
        ((json.loads, [b"{}"]), {"rollback": True}, livepatch.PatchError, "store="),
        ((json.loads, [b"{}"]), {"rollback": 1}, TypeError, "rollback"),
        (("json.loads", [b"{}"]), {}, livepatch.PatchError, "load"),
        ((7, [b"{}"]), {}, TypeError, "load"),
        ((json.loads, [b"{}"], 7), {}, TypeError, "store"),
        ((json.loads, [b"{}"], ""), {}, livepatch.PatchError, "store"),
        ((json.loads, "examples"), {}, livepatch.PatchError, "examples"),
        ((json.loads, [Path("/nowhere/a.json")]), {}, livepatch.PatchError, "No such file"),
        ((json.loads, [Path("/")]), {}, livepatch.PatchError, "no regular file"),
        ((json.loads, [Path("/a\0b")]), {}, livepatch.PatchError, "null"),
    ],
)
def test_what_is_no_snapshot_is_told_when_it_is_written(new_patch, arguments: Any, how: Any, error, told):
    fix = new_patch()
    with pytest.raises(error, match=told):
        fix.snapshot(*arguments, **how)
    assert fix.snapshots == ()


def test_files_that_are_too_large_are_not_read(new_patch, tmp_path, monkeypatch):
    monkeypatch.setattr("livepatch.contents.claims._LARGEST", 10)
    for name, size in (("a", 6), ("b", 5)):
        (tmp_path / name).write_bytes(b"x" * size)
    fix = new_patch()
    fix.snapshot(len, [tmp_path / "a"])
    with pytest.raises(livepatch.PatchError, match="too large"):
        fix.snapshot(len, [tmp_path / "a", tmp_path / "b"])
