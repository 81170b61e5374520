"""Every true edge is in the graph, and what is certain is true: small programs of each kind, live and from source."""

from __future__ import annotations

import importlib
import sys

import pytest
from tests.compat.calls.cases import Case, all_cases

from livepatch.compat.callgraph import CallGraph, live_graph, source_graph

CASES = all_cases()


def judge(case: Case, graph: CallGraph) -> None:
    modules = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in case.files}
    found: dict[tuple[str, str], bool] = {}
    for name in graph.functions:
        for edge in graph.callees(name):
            if edge.how != "import":
                found[edge.caller, edge.callee] = found.get((edge.caller, edge.callee), False) or edge.certain
    missing = {pair for pair in case.edges if pair not in found}
    assert not missing, f"missing: {missing}; there are {found}"
    doubtful = {pair for pair, certain in case.edges.items() if certain and not found[pair]}
    assert not doubtful, f"only possible: {doubtful}"
    inside = {pair for pair, certain in found.items() if certain and pair[1].partition(":")[0] in modules}
    generated = {pair for pair in inside if graph.functions[pair[1]].file.startswith("<")}
    wrong = inside - generated - set(case.edges)
    assert not wrong, f"certain, and not true: {wrong}"


def test_there_are_enough():
    assert len(CASES) >= 100
    assert len({case.group for case in CASES}) == 18
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_from_source(case):
    judge(case, source_graph(case.files))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_live(case, tmp_path, monkeypatch):
    names = []
    for path, text in case.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        names.append(path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    try:
        for name in names:
            importlib.import_module(name)
        modules = {name: sys.modules[name] for name in names}
        judge(case, live_graph(modules))
    finally:
        for name in names:
            sys.modules.pop(name, None)
