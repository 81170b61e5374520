"""Round trips, made before anything is live: each side decodes the other's, or the patch does not go in."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import pytest
from tests.graphs import graph

import livepatch

if TYPE_CHECKING:
    from tests.conftest import WriteFix, WriteModule

_numbers = itertools.count(1)


@pytest.fixture
def wire(write_module: WriteModule) -> ModuleType:
    """Messages whose numbers a helper of the encoder packs: it, and not the encoder, is what fixes change."""
    return write_module(
        """
        EXAMPLES = [0, 1, 255, 256]
        calls = []
        def pack(number): return number.to_bytes(4, 'big')
        def unpack(data): return int.from_bytes(data, 'big')
        class Message:
            def __init__(self, number): self.number = number
            def encode(self): return b'm' + pack(self.number)
        def dump(number):
            calls.append(number)
            return Message(number).encode()
        def load(data): return unpack(data[1:])
        def examples(): return list(EXAMPLES)
        async def later(number): return number
        """,
        name=f"wired_{next(_numbers)}",
    )


@pytest.fixture(autouse=True)
def calls(wire: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = wire.__name__
    made = graph(f"{name}:dump -> {name}:Message.encode", f"{name}:Message.encode -> {name}:pack",
                 f"{name}:load -> {name}:unpack")  # fmt: skip
    monkeypatch.setattr("livepatch.process.examining.graph_of_process", lambda *_: made)
    monkeypatch.chdir(tmp_path)


def declare(wire: ModuleType, values: str = "EXAMPLES") -> None:
    """Let the operator's file say that this is a protocol, and with which examples."""
    name = wire.__name__
    Path("livepatch.toml").write_text(
        f"[[protocol]]\npaths = ['{name}:dump', '{name}:load']\n"
        f"[[protocol.round_trip]]\nencode = '{name}:dump'\ndecode = '{name}:load'\nvalues = '{name}:{values}'\n"
    )


def fixed(write_fix: WriteFix, wire: ModuleType, name: str, body: str, claim: str = ">=1") -> livepatch.Patch:
    made = write_fix(f"{wire.__name__}:{name}", body)
    made.compatible_with = claim
    return made


def picture(wire: ModuleType) -> dict[str, object]:
    """The very objects of each function, and all names."""
    functions = [f for f in (*vars(wire).values(), *vars(wire.Message).values()) if isinstance(f, FunctionType)]
    held = {f"{f.__qualname__}.{name}": getattr(f, name) for f in functions for name in ("__code__", "__defaults__")}
    return {**held, **{name: value for name, value in vars(wire).items() if name != "calls"}}


def refused(wire: ModuleType, fix: livepatch.Patch, **how) -> livepatch.Report:
    before = picture(wire)
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(fix, **how)
    after = picture(wire)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] is not after[name]] == []
    assert livepatch.status() == ()
    assert livepatch.verify().checked == 0
    return caught.value.report


def codes(report: livepatch.Report, severity: str = "error") -> list[str]:
    return [f.code for f in report.findings if f.severity == severity and f.code != "module-not-in-package"]


def test_a_change_on_the_path_needs_a_claim(wire, write_fix):
    declare(wire)
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')", claim="")
    assert codes(refused(wire, fix)) == ["protocol-path"]
    assert wire.calls == []


def test_a_claim_must_hold_for_what_runs(wire, write_fix):
    declare(wire)
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')", claim=">=2")
    assert codes(refused(wire, fix)) == ["claim-too-narrow"]


def test_sides_that_understand_each_other_go_in(wire, write_fix):
    declare(wire)
    fix = fixed(
        write_fix,
        wire,
        "pack",
        """
        def pack(number):
            if number < 0: raise ValueError(number)
            return number.to_bytes(4, 'big')
        """,
    )
    report = livepatch.check(fix)
    assert report.ok
    assert "round-trips-to-come" in codes(report, "info")
    assert wire.calls == []  # check calls nothing
    applied = livepatch.apply(fix)
    assert codes(applied.report, "warning") == ["protocol-path"]
    assert "round-trips-to-come" not in codes(applied.report, "info")
    assert len(wire.calls) == 2 * len(wire.EXAMPLES)
    with pytest.raises(ValueError, match="-1"):
        wire.dump(-1)
    before = wire.dump.__code__
    applied.revert()
    assert wire.dump.__code__ is before


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("pack", "def pack(number): return number.to_bytes(4, 'little')",
         "example 2, encoded by the new side and decoded by the old gives 16777216"),
        ("unpack", "def unpack(data): return int.from_bytes(data, 'little')",
         "example 2, encoded by the old side and decoded by the new gives 16777216"),
    ],
)  # fmt: skip
def test_what_would_be_misread_is_refused_with_the_example(wire, write_fix, name, body, told):
    declare(wire)
    report = refused(wire, fixed(write_fix, wire, name, body))
    assert set(codes(report)) == {"round-trip-differs"}
    assert report.errors[0].found == told
    assert report.errors[0].expected == "1"


def test_both_sides_changed_alike_are_refused_though_each_understands_itself(wire, write_module):
    declare(wire)
    name = wire.__name__
    fix = write_module(f"""
        import livepatch
        fix = livepatch.Patch('BOTH', package='specimen', versions='==1.0', compatible_with='>=1')
        @fix.replace('{name}:pack')
        def pack(number): return number.to_bytes(8, 'little')
        @fix.replace('{name}:unpack')
        def unpack(data): return int.from_bytes(data, 'little')
    """).fix
    found = [row.found for row in refused(wire, fix).errors]
    assert any("encoded by the old side and decoded by the new" in each for each in found)
    assert any("encoded by the new side and decoded by the old" in each for each in found)


def test_a_side_that_raises_is_refused_with_what_it_raised(wire, write_fix):
    declare(wire)
    fix = fixed(
        write_fix,
        wire,
        "unpack",
        """
        def unpack(data):
            if len(data) > 3: raise ValueError('too long')
            return int.from_bytes(data, 'big')
        """,
    )
    report = refused(wire, fix)
    assert set(codes(report)) == {"round-trip-failed"}
    assert "raised builtins.ValueError('too long')" in report.errors[0].found


def test_an_example_that_the_old_side_cannot_do_proves_nothing(wire, write_fix):
    declare(wire)
    wire.EXAMPLES.append(-1)
    report = refused(wire, fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')"))
    assert "which the old side encodes itself" in report.errors[0].found


def test_a_patch_brings_its_own_examples_as_objects(wire, write_fix):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'little')", claim="")
    fix.round_trip(wire.dump, wire.load, [1])
    assert set(codes(refused(wire, fix))) == {"round-trip-differs"}
    ok = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')", claim="")
    ok.round_trip(lambda value: wire.dump(value), wire.load, (1, 2))
    assert livepatch.apply(ok)


def test_examples_that_do_not_reach_the_change_are_told(wire, write_fix):
    fix = fixed(write_fix, wire, "unpack", "def unpack(data): return int.from_bytes(data, 'little')")
    fix.round_trip(wire.dump, bytes, [1])
    applied = livepatch.apply(fix)
    assert codes(applied.report, "warning") == ["round-trip-misses"]


def test_while_they_are_made_all_others_get_the_old_side(wire, write_fix):
    """Another thread, and this one beneath a unit of work, see nothing of a side that is only on trial."""
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'little')")
    seen: list[int] = []
    others: set[bytes] = set()

    def decode(data: bytes) -> int:
        thread = threading.Thread(target=lambda: others.add(wire.pack(1)))
        thread.start()
        thread.join()
        seen.append(1)
        return wire.load(data)

    fix.round_trip(wire.dump, decode, [1])
    with livepatch.unit_of_work():
        assert wire.pack(1) == b"\0\0\0\1"
        report = refused(wire, fix)
    assert set(codes(report)) == {"round-trip-differs"}
    assert seen
    assert others == {b"\0\0\0\1"}


def test_calls_that_began_in_the_meantime_end_on_the_old_side_and_the_next_switch_knows_of_them(wire, write_fix):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big') + b''")
    inside, go_on = threading.Event(), threading.Event()
    answers: list[bytes] = []

    class Slow:
        def to_bytes(self, *_: object) -> bytes:
            inside.set()
            go_on.wait(10)
            return b"slow"

    thread = threading.Thread(target=lambda: answers.append(wire.pack(Slow())))

    def decode(data: bytes) -> int:
        if not thread.ident:
            thread.start()
            assert inside.wait(10)
            threading.Timer(0.2, go_on.set).start()
        return wire.load(data)

    fix.round_trip(wire.dump, decode, [1])
    assert livepatch.apply(fix).wait(5)
    thread.join(10)
    assert answers == [b"slow"]


def test_an_example_that_never_returns_is_given_up(wire, write_fix):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')")
    over = threading.Event()
    fix.round_trip(wire.dump, lambda data: over.wait(20) and data, [1])
    before = picture(wire)
    begun = time.monotonic()
    with pytest.raises(livepatch.TransitionError, match="did not end within"):
        livepatch.apply(fix, timeout=0.3)
    assert time.monotonic() - begun < 15
    over.set()
    after = picture(wire)
    assert [name for name in before if before[name] is not after[name]] == []


def test_threads_that_call_all_the_time_never_meet_a_side_that_is_only_on_trial(wire, write_fix):
    fixes = [fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'little')") for _ in range(3)]
    answers: set[bytes] = set()
    over = threading.Event()

    def hammer() -> None:
        while not over.is_set():
            answers.update(wire.pack(1) for _ in range(200))
            time.sleep(0.001)

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for fix in fixes:
            fix.round_trip(wire.dump, wire.load, range(50))
            assert set(codes(refused(wire, fix))) == {"round-trip-differs"}
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert answers == {b"\0\0\0\1"}


def test_a_patched_function_may_itself_apply(wire, write_fix):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big') + b''")
    fix.round_trip(wire.dump, wire.load, [1])
    made: list[livepatch.Applied] = []

    class Applies:
        def to_bytes(self, *_: object) -> bytes:
            made.append(livepatch.apply(fix, timeout=10))
            return b"old"

    assert wire.pack(Applies()) == b"old"
    assert made[0].wait(5)
    assert codes(made[0].report) == []


UNDER_A_HOOK = """
import sys
sys.addaudithook(lambda *_: None)
import {module} as wire
import livepatch, fixes
from pathlib import Path
assert any(f.code == "audit-hook" for f in livepatch.check(fixes.good).findings)
before = wire.pack.__code__, wire.unpack.__code__
try:
    livepatch.apply(fixes.bad)
except livepatch.IncompatibleError as error:
    assert {{f.code for f in error.report.errors}} == {{"round-trip-differs"}}
assert (wire.pack.__code__, wire.unpack.__code__) == before
assert wire.pack.__code__ is before[0] and wire.unpack.__code__ is before[1]
applied = livepatch.apply(fixes.good)
assert wire.load(wire.dump(7)) == 7
applied.revert()
assert wire.pack.__code__ is before[0]
print("done")
"""


def test_under_an_audit_hook_too(wire, distribution, tmp_path):
    name = wire.__name__
    lines = ["import livepatch"]
    for patch, order in (("good", "big"), ("bad", "little")):
        lines += [
            f"{patch} = livepatch.Patch('{patch}', package='specimen', versions='==1.0')",
            f"{patch}.round_trip('{name}:dump', '{name}:load', '{name}:EXAMPLES')",
            f"@{patch}.replace('{name}:pack')",
            f"def pack(number): return number.to_bytes(4, '{order}')",
            f"@{patch}.replace('{name}:unpack')",
            f"def unpack(data): return int.from_bytes(data, '{order}') + 0",
        ]
    (distribution / "fixes.py").write_text("\n".join(lines) + "\n")
    script = tmp_path / "under_a_hook.py"
    script.write_text(UNDER_A_HOOK.format(module=name))
    paths = os.pathsep.join([str(Path(livepatch.__file__).parents[1]), str(distribution)])
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
    )
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr


def test_they_can_be_cancelled(wire, write_fix):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')")
    over = threading.Event()

    def decode(data: bytes) -> int:
        livepatch.cancel(fix.id)
        over.wait(20)
        return wire.load(data)

    fix.round_trip(wire.dump, decode, [1])
    before = picture(wire)
    begun = time.monotonic()
    with pytest.raises(livepatch.TransitionError, match="cancelled while round trips"):
        livepatch.apply(fix)
    assert time.monotonic() - begun < 15
    over.set()
    after = picture(wire)
    assert [name for name in before if before[name] is not after[name]] == []
    assert livepatch.status() == ()


def test_a_side_with_values_that_all_calls_share_cannot_be_tried(wire, write_fix):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')")
    fix.set(f"{wire.__name__}:EXAMPLES", [1])
    fix.round_trip(wire.dump, wire.load, [1])
    report = refused(wire, fix)
    assert codes(report) == ["round-trip-failed"]
    assert "cannot be tried" in report.errors[0].found


def test_they_are_made_for_a_patch_that_replaces_another_as_well(wire, write_fix):
    first = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(5, 'big')")
    livepatch.apply(first)
    second = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(6, 'big')")
    second.round_trip(wire.dump, wire.load, [1])
    assert livepatch.apply(second, replaces=[first.id])
    assert len(wire.pack(1)) == 6
    third = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(6, 'little')")
    third.round_trip(wire.dump, wire.load, [1])
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(third, replaces=[second.id])
    assert [status.id for status in livepatch.status()] == [second.id]
    assert wire.pack(1) == b"\0\0\0\0\0\1"
    livepatch.revert(second.id)
    assert len(wire.pack(1)) == 4


@pytest.mark.parametrize(
    ("encode", "values", "told"),
    [
        ("nowhere_at_all:dump", "EXAMPLES", "encode is not to be had"),
        ("{}:gone", "EXAMPLES", "encode is not to be had"),
        ("{}:EXAMPLES", "EXAMPLES", "encode is no function"),
        ("{}:later", "EXAMPLES", "encode gives no value"),
        ("{}:dump", "gone", "values is not to be had"),
        ("{}:dump", "pack", "gives no examples"),
        ("{}:dump", "calls", "gives no examples"),
        ("{}:dump", "Message.encode", "gives no examples"),
    ],
)
def test_names_that_lead_nowhere_refuse(wire, write_fix, encode, values, told):
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')")
    fix.round_trip(encode.format(wire.__name__), f"{wire.__name__}:load", f"{wire.__name__}:{values}")
    report = refused(wire, fix)
    assert codes(report) == ["round-trip-failed"]
    assert told in report.errors[0].found


def test_examples_may_be_given_by_a_function_and_are_bounded(wire, write_fix):
    declare(wire, "examples")
    fix = fixed(write_fix, wire, "pack", "def pack(number): return number.to_bytes(4, 'big')")
    applied = livepatch.apply(fix)
    assert len(wire.calls) == 2 * len(wire.EXAMPLES)
    applied.revert()
    wire.examples.__globals__["EXAMPLES"][:] = range(1001)
    assert "more than 1000" in refused(wire, fix).errors[0].found


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1, bytes, [1]), TypeError),
        ((bytes, None, [1]), TypeError),
        ((bytes, bytes, 7), TypeError),
        ((bytes, bytes, b"abc"), TypeError),
        ((bytes, bytes, []), livepatch.PatchError),
        ((bytes, bytes, range(1001)), livepatch.PatchError),
        (("bytes", bytes, [1]), livepatch.PatchError),
        ((bytes, bytes, "examples"), livepatch.PatchError),
    ],
)
def test_what_is_no_round_trip_is_told_when_it_is_written(new_patch, arguments, error):
    fix = new_patch()
    with pytest.raises(error):
        fix.round_trip(*arguments)
    assert fix.round_trips == ()


def test_waivers_and_claims_are_told_when_they_are_written_wrongly(new_patch):
    fix = new_patch()
    for target, reason, error in [
        ("m", "r", livepatch.PatchError), ("m:f", "", livepatch.PatchError), ("m:f", None, TypeError),
        (7, "r", TypeError), ("m:f", "x" * 501, livepatch.PatchError),
    ]:  # fmt: skip
        with pytest.raises(error):
            fix.waive(target, reason=reason)
    assert fix.waivers == ()
    fix.waive("m:f", reason="r")
    with pytest.raises(livepatch.PatchError, match="twice"):
        fix.waive("m:f", reason="r")
    for claim, error in [("newest", livepatch.PatchError), (" ", livepatch.PatchError), (7, TypeError)]:
        with pytest.raises(error):
            livepatch.Patch("A", package="a", versions="==1", compatible_with=claim)  # type: ignore[arg-type]


def test_a_file_carries_names_only(new_patch, tmp_path):
    fix = new_patch()
    fix.compatible_with = ">=1.0"
    fix.waive("m:f", reason="nobody calls it")
    fix.round_trip("m:dump", "m:load", "m:EXAMPLES")
    fix.save(tmp_path / "fix.lpatch")
    loaded = livepatch.load(tmp_path / "fix.lpatch")
    assert (loaded.compatible_with, loaded.waivers, loaded.round_trips) == (
        fix.compatible_with,
        fix.waivers,
        fix.round_trips,
    )
    fix.round_trip(bytes, bytes, [b""])
    with pytest.raises(livepatch.BundleError, match="round trip"):
        fix.save(tmp_path / "fix.lpatch")
