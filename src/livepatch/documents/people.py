"""Documents for people, in Markdown: those for operators, and those for the public."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from livepatch.compat.windows import told_moment
from livepatch.documents.dossier import Dossier
from livepatch.errors import counted

__all__ = ["advisory", "changelog", "deployment", "document", "items", "monitoring", "risk", "runbook"]

_UNSAID = "Nobody has said."
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]*")


def document(title: str, *sections: tuple[str, str | Iterable[str]]) -> str:
    """A document of sections; one without a text says that nobody has said anything."""
    lines = [f"# {title}", ""]
    for heading, body in sections:
        text = body if isinstance(body, str) else "\n".join(body)
        lines += [f"## {heading}", "", text.strip() or _UNSAID, ""]
    return "\n".join(lines)


def items(texts: Iterable[str]) -> str:
    """A list of texts."""
    return "\n".join(f"* {each}" for each in texts)


def _steps(steps: Iterable[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


# For the public


def advisory(dossier: Dossier) -> str:
    """The public advisory."""
    known, embargo = dossier.advisory, dossier.embargo
    names = ", ".join(dossier.ids)
    scope = [f"Package: {dossier.package}", f"Versions with the flaw: {dossier.told_affected}"]
    scope += [f"Fixed in: {known.fixed}"] if known.fixed else ["Fixed in: no release yet"]
    if dossier.severity is not None:
        scope.append(f"Severity: {dossier.severity.rating}, {dossier.severity.score:g} ({dossier.severity.vector})")
    scope += [f"Weakness: {', '.join(known.cwe)}"] if known.cwe else []
    scope.append(f"Live patch: {dossier.patch.id}, revision {dossier.patch.release.revision}, {dossier.digest}")
    meanwhile = [known.workaround] if known.workaround else []
    meanwhile.append("Apply the live patch: it needs no restart, and one call takes it back.")
    meanwhile += [f"Or install {dossier.package} {known.fixed} and restart."] if known.fixed else []
    timeline = [*((each.at, each.what) for each in known.timeline), (known.published, "This advisory was published.")]
    sections: list[tuple[str, str | Iterable[str]]] = [
        ("What it is", known.description),
        ("Scope", items(scope)),
        ("What you can do", items(meanwhile)),
        ("Expected behaviour", known.behaviour),
        ("Side effects", known.side_effects),
        ("What is not yet known", items(known.unknown) or "Nobody has said what is not yet known."),
        ("Timeline", items(f"{told_moment(at)}: {what}" for at, what in sorted(timeline))),
    ]
    if embargo is not None and dossier.may_tell_all:
        details = [embargo.proof_of_concept] if embargo.proof_of_concept else []
        details += [items(f"`{path}`" for path in embargo.affected_paths)] if embargo.affected_paths else []
        sections += [("Details", "\n\n".join(details))] if details else []
        sections += [("Credits", f"Reported by {embargo.reporter}.")] if embargo.reporter else []
    elif embargo is not None:
        sections.append(("Details", f"More will be told after {embargo.until}."))
    if dossier.references:
        links = (f"[{each.kind.capitalize()}](<{each.url}>)" for each in dossier.references)
        sections.append(("References", items(links)))
    if known.publisher.contact:
        sections.append(("Contact", f"{known.publisher.name}: {known.publisher.contact}"))
    return document(f"{known.title} ({names})", *sections)


def changelog(dossier: Dossier) -> str:
    """The entry for a change log."""
    known = dossier.advisory
    fixed = f" Fixed for good in {known.fixed}." if known.fixed else ""
    return (
        "### Security\n\n"
        f"- {known.title} ({', '.join(dossier.ids)}): live patch `{dossier.patch.id}` for {dossier.package} "
        f"{dossier.patch.versions}.{fixed}\n"
    )


# For operators


def risk(dossier: Dossier) -> str:
    """The risk assessment: of the flaw, and of the patch."""
    known, found = dossier.advisory, dossier.classification
    flaw = []
    if dossier.severity is not None:
        flaw.append(f"Severity: {dossier.severity.rating}, {dossier.severity.score:g} ({dossier.severity.vector})")
    flaw += [f"Exploitability: {known.exploitability}"] if known.exploitability else []
    flaw += [f"Exposure: {known.exposure}"] if known.exposure else []
    state, why = dossier.data
    patch = [f"It changes {counted(len(dossier.targets), 'place')}.", f"Data: {state} ({why})."]
    decision: str | Iterable[str] = ""
    if found is not None:
        patch += [
            f"{name}: {fact}" for name, fact in found.risk.facts().items() if name in ("consensus", "reach", "lines")
        ]
        by = items(f"{each.name}: {each.reason or each}" for each in found.decided_by)
        decision = f"**{found.decision}**\n\n{by or 'No criterion asks for more.'}"
    embargo = dossier.embargo
    held = f"\n\nUnder embargo until {embargo.until}." if embargo and not dossier.may_tell_all else ""
    return document(
        f"Risk assessment: {dossier.patch.id}",
        ("The flaw", known.description + held),
        ("How grave it is", items(flaw)),
        ("What the patch does", items(patch)),
        ("Decision", decision or "Not classified: `livepatch classify`."),
        ("Side effects", known.side_effects),
        ("What is not yet known", items(known.unknown) or "Nobody has said what is not yet known."),
    )


def _file(dossier: Dossier) -> str:
    origin = dossier.patch.origin
    name = Path(origin.path).name if origin is not None else ""
    # It stands in commands, calls and Markdown, and somebody else may have named it.
    return name if _PLAIN.fullmatch(name) else f"{dossier.patch.id}.lpatch"


def people(dossier: Dossier) -> list[str]:
    """Who looks after the patch."""
    owners = dossier.owners
    told = (("Watches it", owners.watches), ("May stop it", owners.stops), ("Call", owners.call))
    return [f"{what}: {who}" for what, who in told if who]


def deployment(dossier: Dossier) -> str:
    """How the patch goes in, and how it comes out."""
    file, patch = _file(dossier), dossier.patch
    state, _ = dossier.data
    before = [
        f"Compare the digest of the file: `livepatch show {file} --no-diff` says `{dossier.digest}`.",
        f"Verify who signed it: `livepatch verify {file} --trust trust.json`.",
        f"Hold it against the sources that run: `livepatch check {file} --package-dir DIR`.",
        "See whether now is a time for it: `livepatch policy test livepatch.toml`.",
    ]
    before += [f"Have {', '.join(patch.requires)} applied first."] if patch.requires else []
    before += (
        ["See that the state can be restored: the patch changes data."] if state not in ("none", "attached") else []
    )
    given = f"{file} --node NODE"
    probed = "its probes find the hole closed" if patch.probes else ""
    by_agent = [
        f"`livepatch check {given}`; go on only if it says that the patch fits.",
        f"`livepatch apply {given}`, on one node, with `--approval` for each approval and evidence that rules ask for.",
        "`livepatch status --node NODE --verify`: until it says `settled`.",
    ]
    in_process = [
        f'`livepatch.check("{file}", trust=trust)`; go on only if it says that the patch fits.',
        f'`applied = livepatch.apply("{file}", trust=trust)`, in one process, with `approvals=` as above.',
        "`applied.wait(60)`: until no call is left on the old side; then `applied.status()` says `settled`.",
        *([f"`livepatch.probe()`: {probed}."] if probed else []),
    ]
    apply = (
        f"A node with an agent:\n\n{_steps(by_agent)}\n\nA process without one:\n\n{_steps(in_process)}\n\n"
        "Watch it, as the monitoring plan says, before the next node."
    )
    back = [
        f'`livepatch revert {patch.id} --node NODE`, or where there is no agent `livepatch.revert("{patch.id}")`.',
        "That puts back the identical objects, and needs nobody's approval.",
        f'Or switch it off: `livepatch flag {patch.flag} off --node NODE`, `livepatch.flags["{patch.flag}"] = "off"`.',
        "`livepatch status --node NODE --verify`, or `livepatch.verify()`: every place holds what it should.",
    ]
    if state == "irreversible":
        back.append("Data that it changed stays changed: restore the state that was saved, if the old code needs that.")
    fixed = dossier.advisory.fixed
    done = (
        f"At the next planned restart, install {dossier.package} {fixed}; the patch is not needed there."
        if fixed
        else ""
    )
    return document(
        f"Deployment: {patch.id}",
        ("Before", _steps(before)),
        ("Putting it in", apply),
        ("Taking it back", _steps(back)),
        ("Who", items(people(dossier))),
        (
            "Afterwards",
            done
            or "There is no release with the fix yet: a node with an agent keeps the patch over restarts; without one, "
            "apply it again after each.",
        ),
    )


def monitoring(dossier: Dossier) -> str:
    """What to watch, and when to stop."""
    patch = dossier.patch
    watch = [
        "`applied.status()`: `settled` within a minute; no `troubles`, no `foreign` changes, nothing in `left`.",
        f"The event `livepatch.tripwire` for `{patch.id}`: somebody tries the hole.",
        *(["The event `livepatch.hole_open`: a probe finds the hole open again."] if patch.probes else []),
        "Errors, latency and throughput of the node beside those of the hour before.",
        *dossier.advisory.watch,
    ]
    stop = [
        "The process raises errors that name one of the functions below.",
        "What is watched leaves the range that it had in the hour before.",
        "`livepatch.verify()` names a place that others have changed.",
    ]
    return document(
        f"Monitoring: {patch.id}",
        ("What to watch", items(watch)),
        ("When to take it back", items(stop)),
        ("What it changes", items(f"`{each}`" for each in dossier.targets)),
        ("Who watches", dossier.owners.watches),
    )


def runbook(dossier: Dossier) -> str:
    """What to do when something is wrong at three in the morning."""
    patch, owner = dossier.patch, dossier.owners
    call = owner.call or "whoever looks after it"
    back = f'`livepatch revert {patch.id} --node NODE`, or where there is no agent `livepatch.revert("{patch.id}")`.'
    wrong = [
        f"**The node misbehaves after the patch.** {back} Then call {call}.",
        "**It stays in `draining`.** Its status names the calls in the way; new ones get the fix.",
        "**`check` says no.** Nothing has changed. The report says what was found, what was expected and what to do.",
        "**`livepatch.tripwire` fires.** Somebody tries the hole, and the fix holds. Keep the log.",
        *(
            ["**`livepatch.hole_open` fires.** The fix was taken away: `livepatch.status()` says what came later."]
            if patch.probes
            else []
        ),
        "**The process was restarted.** An agent has brought the patch in again, or its status says why not.",
        "**It was restarted, without an agent.** The patch is gone: apply it again, or install the fixed release.",
    ]
    return document(
        f"Runbook: {patch.id}",
        (
            "In one line",
            f"{dossier.advisory.title}: live patch for {dossier.package} {patch.versions}, flag `{patch.flag}`.",
        ),
        ("When something is wrong", "\n\n".join(wrong)),
        ("Who", items(people(dossier))),
        ("What it changes", items(f"`{each}`" for each in dossier.targets)),
    )
