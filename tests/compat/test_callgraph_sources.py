"""What only sources show: in a process what is made of them is there itself, and other code stands between."""

import textwrap

from livepatch.compat.callgraph import CallGraph, source_graph


def of_text(text: str) -> CallGraph:
    return source_graph({"main.py": textwrap.dedent(text)})


def calls(graph: CallGraph, caller: str) -> dict[str, bool]:
    return {edge.callee.removeprefix("main:"): edge.certain for edge in graph.callees(f"main:{caller}")}


def test_the_constructor_of_a_dataclass_calls_the_factories_of_its_fields():
    graph = of_text("""
        from dataclasses import dataclass, field
        def numbers(): return [1]
        class Part:
            def run(self): pass
        @dataclass
        class Whole:
            numbers: list = field(default_factory=numbers)
            part: Part = field(default_factory=Part)
            plain: int = field(default=0)
        def make(): return Whole()
        def use(): make().part.run()
    """)
    assert calls(graph, "make") == {"numbers": True}
    assert calls(graph, "use") == {"make": True, "Part.run": True}
    assert "numbers" not in calls(graph, "Whole")


def test_what_replaces_a_dataclass_makes_another():
    graph = of_text("""
        from dataclasses import dataclass, replace
        @dataclass
        class Whole:
            number: int
            def __post_init__(self): pass
        def use(whole: Whole): return replace(whole, number=1)
    """)
    assert calls(graph, "use")["Whole.__post_init__"]


def test_a_context_that_is_a_decorator_is_entered_around_each_call():
    graph = of_text("""
        from contextlib import ContextDecorator
        class Timed(ContextDecorator):
            def __enter__(self): return self
            def __exit__(self, *error): pass
        @Timed()
        def run(): pass
        def use(): run()
    """)
    assert set(calls(graph, "use")) == {"Timed.__enter__", "Timed.__exit__", "run"}


def test_attributes_of_a_class_that_is_not_there_are_possible_by_their_names():
    graph = of_text("""
        from elsewhere import Base, Thing, function
        class Own(Base):
            def run(self): self.inherited()
            def again(self): return super().again()
        def use():
            Own().run()
            Thing().method()
            function().method()
    """)
    assert calls(graph, "Own.run")["elsewhere:Base.inherited"] is False
    assert calls(graph, "Own.again")["elsewhere:Base.again"] is False
    found = calls(graph, "use")
    assert found["Own.run"]
    assert found["elsewhere:Thing"]
    assert not found["elsewhere:Base.__init__"]
    assert not found["elsewhere:Thing.method"]
    assert "elsewhere:function.method" not in found, "nothing says that a function is a class"
    assert graph.unknown("main:use")
