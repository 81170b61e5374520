"""What a function leaves behind for others to call."""

from __future__ import annotations

import ast

import pytest

from livepatch.bundle.outcome import left_behind

WAYS = {
    "it returns it": "return source",
    "a variable that it returns": "found = source\n  return found",
    "into a table": "TABLE['key'] = source",
    "by a method that changes an object": "TABLE.append(source)",
    "by setattr": "setattr(kept, 'name', source)",
    "a global": "global kept\n  kept = source",
    "one after the other": "for each in source: TABLE.append(each)",
    "one after the other, as they come": "async for each in source: TABLE.append(each)",
    "for as long as a block runs": "with source as each: TABLE.append(each)",
    "one that is asked for": "if (each := source): return each",
    "a function that gives it": "return lambda: source",
}


@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
def test_what_it_gives_back_or_stores_where_others_find_it(body: str):
    (node,) = ast.parse(f"async def f(source):\n  {body}\n").body
    assert "source" in left_behind(node)


@pytest.mark.parametrize("body", ["found = source", "for each in source: print(each)", "source()"])
def test_what_it_only_uses_stays_its_own(body: str):
    (node,) = ast.parse(f"def f(source):\n  {body}\n").body
    assert left_behind(node) == frozenset()
