"""Who looks after a patch: a line of text for each role, and nothing else."""

from __future__ import annotations

import pytest

import livepatch
from livepatch.contents.ownership import owners_of, unnamed


def patch(**changes) -> livepatch.Patch:
    return livepatch.Patch("A", package="a", versions="==1", **changes)


def test_a_patch_says_who_looks_after_it():
    fix = patch(owners={"watches": "node operations", "call": "+41 44 000 00 00"})
    assert fix.owners == livepatch.Owners(watches="node operations", call="+41 44 000 00 00")
    assert str(fix.owners) == "watched by node operations, call +41 44 000 00 00"
    assert patch(owners=fix.owners).owners is fix.owners
    assert not patch().owners
    assert unnamed(fix.owners, ["call", "stops", "watches"]) == ("stops",)


def test_owners_may_be_set_later_and_only_to_what_they_can_be():
    fix = patch()
    fix.owners = {"call": "me"}
    with pytest.raises(TypeError):
        fix.owners = "me"
    with pytest.raises(livepatch.PatchError):
        fix.owners = {"call": "\n"}
    with pytest.raises(TypeError) as error:
        fix.embargo = "CANARY"
    assert "CANARY" not in str(error.value)
    assert (fix.owners, fix.embargo) == (livepatch.Owners(call="me"), None)


@pytest.mark.parametrize("text", ["two\nlines", " blank", "blank ", "x" * 201, "\x1b[1mred", "\u202eabc"])
@pytest.mark.parametrize("role", ["watches", "stops", "call"])
def test_what_is_no_line_for_people_is_refused(role, text):
    with pytest.raises(livepatch.PatchError) as error:
        patch(owners={role: text})
    assert error.value.found
    assert error.value.expected
    assert error.value.action


def test_another_role_is_refused():
    with pytest.raises(livepatch.PatchError, match="found: 'wakes'"):
        owners_of({"wakes": "me"})


@pytest.mark.parametrize("value", [None, "node operations", ["call"], 7])
def test_owners_of_another_type_are_refused(value):
    with pytest.raises(TypeError, match=r"owners must be livepatch\.Owners"):
        patch(owners=value)


@pytest.mark.parametrize("value", [None, 7, b"x"])
def test_texts_of_another_type_are_refused(value):
    with pytest.raises(TypeError, match="owners: call must be a str"):
        livepatch.Owners(call=value)
