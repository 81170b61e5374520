"""Patterns of names: what they are about, and what is none."""

from __future__ import annotations

import time

import pytest

from livepatch.compat.patterns import Pattern
from livepatch.errors import PolicyError


@pytest.mark.parametrize(
    ("pattern", "about", "not_about"),
    [
        (
            "pkg.consensus.*",
            ["pkg.consensus", "pkg.consensus:f", "pkg.consensus.block:Block.check", "pkg.consensus.a.b:LIMIT"],
            ["pkg.consensus_too:f", "pkg:consensus", "other.pkg.consensus:f", "pkg.consensu:f"],
        ),
        ("pkg.consensus", ["pkg.consensus:f", "pkg.consensus.block:f"], ["pkg:f", "pkg.consensus2:f"]),
        (
            "pkg.node:Node",
            ["pkg.node:Node", "pkg.node:Node.add", "pkg.node:Node.add.<locals>.inner"],
            ["pkg.node:NodeToo", "pkg.node:node", "pkg.node", "pkg.node.sub:Node"],
        ),
        ("pkg.node:Node.add_block", ["pkg.node:Node.add_block"], ["pkg.node:Node.add_block_too", "pkg.node:Node"]),
        ("pkg.node:Node.*", ["pkg.node:Node", "pkg.node:Node.add"], ["pkg.node:Other.add"]),
        ("pkg.*.wire:*.encode", ["pkg.a.wire:M.encode"], ["pkg.a.b.wire:M.encode", "pkg.a.wire:encode"]),
        ("pkg.m:validate_*", ["pkg.m:validate_block", "pkg.m:validate_"], ["pkg.m:validate", "pkg.m:A.validate_block"]),
        ("pkg.m:a*b*ab", ["pkg.m:abab", "pkg.m:aXbYab", "pkg.m:abbab"], ["pkg.m:ab", "pkg.m:aab", "pkg.m:abaab_"]),
        ("pkg.m:make.<locals>.f", ["pkg.m:make.<locals>.f"], ["pkg.m:make.<locals>.g", "pkg.m:make"]),
    ],
)
def test_what_a_pattern_is_about(pattern, about, not_about):
    made = Pattern(pattern)
    assert [name for name in about if not made.matches(name)] == []
    assert [name for name in not_about if made.matches(name)] == []


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.consensus", ".a", "a.", "a..b", "a:", ":f", "a:<locals>.f", "a b", "a:f:g", "a[bc]", "a.(x)",
     "x" * 301, "a.*" + "*" * 9, "1a", "a:f\n", "../a"],
)  # fmt: skip
def test_what_is_no_pattern(text):
    with pytest.raises(PolicyError) as caught:
        Pattern(text)
    assert caught.value.found
    assert caught.value.expected


def test_a_pattern_must_be_a_text():
    with pytest.raises(TypeError, match="must be a str"):
        Pattern(7)  # type: ignore[arg-type]


def test_no_name_makes_a_pattern_slow():
    pattern = Pattern("a:" + "*a" * 8 + "b")
    begun = time.perf_counter()
    assert not pattern.matches("a:" + "a" * 5000)
    assert time.perf_counter() - begun < 5
