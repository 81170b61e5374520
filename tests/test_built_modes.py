"""The modes that decide by call, for patches that were built from two releases."""

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch

EVERY = livepatch.Shadow(limit=1.0, share=1.0)


@pytest.fixture
def releases(tmp_path, monkeypatch):
    return functools.partial(Running, tmp_path, monkeypatch)


def mod(text: str) -> dict[str, str]:
    return {"m.py": text}


def refused(applied: livepatch.Applied, mode: object) -> str:
    """The refusal of a mode, after which all is as it was."""
    before = applied.mode
    with pytest.raises(livepatch.PatchError) as error:
        applied.mode = mode
    assert applied.mode == before
    assert livepatch.verify()
    return str(error.value)


# Functions that may run twice

COUNTED = "runs = []\ndef take(n):\n    runs.append(n)\n    return n\ndef size(n):\n    return n\n"
CHANGED = COUNTED.replace("return n", "return n + 0")


def test_what_nobody_declared_pure_never_runs_twice(releases):
    there = releases(mod(COUNTED), mod(CHANGED))
    fix = there.build()
    with pytest.raises(livepatch.PatchError, match=r"m:take, .*m:size, not declared pure.*build\(…, pure="):
        livepatch.apply(fix, mode="shadow")
    assert livepatch.status() == ()
    applied = livepatch.apply(fix)
    for mode in ("shadow", EVERY):
        assert "not declared pure" in refused(applied, mode)
    there["m"].take(1)
    assert there["m"].runs == [1]


def test_one_that_is_not_declared_is_enough(releases):
    there = releases(mod(COUNTED), mod(CHANGED))
    applied = livepatch.apply(there.build(pure=[f"{there.name}.m:size"]))
    said = refused(applied, "shadow")
    assert f"{there.name}.m:take, not declared pure" in said
    assert "m:size" not in said


def test_what_was_declared_pure_is_compared(releases, tmp_path):
    there = releases(mod("def f(n): return n"), mod("def f(n): return n if n < 3 else 3"))
    fix = there.build(pure=[f"{there.name}.m:f"])
    assert fix.pure == (f"{there.name}.m:f",)
    fix.save(tmp_path / "fix.lpatch")
    applied = livepatch.apply(tmp_path / "fix.lpatch", trust=livepatch.UNSIGNED, mode=EVERY)
    assert [there["m"].f(1), there["m"].f(5)] == [1, 5]
    shadow = applied.status().shadow
    assert (shadow.same, shadow.different) == (1, 1)


def test_an_accessor_is_declared_by_its_own_name(releases):
    old = "class C:\n    @property\n    def x(self): return 1\n"
    there = releases(mod(old), mod(old.replace("1", "2")))
    applied = livepatch.apply(there.build(pure=[f"{there.name}.m:C.x.fget"]), mode=EVERY)
    assert there["m"].C().x == 1
    assert applied.status().shadow.different == 1


@pytest.mark.parametrize("pure", ["m:f", "m:g", "m:new"])
def test_only_what_the_patch_replaces_can_be_declared_pure(releases, pure):
    there = releases(
        mod("def f(n): return n\ndef g(): pass"), mod("def f(n): return new(n)\ndef g(): pass\ndef new(n): return n")
    )
    name = pure if pure == "m:f" else f"{there.name}.{pure}"
    with pytest.raises(
        livepatch.PatchError, match=f"pure names {name}, which the patch does not replace.*{there.name}.m:f"
    ):
        there.build(pure=[name])


@pytest.mark.parametrize("pure", ["m:f", 7, [7], [None]])
def test_pure_is_a_list_of_names(releases, pure):
    there = releases(mod("def f(n): return n"), mod("def f(n): return n + 1"))
    with pytest.raises(TypeError, match="pure must"):
        there.build(pure=pure)
