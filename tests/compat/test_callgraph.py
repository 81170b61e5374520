"""Questions to a call graph, and that a live one follows the process."""

from __future__ import annotations

import functools
import itertools
import json
import sys
import textwrap
import threading
import time

import pytest

from livepatch.compat import callgraph
from livepatch.compat.callgraph import CallGraph, Edge, Shape, live_graph, source_graph, within

SHOP = {
    "shop/__init__.py": "",
    "shop/store.py": """
        class Store:
            def __init__(self, backend):
                self.backend = backend

            def save(self, key, *, value=None):
                return self.backend.write(key)

        class Backend:
            def write(self, key):
                return key

        def unused(thing):
            thing.save(1, value=2)
            thing.frobnicate()
            thing()
    """,
    "shop/main.py": """
        from shop.store import Store, Backend

        async def fetch():
            return 1

        def rows():
            yield 1

        def plain(a, b=2, *rest, **named):
            pass

        async def main(args, options):
            store = Store(Backend())
            store.save("a", value=1)
            await fetch()
            later = fetch()
            for row in rows():
                plain(row, b=3)
            plain(*args, **options)
            Store.save(store, "b")
            return later
    """,
}


@pytest.fixture(scope="module")
def shop() -> CallGraph:
    return source_graph({path: textwrap.dedent(text) for path, text in SHOP.items()}, "shop")


def one(edges, callee) -> Edge:
    (edge,) = (edge for edge in edges if edge.callee == callee)
    return edge


def test_an_edge_says_where_and_how(shop):
    edge = one(shop.callees("shop.store:Store.save"), "shop.store:Backend.write")
    assert edge == Edge(
        caller="shop.store:Store.save",
        callee="shop.store:Backend.write",
        certain=True,
        how="call",
        file="shop/store.py",
        line=7,
        shape=Shape(1),
        awaited="other",
    )


def test_shapes_leave_the_bound_self_out(shop):
    edges = [e for e in shop.callees("shop.main:main") if e.callee == "shop.store:Store.save"]
    assert {(edge.line, edge.shape) for edge in edges} == {(15, Shape(1, ("value",))), (21, Shape(1))}
    init = one(shop.callees("shop.main:main"), "shop.store:Store.__init__")
    assert init.shape == Shape(1)


def test_shapes_of_spread_arguments(shop):
    edges = {e.line: e.shape for e in shop.callees("shop.main:main") if e.callee == "shop.main:plain"}
    assert edges == {19: Shape(1, ("b",)), 20: Shape(0, (), star=True, double_star=True)}


def test_what_becomes_of_the_value(shop):
    edges = shop.callees("shop.main:main")
    assert {e.line: e.awaited for e in edges if e.callee == "shop.main:fetch"} == {16: "awaited", 17: "other"}
    assert one(edges, "shop.main:rows").awaited == "iterated"


def test_callers_are_the_callees_seen_from_the_other_side(shop):
    for name in shop.functions:
        for edge in shop.callees(name):
            assert edge in shop.callers(edge.callee)
        for edge in shop.callers(name):
            assert edge in shop.callees(edge.caller)


def test_what_only_a_name_leads_to_is_possible_and_what_nothing_leads_to_is_unknown(shop):
    edge = one(shop.callers("shop.store:Store.save")[2:], "shop.store:Store.save")
    assert (edge.caller, edge.certain, edge.how) == ("shop.store:unused", False, "name")
    assert {(u.what, u.line) for u in shop.unknown("shop.store:unused")} == {
        (".frobnicate()", 15),
        ("a value that is called", 16),
    }


def test_kinds_of_functions(shop):
    kinds = {name: info.kind for name, info in shop.functions.items()}
    assert kinds["shop.main:fetch"] == "coroutine"
    assert kinds["shop.main:rows"] == "generator"
    assert kinds["shop.main:<module>"] == "module"
    assert kinds["shop.store:Store"] == "class body"
    assert shop.functions["shop.main:plain"].line == 10


def test_a_path_is_a_shortest_one_and_certain_if_there_is_one():
    graph = source_graph(
        {
            "m.py": textwrap.dedent("""
                def a(x):
                    x.odd()
                    b()
                def b():
                    c()
                def c():
                    C().odd()
                class C:
                    def odd(self):
                        pass
            """)
        }
    )
    path = graph.path(["m:a"], ["m:C.odd"])
    assert [edge.callee for edge in path] == ["m:b", "m:c", "m:C.odd"]
    assert all(edge.certain for edge in path)
    assert graph.path(["m:C.odd"], ["m:a"]) is None
    assert graph.path(["m:a"], ["m:a"]) == ()
    assert graph.path(["m:b"], ["m:C.odd"], certain=True) is not None


def test_a_path_over_possible_edges_only_where_there_is_no_other(shop):
    path = shop.path(["shop.store:unused"], ["shop.store:Backend.write"])
    assert [(edge.callee, edge.certain) for edge in path] == [
        ("shop.store:Store.save", False),
        ("shop.store:Backend.write", True),
    ]
    assert shop.path(["shop.store:unused"], ["shop.store:Backend.write"], certain=True) is None


def test_what_is_reachable(shop):
    reached = shop.reachable(["shop.main:main"])
    assert reached["shop.main:main"] == (True, 0)
    assert reached["shop.store:Store.save"] == (True, 1)
    assert reached["shop.store:Backend.write"] == (True, 2)
    assert "shop.store:unused" not in reached
    assert shop.reachable(["shop.store:unused"])["shop.store:Store.save"] == (False, 1)
    assert "shop.store:Store.save" not in shop.reachable(["shop.store:unused"], certain=True)


def test_a_name_that_is_not_there_is_an_error(shop):
    for question in (shop.callers, shop.callees, shop.unknown):
        with pytest.raises(KeyError, match="nobody"):
            question("shop.main:nobody")
    with pytest.raises(KeyError, match="nobody"):
        shop.path(["shop.main:nobody"], ["shop.main:main"])


def test_as_text(shop):
    text = shop.to_text("shop.main:main", depth=2)
    assert text.splitlines()[0] == "shop.main:main"
    assert "shop.store:Backend.write  (call, line 7)" in text
    assert "└─" in text
    assert "?? .frobnicate(), line 15" in shop.to_text("shop.store:unused")
    assert "perhaps, name" in shop.to_text("shop.store:Store.save", callers=True)
    assert "perhaps" not in shop.to_text("shop.store:Store.save", callers=True, certain=True)


def test_a_tree_ends_where_functions_call_each_other():
    graph = source_graph({"m.py": "def a():\n    b()\ndef b():\n    a()\n"})
    assert graph.to_text("m:a", depth=99).splitlines() == [
        "m:a",
        "└─ m:b  (call, line 2)",
        "   └─ m:a  (call, line 4) …",
    ]


def test_a_tree_of_many_branches_counts_those_that_it_leaves_out():
    callees = [f"f{number}" for number in range(60)]
    calls = "".join(f"    {each}()\n" for each in callees)
    text = source_graph({"m.py": f"def main():\n{calls}" + "".join(f"def {each}(): pass\n" for each in callees)})
    lines = text.to_text("m:main").splitlines()
    assert len(lines) == 52
    assert lines[-1] == "└─ and 10 more"


def test_all_edges_are_those_of_each_function(shop):
    assert list(shop.edges()) == [edge for name in shop.functions for edge in shop.callees(name)]
    assert repr(shop).startswith(f"<CallGraph of {len(shop.functions)} functions, ")


def test_as_a_picture(shop):
    dot = shop.to_dot(["shop.store:unused", "shop.store:Store.save", "shop.store:Backend.write"])
    assert dot.startswith("digraph calls {")
    assert '"shop.store:Store.save" -> "shop.store:Backend.write";' in dot
    assert '"shop.store:unused" -> "shop.store:Store.save" [style=dashed, label="name"];' in dot
    assert "dashed" not in shop.to_dot(certain=True)


def test_as_plain_values(shop):
    plain = json.loads(json.dumps(shop.to_dict(["shop.store:unused", "shop.store:Store.save"])))
    assert [f["name"] for f in plain["functions"]] == ["shop.store:unused", "shop.store:Store.save"]
    assert plain["edges"][0]["shape"] == {
        "positional": 1,
        "keywords": ["value"],
        "star": False,
        "double_star": False,
    }
    assert len(plain["unknown"]) == 2
    assert len(shop.to_dict()["functions"]) == len(shop.functions)


def test_functions_that_share_a_name_stay_apart():
    graph = source_graph(
        {"m.py": "if len('x'):\n    def f():\n        a()\nelse:\n    def f():\n        b()\ndef a(): 0\ndef b(): 0\n"}
    )
    assert graph.variants("m:f") == ("m:f", "m:f#2")
    assert [e.callee for e in graph.callees("m:f#2")] == ["m:a"]
    assert [e.callee for e in graph.callees("m:f")] == ["m:b"]


def test_sources_that_do_not_compile_are_left_out():
    graph = source_graph({"good.py": "def f(): pass", "bad.py": "def f(:"})
    assert graph.left_out == ("bad.py",)
    assert "good:f" in graph.functions


def test_sources_from_a_directory(tmp_path):
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "pkg" / "__init__.py").write_text("def f(): g()\ndef g(): pass\nf()\n")
    graph = source_graph(tmp_path, "pkg")
    assert {e.caller for e in graph.callers("pkg:f")} == {"pkg:<module>"}


def test_nothing_of_a_source_tree_is_run(tmp_path):
    graph = source_graph({"m.py": f"open({str(tmp_path / 'ran')!r}, 'w')\nimport nowhere_at_all\n"})
    assert not (tmp_path / "ran").exists()
    assert "nowhere_at_all" not in sys.modules
    assert "builtins:open" in {e.callee for e in graph.callees("m:<module>")}


# Live


def graph_of(module) -> CallGraph:
    return live_graph({module.__name__: module})


def test_the_second_question_is_answered_from_the_first(write_module):
    module = write_module("def f(): g()\ndef g(): pass\n")
    first = graph_of(module)
    assert graph_of(module) is first


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m.f, "__code__", m.h.__code__),
        lambda m: setattr(m, "g", m.h),
        lambda m: setattr(m.C, "m", m.h),
        lambda m: setattr(m, "new", lambda: 1),
        lambda m: m.TABLE.update(x=m.h),
        lambda m: setattr(m.f, "__defaults__", (m.h,)),
        lambda m: delattr(m, "h"),
    ],
    ids=["code", "global", "class", "added", "registry", "defaults", "removed"],
)
def test_a_change_of_the_process_gives_another_graph(write_module, change):
    module = write_module(
        "def f(a=None): g()\ndef g(): pass\ndef h(a=None): pass\nclass C:\n    def m(self): pass\nTABLE = {'g': g}\n"
    )
    first = graph_of(module)
    change(module)
    second = graph_of(module)
    assert second is not first


def test_the_code_that_runs_counts_and_not_the_file(write_module):
    module = write_module("def f(): g()\ndef g(): pass\ndef h(): pass\ndef other(): h()\n")
    module.f.__code__ = module.other.__code__.replace(co_name="f", co_qualname="f")
    callees = {edge.callee for edge in graph_of(module).callees(f"{module.__name__}:f")}
    assert callees == {f"{module.__name__}:h"}


def test_without_source(write_module, tmp_path):
    module = write_module("def f(): g()\ndef g(): pass\nclass A:\n    def m(self): f()\n")
    for path in tmp_path.rglob("*.py*"):
        path.unlink()
    graph = graph_of(module)
    name = module.__name__
    assert graph.callers(f"{name}:f")[0].caller == f"{name}:A.m"
    assert graph.callers(f"{name}:f")[0].certain
    assert f"{name}:<module>" not in graph.functions


def test_the_body_of_a_module_whose_file_has_changed_is_left_out(write_module, tmp_path):
    module = write_module("def f(): pass\nf()\n")
    assert f"{module.__name__}:<module>" in graph_of(module).functions
    (tmp_path / f"{module.__name__}.py").write_text("def f(): return 'another'\nf()\n# longer\n")
    module.g = lambda: 1  # so that it is looked at anew
    assert f"{module.__name__}:<module>" not in graph_of(module).functions


def test_live_registries_and_instances_tell_what_is_called(write_module):
    module = write_module(
        """
        class Router:
            def __init__(self):
                self.routes = {}
            def run(self, name):
                self.routes[name]()
        def hidden(): pass
        router = Router()
        """
    )
    module.router.routes["x"] = eval("hidden", vars(module))
    name = module.__name__
    edges = [e for e in graph_of(module).callees(f"{name}:Router.run") if e.callee == f"{name}:hidden"]
    assert edges


def test_an_operator_that_only_a_class_made_in_a_call_defines(write_module):
    m = write_module("""
        def product(): return 1

        def make():
            class Matrix:
                def __matmul__(self, other): return product()
                __rmatmul__ = __matmul__
            return Matrix()

        def left(): return make() @ 2

        def right(): return 2 @ make()
    """)
    name = m.__name__
    graph = live_graph({name: m})
    for user in ("left", "right"):
        callees = {edge.callee: edge.how for edge in graph.callees(f"{name}:{user}")}
        assert callees[f"{name}:make.<locals>.Matrix.__matmul__"] == "operator", user


def test_nothing_of_the_process_is_asked_or_run(write_module):
    module = write_module(
        """
        ran = []
        class Meta(type):
            def __getattribute__(cls, name):
                ran.append(name)
                return super().__getattribute__(name)
        class Lazy(metaclass=Meta):
            def __getattr__(self, name):
                ran.append(name)
            def __getattribute__(self, name):
                ran.append(name)
                return super().__getattribute__(name)
            def __eq__(self, other):
                ran.append("==")
            def __hash__(self):
                ran.append("hash")
                return 1
            def __bool__(self):
                ran.append("bool")
            def __len__(self):
                ran.append("len")
            @property
            def p(self):
                ran.append("p")
        lazy = Lazy()
        boxes = [lazy, {lazy: lazy}]
        def f(a=lazy): return lazy.p
        """
    )
    module.ran.clear()
    graph_of(module)
    assert module.ran == []


def test_annotations_are_not_evaluated(write_module):
    module = write_module(
        """
        class A:
            def m(self): pass
        def f(a: A): a.m()
        """
    )
    before = module.f.__annotations__
    edge = one(graph_of(module).callees(f"{module.__name__}:f"), f"{module.__name__}:A.m")
    assert edge.certain
    assert module.f.__annotations__ is before


def test_other_threads_run_meanwhile():
    turns = []
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            turns.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    callgraph._last.clear()
    live_graph(within(sys.modules, ["json", "argparse", "asyncio"]))
    stop.set()
    thread.join()
    gaps = [b - a for a, b in itertools.pairwise(turns)]
    assert len(gaps) > 10
    assert max(gaps) < 2


def test_modules_within_packages():
    found = within(sys.modules, ["functools"])
    assert found == {"functools": functools}
    assert all(name.partition(".")[0] == "livepatch" for name in within(sys.modules, ["livepatch"]))


def test_what_is_part_of_itself_comes_to_an_end():
    graph = source_graph(
        {
            "m.py": textwrap.dedent("""
                from functools import partial
                def f(*a): pass
                class A:
                    def __init__(self):
                        self.g = f
                    def __call__(self):
                        self.g()
                    def wrap(self):
                        self.g = partial(self.g, 1)
                        self.g()
                    def odd(self):
                        self.g = A()
                        self.x = self.x.y
                        self.z = [self.z]
                        self.g()
                from typing import Optional, Union
                Json = Union[None, "list[Json]", "dict[str, Json]", list["Json"]]
                def walk(value: Json, deep: Optional["Json"] = None):
                    for one in value:
                        walk(one)
                a = A()
                a.wrap()
                a.odd()
            """)
        }
    )
    assert "m:f" in {edge.callee for edge in graph.callees("m:A.wrap")}
    assert "m:A.__call__" in {edge.callee for edge in graph.callees("m:A.odd")}
