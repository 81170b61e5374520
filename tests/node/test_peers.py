"""What a node says follows its patches, and says nothing of the hole that one closes."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import livepatch
from livepatch import peers

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

SOURCE = """
def words():
    return ('tx/1',)
def admit(size):
    return 'taken'
"""
SECRET = bytes(range(16))


@pytest.fixture
def m(write_module: WriteModule) -> ModuleType:
    return write_module(SOURCE)


@pytest.fixture
def speaking(m: ModuleType, new_patch: NewPatch) -> livepatch.Patch:
    """A fix that changes a message, and so brings a word."""
    fix = new_patch()

    @fix.replace(f"{m.__name__}:words")
    def words():
        return ("tx/1", "tx/2")

    return fix


@pytest.fixture
def silent(m: ModuleType, new_patch: NewPatch) -> livepatch.Patch:
    """A fix of which no message tells."""
    fix = new_patch()

    @fix.replace(f"{m.__name__}:admit")
    def admit(size):
        return "refused"

    return fix


def test_words_come_and_go_with_the_patch_and_its_mode(m, speaking):
    speaker = peers.Speaker(m.words)
    height = 9
    assert speaker.announce().words == ("tx/1",)
    applied = livepatch.apply(speaking)
    assert speaker.announce().words == ("tx/1", "tx/2")
    for mode in ("off", livepatch.at(10, lambda: height)):
        applied.mode = mode
        assert speaker.announce().words == ("tx/1",)
    height = 10
    assert speaker.announce().words == ("tx/1", "tx/2")
    applied.revert()
    assert speaker.announce().words == ("tx/1",)


def test_a_fix_of_which_no_message_tells_changes_no_byte(m, silent, distribution):
    speaker = peers.Speaker(m.words, package="specimen")
    before = bytes(speaker.announce())
    applied = livepatch.apply(silent)
    assert m.admit(1) == "refused"
    assert bytes(speaker.announce()) == before
    applied.revert()
    assert bytes(speaker.announce()) == before


def test_nothing_that_travels_names_the_patch(m, speaking, distribution):
    speaker = peers.Speaker(m.words, package="specimen", secret=SECRET)
    livepatch.apply(speaking)
    told = bytes(speaker.announce())
    for text in (speaking.id, speaking.flag, speaking.versions, m.__name__):
        assert text.lower().encode() not in told.lower()
    assert (speaker.announce().package, speaker.announce().release) == ("specimen", "1.0")


def test_same_patches_is_for_those_with_the_secret(m, silent):
    ours = peers.Speaker(m.words, secret=SECRET)
    fleet, stranger, open_node = (
        peers.Speaker(m.words, secret=SECRET),
        peers.Speaker(m.words, secret=bytes(16)),
        peers.Speaker(m.words),
    )
    before = fleet.announce()
    assert ours.terms(before).same_patches is True
    assert ours.terms(stranger.announce()).same_patches is False
    assert ours.terms(open_node.announce()).same_patches is None
    assert open_node.terms(before).same_patches is None

    applied = livepatch.apply(silent)
    assert ours.terms(before).same_patches is False
    assert ours.terms(fleet.announce()).same_patches is True
    applied.mode = livepatch.Measured("on")  # as while it soaks
    assert ours.terms(before).same_patches is False
    applied.mode = livepatch.Measured("off")
    assert ours.terms(before).same_patches is True


def test_without_the_secret_what_is_applied_shows_in_nothing(m, silent):
    speaker = peers.Speaker(m.words, secret=SECRET)
    first, second = speaker.announce(), speaker.announce()
    assert first.salt != second.salt
    assert first.tag != second.tag
    livepatch.apply(silent)
    third = speaker.announce()
    assert len(bytes(first)) == len(bytes(third))
    assert first.words == third.words


def test_claims_are_held_against_the_release_of_the_peer(m, silent, distribution):
    silent.compatible_with = ">=1.0,<2"
    speaker = peers.Speaker(m.words, package="specimen")

    def of(release: str, package: str = "specimen") -> peers.Terms:
        return speaker.terms(peers.Announcement(package=package, release=release, words=("tx/1",)))

    assert of("2.0").compatible is None  # nobody claims anything
    livepatch.apply(silent)
    assert of("1.4").compatible is True
    assert of("1.4rc1").compatible is True
    assert (of("2.0").compatible, of("2.0").relation) == (False, "alike")
    assert of("2.0", "another").compatible is None
    assert of("no-version!").compatible is None
    assert speaker.terms(peers.SILENT).compatible is None


def test_what_is_required_ends_coexistence_and_may_change(m):
    required: list[str] = []
    speaker = peers.Speaker(m.words, required=lambda: required)
    old = peers.Announcement(words=("blocks/1",))
    assert speaker.terms(old).relation == "mixed"
    required.append("tx/1")
    assert speaker.terms(old).relation == "apart"
    assert speaker.terms(speaker.announce()).relation == "alike"


def test_common_is_what_everybody_speaks():
    speaker = peers.Speaker(["blocks/1", "tx/1", "tx/2"])
    assert speaker.common([]) == {"blocks/1", "tx/1", "tx/2"}
    fixed, old = peers.Announcement(words=("tx/1", "tx/2")), peers.Announcement(words=("tx/1",))
    assert speaker.common([fixed, old]) == {"tx/1"}
    assert speaker.common([fixed, peers.SILENT]) == frozenset()


def test_a_height_that_cannot_be_asked_is_not_reached(m, silent):
    def height() -> int:
        raise OSError("no chain")

    speaker = peers.Speaker(m.words, secret=SECRET)
    before = speaker.announce()
    livepatch.apply(silent, mode=livepatch.at(10, height))
    assert speaker.terms(before).same_patches is True


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"words": "tx/1"}, TypeError, "words must"),
        ({"words": ["tx"]}, livepatch.PatchError, "words holds no word"),
        ({"words": [], "required": 5}, TypeError, "required must"),
        ({"words": [], "secret": "text"}, TypeError, "secret must"),
        ({"words": [], "secret": b"short"}, livepatch.PatchError, "secret is too short"),
        ({"words": [], "package": 5}, TypeError, "package must"),
        ({"words": [], "package": "-"}, livepatch.PatchError, "package is no distribution name"),
        ({"words": [], "package": "nowhere-installed"}, livepatch.PatchError, "package names no release"),
        ({"words": [], "package": "a" * 65}, livepatch.PatchError, "package names no release"),
    ],
)
def test_what_is_given_wrongly_is_told(arguments, kind, said):
    with pytest.raises(kind, match=said) as caught:
        peers.Speaker(**arguments)
    assert "text" not in str(caught.value)  # a secret is not shown


def test_a_function_that_gives_no_words_is_told_when_it_is_asked():
    with pytest.raises(livepatch.PatchError, match="words holds no word"):
        peers.Speaker(lambda: ["?"]).announce()
    with pytest.raises(TypeError, match="peer must"):
        peers.Speaker([]).terms(b"")
