"""Hostile patch files: whatever the bytes are, one error is given, soon and in little memory, and nothing is run."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.bundle.patches import CONTENTS, decode, of_functions

from livepatch.bundle.codec import Contents, encode
from livepatch.bundle.reading import LIMITS
from livepatch.errors import BundleError

VALID = encode(of_functions(3))
MEGABYTE = 1 << 20
HEAD = msgpack.packb(["livepatch.patch", 1])[1:]  # without the header of the list


def read(data: bytes) -> Contents | None:
    """What the bytes hold; whatever is read has exactly these bytes."""
    try:
        contents = decode(data)
    except BundleError as error:
        refusal = error
    else:
        assert encode(contents) == data
        return contents
    assert refusal.found
    assert refusal.expected
    assert len(str(refusal)) < 2000
    return None


# At random

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
    | st.sampled_from(["livepatch.patch", "edits", "id", "before", "source", 1]),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=9) | st.integers(0, 9), inner),
    max_leaves=30,
)


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x93" + HEAD)
@example(b"\x93" + HEAD + b"\x89")
@example(b"\x93" + HEAD + b"\x81" * 1000)
def test_any_bytes(data):
    assert read(data) is None
    assert read(b"\x93" + HEAD + data) is None


@given(PLAIN)
def test_any_values(value):
    assert read(msgpack.packb(value)) is None
    assert read(msgpack.packb(["livepatch.patch", 1, value])) is None


@given(PLAIN, st.data())
def test_any_value_in_any_place(value, data):
    tree = msgpack.unpackb(VALID)
    holder, step = tree, 2
    while True:
        inner = holder[step]
        steps = sorted(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        if not steps or not data.draw(st.integers(0, 4)):
            break
        holder, step = inner, data.draw(st.sampled_from(steps))
    holder[step] = value
    read(msgpack.packb(tree))


NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0x8F,
    0x90,
    0xA0,
    0xBF,
    0xC0,
    0xC1,
    0xC3,
    0xC4,
    0xC7,
    0xCA,
    0xCF,
    0xD3,
    0xD4,
    0xDB,
    0xDD,
    0xFF,
)


def mutate(data: bytes, chance: random.Random) -> bytes:
    at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    other = chance.randrange(len(data))
    return chance.choice(
        (
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:at] + data[to:],
            lambda: data[:to] + data[at:],
            lambda: data[:at] + data[other : other + to - at] + data[to:],
            lambda: data[:at] + bytes([chance.choice(NUMBERS)]) + data[at + 1 :],
            lambda: data[:at] + bytes([chance.choice(NUMBERS)]) + data[at:],
            lambda: data[:at] + bytes([data[at % len(data)] ^ (1 << chance.randrange(8))]) + data[at + 1 :],
            lambda: (
                data[:at] + b"\xdd" + struct.pack(">I", chance.choice((1, 2**16, 2**31, 2**32 - 1))) + data[at + 1 :]
            ),
            lambda: (
                data[:at] + b"\xdf" + struct.pack(">I", chance.choice((1, 2**16, 2**31, 2**32 - 1))) + data[at + 1 :]
            ),
            lambda: (
                data[:at] + b"\xdb" + struct.pack(">I", chance.choice((1, 2**16, 2**31, 2**32 - 1))) + data[at + 1 :]
            ),
        )
    )()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine takes long to make them
@given(CONTENTS, st.randoms(use_true_random=False))
def test_files_that_were_tampered_with(contents, chance):
    data = encode(contents)
    for _ in range(chance.randrange(1, 4)):
        data = mutate(data, chance) or b"\0"
    read(data)


@pytest.mark.slow
def test_many_files_that_were_tampered_with():
    chance = random.Random(20_261_125)
    for _ in range(100_000):
        read(mutate(VALID, chance))


def test_every_shorter_file():
    small = encode(of_functions(1))
    for length in range(len(small)):
        assert read(small[:length]) is None


def test_every_single_byte_set_to_what_begins_another_kind():
    small = encode(of_functions(1))
    for at in range(0, len(small), 7):
        for byte in NUMBERS:
            read(small[:at] + bytes([byte]) + small[at + 1 :])


# In bounds


def filled(header: bytes, unit: bytes, *, around: bytes = b"") -> bytes:
    """A megabyte: `around`, a list's header, then the unit again and again."""
    start = b"\x93" + HEAD + around + header
    return start + unit * ((MEGABYTE - len(start)) // len(unit))


EDITS = b"\x89\xa5edits"
TO_REQUIRES = encode(of_functions(1)).partition(b"\xa8requires")[0].removeprefix(b"\x93" + HEAD) + b"\xa8requires"
LIES = {
    "a list of four thousand million": b"\x93" + HEAD + EDITS + b"\xdd\xff\xff\xff\xff",
    "a map of four thousand million": b"\x93" + HEAD + b"\xdf\xff\xff\xff\xff",
    "a text of four gigabytes": b"\x93" + HEAD + b"\x89\xdb\xff\xff\xff\xff",
    "a first list of four thousand million": b"\xdd\xff\xff\xff\xff",
    "binary data of four gigabytes": b"\x93" + HEAD + EDITS + b"\xc6\xff\xff\xff\xff",
    "an extension of four gigabytes": b"\x93" + HEAD + EDITS + b"\xc9\xff\xff\xff\xff\x01",
    "a megabyte of lists in lists": filled(b"", b"\x91"),
    "a megabyte of maps in maps": filled(b"", b"\x81\xa1a"),
    "lists in lists that lie each": filled(b"", b"\xdd\x00\x00\xff\xff"),
    "edits in edits": filled(b"", EDITS + b"\x91"),
    "a megabyte of empty lists": filled(b"\xdd\x00\x0f\x00\x00", b"\x90", around=EDITS),
    "a megabyte of empty texts": filled(b"\xdd\x00\x0f\x00\x00", b"\xa0", around=TO_REQUIRES),
    "a megabyte of short texts": filled(b"\xdd\x00\x01\x86\xa0", b"\xa2aa", around=TO_REQUIRES),
    "a megabyte of short texts of every kind": filled(
        b"\xdd\x00\x01\x86\xa0", b"".join(b"\xa3%03d" % n for n in range(1000)), around=TO_REQUIRES
    ),
    "one text of a megabyte": filled(b"\xdb" + struct.pack(">I", MEGABYTE - 200), b"a", around=TO_REQUIRES[:-9]),
    "one key of a megabyte": filled(b"\x89\xdb" + struct.pack(">I", MEGABYTE - 100), b"a"),
    "zeros": b"\0" * MEGABYTE,
    "ones": b"\xff" * MEGABYTE,
}  # fmt: skip


@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
def test_lengths_that_lie_cost_nothing(data):
    decode(VALID)  # what is imported on first use is none of the file's cost
    tracemalloc.start()
    try:
        begun = time.process_time()
        assert read(data) is None
        spent = time.process_time() - begun
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MEGABYTE
    assert spent < 5


@given(st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_megabyte_at_random_costs_little(chance):
    data = b"\x93" + HEAD + (chance.randbytes(500) + VALID[len(HEAD) + 1 :]) * 30
    tracemalloc.start()
    try:
        read(data[:MEGABYTE])
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_the_worst_of_valid_files_is_bounded():
    """As many short texts as a megabyte can hold, all well-formed: what is built may be larger than the file."""
    tree = msgpack.unpackb(VALID)
    imports = [f"é{chr(0x10000 + number)}" for number in range(LIMITS.items)]
    tree[2]["edits"][0]["before"]["imports"] = imports
    tree[2]["edits"][0]["after"]["imports"] = imports
    data = msgpack.packb(tree)
    assert len(data) > MEGABYTE * 0.9
    tracemalloc.start()
    try:
        assert read(data) is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MEGABYTE


def test_more_than_a_file_may_hold_is_not_even_looked_at():
    with pytest.raises(BundleError, match="bytes or fewer"):
        decode(bytes(LIMITS.file + 1))


# Nothing runs

WATCH = """
import sys
import livepatch

path, valid, mark = sys.argv[1:]
for warm in (valid, valid):  # what is imported on first use
    try:
        livepatch.apply(warm)
    except livepatch.TrustError:
        pass
    livepatch.check(warm)

seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event in
    ("compile", "exec", "import", "marshal.loads", "pickle.find_class", "os.system", "subprocess.Popen") else None)
patch = livepatch.load(path)
livepatch.check(patch)
for give in (path, patch):
    try:
        livepatch.apply(give)
    except livepatch.TrustError:
        continue
    raise SystemExit("applied")
raise SystemExit(str(seen) if seen else 0)
"""


def test_nothing_of_an_unverified_file_is_compiled_imported_or_run(tmp_path):
    mark = tmp_path / "ran"
    evil = f"__import__('pathlib').Path({str(mark)!r}).touch()\n"
    tree = msgpack.unpackb(VALID)
    for edit in tree[2]["edits"]:
        edit["module"] = "this"  # prints when it is imported
        for side in (edit["before"], edit["after"]):
            side["imports"] = ["import this\n"]
            side["program"] = [{"scope": "", "text": {"line": 1, "source": evil}}]
        for function in edit["functions"]:
            function["after"]["source"] = f"@{evil.strip()}\ndef f(): pass\n"
    (tmp_path / "evil.lpatch").write_bytes(msgpack.packb(tree))
    (tmp_path / "valid.lpatch").write_bytes(VALID)
    done = subprocess.run(
        [sys.executable, "-c", WATCH, tmp_path / "evil.lpatch", tmp_path / "valid.lpatch", mark],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not mark.exists()
