"""``livepatch check``: would the patch fit what lies in that directory?"""

from __future__ import annotations

import argparse

from livepatch.cli.output import Style, add_color, add_json, print_json, print_report

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "compare a patch file with the sources of a package"
DESCRIPTION = """\
Compare the before side of the patch in FILE with the sources in DIR, without a live
process: nothing of either is imported, compiled or run.  Comments and layout do not count.

That the sources agree says nothing about a process that runs other ones: the process
compares again, with the code in its memory, before it takes the patch."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    parser.add_argument(
        "--package-dir",
        required=True,
        metavar="DIR",
        help="the package: a source tree, or a folder that pip has installed into",
    )
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Compare.  Whether it fits."""
    from livepatch.bundle.comparing import compare
    from livepatch.bundle.load import load
    from livepatch.bundle.trees import open_tree

    patch = load(given.file)
    report = compare(patch, open_tree(given.package_dir, patch.package))
    assert patch.origin is not None
    if given.json:
        where = {"file": given.file, "digest": patch.origin.digest, "package_dir": given.package_dir}
        print_json({**report.to_dict(), **where})
    else:
        print_report(report, Style(given.color), "these sources")
    return report.ok
