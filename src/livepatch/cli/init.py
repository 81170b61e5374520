"""``livepatch init``: the first patch, policy and test of a client's repository."""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "write a patch, a policy and a test to begin with"
DESCRIPTION = """\
Write livepatch.toml and, into the folder patches, a small patch and a test of it.  The
test passes as it is, under pytest with livepatch's plugin; put your package's names in
the place of those of the example.  No file is overwritten without --force."""
EXAMPLE = "livepatch init client"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", metavar="DIR", nargs="?", default=".", help="the repository; by default this folder")
    parser.add_argument("--force", action="store_true", help="replace files of these names that are there already")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Write."""
    from livepatch.testing.starter import write_starter

    paths = [str(path) for path in write_starter(given.folder, force=given.force)]
    if given.json:
        print_json({"files": paths})
    else:
        told = [f"wrote {in_line(path)}" for path in paths]
        print_lines([*told, f"next: python -m pytest {in_line(paths[-1])} (needs livepatch's extra testing)"])
    return True
