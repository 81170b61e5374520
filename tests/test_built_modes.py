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


# Objects outlive a call

BUFFER = """
class Reader:
    def __init__(self):
        self.left = {}
    def more(self, n):
        self.left += {}
    def read(self):
        return self.left + {}
"""
KIND = mod(BUFFER.format("0", "1", "1")), mod(BUFFER.format("b''", "b'x'", "b''"))
EMPTY = """
class Peer:
    def __init__(self):
        self.name = 'a'
    def hit(self):
        return 0
"""
GONE = (
    mod(BUFFER.format("0", "1", "1")),
    mod("class Reader:\n    def __init__(self): pass\n    def more(self, n): pass\n    def read(self): return 7"),
)
BY_CALL = (livepatch.split(50), livepatch.at(5, lambda: 9), EVERY)


def every(there: Running) -> list[str]:
    return [f"{there.name}.m:{name}" for name in ("Reader.__init__", "Reader.more", "Reader.read")]


@pytest.mark.parametrize("mode", BY_CALL, ids=str)
@pytest.mark.parametrize("sides", [KIND, KIND[::-1], GONE], ids=["another kind", "back", "gone"])
def test_objects_that_one_side_cannot_use_refuse_what_decides_by_call(releases, mode, sides):
    there = releases(*sides)
    fix = there.build(pure=every(there))
    with pytest.raises(
        livepatch.PatchError, match=f"objects that are not the same on both sides: {there.name}.m:Reader.left"
    ):
        livepatch.apply(fix, mode=mode)
    assert livepatch.status() == ()
    (error,) = livepatch.check(fix, mode=mode).errors
    assert (error.code, "m:Reader.left" in error.found) == ("mode-unsuitable", True)
    applied = livepatch.apply(fix)
    assert "use 'on' or 'off'" in refused(applied, mode)
    applied.mode = "off"
    refused(applied, mode)


COUNTS = EMPTY.replace("'a'", "'a'\n        self.hits = 0").replace("return 0", "self.hits += 1; return self.hits")
LIMITS = EMPTY.replace("'a'", "'a'\n        self.most = 5").replace("return 0", "return self.most")


@pytest.mark.parametrize("mode", [BY_CALL[0], BY_CALL[2]], ids=str)
def test_what_new_code_leaves_in_an_object_refuses_a_share_of_the_calls(releases, mode):
    there = releases(mod(EMPTY), mod(COUNTS))
    applied = livepatch.apply(there.build(pure=[f"{there.name}.m:Peer.{n}" for n in ("__init__", "hit")]))
    assert "Peer.hits (only new code sets it)" in refused(applied, mode)


def test_from_a_height_on_every_call_leaves_it(releases):
    there = releases(mod(EMPTY), mod(COUNTS))
    height, peer = [0], there["m"].Peer()
    livepatch.apply(there.build(), mode=livepatch.at(5, lambda: height[0]))
    assert peer.hit() == 0
    height[0] = 5
    assert [peer.hit(), peer.hit(), there["m"].Peer().hit()] == [1, 2, 1]


def test_what_only_the_making_of_an_object_sets_is_there_for_calls_of_both_sides(releases):
    there = releases(mod(EMPTY), mod(LIMITS))
    peers = [there["m"].Peer()]
    livepatch.apply(there.build(), mode=livepatch.split(50))
    peers += [there["m"].Peer() for _ in range(100)]
    answers = [peer.hit() for peer in peers for _ in range(5)]
    assert set(answers) == {0, 5}
