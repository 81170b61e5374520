"""``livepatch attest``: signed evidence that tests ran against a patch."""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_signer, signer_of
from livepatch.contents.words import RESULTS

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "sign that a suite of tests ran against a patch file, and what came of it"
DESCRIPTION = """\
Write a signed in-toto statement: the suite ran against the very patch in FILE, with this
result.  Policy can ask for it, and in which role the key counts is for the trust root."""
EXAMPLE = "livepatch attest fix.lpatch --suite integration --key carol"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    parser.add_argument("--suite", required=True, metavar="NAME", help="what policy calls the suite of tests")
    parser.add_argument("--result", choices=RESULTS, help="by default PASSED, or FAILED if a test is named")
    parser.add_argument("--failed", action="append", default=[], metavar="TEST", help="a test that failed; repeatable")
    parser.add_argument("--url", default="", metavar="URL", help="where more stands")
    add_signer(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="by default FILE.NAME.evidence")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Attest."""
    from livepatch.bundle.evidence import attest

    result = given.result or ("FAILED" if given.failed else "PASSED")
    target = attest(
        given.file,
        suite=given.suite,
        key=signer_of(given),
        result=result,
        failed=given.failed,
        url=given.url,
        output=given.output,
    )
    if given.json:
        print_json({"file": str(target), "suite": given.suite, "result": result, "failed": given.failed})
    else:
        print_lines([f"{given.suite} {result} for {in_line(given.file)}, in {in_line(str(target))}"])
    return True
