"""A migration that is described wrongly is refused while the patch is written, with the name of the argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.state.peers import down, up

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch


async def coroutine(peer: Any) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("", 1, up, down), livepatch.PatchError, "name"),
        ((3, 1, up, down), TypeError, "name"),
        (("x", 0, up, down), livepatch.PatchError, "version"),
        (("x", True, up, down), TypeError, "version"),
        (("x", "1", up, down), TypeError, "version"),
        (("x", 1, None, down), TypeError, "up"),
        (("x", 1, up, None), TypeError, "down"),
        (("x", 1, coroutine, down), TypeError, "up"),
        (("x", 1, up, down, 5), TypeError, "check"),
        (("x", 1, up, down, None, 5), TypeError, "objects"),
        (("x", 1, up, down, None, "abc"), TypeError, "objects"),
        (("x", 1, up, down, None, None, 1), TypeError, "lazy"),
        ((("x", 1, up, down), {"of": list}), livepatch.PatchError, "of"),
        ((("x", 1, up, down), {"follows": 1}), livepatch.PatchError, "follows"),
        ((("x", 1, up, down), {"budget": 0}), livepatch.PatchError, "budget"),
        ((("x", 1, up, down), {"budget": "5"}), TypeError, "budget"),
        ((("x", 1, up, down), {"durable": True, "objects": []}), livepatch.PatchError, "durable"),
        ((("x", 1, up, down), {"touches": {"eats": []}}), livepatch.PatchError, "touches"),
        ((("x", 1, up, down), {"touches": {"reads": "name"}}), TypeError, "touches"),
        ((("x", 1, up, down), {"touches": {"reads": ["a"], "leaves": ["a"]}}), livepatch.PatchError, "twice"),
        ((("x", 1, up, down), {"checkpoint": 5}), TypeError, "checkpoint"),
        ((("x", 1, up, down), {"loop": 5}), TypeError, "loop"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, error: type[Exception], match: str, new_patch: NewPatch):
    fix = new_patch()
    given, options = arguments if isinstance(arguments[-1], dict) else (arguments, {})
    with pytest.raises(error, match=match):
        fix.migrate(*given, **options)
    assert fix.migrations == ()


def test_versions_of_one_patch_rise(new_patch: NewPatch):
    fix = new_patch()
    fix.migrate("x", 2, up, down)
    with pytest.raises(livepatch.PatchError, match="rise"):
        fix.migrate("x", 2, up, down)
