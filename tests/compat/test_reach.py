"""What functions can come to call: shortest ways, and which possible calls count."""

from __future__ import annotations

import gc

import pytest
from tests.graphs import Edge, graph

from livepatch.compat.callgraph import live_graph
from livepatch.compat.reach import FEW, Call, _known, reach, spelled_way


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


def test_a_graph_is_asked_once_for_what_it_has_answered():
    class Counting:
        def __init__(self, *edges: str) -> None:
            self.graph, self.asked = graph(*edges), 0
            self.functions = self.graph.functions

        def callees(self, name: str, *, most: int | None = None) -> tuple[Edge, ...]:
            self.asked += 1
            return self.graph.callees(name)

    one, other = Counting("a:f -> a:g", "a:h -> a:g"), Counting("a:f -> a:h")
    first = reach(one, ["a:f"])
    asked = one.asked
    assert reach(one, ["a:f"]) is first
    assert one.asked == asked
    assert reach(one, ["a:f", "a:h"]).way("a:h") == ()  # another question
    assert reach(other, ["a:f"]).way("a:g") is None  # another graph


def test_what_is_kept_of_a_graph_is_bounded_and_ends_with_it():
    one = graph(*[f"a:f{number} -> a:g" for number in range(100)])
    before = len(_known)
    first = reach(one, ["a:f0"])
    for number in range(1, 100):
        reach(one, [f"a:f{number}"])
    assert len(_known[one]) < 50
    assert reach(one, ["a:f0"]) is not first
    del one
    gc.collect()
    assert len(_known) < before + 1


def test_a_graph_may_leave_out_what_does_not_count(write_module):
    classes = "\n".join(
        f"class C{n}:\n    def send(self): few()\n    def near(self, x=far_{n}): x()" for n in range(FEW + 2)
    )
    functions = "\n".join(f"def far_{n}(): pass" for n in range(FEW + 2))
    module = write_module(
        f"{functions}\ndef few(): pass\ndef sure(): few()\n{classes}\n"
        "class D:\n    def rare(self): sure()\n"
        "def f(peer): peer.send()\n"
        "def g(peer):\n    peer.rare()\n    peer.send()\ndef h(peer): C0().send(); peer.send()\n"
        "def k(peer): sure(); return [peer.near(), peer.rare()]\n"
    )
    whole = live_graph({module.__name__: module})

    class All:
        functions = whole.functions

        def callees(self, name: str, *, most: int | None = None) -> tuple[Call, ...]:
            return whole.callees(name)

    name = module.__name__
    assert len(whole.callees(f"{name}:f")) > len(whole.callees(f"{name}:f", most=FEW))
    for start in "fghk":
        assert reach(whole, [f"{name}:{start}"]) == reach(All(), [f"{name}:{start}"])
    assert reach(whole, [f"{name}:g"]).way(f"{name}:sure")
    assert reach(whole, [f"{name}:g"]).way(f"{name}:few")  # by sure, and by no send
    assert not reach(whole, [f"{name}:f"]).way(f"{name}:few")
