"""Every check that a patch passes before anything changes.  Facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from livepatch.compat.callsites import callee_findings
from livepatch.compat.drift import drift_findings
from livepatch.compat.relatives import relative_findings
from livepatch.compat.report import Caller, Finding, Report, Severity, by_weight
from livepatch.compat.rows import row
from livepatch.compat.signature import broken_calls
from livepatch.compat.versions import Distribution, version_findings
from livepatch.contents.edits import NOTHING_KNOWN, Needs
from livepatch.engine.environment import Environment
from livepatch.engine.facts import Survey, TargetFacts
from livepatch.engine.pace import breathe, paced
from livepatch.engine.refusal import Refusal
from livepatch.engine.stack import Slot
from livepatch.errors import counted

__all__ = ["PatchFacts", "interpreter_findings", "judge", "standing_findings"]

# What the engine observes and that does not by itself refuse a patch; all else that it observes does.
_MILDER: dict[str, Severity] = {
    "alias-unproved": "warning",
    "answers-kept": "warning",
    "aliases-unreached": "warning",
    "bases-differ": "warning",
    "closures-left-behind": "warning",
    "decorators-differ": "warning",
    "default-differs": "warning",
    "defaults-of-the-maker": "warning",
    "field-attached": "warning",
    "heap-not-walked": "info",
    "modules-loaded": "info",
    "not-in-process": "info",
    "objects-keep-old": "warning",
    "return-annotation": "warning",
    "revert-leaves-objects": "warning",
    "shadow-variable": "info",
    "switch-waits": "info",
}


_NOTICEABLE = 0.005  # seconds: the interpreter's own switch interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchFacts:
    """What the patch says of itself and what the process says of its name."""

    id: str
    flag: str
    package: str
    versions: str
    already_applied: bool
    flag_taken_by: str | None
    replaces_unknown: tuple[str, ...]
    changes: int
    requires_missing: tuple[str, ...] = ()
    needs: Needs = NOTHING_KNOWN


def judge(patch: PatchFacts, distribution: Distribution, environment: Environment, survey: Survey) -> Report:
    """All findings, the heaviest first."""
    findings = [
        *standing_findings(patch, distribution),
        *drift_findings(patch.package, patch.needs, ".".join(map(str, environment.python)), dict(distribution.needed)),
        *_environment(environment, survey),
        *(_observed(target, refusal) for target, refusal in paced(survey.observations)),
    ]
    breathe()
    changed = {str(facts.target): facts.parameters[1] for facts in survey.facts}
    rebound = {str(slot) for slot in survey.values if slot.is_name and _differs(survey, slot)}
    for facts in paced(survey.facts):
        findings += [*_target(facts, environment), *relative_findings(facts, changed)]
        findings += callee_findings(facts, changed, rebound)
    breathe()
    return Report(
        patch_id=patch.id,
        package=patch.package,
        versions=patch.versions,
        targets=tuple(
            dict.fromkeys(slot.label.removesuffix(".__code__") for slot in survey.values if _shown(slot.name))
        ),
        findings=by_weight(findings),
        callers=_callers(survey),
    )


def standing_findings(patch: PatchFacts, distribution: Distribution) -> list[Finding]:
    """What the patch's names, requirements and versions come to, before anything of it is looked at or run."""
    return [*_names(patch), *version_findings(patch.package, patch.versions, distribution)]


def _shown(name: str) -> bool:
    return name not in ("__defaults__", "__kwdefaults__", "__annotations__", "__annotate__", "__doc__")


def _observed(target: str, refusal: Refusal) -> Finding:
    severity = _MILDER.get(refusal.code, "error")
    return row(severity, refusal.code, target, refusal.found, refusal.expected, refusal.action)


def _names(patch: PatchFacts) -> Iterator[Finding]:
    if not patch.changes:
        yield row(
            "error",
            "empty-patch",
            "",
            f"patch {patch.id} changes nothing",
            "one change or more",
            "replace(), add(), set(); or see in the plan of a built patch why everything was left out",
        )
    if patch.already_applied:
        yield row(
            "error",
            "already-applied",
            "",
            f"a patch with the id {patch.id} is applied",
            "an id that is not in use",
            "revert it first, or name it in replaces= (--replaces)",
        )
    if patch.flag_taken_by is not None:
        yield row(
            "error",
            "flag-taken",
            "",
            f"flag {patch.flag} belongs to patch {patch.flag_taken_by}",
            "a flag of its own for each patch",
            "give the patch another flag",
        )
    for name in patch.replaces_unknown:
        yield row(
            "error",
            "replaces-unknown",
            "",
            f"no patch {name} is applied",
            "replaces= to name applied patches",
            "see livepatch status, or livepatch.status()",
        )

    for name in patch.requires_missing:
        yield row(
            "error",
            "requires-missing",
            "",
            f"no patch {name} is applied, and none that has replaced it",
            "every patch that this one requires",
            f"apply {name} first",
        )


def interpreter_findings(environment: Environment) -> Iterator[Finding]:
    """What the interpreter is, and who watches it: the same for every patch."""
    if not environment.has_gil:
        yield row(
            "error",
            "free-threaded",
            "",
            "an interpreter without its global lock",
            "the lock, which makes the stores of a patch one step",
            "start the process with PYTHON_GIL=1",
        )
    tools = [*environment.monitoring_tools, *(t for t in (environment.tracing, environment.profiling) if t)]
    if tools:
        yield row(
            "warning",
            "tools-active",
            "",
            f"active tools: {', '.join(tools)}",
            "no tracing, profiling or monitoring",
            "expect them to see both sides; detach them if their own instrumentation changes code",
        )


def _environment(environment: Environment, survey: Survey) -> Iterator[Finding]:
    yield from interpreter_findings(environment)
    stores = [slot for slot in survey.values if slot.kind == "function" and _differs(survey, slot)]
    if environment.audit_hooked and len(stores) > 1:
        yield row(
            "info",
            "audit-hook",
            "",
            f"an audit hook, which runs between the {len(stores)} stores to functions",
            "no audit hook",
            "nothing; the functions are switched by one shared cell",
        )
    walks = survey.walks
    if walks.longest > _NOTICEABLE:
        yield row(
            "info",
            "heap-walk",
            "",
            "a search through all objects of the process, which held other threads for "
            f"{walks.longest * 1e3:.1f} ms"
            + (f", the longest of {walks.number}, which took {walks.taken * 1e3:.1f} ms" if walks.number > 1 else ""),
            f"pauses of at most {_NOTICEABLE * 1e3:g} ms",
            "nothing, unless that is too long for this process: then pass max_pause=",
        )
    if environment.python >= (3, 13) and stores:
        yield row(
            "info",
            "specialisation-lost",
            "",
            f"{counted(len({slot.owner_id for slot in stores}), 'function')} that CPython {environment.python[0]}."
            f"{environment.python[1]} will call about 4 ns slower from now on, also after revert",
            "functions never stored to",
            "nothing, unless a call of an all but empty function is what the process spends its time on",
        )


def _differs(survey: Survey, slot: Slot) -> bool:
    return survey.values[slot] is not survey.originals.get(slot)


def _target(facts: TargetFacts, environment: Environment) -> Iterator[Finding]:
    target = facts.target
    if facts.expect and facts.pin not in facts.expect:
        tag = facts.pin.partition(":")[0]
        if any(pin.startswith(tag + ":") for pin in facts.expect):
            yield row(
                "error",
                "fingerprint",
                target,
                f"code {facts.pin}",
                " or ".join(facts.expect),
                "the code in memory is not what the patch was made for: make one for it, and find out why it differs",
            )
        else:
            yield row(
                "error",
                "fingerprint-interpreter",
                target,
                f"code {facts.pin}, and no pin for {tag} among those expected",
                " or ".join(facts.expect),
                f"add the fingerprint that this interpreter ({tag}) gives to expect=",
            )
    if facts.on_disk is False and facts.covers is None:
        yield row(
            "warning" if facts.expect else "error",
            "changed-by-others",
            target,
            "code in memory that the module's source does not give",
            "the code of the module's own source",
            "a tool rewrote it, or the file changed under the process: undo that, or pin the live code with expect=",
        )
    old_kind, new_kind = facts.kinds
    if old_kind != new_kind:
        yield row(
            "error",
            "kind-changed",
            target,
            f"the replacement is a {new_kind}",
            f"a {old_kind}, as callers use it",
            "keep the kind, and move the new behaviour into a function that it calls",
        )
    for problem in broken_calls(*facts.parameters):
        yield row(
            # A fix built from the upstream release changes the callers that the package has along with it.
            "warning" if facts.proved else "error",
            "parameters",
            target,
            f"the replacement breaks {problem}",
            "every call that the old side took",
            "see who calls it from outside the package"
            if facts.proved
            else "give new parameters defaults, and keep the old names",
        )
    yield from _notes(facts, environment)


def _notes(facts: TargetFacts, environment: Environment) -> Iterator[Finding]:
    target = facts.target
    if environment.optimize and facts.asserts:
        yield row(
            "warning",
            "asserts-stripped",
            target,
            "an assert in the replacement, in a process that runs with -O",
            "checks that -O does not remove",
            "raise an exception instead of asserting",
        )
    if facts.alias_of and not facts.alias_of.endswith("<lambda>"):
        yield row(
            "warning",
            "alias",
            target,
            f"another name for {facts.alias_of}",
            "the name under which the source defines the function",
            f"write {facts.alias_of}",
        )
    if facts.covers is not None:
        yield row(
            "info",
            "covers",
            target,
            f"patch {facts.covers} on top",
            "the original, or a layer to go over",
            "nothing; taking either out leaves the other",
        )
    if facts.forwarded:
        yield row(
            "info",
            "forwarded",
            target,
            "a replacement with variables of its own",
            "free variables that the target has",
            "nothing; each call costs one call more than in place",
        )
    if facts.variants:
        yield row(
            "warning",
            "variants",
            target,
            f"{facts.variants} other functions of that name and module with other code",
            "one function of that name",
            "see whether a reload or an older import left them in use",
        )
    for cache in facts.caches:
        yield row(
            "info",
            "cache-cleared",
            target,
            f"a {cache}",
            "answers of one side only",
            "nothing; it is emptied at the switch",
        )


def _callers(survey: Survey) -> tuple[Caller, ...]:
    rows = [
        Caller(
            target=str(target),
            caller=f"{site.caller.__module__}:{site.caller.__qualname__}",
            file=site.caller.__code__.co_filename,
            line=site.caller.__code__.co_firstlineno,
            certain=site.certain,
        )
        for target, site in survey.calls
    ]
    return tuple(sorted(dict.fromkeys(rows), key=lambda row: (not row.certain, row.target, row.caller)))
