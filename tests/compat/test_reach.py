"""What functions can come to call: shortest ways, and which possible calls count."""

from __future__ import annotations

import pytest
from tests.graphs import graph

from livepatch.compat.reach import FEW, reach, spelled_way


def way(edges: list[str], start: str, goal: str) -> str | None:
    found = reach(graph(*edges), [start]).way(goal)
    return found if found is None else spelled_way(found) if found else ""


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (["a:f -> a:g"], "a:f -> a:g"),
        (["a:f -> b:h", "b:h -> a:g"], "a:f -> b:h -> a:g"),
        (["a:f -> b:h", "b:h -> a:g", "a:f -> a:g"], "a:f -> a:g"),
        (["a:f ?-> a:g"], "a:f ?-> a:g"),
        (["a:f ?-> b:h", "b:h -> a:g"], "a:f ?-> b:h -> a:g"),
        # A certain way is what refuses for good, so it is shown even where a possible one is shorter.
        (["a:f ?-> a:g", "a:f -> b:h", "b:h -> a:g"], "a:f -> b:h -> a:g"),
        (["a:g -> a:f"], None),
        (["a:f -> a:f", "a:g -> a:f"], None),
    ],
)
def test_the_shortest_way(edges, expected):
    assert way(edges, "a:f", "a:g") == expected


def test_where_it_begins_is_reached_by_no_call():
    assert way(["a:f -> a:g"], "a:f", "a:f") == ""


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 40])
@pytest.mark.parametrize("how", ["?->", "n->"])
def test_a_possible_call_counts_where_its_line_leads_to_few(count, how):
    edges = [f"a:f {how} m{number}:C.send @7" for number in range(count)]
    assert (way(edges, "a:f", "m0:C.send") is not None) == (count <= FEW)


def test_each_line_and_each_kind_of_call_counts_by_itself():
    edges = [f"a:f ?-> m{number}:C.send @{number + 1}" for number in range(20)]
    edges += [f"a:f ?-> m{number}:C.many @99" for number in range(20)]
    assert way(edges, "a:f", "m3:C.send") == "a:f ?-> m3:C.send"
    assert way(edges, "a:f", "m3:C.many") is None
    assert way([*edges, "a:f n-> m3:C.many @99"], "a:f", "m3:C.many") == "a:f ?-> m3:C.many"


def test_the_same_function_several_times_in_a_line_is_one():
    assert way(["a:f ?-> a:g @7"] * 40, "a:f", "a:g") == "a:f ?-> a:g"


def test_what_a_module_did_when_it_was_imported_it_does_not_do_again():
    edges = ["a:<module> -> a:g", "a:f ?-> a:<module>", "a:f -> a:h"]
    assert way(edges, "a:<module>", "a:g") is None
    assert way(edges, "a:f", "a:g") is None
    assert way(edges, "a:f", "a:h") == "a:f -> a:h"


def test_a_certain_call_counts_among_however_many_possible_ones():
    edges = [f"a:f n-> m{number}:C.send @7" for number in range(20)]
    assert way([*edges, "a:f -> m3:C.send @7"], "a:f", "m3:C.send") == "a:f -> m3:C.send"


def test_a_long_chain_needs_no_deep_stack():
    edges = [f"a:f{number} -> a:f{number + 1}" for number in range(5000)]
    found = reach(graph(*edges), ["a:f0"]).way("a:f5000")
    assert found is not None
    assert len(found) == 5000
