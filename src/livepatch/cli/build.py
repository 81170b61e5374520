"""``livepatch build``: two source trees -> a patch file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from livepatch.cli.output import Style, add_json, described, in_line, print_json, print_lines, visible
from livepatch.cli.show import manifest, spelled_obstacle
from livepatch.contents.embargo import Embargo
from livepatch.contents.probes import probe_of
from livepatch.contents.release import CHANNEL, Release
from livepatch.errors import BundleError, PatchError, counted, spelled
from livepatch.patch import Patch

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "make a patch file from the sources before and after a fix"
DESCRIPTION = """\
Make the smallest patch that turns OLD into NEW, and write it into a file.
OLD and NEW are directories, wheels, sdists, or name==version for pip to fetch.

The file is written, and the status is 1, if the fix needs something that cannot be
done live: such a patch is refused by every process that has that part imported.
The status is 1 as well, and no file is written, if there is nothing to change.
A file that is there is left alone, and the status is 2, unless --force is given."""
EXAMPLE = """\
livepatch build nodeclient==2.1.0 nodeclient==2.1.1 --package nodeclient \\
    --id CVE-2026-1234 --only "Connection.*" -o fix.lpatch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("old", metavar="OLD", help="the sources that run now")
    parser.add_argument("new", metavar="NEW", help="the sources with the fix")
    parser.add_argument("--package", required=True, metavar="NAME", help="the distribution, as pip knows it")
    parser.add_argument(
        "--only",
        action="append",
        metavar="TARGET",
        help="take this definition (module:qualified.name, a module, a name or a pattern) and what it needs, and no "
        "other; may be given again",
    )
    parser.add_argument("--id", metavar="ID", help="the id of the patch, such as that of an advisory")
    parser.add_argument("--versions", metavar="SPECIFIER", help="PEP 440; by default the very version of OLD")
    parser.add_argument("--summary", default="", metavar="TEXT", help="what the fix does, in a sentence")
    parser.add_argument("--flag", metavar="NAME", help="the switch of the patch; by default its id")
    parser.add_argument(
        "--compatible-with",
        default="",
        metavar="SPECIFIER",
        help="the claim that a patched process still exchanges messages and data with these releases",
    )
    parser.add_argument(
        "--waive",
        nargs=2,
        action="append",
        default=[],
        metavar=("TARGET", "REASON"),
        help="say that no protected code calls TARGET, and why; may be given again",
    )
    parser.add_argument(
        "--round-trip",
        nargs=3,
        action="append",
        default=[],
        metavar=("ENCODE", "DECODE", "VALUES"),
        help="names (module:name) of what is to show that either side decodes the other's; may be given again",
    )
    for option, operands, shows in (
        ("--snapshot", ("LOAD", "EXAMPLES"), "both sides read the data that is there already"),
        ("--snapshot-back", ("LOAD", "EXAMPLES", "STORE"), "the old side reads what the new one stores, as well"),
    ):
        parser.add_argument(
            option,
            nargs=len(operands),
            action="append",
            default=[],
            metavar=operands,
            help=f"names (module:name) of what is to show that {shows}; may be given again",
        )
    parser.add_argument(
        "--pure",
        action="append",
        default=[],
        metavar="TARGET",
        help="declare that both sides of this function change nothing, so that it may be shadowed; may be given again",
    )
    parser.add_argument(
        "--owner",
        nargs=2,
        action="append",
        default=[],
        metavar=("ROLE", "TEXT"),
        help="who looks after the patch: who watches it (ROLE watches), may stop it (stops), whom to call (call); once "
        "for each",
    )
    parser.add_argument(
        "--probe",
        action="append",
        default=[],
        metavar="FILE",
        help="carry this Python source, which defines vulnerable(), as a regression probe under the name of the file; "
        "may be given again",
    )
    parser.add_argument(
        "--safe-probe",
        action="append",
        default=[],
        metavar="FILE",
        help="the same, and declare that it may run in a process that is in use; may be given again",
    )
    parser.add_argument(
        "--embargo",
        metavar="TOML",
        help="put what stands in this file (until, proof-of-concept, affected-paths, reporter) into the patch, for "
        "nobody else before its date",
    )
    parser.add_argument(
        "--channel", default=CHANNEL, metavar="NAME", help=f"where it is given out; by default {CHANNEL}"
    )
    parser.add_argument(
        "--revision", type=int, default=1, metavar="N", help="which file under this id it is; the first by default"
    )
    parser.add_argument(
        "--expires", default="", metavar="MOMENT", help="until when it may be taken, such as 2027-03-31T00:00:00Z"
    )
    parser.add_argument(
        "--node", action="append", default=[], metavar="NAME", help="give it to this node only; may be given again"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; by default ID.lpatch")
    parser.add_argument("--force", action="store_true", help="replace a file that is there, with the signatures in it")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Build and save.  Whether there is a patch, and nothing stands in its way."""
    from livepatch.bundle.build import build
    from livepatch.bundle.load import load

    if given.output:
        _is_free(given.output, given)
    probes = [probe_of(Path(path).stem, Path(path), False) for path in given.probe]
    probes += [probe_of(Path(path).stem, Path(path), True) for path in given.safe_probe]
    patch = build(
        given.old,
        given.new,
        package=given.package,
        only=given.only,
        id=given.id,
        versions=given.versions,
        summary=given.summary,
        flag=given.flag,
        compatible_with=given.compatible_with,
        pure=given.pure,
        owners=_owners(given.owner),
        embargo=_embargo(given.embargo),
        probes=probes,
    )
    for target, reason in given.waive:
        patch.waive(target, reason=reason)
    for names in given.round_trip:
        patch.round_trip(*names)
    for names in given.snapshot:
        patch.snapshot(*names)
    for names in given.snapshot_back:
        patch.snapshot(*names, rollback=True)
    patch.release = Release(
        channel=given.channel, revision=given.revision, expires=given.expires, nodes=tuple(given.node)
    )
    if not patch.edits and not patch.obstacles:
        return _says_nothing(patch, given)
    path = given.output or f"{patch.id}.lpatch"
    _is_free(path, given)
    patch.save(path)
    saved = load(path)
    assert saved.origin is not None
    facts = described(saved, path, saved.origin.digest)
    if given.json:
        print_json(facts)
    else:
        print_lines([f"wrote {in_line(path)}", *manifest(saved, facts, Style("never"))])
    for obstacle in saved.obstacles:
        sys.stderr.write(f"livepatch build: cannot be done live: {visible(spelled_obstacle(obstacle))}\n")
    return not saved.obstacles


def _owners(given: list[list[str]]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for role, text in given:
        if role in owners:
            raise PatchError(
                f"--owner {role} is given twice",
                found="two texts for one role",
                expected="one",
                action="name both in one text",
            )
        owners[role] = text
    return owners


def _embargo(path: str | None) -> Embargo | None:
    if path is None:
        return None
    from livepatch.documents.advisory import read_embargo

    return read_embargo(Path(path))


def _is_free(path: str, given: argparse.Namespace) -> None:
    """Raise :class:`BundleError` if a file is there that was not said to give way."""
    if not given.force and Path(path).is_file():
        raise BundleError(
            "the patch file is there already",
            found=f"{spelled(path)}, perhaps with signatures",
            expected="a path at which nothing is",
            action="choose another path with -o, or pass --force to replace it",
        )


def _says_nothing(patch: Patch, given: argparse.Namespace) -> bool:
    """Tell why a patch is empty.  A file of it would be refused by every process."""
    if given.json:
        print_json(described(patch, "", ""))
    else:
        print_lines([visible(f"{e.verdict + ':':<10}{e.what} {e.target} ({e.why})") for e in patch.plan])
    left = f"{counted(len(patch.plan), 'difference')} left out" if patch.plan else "the two do not differ"
    picked = ", and nothing that was picked with --only is among them" if given.only else ""
    sys.stderr.write(f"livepatch build: nothing to change, and no file written: {left}{picked}\n")
    return False
