"""The handle of an applied patch."""

from __future__ import annotations

import pytest

import livepatch


def test_a_mode_is_set_only_from_the_one_that_is_meant(write_module, write_fix):
    m = write_module("def f(): return 'old'\n")
    applied = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(): return 'new'"), mode="off")
    assert (applied.reverted, applied.switching, applied.consistency) == (False, False, "immediate")
    applied.set_mode("on", only_from="off")
    with pytest.raises(livepatch.TransitionError, match="another mode"):
        applied.set_mode("off", only_from="off")
    assert (applied.mode, m.f()) == ("on", "new")
    with pytest.raises(livepatch.PatchError):
        applied.set_mode("off", timeout=-1)
    applied.revert()
    assert applied.reverted
