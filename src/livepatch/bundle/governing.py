"""What policy has to say to a patch file beside sources, without a process.

What calls what is read from the sources, so callbacks that are entered while the program runs are not known here: the
process judges again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import CodeType

from livepatch.bundle.trees import Tree
from livepatch.compat.approvals import NOBODY, Approving, judged
from livepatch.compat.contracts import Proof, judge_protocols, narrow_claim
from livepatch.compat.policy import Policy
from livepatch.compat.protected import ModeFacts, Touched, built, judge_protected, no_graph, unmatched
from livepatch.compat.reach import Graph
from livepatch.compat.report import Finding, Report, by_weight
from livepatch.contents.edits import ModuleEdit
from livepatch.contents.parsing import compiled
from livepatch.engine.code import nested_codes
from livepatch.govern.guarding import case_of
from livepatch.patch import Patch

__all__ = ["files_of", "govern_sources", "graph_of_sources", "touched_in"]


def govern_sources(
    patch: Patch,
    tree: Tree,
    report: Report,
    policy: Policy,
    mode: ModeFacts,
    build: Callable[[Mapping[str, bytes]], Graph],
    approving: Approving = NOBODY,
) -> Report:
    """The report with what the rules add to it.  `build` gives the call graph of sources, if there are any rules.

    When a patch may go in is for the process to ask, and not for the sources.
    """
    files = files_of(tree)
    touched = list(touched_in(patch, files)) if policy else []
    graph, missing = built(lambda: build(files)) if touched else (None, "")
    claim = patch.compatible_with
    proofs: tuple[Proof, ...] = (*patch.round_trips, *patch.snapshots)
    guarding = judge_protected(policy, graph, touched, mode, compatible_with=claim, waivers=patch.waivers)
    contract = judge_protocols(policy, graph, touched, compatible_with=claim, round_trips=proofs)
    narrow = narrow_claim(claim, patch.package, tree.version) if contract.on_path else None
    rows = [
        *report.findings,
        *([no_graph(missing)] if missing else []),
        *guarding.findings,
        *judged(policy, guarding.demands, case_of(patch, guarding), approving, datetime.now(UTC), timed=False),
        *contract.findings,
        *([narrow] if narrow is not None else []),
        *(unmatched(policy, graph, tree.modules.keys()) if graph is not None else ()),
        *_cannot_wait(touched, mode),
    ]
    return replace(report, findings=by_weight(rows), protected=guarding.guarded, waived=guarding.waived)


def _cannot_wait(touched: list[Touched], mode: ModeFacts) -> Iterator[Finding]:
    """What a process would say of a height for a patch that changes values."""
    shared = [place.label for place in touched if place.shared]
    if shared and mode.kind == "at":
        yield Finding(
            code="mode-unsuitable",
            severity="error",
            target="",
            found=f"mode {mode.spelled} for a patch with a change of {', '.join(shared[:5])}, which all calls share",
            expected="changed functions and new names only: these can differ from call to call",
            action="put the value into the functions that use it, or restart with the release that has the fix",
        )


def graph_of_sources(files: Mapping[str, bytes]) -> Graph:
    """The call graph of source files by path.  Raises :class:`ImportError` in a livepatch that cannot build one."""
    from importlib import import_module

    module = import_module("livepatch.compat.callgraph")
    graph: Graph = module.source_graph(files)
    return graph


def files_of(tree: Tree) -> dict[str, bytes]:
    """The sources under the paths that their modules' names give, wherever in the tree they lie."""
    packages = {name.rpartition(".")[0] for name in tree.modules}
    return {
        name.replace(".", "/") + ("/__init__.py" if name in packages or _is_init(path) else ".py"): tree.sources[path]
        for name, path in tree.modules.items()
        if path in tree.sources
    }


def _is_init(path: str) -> bool:
    return path.rpartition("/")[2] == "__init__.py"


def touched_in(patch: Patch, files: Mapping[str, bytes]) -> Iterator[Touched]:
    """What a patch changes in sources by path, and which of their functions that concerns."""
    named = {name.qualname.rpartition(".")[2] for edit in patch.edits for name in edit.names}
    readers = _readers(files, named) if named else {}
    for edit in patch.edits:
        if edit.whole is not None:
            yield Touched(edit.module)
        for function in edit.functions:
            name = f"{edit.module}:{function.qualname}"
            accessor = f".{function.accessor}" if function.accessor else ""
            yield Touched(name + accessor, ((name, True),))
        for value in edit.names:
            yield _value(edit, value.qualname, readers, shared=value.kind in ("changed", "removed"))


def _value(edit: ModuleEdit, qualname: str, readers: Mapping[str, list[str]], *, shared: bool) -> Touched:
    """A value, and the functions that name it: of its own module or class for certain, of others possibly."""
    owner, _, name = qualname.rpartition(".")
    home = f"{edit.module}:{owner}." if owner else f"{edit.module}:"
    reading = tuple((reader, reader.startswith(home)) for reader in readers.get(name, ()))
    return Touched(f"{edit.module}:{qualname}", reading, is_value=True, shared=shared)


def _readers(files: Mapping[str, bytes], names: set[str]) -> dict[str, list[str]]:
    """By name, the functions whose code has it."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for path, source in files.items():
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        try:
            top = compiled(source, path)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # told by the comparison, if the patch has to do with it
        for code in _functions(top):
            every = {name for each in (code, *nested_codes(code)) for name in each.co_names}
            for name in names & every:
                found[name].append(f"{module}:{code.co_qualname}")
    return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    """The functions of a module and of its classes; what they make belongs to them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & _OPTIMIZED:
                yield constant
            else:
                yield from _functions(constant)


_OPTIMIZED = 1  # CO_OPTIMIZED: functions have it, class bodies have not
