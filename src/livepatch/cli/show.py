"""``livepatch show``: what is in a patch file."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from livepatch.cli.diff import differences
from livepatch.cli.output import Style, add_color, add_json, described, in_options, print_json, print_lines
from livepatch.cli.trusting import add_trust, trust_of
from livepatch.contents.edits import Obstacle
from livepatch.contents.release import ANYONE
from livepatch.errors import counted
from livepatch.patch import Patch

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "manifest", "run", "spelled_obstacle"]

SUMMARY = "print what is in a patch file"
DESCRIPTION = """\
Print what the patch in FILE says of itself, its plan, and what it changes as a diff.
Nothing of the file is compiled, imported or run.  What is under embargo (proof of
concept, affected paths, reporter, the sources of probes) is shown after its date, or
if you ask for it."""
EXAMPLE = "livepatch show fix.lpatch --no-diff"

_MANY = 20  # differences that were left out for one reason


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    parser.add_argument(
        "--diff", action=argparse.BooleanOptionalAction, default=True, help="print the diff as well (the default)"
    )
    parser.add_argument("--embargoed", action="store_true", help="show what is under embargo as well, before its date")
    add_trust(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Print."""
    from livepatch.bundle.load import load

    patch = load(given.file, trust=trust_of(given))
    assert patch.origin is not None
    facts = described(patch, given.file, patch.origin.digest, embargoed=given.embargoed)
    if given.json:
        print_json(facts)
        return True
    style = Style(given.color)
    print_lines(manifest(patch, facts, style))
    if given.diff:
        print_lines(differences(patch, style))
    return True


def manifest(patch: Patch, facts: dict[str, Any], style: Style) -> Iterator[str]:
    """What the patch says of itself, its plan, and what it changes that no diff shows."""
    yield style("bold", f"patch {patch.id} for {patch.package} {patch.versions}")
    for name, value in (
        ("summary", patch.summary),
        ("flag", patch.flag),
        ("requires", ", ".join(patch.requires)),
        ("python", patch.needs.python),
        ("needs", ", ".join(patch.needs.after)),
        ("claims", f"compatible with {patch.package} {patch.compatible_with}" if patch.compatible_with else ""),
        ("pure", ", ".join(patch.pure)),
        ("file", facts["file"]),
        ("digest", facts["digest"]),
        ("release", _released(patch)),
        ("owners", str(patch.owners)),
        ("embargo", f"until {patch.embargo.until}" if patch.embargo is not None else ""),
        ("verified", _verified(facts)),
    ):
        if value:
            # What is free text stays in its place, whatever it holds.
            yield style("plain", f"  {name + ':':<10}{' '.join(str(value).split())}")
    if patch.plan:
        yield ""
        yield style("bold", "plan")
        yield from _plan(patch, style)
    yield from _section("waived: no protected code calls it", _waived(patch), style)
    yield from _section("round trips, proved before it goes live", _round_trips(patch), style)
    yield from _section("stored data, read by both sides before it goes live", _snapshots(patch), style)
    yield from _section("probes, which are to find the hole open before, and closed after", _probes(facts), style)
    yield from _section("under embargo: not for others before its date", _embargoed(facts), style)
    yield from _section("values, computed in the process", _values(patch), style)
    yield from _section("attributes that objects lack", _attributes(patch), style)
    yield from _section("cannot be done live", map(spelled_obstacle, patch.obstacles), style)
    functions = sum(len(edit.functions) for edit in patch.edits)
    yield ""
    yield style("plain", f"{counted(functions, 'function')} in {counted(len(patch.edits), 'module')}")


def _plan(patch: Patch, style: Style) -> Iterator[str]:
    """What became of each difference; of many that were left out for one reason, how many there are.

    A fix that is picked out of a release of hundreds of differences would be hard to find among them.
    """
    left = Counter(entry.why for entry in patch.plan if entry.verdict == "left-out")
    told = set()
    for entry in patch.plan:
        why = f" ({entry.why})" if entry.why else ""
        ink = {"cannot": "red", "taken": "green", "needed": "green"}.get(entry.verdict, "plain")
        what = f"{entry.what} {entry.target}"
        if entry.verdict == "left-out" and left[entry.why] > _MANY:
            if entry.why in told:
                continue
            told.add(entry.why)
            what += f", and {left[entry.why] - 1} more; --json tells each"
        yield style(ink, f"  {entry.verdict + ':':<10}{what}{why}")  # type: ignore[arg-type]  # inks


def _released(patch: Patch) -> str:
    release = patch.release
    if release == ANYONE:
        return ""
    parts = [f"channel {release.channel}, revision {release.revision}"]
    parts += [f"until {release.expires}"] if release.expires else []
    parts += [f"for {', '.join(release.nodes)} only"] if release.nodes else []
    return ", ".join(parts)


def _verified(facts: dict[str, Any]) -> str:
    signatures = facts["signatures"]
    if facts["verified"]:
        return "yes, signed by " + ", ".join(f"{s['role']} {s['keyid'][:16]}" for s in signatures if s["role"])
    if signatures:
        return f"no: {counted(len(signatures), 'signature')}, not compared with a trust root (--trust)"
    return "no: nothing here proves who made it"


def _section(title: str, lines: Iterator[str], style: Style) -> Iterator[str]:
    shown = [style("plain", "  " + line.replace("\n", "\n    ")) for line in lines]
    if shown:
        yield ""
        yield style("bold", title)
        yield from shown


def _waived(patch: Patch) -> Iterator[str]:
    for waiver in patch.waivers:
        yield f"{waiver.target}: {' '.join(waiver.reason.split())}"


def _round_trips(patch: Patch) -> Iterator[str]:
    for each in patch.round_trips:
        if not each.in_code:
            yield f"{each.encode} and {each.decode} with {each.values}"


def _snapshots(patch: Patch) -> Iterator[str]:
    for each in patch.snapshots:
        if not each.in_code:
            stored = f", stored by {each.store}" if each.store else ""
            back = "; the old side reads what the new one stores" if each.rollback else ""
            yield f"{each.load} with {each.examples}{stored}{back}"


def _probes(facts: dict[str, Any]) -> Iterator[str]:
    for each in facts["probes"]:
        where = "in a process that is in use, too" if each["safe"] else "in a scratch process"
        source = "".join(f"\n{line}" for line in each.get("source", "").splitlines())
        yield f"{each['name']}, {where}{source}"


def _embargoed(facts: dict[str, Any]) -> Iterator[str]:
    held = facts["embargo"] or {}
    for name in ("proof_of_concept", "affected_paths", "reporter"):
        if value := held.get(name):
            text = value if isinstance(value, str) else ", ".join(value)
            yield f"{name.replace('_', ' ')}: {text}"


def _values(patch: Patch) -> Iterator[str]:
    for edit in patch.edits:
        for name in edit.names:
            yield f"{name.kind + ':':<10}{edit.module}:{name.qualname}"


def _attributes(patch: Patch) -> Iterator[str]:
    for edit in patch.edits:
        for each in edit.attributes:
            value = each.expression.strip() or f"unknown, {each.reason}"
            whose = "" if each.shared or not each.expression else ", one of its own for each object"
            yield f"{edit.module}:{each.class_qualname}.{each.name} starts as {value}{whose}"


def spelled_obstacle(obstacle: Obstacle) -> str:
    """One line, in the form of a finding."""
    parts = f"found {obstacle.found}; expected {obstacle.expected}; do: {in_options(obstacle.action)}"
    return f"[{obstacle.code}] {obstacle.target}: {parts}"
