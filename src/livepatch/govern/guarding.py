"""What policy has to say to a patch in this process, and to each change of its mode afterwards.

Facts are gathered here; :mod:`livepatch.compat` judges them.  The call graph of the process is built only if code is
protected, or a protocol is declared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, cast

from livepatch.compat.approvals import NOBODY, Approving, Case, judged
from livepatch.compat.callsites import caller_findings, callers_unknown, needs_callers
from livepatch.compat.contracts import Proof, judge_protocols, narrow_claim
from livepatch.compat.policy import Policy
from livepatch.compat.protected import Guarding, ModeFacts, Touched, built, judge_protected, no_graph, unmatched
from livepatch.compat.reach import Graph
from livepatch.compat.report import Finding, Report, by_weight
from livepatch.engine.facts import Survey
from livepatch.engine.modes import At, Mode, Split, as_shadow, is_on, spelled_mode
from livepatch.engine.namespaces import is_class, is_function, is_module, namespace_of
from livepatch.engine.pace import paced
from livepatch.engine.readers import name_of, readers
from livepatch.engine.stack import ABSENT, SIDE, Slot
from livepatch.errors import PolicyError
from livepatch.govern.data import state_of
from livepatch.patch import Patch

if TYPE_CHECKING:
    from livepatch.compat.calls.answers import CallGraph

__all__ = [
    "Governed",
    "case_of",
    "check_change",
    "check_replacing",
    "facts_of",
    "govern",
    "graph_of_process",
    "touched_by",
]

# A patch for something else comes first; then what policy says, which nobody can mend who applies the patch.
_STANDING = frozenset(
    {
        "already-applied", "empty-patch", "flag-taken", "not-installed", "replaces-unknown", "requires-missing",
        "version-disagrees", "version-out-of-range", "version-unreadable",
    }
)  # fmt: skip
_ACCESSORS = (".fget", ".fset", ".fdel")
_TOLD = ("__annotations__", "__annotate__", "__doc__")  # of a function: nothing runs otherwise for them


@dataclass(frozen=True, slots=True)
class Governed:
    """A report with what policy adds to it, and what policy asks for before the patch goes live."""

    report: Report
    round_trips: tuple[Proof, ...] = ()


def govern(
    patch: Patch,
    policy: Policy,
    mode: Mode,
    report: Report,
    survey: Survey,
    installed: str | None,
    build: Callable[[frozenset[str], frozenset[str]], Graph],
    approving: Approving = NOBODY,
    moment: datetime | None = None,
) -> Governed:
    """Judge a patch by the rules in force.  `build` gives the call graph of the process, if one is needed.

    `moment` is the one by which rules about times and ages are judged: that at which it first went in; else now.
    """
    claim = patch.compatible_with
    proofs: tuple[Proof, ...] = (*patch.round_trips, *patch.snapshots)
    touched = touched_by(survey, sys.modules) if policy else []
    graph, missing = built(lambda: build(policy.packages, _packages(touched))) if touched else (None, "")
    asked = facts_of(mode) if policy.protected else ModeFacts("on", "on")  # else nobody asks a source of heights
    guarding = judge_protected(policy, graph, touched, asked, compatible_with=claim, waivers=patch.waivers)
    contract = judge_protocols(policy, graph, touched, compatible_with=claim, round_trips=proofs)
    narrow = narrow_claim(patch.compatible_with, patch.package, installed) if contract.on_path else None
    rows = [
        *([no_graph(missing)] if missing else []),
        *guarding.findings,
        *judged(policy, guarding.demands, case_of(patch, guarding), approving, moment or datetime.now(UTC)),
        *contract.findings,
        *([narrow] if narrow is not None else []),
        *(unmatched(policy, graph, sys.modules.keys()) if graph is not None else ()),
    ]
    governed = _with(report, [*rows, *called_otherwise(survey, _gone(patch))], guarding)
    return Governed(governed, contract.round_trips)


def case_of(patch: Patch, guarding: Guarding) -> Case:
    """What rules about approvals ask of a patch.

    Whoever approves it is to see for themselves whether what its author has waived is protected.
    """
    touched = guarding.guarded or bool(guarding.waived)
    return Case(protected=touched, state=state_of(patch)[0], owners=patch.owners, probes=len(patch.probes))


def _gone(patch: Patch) -> list[str]:
    """The functions that the new release has no more: nothing of it calls them, and calls under way keep their side."""
    return [f"{edit.module}:{each.qualname}" for edit in patch.edits for each in edit.functions if each.after is None]


def called_otherwise(survey: Survey, gone: Iterable[str] = ()) -> Iterator[Finding]:
    """Known calls that a changed signature would break, but for those that functions make which are `gone`.

    If some call would be one, the call graph of the package and of modules that hold something of it is worked out.
    """
    breaking = [facts for facts in paced(survey.facts) if needs_callers(facts)]
    if not breaking:
        return
    changed = [*(str(facts.target) for facts in survey.facts), *gone]
    packages = frozenset(facts.target.module.partition(".")[0] for facts in breaking)
    graph, missing = built(lambda: _graph_around(packages))
    if missing:
        yield callers_unknown(breaking, f"no call graph: {missing}")
        return
    for facts in breaking:
        edges = cast("CallGraph", graph).callers(str(facts.target))
        yield from caller_findings(facts, edges, changed)


def _graph_around(packages: frozenset[str]) -> Graph:
    """The call graph of packages, and of every module that has one of their modules, classes or functions."""
    from importlib import import_module

    chosen = {}
    for name, module in paced(list(sys.modules.items())):
        if not is_module(module) or name.partition(".")[0] in ("livepatch", "builtins"):
            continue
        if name.partition(".")[0] in packages or any(
            _home_of(value).partition(".")[0] in packages for value in list(namespace_of(module).values())
        ):
            chosen[name] = module
    graph: Graph = import_module("livepatch.compat.callgraph").live_graph(chosen)
    return graph


def _home_of(value: object) -> str:
    """The name of the module that something is, or was defined in."""
    if is_module(value):
        home = namespace_of(value).get("__name__")
    elif is_class(value):
        home = namespace_of(value).get("__module__")
    else:
        home = value.__module__ if is_function(value) else ""
    return home if type(home) is str else ""


def _with(report: Report, rows: list[Finding], guarding: Guarding) -> Report:
    standing = [finding for finding in report.findings if finding.code in _STANDING]
    others = [finding for finding in report.findings if finding.code not in _STANDING]
    return replace(
        report,
        findings=by_weight([*standing, *rows, *others]),
        protected=guarding.guarded,
        waived=guarding.waived,
    )


def graph_of_process(rules: frozenset[str], targets: frozenset[str]) -> Graph:
    """The call graph of this process, as far as rules and targets have to do with each other.

    `rules` and `targets` are top-level packages.  What lies in other packages counts if a target is in none of those
    that rules are about: then protected code may call it through any of them.  Raises :class:`ImportError` in a
    livepatch that cannot build one.
    """
    from importlib import import_module

    named = rules | targets
    apart = sys.stdlib_module_names | {"livepatch"} if not targets <= rules else None
    chosen = {}
    for name, module in paced(list(sys.modules.items())):
        top = name.partition(".")[0]
        # Under some names in sys.modules there is no module.
        if is_module(module) and (top in named or (apart is not None and top not in apart)):
            chosen[name] = module
    graph: Graph = import_module("livepatch.compat.callgraph").live_graph(chosen)
    return graph


def _packages(touched: list[Touched]) -> frozenset[str]:
    names = [place.label for place in touched] + [name for place in touched for name, _ in place.functions]
    tops = {name.partition(":")[0].partition(".")[0] for name in names}
    return frozenset(top for top in tops if top in sys.modules)


def touched_by(survey: Survey, modules: dict[str, ModuleType]) -> list[Touched]:
    """What a patch would change in this process, and whose behaviour that is."""
    values = [slot for slot in survey.values if _is_value(slot)]
    reading = readers(survey.originals, values, modules)
    found: dict[str, Touched] = {}
    for slot in paced(survey.values):
        if slot.kind == "function" and slot.name in _TOLD:
            continue
        place = _value(slot, reading.get(slot, ()), survey) if _is_value(slot) else _function(slot)
        known = found.get(place.label)
        names = tuple(dict.fromkeys((*known.functions, *place.functions))) if known is not None else place.functions
        found[place.label] = replace(place, functions=names)
    return list(found.values())


def _is_value(slot: Slot) -> bool:
    return slot.kind != "function"


def _value(slot: Slot, reading: tuple[tuple[str, bool], ...], survey: Survey) -> Touched:
    old = survey.originals[slot]
    shared = old is not survey.values[slot] and not (slot.is_name and old is ABSENT)
    return Touched(str(slot), reading, is_value=True, shared=shared)


def _function(slot: Slot) -> Touched:
    label = str(slot)
    for part in SIDE:
        label = label.removesuffix(f".{part}")
    names = list(_names(label))
    owner = slot.owner
    if isinstance(owner, FunctionType):
        names += _names(name_of(owner))
        names += _names(f"{owner.__globals__.get('__name__')}:{owner.__code__.co_qualname}")
    return Touched(label, tuple((name, True) for name in dict.fromkeys(names)))


def _names(name: str) -> Iterator[str]:
    """What a graph may know a function by; one inside another is made, and perhaps called, by that."""
    for accessor in _ACCESSORS:
        name = name.removesuffix(accessor)
    yield name
    while ".<locals>" in name:
        name = name[: name.rindex(".<locals>")]
        yield name


# Modes


def facts_of(mode: Mode) -> ModeFacts:
    """A mode as the rules see it; the source of a height is asked."""
    told = spelled_mode(mode)
    if isinstance(mode, At):
        try:
            return ModeFacts("at", told, reached=mode.reached())
        except Exception as error:  # noqa: BLE001  # a source of the program's may fail in any way
            return ModeFacts("at", told, reached=None, trouble=f"{type(error).__qualname__}: {error}"[:200])
    if isinstance(mode, Split):
        return ModeFacts("split", told)
    if as_shadow(mode) is not None:
        return ModeFacts("shadow", told)
    return ModeFacts("on", told) if is_on(mode) else ModeFacts("off", told)


def check_change(patch_id: str, old: Mode, new: Mode) -> None:
    """Raise :class:`PolicyError` if a patch that touches protected code may not go from one mode to the other.

    All processes of a network change at the same height.  So the new side begins there and nowhere else, and once it
    has begun it is not switched off by a flag: that is a revert, which somebody has to mean.
    """
    now, then = facts_of(old), facts_of(new)
    if then.kind == "split":
        raise PolicyError(
            f"patch {patch_id} touches protected code, and cannot be split",
            found=f"mode {then.spelled}",
            expected="one side for all: a network of which a part runs a change of its rules is the fault itself",
            action="use livepatch.at(height, source)",
        )
    for facts in (now, then):
        if facts.reached is None:
            raise PolicyError(
                f"patch {patch_id} touches protected code, and nobody can tell which side is live",
                found=f"{facts.spelled}, whose source fails: {facts.trouble}",
                expected="a source that gives the height",
                action="mend the source; a revert needs none",
            )
    was, will = _is_live(now), _is_live(then)
    if will and not was and then.kind == "on":
        raise PolicyError(
            f"patch {patch_id} touches protected code, and would go live before the others",
            found=f"mode 'on' after {now.spelled}, whose height is not reached"
            if now.kind == "at"
            else f"mode 'on' after {now.spelled}",
            expected="an activation height",
            action="use livepatch.at(height, source), and 'on' once that is reached",
        )
    if was and not will:
        raise PolicyError(
            f"patch {patch_id} touches protected code, and is live",
            found=f"mode {then.spelled} after {now.spelled}",
            expected="that it stays live: this process would leave those that agree with it",
            action="revert it if that is what you mean",
        )


def check_replacing(patch_id: str, old: Mode, new: Mode, *, protected: bool) -> None:
    """Raise :class:`PolicyError` if what takes the place of a live patch of protected code would not be live as well.

    `protected`: whether the new one touches protected code.  If not, it does not do what the old one did there.
    """
    now, then = facts_of(old), facts_of(new)
    if now.kind in ("off", "shadow") or (now.reached is False and now.kind == "at"):
        return
    if not protected or not _is_live(then):
        raise PolicyError(
            f"patch {patch_id} touches protected code, and may be live; it cannot be replaced by what is not",
            found=f"mode {then.spelled} after {now.spelled}"
            if protected
            else "a patch that touches no protected code in its place",
            expected="a patch of protected code that is live at once, at a height that is reached",
            action="revert it first if that is what you mean",
        )


def _is_live(facts: ModeFacts) -> bool:
    return facts.kind == "on" or (facts.kind == "at" and bool(facts.reached))
