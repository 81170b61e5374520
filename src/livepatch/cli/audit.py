"""``livepatch audit``: does a record hold, what is in it, and what of it others need."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from livepatch.cli.output import Style, add_color, add_json, print_json, print_lines, visible
from livepatch.cli.trusting import add_trust, answering
from livepatch.contents.files import read_at_most
from livepatch.errors import AuditError, spelled
from livepatch.govern.audit import Audit, verify
from livepatch.govern.entries import EVENTS
from livepatch.govern.files import reason
from livepatch.govern.notes import Verifier
from livepatch.govern.telling import consistency, entries, evidence

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "verify, show or export the record of what was done; ask the probes of patches"
DESCRIPTION = """\
Read the record that a process keeps with livepatch.record_to: verify, show and export write
nothing to it.  Ask the regression probes of patches whether what was done still holds."""
EXAMPLE = """\
livepatch audit verify --node /var/lib/client/livepatch --checkpoint kept.txt
livepatch audit show /var/lib/client/livepatch/record --patch CVE-2026-1234"""
_WHAT = {
    "verify": "say whether the record holds, and if not where",
    "show": "print its entries, newest last",
    "export": "print entries with what proves them, a checkpoint to keep, or a proof between two checkpoints",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    made = {}
    for name, summary in _WHAT.items():
        made[name] = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        made[name].set_defaults(wrong=made[name].error)
        made[name].add_argument("folder", metavar="FOLDER", nargs="?", help="the folder of the record")
        made[name].add_argument(
            "--node", metavar="WHERE", help="instead: the record that this running node keeps, and its key"
        )
        made[name].add_argument(
            "--key",
            metavar="KEY",
            help="the node's verifier key, or a file with it; else the one that it names",
        )
        made[name].add_argument(
            "--archived", action="store_true", help="the oldest files may have been taken elsewhere"
        )
        made[name].add_argument(
            "--clock-steps", action="store_true", help="a clock that was set back is a warning, and no error"
        )
    own = made["verify"]
    own.add_argument(
        "--checkpoint",
        metavar="FILE",
        action="append",
        default=[],
        help="a checkpoint that was kept elsewhere: the record must go on from it; may be given more than once",
    )
    own.add_argument(
        "--witness",
        metavar="KEY",
        action="append",
        default=[],
        help="somebody who must have signed each --checkpoint as well: a verifier key, or a file with it",
    )
    own.add_argument("--deep", action="store_true", help="verify the signature of every checkpoint in it")
    for name in ("show", "export"):
        made[name].add_argument("--patch", metavar="ID", help="only entries about this patch")
        made[name].add_argument(
            "--event", metavar="EVENT", choices=sorted(EVENTS), help="only entries of this kind, such as applied"
        )
    made["show"].add_argument("--last", metavar="N", type=_count, help="only so many of them")
    own = made["export"]
    own.add_argument("--checkpoint", action="store_true", help="print the newest checkpoint, a signed note, instead")
    own.add_argument(
        "--since", metavar="FILE", help="print what proves that the record goes on from this checkpoint, instead"
    )
    made["probes"] = own = actions.add_parser("probes", help=_PROBES, description=_PROBES_AT_LENGTH, allow_abbrev=False)
    own.add_argument("files", metavar="FILE", nargs="+", help="patch files, in the order in which they go in")
    own.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="FILE",
        help="ask the probes of this patch as well, which does not go in; may be given again",
    )
    own.add_argument("--unsigned", action="store_true", help="you answer for the files yourself")
    own.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long each probe may take; by default 30"
    )
    own.add_argument("--record", metavar="FOLDER", help="write what is found into this record")
    own.add_argument("--record-key", metavar="FILE", help="the node's private key, which signs the record")
    add_trust(own)
    for each in made.values():
        add_color(each)
        add_json(each)


_PROBES = "ask the probes of patch files whether the holes are closed"
_PROBES_AT_LENGTH = """\
Ask the regression probes in patch files, each in a scratch process that imports the package
as installed here: without the patch it must find the hole open, and with all of them closed.
Patches for another release than the one that is installed are asked as well: an upgrade may
have taken a fix away.  The code of the package and of the files is run, so somebody has to
answer for them: those who signed them (--trust), or you (--unsigned)."""


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of entries")
    return number


def run(given: argparse.Namespace) -> bool:
    """Do it.  Whether the record holds, or every probe shows what it should."""
    if given.action == "probes":
        return _probes(given)
    _find_record(given)
    found = verify(
        given.folder,
        key=_key(given.key) if given.key else None,
        checkpoints=[_read(path) for path in (given.checkpoint if given.action == "verify" else [])],
        witnesses=[_key(each) for each in (given.witness if given.action == "verify" else [])],
        deep=given.action == "verify" and given.deep,
        archived=given.archived,
        clock_steps=given.clock_steps,
    )
    if given.action == "verify":
        _print_audit(found, given)
        return found.ok
    if not found:
        sys.stderr.write(f"livepatch audit: {visible(str(found))}\n")
        if given.action == "export":
            return False  # what does not hold proves nothing
    if given.action == "show":
        _show(found, given)
    else:
        _export(found, given)
    return found.ok


def _probes(given: argparse.Namespace) -> bool:
    """Ask the probes of patch files.  Whether each shows what it should."""
    from livepatch.govern.recording import record_to
    from livepatch.probing.probe import probe

    if (given.record is None) != (given.record_key is None):
        raise AuditError(
            "a record is written with a key",
            found="--record without --record-key, or the other way round",
            expected="both, or neither",
            action="name the folder and the key",
        )
    trust = answering(given)
    if given.record is not None:
        record_to(given.record, key=given.record_key)
    try:
        found = probe(given.files, known=given.known, trust=trust, timeout=given.timeout)
    finally:
        if given.record is not None:
            record_to(None)
    if given.json:
        print_json(found.to_dict())
        return found.ok
    style = Style(given.color)
    first, *rest = str(found).splitlines()
    print_lines([style("green" if found else "red", first)])
    inks = {"error": "red", "warning": "yellow"}
    print_lines(style(inks.get(line.partition(":")[0], "plain"), line) for line in rest)  # type: ignore[arg-type]  # inks
    return found.ok


def _find_record(given: argparse.Namespace) -> None:
    """Where the record is: a node knows.  Ends the command unless just one of the two is given."""
    if (given.folder is None) == (given.node is None):
        given.wrong("say which record: FOLDER, or --node WHERE, and not both")
    if given.node is None:
        return
    from livepatch.cli.nodes import found_nodes
    from livepatch.node.client import Node
    from livepatch.node.protocol import Hello

    paths = found_nodes([given.node])
    if len(paths) > 1:
        raise AuditError(
            "there are several records",
            found=f"{len(paths)} nodes",
            expected="one",
            action="name one node, and its record is read",
        )
    with Node(paths[0]) as node:
        record = node.ask(Hello())["record"]
    if not record:
        raise AuditError(
            "the node keeps no record",
            found=str(paths[0]),
            expected="a record",
            action="see livepatch.record_to",
        )
    given.folder = record["folder"]
    given.key = given.key or record["key"]


def _print_audit(found: Audit, given: argparse.Namespace) -> None:
    if given.json:
        print_json(found.to_dict())
        return
    style = Style(given.color)
    first, *rest = str(found).splitlines()
    print_lines([style("green" if found else "red", first)])
    inks = {"error": "red", "warning": "yellow"}
    print_lines(style(inks.get(line.partition(":")[0], "plain"), f"  {line}") for line in rest)  # type: ignore[arg-type]  # inks
    if found.deep and found.unfinished:
        told = ", ".join(map(str, found.unfinished[:20]))
        print_lines([style("yellow", f"  intents without a result, as a crash leaves them: {told}")])


def _picked(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for each in entries(given.folder):
        if given.patch and each.get("patch", {}).get("id") != given.patch:
            continue
        if not given.event or each["event"] == given.event:
            yield each


def _show(found: Audit, given: argparse.Namespace) -> None:
    told = list(_picked(given))
    if given.last is not None:
        told = told[max(len(told) - given.last, 0) :]
    if given.json:
        print_json({"origin": found.origin, "key": found.key, "ok": found.ok, "entries": told})
        return
    style = Style(given.color)
    print_lines([style("bold", f"record of {found.origin}"), style("plain", f"key {found.key}"), ""])
    inks = {"failed": "red", "done": "green"}
    print_lines(style(inks.get(each["phase"], "plain"), line) for each in told for line in _lines(each))  # type: ignore[arg-type]  # inks


def _lines(entry: dict[str, Any]) -> Iterable[str]:
    """One line, with what fits into it."""
    patch = entry.get("patch", {}).get("id", "")
    hidden = {"checkpoint", "key", "subtrees", "torn"} | ({"format", "origin"} if entry["event"] == "opened" else set())
    details = " ".join(f"{k}={_short(v)}" for k, v in entry["details"].items() if k not in hidden and v not in ("", []))
    head = f"{entry['index']:>7} {entry['at'][:19]}Z {entry['event']} {entry['phase']}"
    return [" ".join(part for part in (head, patch, f"by {entry['who']}", details) if part)]


def _short(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _export(found: Audit, given: argparse.Namespace) -> None:
    if given.checkpoint and given.since:
        raise AuditError(
            "--checkpoint and --since are two things",
            found="both",
            expected="one of them",
            action="export one after the other",
        )
    if given.checkpoint:
        if not found.checkpoint:
            raise AuditError(
                "there is no checkpoint in the record",
                found=f"{found.size} lines, none of which signs the others",
                expected="a record in which something was written to its end",
                action="see livepatch audit verify",
            )
        if given.json:
            print_json({"checkpoint": found.checkpoint, "key": found.key})
        else:
            print_lines(found.checkpoint.removesuffix("\n").split("\n"))
        return
    if given.since:
        print_json(consistency(given.folder, _read(given.since), found))
        return
    print_json(evidence(given.folder, _picked(given), found))


def _key(text: str) -> Verifier:
    return Verifier.parse(text if text.count("+") >= 2 else _read(text).decode("utf-8", "replace"))


def _read(path: str) -> bytes:
    try:
        data = read_at_most(path, 1 << 20)
        if data is None:
            raise ValueError("no regular file")
        return data
    except (OSError, ValueError) as error:
        raise AuditError(
            f"{spelled(path)} cannot be read",
            found=reason(error),
            expected="a file with a checkpoint or a key",
            action="correct the path",
        ) from error
