"""Checkpoints and boundaries: what is saved comes back, whatever happens, and what goes beyond is seen."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cycles import codes
from tests.state.peers import down, forms, picture, up

import livepatch
from livepatch.state.digests import digest_of, digests_of
from livepatch.state.touches import beyond
from livepatch.testing.migrations import rehearse

if TYPE_CHECKING:
    from tests.conftest import NewPatch
    from tests.state.conftest import Made


def take(peer: Any) -> Any:
    return peer.inbox


def put_back(peer: Any, saved: Any) -> None:
    peer.inbox = saved


def lossy(peer: Any) -> None:
    if isinstance(peer.inbox, list):
        peer.inbox = dict.fromkeys(sorted(peer.inbox, reverse=True))


@pytest.fixture(params=["memory", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "checkpoints" if request.param == "directory" else None


def test_what_was_saved_comes_back_on_revert(place: Path | None, node: ModuleType, made: Made):
    before = picture(node)
    checkpoint = livepatch.Checkpoint(take, put_back, directory=place)
    applied = livepatch.apply(made(way=(lossy, None), checkpoint=checkpoint))
    assert forms(node) == {dict}
    if place is not None:
        (file,) = place.iterdir()
        assert file.suffix == ".checkpoint"
    applied.mode = "off"
    assert picture(node) == before
    applied.mode = "on"
    applied.revert()
    assert picture(node) == before
    assert place is None or list(place.iterdir()) == []


def test_it_is_brought_back_after_a_failure(place: Path | None, node: ModuleType, made: Made):
    def rise(peer: Any) -> None:
        peer.inbox.clear()
        if peer.name == "30":
            raise ValueError("no")

    before = [list(peer.inbox) for peer in node.PEERS]
    checkpoint = livepatch.Checkpoint(take, put_back, directory=place, on_revert=False)
    with pytest.raises(livepatch.StateError, match="as it was before"):
        livepatch.apply(made(way=(rise, down), checkpoint=checkpoint))
    assert [peer.inbox for peer in node.PEERS] == before
    assert place is None or list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "match"),
    [((1, 2), "tuple"), ({1}, "set"), (2**70, "written"), (object(), "object"), ([True, {"a": (1,)}], "tuple")],
)
def test_what_cannot_be_written_without_loss_is_refused(value: Any, match: str, node: ModuleType, made: Made):
    with pytest.raises(livepatch.StateError, match=match):
        livepatch.apply(made(checkpoint=(lambda peer: value, put_back)))
    assert forms(node) == {list}


def test_its_size_is_bounded(place: Path | None, node: ModuleType, made: Made):
    checkpoint = livepatch.Checkpoint(take, put_back, directory=place, limit=200)
    with pytest.raises(livepatch.StateError, match="too large"):
        livepatch.apply(made(checkpoint=checkpoint))
    assert forms(node) == {list}


def test_the_programs_own_encoders(node: ModuleType, made: Made):
    def encode(value: Any) -> bytes:
        return ",".join(map(str, value)).encode()

    def decode(data: bytes) -> Any:
        return [int(part) for part in data.split(b",")]

    checkpoint = livepatch.Checkpoint(lambda peer: tuple(peer.inbox), put_back, encode, decode)
    livepatch.apply(made(way=(lossy, None), checkpoint=checkpoint)).revert()
    assert [peer.inbox for peer in node.PEERS] == [[1, 2, 3]] * 50


def test_a_snapshot_function_of_the_program(new_patch: NewPatch):
    data = {"a": [1]}

    def load(snapshot: bytes) -> None:
        data.clear()
        data.update(eval(snapshot))

    fix = new_patch()

    def rise():
        data["b"] = 2
        yield
        data["a"].append(3)
        raise ValueError("no")

    fix.migrate("all", 1, rise, None, checkpoint=(lambda: repr(data).encode(), load))
    with pytest.raises(livepatch.StateError):
        livepatch.apply(fix)
    assert data == {"a": [1]}


def test_a_directory_that_cannot_be_written_to(node: ModuleType, made: Made, tmp_path: Path):
    (tmp_path / "file").write_text("")
    checkpoint = livepatch.Checkpoint(take, put_back, directory=tmp_path / "file" / "below")
    with pytest.raises(livepatch.StateError, match="cannot be written"):
        livepatch.apply(made(checkpoint=checkpoint))
    assert forms(node) == {list}


def test_a_file_that_is_damaged_is_refused(node: ModuleType, made: Made, tmp_path: Path):
    checkpoint = livepatch.Checkpoint(take, put_back, directory=tmp_path / "c")
    applied = livepatch.apply(made(way=(up, down), checkpoint=checkpoint))
    (file,) = (tmp_path / "c").iterdir()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"\xff")
    with pytest.raises(livepatch.StateError, match="damaged"):
        applied.revert()
    assert forms(node) == {dict}
    file.unlink()  # the open file is what counts, and it is damaged as before
    with pytest.raises(livepatch.StateError, match="damaged"):
        applied.revert()
    node.PEERS.pop()  # the object whose entry it is
    applied.revert()
    assert forms(node) == {list}


@pytest.mark.parametrize("arguments", [(5, put_back), (take, 5)])
def test_wrong_functions(arguments: Any):
    with pytest.raises(TypeError):
        livepatch.Checkpoint(*arguments)
    with pytest.raises(livepatch.PatchError, match="together"):
        livepatch.Checkpoint(take, put_back, encode=repr)
    with pytest.raises(livepatch.PatchError, match="limit"):
        livepatch.Checkpoint(take, put_back, limit=0)


# Boundaries


def rise_beyond(peer: Any) -> None:
    up(peer)
    peer.name = peer.name.upper() + "!"


def test_check_sees_on_trial_what_goes_beyond(node: ModuleType, made: Made):
    before = picture(node)
    declared = {"modifies": ["inbox"]}
    assert "boundary-crossed" not in codes(livepatch.check(made(touches=declared)))
    fix = made(way=(rise_beyond, down), touches=declared)
    report = livepatch.check(fix)
    assert codes(report) == ["boundary-crossed"]
    assert "name is altered" in report.errors[0].found
    assert picture(node) == before
    with pytest.raises(livepatch.StateError, match="name is altered"):
        livepatch.apply(fix)
    assert {type(peer.inbox) for peer in node.PEERS} == {list}


def test_a_trial_that_cannot_be_made_is_told(node: ModuleType, made: Made):
    found = livepatch.check(made(objects=iter(node.PEERS), touches={"modifies": ["inbox"]})).findings
    assert "boundary-unchecked" in [finding.code for finding in found]

    def rise(peer: Any) -> None:
        os._exit(3)

    found = livepatch.check(made(way=(rise, down), touches={"modifies": ["inbox"]})).findings
    assert "boundary-unchecked" in [finding.code for finding in found]


def test_places_of_modules(node: ModuleType, made: Made):
    def rise(peer: Any) -> None:
        up(peer)
        node.COUNT = getattr(node, "COUNT", 0) + 1

    place = f"{node.__name__}:COUNT"
    fine = made(way=(rise, down), touches=livepatch.Touches(modifies=("inbox", place)))
    assert livepatch.check(fine).ok
    assert not hasattr(node, "COUNT")
    wrong = made(way=(rise, down), touches=livepatch.Touches(modifies=("inbox",), leaves=(place,)))
    assert codes(livepatch.check(wrong)) == ["boundary-crossed"]


def test_what_is_declared_in_each_way():
    touches = livepatch.Touches(reads=("a",), modifies=("b",), archives=("c", "d"), leaves=("e",))
    before = dict.fromkeys("abcde", "1")
    assert list(beyond(touches, before, before)) == []
    assert list(beyond(touches, before, {"a": "1", "b": "2", "d": "1", "e": "1"})) == []
    after = {"a": "2", "b": "2", "c": "2", "d": "1", "f": "1"}
    told = list(beyond(touches, before, after))
    assert [text.split()[0] for text in told] == ["a", "c", "e", "f"]


def test_a_rehearsal_tells_what_is_wrong(node: ModuleType, made: Made):
    (fine,) = rehearse(made())
    assert fine.ok
    assert fine.objects == 50
    before = picture(node)

    def not_twice(peer: Any) -> None:
        peer.inbox = [*peer.inbox, 4]

    (wrong,) = rehearse(made(way=(not_twice, lambda peer: peer.inbox.pop())), node.PEERS[:3])
    assert (wrong.twice, wrong.not_back) == ((0, 1, 2), (0, 1, 2))
    for peer in node.PEERS[:3]:
        peer.inbox.pop()
    assert [state[2] for state in picture(node)] == [state[2] for state in before]
    (beyond_it,) = rehearse(made(way=(rise_beyond, down), touches={"modifies": ["inbox"]}), node.PEERS[:1])
    assert "name is altered" in beyond_it.beyond[0]
    with pytest.raises(livepatch.PatchError):
        rehearse(made(objects=None))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=12,
)


class Thing:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.again = self


@settings(max_examples=40, deadline=None)
@given(VALUES, VALUES)
def test_digests_are_those_of_equal_values(one: Any, other: Any):
    import copy

    assert digest_of(one) == digest_of(copy.deepcopy(one))
    assert (digest_of(one) == digest_of(other)) == (repr(one) == repr(other))
    assert digests_of(Thing(one)) == digests_of(Thing(copy.deepcopy(one)))
