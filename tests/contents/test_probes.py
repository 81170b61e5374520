"""Regression probes as a patch carries them: source text that is parsed, and not run."""

from __future__ import annotations

import traceback

import pytest

import livepatch
from livepatch.contents.probes import LARGEST, MOST, probe_of

GOOD = "def vulnerable():\n    return True\n"


def patch() -> livepatch.Patch:
    return livepatch.Patch("A", package="a", versions="==1")


def test_a_patch_carries_source_text(tmp_path):
    fix = patch()
    fix.probe("oversized", GOOD)
    (tmp_path / "count.py").write_bytes(b"def vulnerable(x=1, *, y=2):\r\n    raise SystemExit\r\n")
    fix.probe("count", tmp_path / "count.py", safe=True)
    assert [(each.name, each.safe) for each in fix.probes] == [("oversized", False), ("count", True)]
    assert fix.probes[1].source == "def vulnerable(x=1, *, y=2):\n    raise SystemExit\n"
    assert "vulnerable" not in repr(fix.probes)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 1\n", "no function vulnerable"),
        ("class A:\n    def vulnerable(self): ...\n", "no function vulnerable"),
        ("def vulnerable(CANARY): ...\n", "1 parameters"),
        ("def vulnerable(*, CANARY): ...\n", "1 parameters"),
        ("async def vulnerable(): ...\n", "a coroutine function"),
        ("def vulnerable(): ...\nCANARY CANARY\n", "SyntaxError in line 2"),
        ("def vulnerable(): ...\n# CANARY\0", "a NUL"),
        ("def vulnerable(): ...\n# CANARY\ud800", "half of a character"),
        ("def vulnerable(): ...\n#CANARY\rx", "carriage return"),
        ("def vulnerable(): ...\n" + "#CANARY\n" * LARGEST, f"more than {LARGEST} bytes"),
        ("def vulnerable(): ...\nx = " + "(" * 5000, "Error"),
    ],
)
def test_what_is_no_probe_is_refused_and_not_quoted(source, found):
    fix = patch()
    with pytest.raises(livepatch.PatchError) as error:
        fix.probe("p", source)
    assert found in error.value.found
    assert "CANARY" not in "".join(traceback.format_exception(error.value))
    assert fix.probes == ()


def test_names_are_names_and_each_is_there_once(tmp_path):
    fix = patch()
    fix.probe("p", GOOD)
    with pytest.raises(livepatch.PatchError, match="a probe of that name already"):
        fix.probe("p", GOOD)
    with pytest.raises(livepatch.PatchError, match="found: 'a b'"):
        fix.probe("a b", GOOD)
    with pytest.raises(livepatch.PatchError, match="cannot be read"):
        fix.probe("q", tmp_path / "nowhere")
    for number in range(MOST - 1):
        fix.probe(f"p{number}", GOOD)
    with pytest.raises(livepatch.PatchError, match=f"{MOST} probes already"):
        fix.probe("more", GOOD)


@pytest.mark.parametrize("arguments", [(7, GOOD, False), ("p", b"CANARY", False), ("p", GOOD, 1)])
def test_another_type_is_refused(arguments):
    with pytest.raises(TypeError) as error:
        probe_of(*arguments)
    assert "CANARY" not in str(error.value)
