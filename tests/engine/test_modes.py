"""Guard modes as values: who gets the new side under a split, when a height is reached, what is refused."""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import enum
import functools
import ipaddress
import itertools
import math
import subprocess
import sys
import threading
import types
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from livepatch.engine import modes
from livepatch.engine.modes import At, Shadow, Split, as_shadow, at, check_mode, place_of, spelled_mode, split
from livepatch.errors import PatchError


class Colour(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    GO = "go"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Peer(str):
    __slots__ = ()

    def __hash__(self):
        raise AssertionError

    def __eq__(self, other):
        raise AssertionError

    def encode(self, *_):
        raise AssertionError


class Number(int):
    def __format__(self, spec):
        raise AssertionError

    __index__ = __hash__ = __str__ = __repr__ = __format__


class Pair(NamedTuple):
    host: str
    port: int


# Places never change, in whatever process, platform or version: nodes of different versions share one split.
PLACES = [
    ("CVE-2026-1234", "peer-1", 87.94610775205015),
    ("CVE-2026-1234", b"peer-1", 72.94618722298188),
    ("CVE-2026-1234", "", 80.45253027104225),
    ("spring", "peer-1", 35.841895997214316),
    ("f", 0, 54.7160731806138),
    ("f", -1, 23.02303010577034),
    ("f", 2**300, 77.70350596540423),
    ("f", True, 7.581605186928552),
    ("f", None, 69.43579382253928),
    ("f", 1.5, 70.8240244652456),
    ("f", 0.0, 15.485677866664826),
    ("f", -0.0, 15.485677866664826),
    ("f", math.nan, 37.206898278191915),
    ("f", -math.nan, 37.206898278191915),
    ("f", (), 96.1759252684369),
    ("f", ("a", ("b", 1)), 66.78932587845613),
    ("f", uuid.UUID(int=7), 3.198344634748762),
    ("f", ipaddress.ip_address("10.0.0.1"), 9.064431160895348),
    ("f", ipaddress.ip_address("fe80::1%eth0"), 16.018374998494778),
    ("f", Colour.RED, 54.618467503257015),
    ("f", Rights.READ | Rights.WRITE, 28.40732548586413),
    ("f", "größe\ud800", 55.31878843598612),
]


@pytest.mark.parametrize(("seed", "key", "place"), PLACES, ids=str)
def test_a_key_has_one_place_for_good(seed, key, place):
    assert place_of(seed, key) == place


def test_another_process_with_another_hash_seed_finds_the_same_places():
    keys = [(seed, key) for seed, key, _ in PLACES if isinstance(key, (str, int, bytes))]
    script = f"from livepatch.engine.modes import place_of\nprint([place_of(*pair) for pair in {keys!r}])"
    path = str(Path(modes.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8:surrogatepass"},
    )
    assert done.stdout.strip() == repr([place_of(*pair) for pair in keys])


def test_subclasses_of_plain_types_stand_where_the_plain_value_stands_and_their_methods_are_not_called():
    assert place_of("f", Peer("p")) == place_of("f", "p")
    assert place_of("f", Number(-5)) == place_of("f", -5)
    assert place_of("f", Pair("h", 1)) == place_of("f", ("h", 1))


DIFFERENT = [
    1, "1", b"1", True, 1.0, None, "", b"", 0, False, (), ((),), ("a", "b"), ("ab",), (("a",), "b"), ("a", ("b",)),
    ("a", "", "b"), "1:", "s1:1", b"s1:1", Level.LOW, Word.GO, "go", Colour.RED, "r", ("Colour", "RED"), Rights.READ,
    uuid.UUID(int=1), b"\0" * 15 + b"\1", ipaddress.ip_address("0.0.0.1"), ipaddress.ip_address("::1"),
    ipaddress.ip_address("fe80::1"), ipaddress.ip_address("fe80::1%a"), math.inf, -math.inf, math.nan, "nan", b"nan",
]  # fmt: skip


def test_keys_that_differ_in_type_or_value_have_different_places():
    assert len({place_of("f", key) for key in DIFFERENT}) == len(DIFFERENT)
    assert len({place_of(seed, "k") for seed in ("a", "b", "", "ab")}) == 4


@pytest.mark.parametrize(
    "key",
    [object(), [1], {1}, {}, bytearray(b"x"), 1j, str, ("a", [1]), lambda: 1, types.SimpleNamespace()],
    ids=lambda key: type(key).__name__,
)
def test_nothing_else_is_a_key(key):
    with pytest.raises(TypeError, match=r"a key must be a str, bytes, int, .* or a tuple of those, not "):
        split(50, "k").picks(key, "f")


def test_places_are_spread_evenly_over_the_keys():
    places = [place_of("CVE-2026-1234", number) for number in range(20_000)]
    tenths = collections.Counter(int(place / 10) for place in places)
    assert set(tenths) == set(range(10))
    assert all(1_850 < count < 2_150 for count in tenths.values())  # 3.5 standard deviations; the keys are fixed


def test_a_greater_percentage_picks_all_that_a_smaller_one_picked():
    shares = [split(percent, "k") for percent in (0, 0.01, 1, 5, 5.5, 33, 50, 99.99, 100)]
    for number in range(3_000):
        picked = [share.picks(f"peer-{number}", "f") for share in shares]
        assert picked == sorted(picked)
        assert not picked[0]
        assert picked[-1]


def test_the_greatest_hash_is_below_100(monkeypatch):
    class Greatest:
        copy = lambda self: self
        update = lambda self, data: None
        digest = lambda self: b"\xff" * 8

    monkeypatch.setattr(modes, "_seeded", lambda seed: Greatest())
    assert 99.99 < place_of("f", "k") < 100
    assert not split(99.999999, "k").picks("k", "f")


def test_patches_take_different_samples_unless_they_share_a_seed():
    def sample(mode, flag):
        return [mode.picks(number, flag) for number in range(2_000)]

    one, other = sample(split(50, "k"), "one"), sample(split(50, "k"), "other")
    assert 850 < sum(a == b for a, b in zip(one, other, strict=True)) < 1_150
    shared = split(50, "k", seed="spring")
    assert sample(shared, "one") == sample(shared, "other")
    assert sample(split(50, "k", seed="one"), "other") == one


# The key of a call


def test_a_callable_key_gets_the_arguments_of_the_call():
    mode = split(5, key=lambda self, transaction, *rest, **named: (self, transaction, rest, named))
    assert mode.key_of((1, 2, 3), {"x": 4}, ()) == (1, 2, (3,), {"x": 4})


class Asked:
    def nothing(self):
        return "nothing"

    def one(self, first):
        return first

    def __call__(self):
        return "called"


current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="peer-7")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (lambda: "bare", "bare"),
        (Asked().nothing, "nothing"),
        (Asked().one, "a"),
        (Asked(), "called"),
        (functools.partial(lambda x: x, "given"), "given"),
        (current.get, "peer-7"),
        (lambda first=None: first, "a"),
        (str, "a"),  # a type of C without a signature, on some versions
    ],
    ids=["lambda", "method", "method with a parameter", "object", "partial", "context variable", "default", "native"],
)
def test_a_key_that_takes_nothing_is_given_nothing(key, value):
    assert split(5, key).key_of(("a",), {}, ("self",)) == value


def test_a_name_as_key_is_looked_for_among_the_arguments():
    mode = split(5, "peer")
    assert mode.key_of((1, 2), {}, ("self", "peer", "size")) == 2
    assert mode.key_of((1,), {"peer": 3}, ("self", "peer")) == 3
    assert mode.key_of((1,), {"peer": 4}, ()) == 4
    assert mode.key_of((1, 2), {"peer": 5}, ("self", "peer")) == 2  # positional-only, and the same name in **kwargs


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [((), {}, "parameters none"), ((1,), {"x": 2}, "parameters self, x")],
)
def test_a_call_without_the_parameter_has_no_key(args, kwargs, found):
    with pytest.raises(
        PatchError, match=r"the call does not give peer, by which split\(5%, key=peer\) decides"
    ) as info:
        split(5, "peer").key_of(args, kwargs, ("self", "peer"))
    assert info.value.found == found


def test_what_a_key_raises_goes_to_the_caller():
    with pytest.raises(ZeroDivisionError):
        split(5, key=lambda *_: 1 / 0).chooses((), {}, (), "f")


@pytest.mark.parametrize(("percent", "answer"), [(0, False), (100, True), (0.0, False), (100.0, True)])
def test_none_and_all_ask_for_no_key(percent, answer):
    mode = split(percent, key=lambda *_: 1 / 0)
    assert mode.chooses((), {}, (), "f") is answer
    assert mode.picks(object(), "f") is answer


def test_chooses_is_picks_of_the_key():
    mode = split(50, "peer")
    for number in range(100):
        assert mode.chooses((number,), {}, ("peer",), "f") is mode.picks(number, "f")


# Without a key


@pytest.fixture
def known_start(monkeypatch):
    monkeypatch.setattr(modes.os, "urandom", lambda size: b"\x17" * size)
    monkeypatch.setattr(modes.os, "getpid", lambda: 1)


@pytest.mark.usefixtures("known_start")
@pytest.mark.parametrize("percent", [0.5, 5, 33.3, 50, 99])
def test_without_a_key_the_share_holds_in_the_long_run(percent):
    mode = split(percent)
    calls = 50_000
    picked = sum(mode.chooses((), {}, (), "f") for _ in range(calls))
    assert picked == pytest.approx(calls * percent / 100, abs=60)  # what is off by more than some turns is not even


@pytest.mark.usefixtures("known_start")
def test_without_a_key_no_rhythm_falls_in_step_with_the_turns():
    mode = split(5)
    picked = [mode.chooses((), {}, (), "f") for _ in range(100_000)]
    for step in (2, 3, 7, 16, 256):
        expected = len(picked) / step * 0.05
        assert sum(picked[::step]) == pytest.approx(expected, abs=3 * expected**0.5), step
    again = sum(one and following for one, following in itertools.pairwise(picked))
    assert again == pytest.approx(len(picked) * 0.05 * 0.05, rel=0.4)  # a retry is decided on its own


def test_without_a_key_a_decision_is_taken_once_for_each_asking():
    mode = split(50)
    turn = mode.key_of((), {}, ())
    assert len({mode.picks(turn, "f") for _ in range(100)}) == 1
    assert len({mode.picks(mode.key_of((), {}, ()), "f") for _ in range(100)}) == 2


def test_without_a_key_processes_of_few_calls_do_not_all_decide_alike(monkeypatch):
    first = sum(split(20).chooses((), {}, (), "f") for _ in range(5_000))
    assert first == pytest.approx(1_000, rel=0.2)  # 7 standard deviations
    mode = split(20)
    turn = mode.key_of((), {}, ())
    forked = []
    for pid in range(5_000):
        monkeypatch.setattr(modes.os, "getpid", lambda pid=pid: pid)
        forked.append(mode.picks(turn, "f"))
    assert sum(forked) == pytest.approx(1_000, rel=0.2)


def test_without_a_key_threads_do_not_get_the_same_turn():
    mode = split(50)
    turns: list[int] = []

    def ask() -> None:
        mine = [mode.key_of((), {}, ()).number for _ in range(5_000)]
        turns.extend(mine)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == list(range(min(turns), min(turns) + 40_000))


# Values


def by_size(size):
    return size


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("on", "on"),
        ("off", "off"),
        ("shadow", "shadow"),
        (split(5), "split(5%)"),
        (split(5.0), "split(5%)"),
        (split(0.1 + 0.2), "split(0.30000000000000004%)"),
        (split(5, "peer"), "split(5%, key=peer)"),
        (split(5, by_size, "spring"), "split(5%, key=by_size, seed='spring')"),
        (split(5, Asked().one), "split(5%, key=Asked.one)"),
        (split(5, current.get), "split(5%, key=ContextVar.get)"),
        (split(5, Asked()), f"split(5%, key=a {__name__}.Asked)"),
        (split(5, seed="spring"), "split(5%, seed='spring')"),
        (at(1200, int), "at(1200)"),
        (Shadow(), "shadow"),
        (Shadow(limit=0.05, keep=0), "shadow(limit=0.05, keep=0)"),
        (Shadow(share=1), "shadow(share=1)"),
    ],
    ids=str,
)
def test_a_mode_is_spelled_in_a_few_characters(mode, text):
    assert spelled_mode(mode) == text
    assert check_mode(mode) is mode


def test_modes_are_compared_by_value_and_do_not_change():
    assert split(5) == split(5.0) == Split(5)
    assert split(5) != split(6)
    assert split(5, "a") != split(5, "b")
    assert split(5, seed="a") != split(5)
    assert hash(split(5, by_size)) == hash(split(5, by_size))
    assert at(5, int) == At(5, int) != at(6, int)
    assert Shadow() == Shadow(limit=0.01) != Shadow(limit=0.02)
    with pytest.raises(dataclasses.FrozenInstanceError):
        split(5).percent = 6
    assert dataclasses.replace(split(5, lambda: 1), percent=7).key_of((1,), {}, ()) == 1


def test_the_word_shadow_means_the_usual_bounds():
    assert as_shadow("shadow") == Shadow()
    assert as_shadow(Shadow(keep=3)) == Shadow(keep=3)
    assert [as_shadow(mode) for mode in ("on", "off", split(5), at(1, int))] == [None] * 4


class Text(str):
    __slots__ = ()


def test_a_word_becomes_the_plain_word():
    assert type(check_mode(Text("on"))) is str


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("ON", PatchError),
        ("split(5%)", PatchError),
        (None, TypeError),
        (5, TypeError),
        (Split, TypeError),
        (split, TypeError),
    ],
)
def test_what_is_no_mode_is_told_what_there_is(mode, error):
    with pytest.raises(error) as info:
        check_mode(mode)
    for word in ("'on'", "'off'", "'shadow'", "livepatch.split(", "livepatch.at(", "livepatch.Shadow("):
        assert word in str(info.value)


async def later():
    return 1


@pytest.mark.parametrize(
    ("make", "error", "named"),
    [
        (lambda: split("5"), TypeError, "percent"),
        (lambda: split(True), TypeError, "percent"),
        (lambda: split(None), TypeError, "percent"),
        (lambda: split(-0.1), PatchError, "percent"),
        (lambda: split(100.1), PatchError, "percent"),
        (lambda: split(math.nan), PatchError, "percent"),
        (lambda: split(math.inf), PatchError, "percent"),
        (lambda: split(10**400), PatchError, "percent"),
        (lambda: split(5, 7), TypeError, "key"),
        (lambda: split(5, "a b"), PatchError, "key"),
        (lambda: split(5, ""), PatchError, "key"),
        (lambda: split(5, later), PatchError, "key"),
        (lambda: split(5, seed=7), TypeError, "seed"),
        (lambda: Split("5"), TypeError, "percent"),
        (lambda: at("5", int), TypeError, "height"),
        (lambda: at(5.0, int), TypeError, "height"),
        (lambda: at(True, int), TypeError, "height"),
        (lambda: at(-1, int), PatchError, "height"),
        (lambda: at(5, 7), TypeError, "source"),
        (lambda: at(5, later), PatchError, "source"),
        (lambda: Shadow(limit=0), PatchError, "limit"),
        (lambda: Shadow(limit=math.inf), PatchError, "limit"),
        (lambda: Shadow(limit=math.nan), PatchError, "limit"),
        (lambda: Shadow(limit="1"), TypeError, "limit"),
        (lambda: Shadow(share=0), PatchError, "share"),
        (lambda: Shadow(share=1.1), PatchError, "share"),
        (lambda: Shadow(share=True), TypeError, "share"),
        (lambda: Shadow(keep=-1), PatchError, "keep"),
        (lambda: Shadow(keep=1.0), TypeError, "keep"),
        (lambda: Shadow(keep=10**6), PatchError, "keep"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, error, named):
    with pytest.raises(error, match=rf"^{named} "):
        make()


# At a height


def test_a_height_is_reached_and_may_be_left_again():
    heights = iter([1199, 1200, 1201, 1199, 2**70])
    mode = at(1200, lambda: next(heights))
    assert [mode.reached() for _ in range(5)] == [False, True, True, False, True]
    with pytest.raises(StopIteration):
        mode.reached()


class Index:
    def __index__(self):
        return 1200


def test_whatever_can_be_an_index_is_a_height():
    assert at(1200, Index).reached()
    assert not at(1201, Index).reached()


@pytest.mark.parametrize("value", [None, "1200", 1200.0, True])
def test_a_source_that_gives_no_int_is_named(value):
    with pytest.raises(TypeError, match=r"the source of at\(1\) must give an int, not"):
        at(1, lambda: value).reached()
