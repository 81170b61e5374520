"""What a peer said of itself: one spelling of each value, within bounds, and nothing that it can do to the reader."""

from __future__ import annotations

import itertools
import random
import string

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livepatch.errors import PatchError, PeerError
from livepatch.node.announcement import LARGEST, MOST_WORDS, SILENT, Announcement, check_words, read, tagged, terms_of

SMALL = string.ascii_lowercase + string.digits
WORDS = st.builds(
    lambda first, rest, number: f"{first}{rest}/{number}",
    st.sampled_from(string.ascii_lowercase),
    st.text(SMALL + "-", max_size=15),
    st.integers(0, 999),
)
SETS = st.lists(WORDS, max_size=MOST_WORDS, unique=True).map(sorted).map(tuple)
HEX = st.binary(min_size=16, max_size=16).map(bytes.hex)
SAID = st.builds(
    lambda package, release, words, proof: Announcement(
        package=package, release=release, words=words, salt=proof[0], tag=proof[1]
    ),
    st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?\Z"),
    st.text(SMALL + ".+!-", max_size=32),
    SETS,
    st.one_of(st.just(("", "")), st.tuples(HEX, HEX)),
)
ROW = ["nodeclient", "2.1.0", ["tx/1", "tx/2"], "", ""]


def packed(*changes: tuple[int, object], first: int = 1) -> bytes:
    row = list(ROW)
    for index, value in changes:
        row[index] = value  # type: ignore[call-overload]
    return bytes([first]) + msgpack.packb(row)


def largest() -> Announcement:
    words = tuple(f"{letter * 16}/999" for letter in string.ascii_lowercase[:MOST_WORDS])
    return Announcement(package="a" * 64, release="1" * 32, words=words, salt="0" * 32, tag="f" * 32)


@settings(max_examples=150, deadline=None)
@given(SAID)
@example(largest())
@example(SILENT)
def test_what_is_said_is_read_from_bytes_and_from_text_and_fits(said):
    data = bytes(said)
    assert len(data) <= LARGEST
    assert said.text.isascii()
    assert len(said.text) <= -(-LARGEST * 4 // 3)
    assert read(data) == read(said.text) == read(memoryview(data)) == said


def test_the_bytes_stay_what_they_are():
    assert bytes(read(packed())).hex() == (
        "0195aa6e6f6465636c69656e74a5322e312e3092a474782f31a474782f32a0a0"
    )  # other releases of livepatch read it


def refused(value: object) -> bool:
    try:
        read(value)
    except PeerError as error:
        said = [error.found, error.expected, error.action]
    else:
        return False
    assert all(said)
    assert len("".join(said)) < 500
    return True


NOISE = st.one_of(
    st.binary(max_size=600),
    st.text(max_size=700),
    st.text(string.ascii_letters + string.digits + "-_", max_size=700),
    st.builds(lambda body: b"\x01" + body, st.binary(max_size=511)),
    st.builds(
        lambda row: b"\x01" + msgpack.packb(row), st.recursive(st.none() | st.text() | st.integers(0, 9), st.lists)
    ),
    st.sampled_from([1, 0.5, True, [], {}, object(), (1,), memoryview(bytes(4096)), "\ud800", "é" * 4]),
)


@settings(max_examples=400, deadline=None)
@given(NOISE)
def test_noise_is_read_or_refused_and_nothing_else(value):
    if not refused(value):
        assert len(read(value).words) <= MOST_WORDS


@pytest.mark.slow
def test_much_noise():
    chance = random.Random(1)
    right = [bytes(largest()), packed(), packed((3, "0" * 32), (4, "f" * 32))]
    read_as_said = 0
    for _ in range(200_000):
        data = bytearray(chance.choice(right))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        if not refused(bytes(data)):
            found = read(bytes(data))
            assert found.newer or bytes(found) == data
            read_as_said += 1
    assert read_as_said > 1_000


@settings(max_examples=150, deadline=None)
@given(SAID, st.integers(0, LARGEST), st.integers(1, 255), st.booleans())
def test_a_changed_byte_is_refused_or_says_something_else(said, at, change, cut):
    data = bytearray(bytes(said))
    at %= len(data)
    if cut:
        del data[at:]
    else:
        data[at] ^= change
    if not refused(data):
        found = read(data)
        assert found != said
        assert found.newer or found == SILENT or bytes(found) == data


HOSTILE = {
    "too long": b"\x01" + bytes(LARGEST),
    "a text too long": "A" * 700,
    "a text of no length": "A",
    "a text with spare bits": "AZ",
    "padding": packed().hex() + "=",
    "no format": b"\x00",
    "beyond all formats": b"\x80",
    "nothing after the format": b"\x01",
    "a map": b"\x01\x80",
    "fewer parts": b"\x01" + msgpack.packb(ROW[:4]),
    "more parts": b"\x01" + msgpack.packb([*ROW, ""]),
    "a length that lies": b"\x01\xdd\xff\xff\xff\xff",
    "a text that lies": b"\x01\x95\xdb\xff\xff\xff\xff",
    "trailing bytes": packed() + b"\x00",
    "words in disorder": packed((2, ["tx/2", "tx/1"])),
    "a word twice": packed((2, ["tx/1", "tx/1"])),
    "too many words": packed((2, [f"a/{number}" for number in range(100, 117)])),
    "a nested word": packed((2, [["tx/1"]])),
    "a long word": packed((2, ["a" * 17 + "/1"])),
    "another spelling of a number": packed((2, ["tx/01"])),
    "a control character": packed((2, ["tx\x1b/1"])),
    "a line more": packed((2, ["tx/1\n"])),
    "a package of two lines": packed((0, "node\nclient")),
    "a release that steers": packed((1, "1.0\x1b[2J")),
    "a number for a text": packed((1, 21)),
    "bytes for a text": packed((0, b"x")),
    "a salt alone": packed((3, "0" * 32)),
    "a short salt": packed((3, "00"), (4, "00")),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_node_says_is_refused(value):
    assert refused(value)


def test_a_silent_node_and_a_newer_one_speak_no_word_and_refuse_nobody():
    assert read(None) == read(b"") == read("") == SILENT
    newer = read(bytes([2]) + b"anything at all")
    assert newer.newer
    assert newer != SILENT
    for peer in (SILENT, newer):
        assert not peer.speaks("tx/1")
        assert bytes(peer) == b""
        assert terms_of(frozenset({"tx/1"}), frozenset(), peer).relation == "mixed"
    assert refused(bytes([2]) + bytes(LARGEST))


def test_terms_say_who_lacks_what():
    peer = Announcement(words=("blocks/2", "tx/1"))
    assert terms_of(frozenset(peer.words), frozenset(), peer).relation == "alike"
    mixed = terms_of(frozenset({"tx/1", "tx/2"}), frozenset({"tx/1"}), peer)
    assert (mixed.common, mixed.ours, mixed.theirs) == ({"tx/1"}, {"tx/2"}, {"blocks/2"})
    assert mixed.relation == "mixed"
    apart = terms_of(frozenset({"tx/1", "tx/2"}), frozenset({"tx/2"}), peer)
    assert (apart.missing, apart.relation) == ({"tx/2"}, "apart")
    for compatible in (True, False, None):  # a peer must not find out where claims end
        assert terms_of(frozenset(peer.words), frozenset(), peer, compatible=compatible).relation == "alike"


@settings(max_examples=50, deadline=None)
@given(SETS, SETS, SETS)
def test_two_nodes_see_each_other_alike(ours, theirs, required):
    here = terms_of(frozenset(ours), frozenset(required), Announcement(words=theirs))
    there = terms_of(frozenset(theirs), frozenset(), Announcement(words=ours))
    assert (here.common, here.ours, here.theirs) == (there.common, there.theirs, there.ours)
    assert here.common | here.ours == frozenset(ours)
    assert here.missing == frozenset(required) - frozenset(theirs)
    assert (here.relation == "alike") == (ours == theirs and not here.missing)


@pytest.mark.parametrize(
    "words",
    [["tx"], ["tx/"], ["Tx/1"], ["tx/1 "], ["cve-2026-1/1"], ["ghsa-x/1"], [f"a/{n}" for n in range(MOST_WORDS + 1)]],
)
def test_own_words_that_nobody_may_say_are_refused(words):
    with pytest.raises(PatchError) as caught:
        check_words("words", words)
    assert caught.value.found
    assert caught.value.action


def test_own_words_are_sorted_and_said_once():
    assert check_words("words", iter(["tx/2", "blocks/1", "tx/2"])) == ("blocks/1", "tx/2")
    for wrong in ("tx/1", 5, [5], None):
        with pytest.raises(TypeError, match="words must"):
            check_words("words", wrong)
    with pytest.raises(TypeError, match="word must"):
        SILENT.speaks(5)


def test_a_tag_depends_on_all_that_it_is_made_of_and_not_on_the_order():
    live = [("FIX-1", "sha256:aa"), ("FIX-2", "sha256:bb")]
    cases = [
        tagged(b"k" * 16, b"s" * 16, live),
        tagged(b"K" * 16, b"s" * 16, live),
        tagged(b"k" * 16, b"S" * 16, live),
        tagged(b"k" * 16, b"s" * 16, live[:1]),
        tagged(b"k" * 16, b"s" * 16, []),
        tagged(b"k" * 16, b"s" * 16, [("FIX-1s", "ha256:aa"), live[1]]),
    ]
    assert all(one != other for one, other in itertools.combinations(cases, 2))
    assert cases[0] == tagged(b"k" * 16, b"s" * 16, reversed(live))
