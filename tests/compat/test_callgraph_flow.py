"""What the analysis behind a call graph does with values: it follows those that are used, and leaves nothing behind."""

import gc
import sys
from collections import Counter

import pytest

from livepatch.compat import callgraph
from livepatch.compat.callgraph import live_graph, source_graph, within
from livepatch.compat.calls.containers import Opaque
from livepatch.compat.calls.objects import Outside
from livepatch.compat.calls.record import Place
from livepatch.compat.calls.sources import SourceProgram
from livepatch.compat.calls.uses import Use
from livepatch.compat.calls.world import MOST_OBJECTS, UNKNOWN, WEAK, Flow, Obj


class Seen(Use):
    def __init__(self) -> None:
        self.objects: list[Obj] = []

    def meet(self, obj: Obj) -> None:
        self.objects.append(obj)


def test_what_nobody_uses_is_not_followed_until_somebody_does():
    flow = Flow()
    first, middle, last = flow.node(), flow.node(), flow.node()
    one, other = Obj(), Obj()
    flow.copy(first, middle)
    flow.copy(middle, last)
    flow.add(first, one)
    flow.run()
    assert flow._values[middle] is None
    assert flow._values[last] is None

    use = Seen()
    flow.attach(last, use)
    flow.run()
    flow.add(first, other)
    flow.run()
    assert use.objects == [one, other]


def test_values_that_go_round_in_circles_arrive_once_somebody_asks():
    flow = Flow()
    a, b, c = flow.node(), flow.node(), flow.node()
    flow.copy(a, b)
    flow.copy(b, a)
    flow.copy(b, c)
    one, other = Obj(), Obj()
    flow.add(a, one)
    flow.add(b, other)
    use = Seen()
    flow.attach(c, use)
    flow.run()
    assert set(use.objects) == {one, other}
    assert set(flow.objects(a)) == {one, other}


def test_what_a_node_holds_is_there_when_it_is_asked():
    flow = Flow()
    source, target = flow.holding(UNKNOWN), flow.node()
    flow.copy(source, target)
    assert list(flow.objects(target)) == [UNKNOWN]


LACKING = """
def callback(): pass
def f(one):
    values = [one]
    while values:
        values = values.next
    values.send(callback)
    values.other.send(callback)
f(1)
"""


def test_attributes_that_no_list_has_are_one_value_however_long_their_path():
    program = SourceProgram({"main": compile(LACKING, "main.py", "exec")}, [])
    program.work_out()
    nodes = [program.flow.objects(node) for node in range(program.flow.count)]
    assert any(isinstance(obj, Opaque) for held in nodes for obj in held)
    outside = {obj.name for held in nodes for obj in held if isinstance(obj, Outside)}
    assert not [name for name in outside if "next" in name or "other" in name]


def test_what_such_an_attribute_is_handed_may_be_called():
    graph = source_graph({"main.py": LACKING})
    assert not graph.unknown("main:f")
    edges = graph.callees("main:f")
    assert [(edge.callee, edge.certain, edge.how) for edge in edges] == [("main:callback", False, "argument")] * 2


def test_only_attributes_that_native_functions_have_are_called(write_module):
    module = write_module("def f():\n    len.nothing(1)\n    len.__call__(1)\n    len.nothing.more()\n")
    graph = live_graph({module.__name__: module})
    called = [edge.callee for edge in graph.callees(f"{module.__name__}:f")]
    assert called == ["builtins:len.__call__"]


def test_two_graphs_of_one_process_are_the_same():
    modules = within(sys.modules, ["json", "argparse"])
    callgraph._last.clear()
    first = live_graph(modules).to_dict()
    callgraph._last.clear()
    assert live_graph(modules).to_dict() == first


def test_nothing_of_an_analysis_waits_for_the_collector():
    callgraph._last.clear()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        graph = live_graph(within(sys.modules, ["json", "argparse"]))
        gc.collect()
        left = Counter(type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith("livepatch."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert len(graph.functions) > 100
    assert left.total() < len(graph.functions) / 10, left


@pytest.mark.skipif(gc.get_freeze_count() > 0, reason="what is set aside cannot be told apart, as CPython 3.12 does")
def test_a_graph_is_not_looked_at_by_the_collector_as_soon_as_it_is_there():
    callgraph._last.clear()
    gc.collect()
    gc.disable()
    try:
        graph = live_graph(within(sys.modules, ["json"]))
        young = [one for one in gc.get_objects(generation=0) if isinstance(one, Place)]
    finally:
        gc.enable()
    assert list(graph.edges())
    assert not young
    assert not gc.get_freeze_count()


def test_what_somebody_has_set_aside_from_the_collector_stays_there():
    callgraph._last.clear()
    gc.freeze()
    try:
        live_graph(within(sys.modules, ["json"]))
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_an_attribute_is_read_whichever_of_the_classes_around_stores_it(write_module):
    module = write_module(
        "class Base:\n"
        "    def run(self): return self.low() or self.high() or self.late()\n"
        "class Middle(Base):\n"
        "    def run_too(self): return self.low() or self.high() or self.late()\n"
        "class Low(Middle):\n"
        "    def __init__(self): self.low = f\n"
        "class High(Base):\n"
        "    def __init__(self): self.high = g\n"
        "def f(): pass\n"
        "def g(): pass\n"
        "def h(): pass\n"
        "def store(one: Base): one.late = h\n"
    )
    name = module.__name__
    graph = live_graph({name: module})
    for method, certain in {"Base.run": "fgh", "Middle.run_too": "fh"}.items():
        edges = graph.callees(f"{name}:{method}")
        assert [edge.callee for edge in edges if edge.certain] == [f"{name}:{one}" for one in certain]


def test_what_a_node_holds_is_copied_as_if_it_had_arrived_one_by_one():
    flow = Flow()
    source, copied, arrived = flow.node(), flow.node(), flow.node()
    uses = Seen(), Seen()
    flow.attach(copied, uses[0])
    flow.attach(arrived, uses[1])
    flow.copy(source, arrived)
    for one in [*(Obj() for _ in range(MOST_OBJECTS + 3)), UNKNOWN]:
        flow.add(source, one)
    flow.run()
    flow.copy(source, copied)
    flow.run()
    assert list(flow.objects(copied)) == list(flow.objects(arrived)) == list(flow.objects(source))
    assert uses[0].objects == uses[1].objects == list(flow.objects(source))
    flow.add(copied, WEAK)
    assert WEAK not in flow.objects(source)
