"""The set of patches that is wished for, as a value; and modes as text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.stores import ids

import livepatch
from livepatch.engine.modes import Mode
from livepatch.errors import PatchError
from livepatch.node.modetext import read_mode, written_mode
from livepatch.node.wanted import Wanted, Wish

NOW = "2026-11-26T12:00:00Z"
MODES = ("on", "off", "shadow", "split(5%)", "split(12.5%, key=peer, seed='it\\'s')", "at(1200)", "shadow(keep=3)")


def wish(name: str, mode: str = "on", *replaces: str) -> Wish:
    digest = f"sha256:{name.encode().hex():0>64}"
    return Wish(file=digest, digest=digest, id=name, mode=mode, replaces=replaces)


A, B, C = (wish(name) for name in "ABC")


def ran(*wishes: Wish) -> Wanted:
    """Those went in one after the other, and each lived for its time."""
    wanted = Wanted()
    for number in range(len(wishes)):
        wanted = wanted.wishing(wishes[: number + 1]).proved()
    return wanted


def after(wanted: Wanted) -> list[str]:
    return ids(wanted.after_death(NOW).patches)


def test_what_a_death_leads_to():
    assert after(ran(A, B)) == ["A", "B"], "it was not on trial"
    assert after(ran(A).trying((A, B))) == ["A"]
    assert after(ran(A).wishing((A, B))) == ["A"]
    assert after(ran(A).wishing((A, B)).wishing((A, B, C))) == ["A"], "neither has lived for its time"
    assert after(ran(A, B).restoring()) == ["A"]
    assert after(ran(A, B).restoring().after_death(NOW).restoring()) == ["A"], "no further"
    assert after(ran(A, B).wishing((A, wish("B", "split(5%)")))) == ["A", "B"]
    assert after(ran(A, wish("B", "off")).wishing((A, B))) == ["A", "B off"]


def test_what_was_taken_out_by_hand_does_not_come_back():
    assert after(ran(A, B).wishing((B,))) == ["B"], "nothing went in, so there is no trial"
    assert after(ran(A, B).wishing((B,)).restoring()) == []
    assert after(ran(A, B).wishing((A, B, C)).wishing((A, C))) == ["A"]
    assert after(ran(A, B).wishing((A, B, C)).wishing((A, wish("B", "off"), C))) == ["A", "B off"]
    assert after(ran(A, B).wishing((A, wish("C", "on", "B")))) == ["A", "B"], "unless it went out for what goes again"
    assert after(ran(A, B).wishing((A, wish("C", "on", "B"))).wishing((A,))) == ["A"]


def test_a_trial_that_comes_to_nothing():
    was = ran(A)
    tried = was.trying((A, B))
    gone = tried.withdrawn(was)
    assert (gone.patches, gone.before, gone.trial) == (was.patches, was.before, None)
    assert gone.generation > tried.generation > was.generation
    open_one = was.wishing((A, B))
    assert open_one.trying((A, B, C)).withdrawn(open_one).trial == (A, B)


SETS = st.lists(st.builds(wish, st.sampled_from("ABCDE"), st.sampled_from(MODES)), max_size=4, unique_by=lambda w: w.id)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["try", "wish", "prove", "restore", "die"]), SETS), max_size=12))
def test_any_life_is_written_and_read_alike_and_falls_back_to_what_has_run(steps):
    wanted, good = Wanted(), ()
    for kind, wishes in steps:
        before = wanted
        match kind:
            case "try":
                wanted = wanted.trying(wishes)
            case "wish":
                wanted = wanted.wishing(wishes)
            case "prove":
                wanted = wanted.proved()
            case "restore":
                wanted = wanted.restoring()
            case "die":
                wanted = wanted.after_death(NOW)
                assert wanted.patches in (before.patches, before.before)
        assert wanted.generation > before.generation or wanted is before
        assert Wanted.parse(wanted.to_bytes()) == wanted
        if wanted.trial is None and kind in ("prove", "die"):
            good = wanted.patches
        # Nothing is gone back to that was not there, in that mode or off, when it had lived for its time.
        ever = {each.file for each in (*good, *before.before, *before.patches)}
        assert {each.file for each in wanted.before} <= ever


@pytest.mark.parametrize(
    "change",
    [
        {"file": "sha256:00"},
        {"digest": "x"},
        {"id": "no id"},
        {"mode": "split"},
        {"mode": "split(101%)"},
        {"replaces": ("no id",)},
        {"since": "yesterday"},
    ],
)
def test_what_is_no_wish(change):
    fields = {"file": A.file, "digest": A.digest, "id": "A", **change}
    with pytest.raises(livepatch.PatchError) as caught:
        Wish(**fields)
    assert caught.value.found
    assert caught.value.action


@pytest.mark.parametrize(
    "mode",
    [
        *("on", "off", "shadow", livepatch.split(5), livepatch.split(12.5, key="peer"), livepatch.split(0.00001)),
        livepatch.split(100, key="peer", seed='it\'s "so"\\'),
        *(livepatch.Shadow(), livepatch.Shadow(limit=0.5), livepatch.Shadow(share=1.0, keep=0)),
        livepatch.Shadow(limit=0.001, share=0.25, keep=3),
    ],
)
def test_a_mode_is_read_as_it_is_written(mode: Mode):
    assert read_mode(written_mode(mode)) == (mode if mode != livepatch.Shadow() else "shadow")


def test_a_height_is_given_by_who_reads_it():
    def height() -> int:
        return 1300

    mode = livepatch.at(1200, height)
    assert read_mode(written_mode(mode), height) == mode
    with pytest.raises(livepatch.PatchError, match="height"):
        read_mode("at(1200)")
    with pytest.raises(TypeError):
        read_mode("at(1200)", 1300)


@pytest.mark.parametrize(
    "mode", [livepatch.split(5, key=len), livepatch.split(5, seed="ü"), livepatch.split(5, seed="x" * 600)]
)
def test_a_mode_that_has_no_text(mode: Mode):
    with pytest.raises(livepatch.PatchError, match="cannot be kept"):
        written_mode(mode)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ON", "on ", "split", "split()", "split(5)", "split(5%", "split(5%,key=a)", "split(5%, key=a.b)"),
        *("split(5%, seed=f'{1}')", "split(5%, seed=a)", "split(nan%)", "split(1e999%)", "split(-1%)", "split(5%) "),
        *("shadow()", "shadow(limit=1=2)", "shadow(, share=1)", "shadow(limit=1 share=1)", "shadow(keep=3, limit=1)"),
        *("at()", "at(-1)", "at(1.5)", "at(" + "9" * 40 + ")", "at(٣)", "split(5%, seed='\\q')", "x" * 5000),
    ],
)
def test_a_text_that_is_no_mode(text: str):
    with pytest.raises(livepatch.PatchError):
        read_mode(text, lambda: 0)


@pytest.mark.parametrize("side", ["on", "off"])
def test_a_mode_that_measures_is_none_to_come_up_in(side):
    with pytest.raises(PatchError, match="cannot be kept") as caught:
        written_mode(livepatch.Measured(side))
    assert "soak" in caught.value.action
    with pytest.raises(PatchError, match="unknown"):
        read_mode(f"measured({side})")
