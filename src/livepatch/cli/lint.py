"""``livepatch lint``: what a patch tells the world and should not."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from livepatch.cli.output import Style, add_color, add_json, print_json, print_lines
from livepatch.errors import counted

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "look for secrets, hosts, paths and hints in what a patch tells the world"
DESCRIPTION = """\
Look in the public texts of the patch in FILE for what should not be in them, and in its
new sources for secrets.  Nothing of the file is compiled, imported or run.  It goes by
patterns: that it finds nothing proves nothing."""
EXAMPLE = "livepatch lint fix.lpatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Look.  Whether there is nothing."""
    from livepatch.bundle.load import load
    from livepatch.govern.lint import lint

    patch = load(given.file)
    assert patch.origin is not None
    found = lint(patch)
    if given.json:
        facts = {"file": given.file, "digest": patch.origin.digest, "id": patch.id, "ok": not found}
        print_json({**facts, "findings": [asdict(finding) for finding in found]})
        return not found
    style = Style(given.color)
    print_lines(style("red" if each.severity == "error" else "yellow", str(each)) for each in found)
    what = counted(len(found), "thing") if found else "nothing"
    print_lines([style("bold" if found else "green", f"{patch.id}: {what} that should not be in it")])
    return not found
