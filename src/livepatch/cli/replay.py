"""``livepatch replay``: run recorded calls without the patch and with it, and say where they differ."""

from __future__ import annotations

import argparse

from livepatch.cli.output import Style, add_color, add_json, print_json, print_lines
from livepatch.cli.trusting import add_trust, answering

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "run recorded calls without a patch and with it, and compare"
DESCRIPTION = """\
Run the recorded calls in INPUTS twice, each time in a fresh process that imports the
package as it is installed here: without the patch in FILE, and with it.  Compare what
each call gives and what it leaves.  INPUTS holds JSON lines, or msgpack maps one after
the other; docs/replay.md has their form.

The code of the package and of FILE is run, so somebody has to answer for FILE: those
who signed it (--trust), or you (--unsigned)."""
EXAMPLE = "livepatch replay fix.lpatch blocks.jsonl --trust trust.json --activation 1200000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file, or module:name of a patch written in code")
    parser.add_argument("inputs", metavar="INPUTS", help="the recorded calls")
    parser.add_argument(
        "--activation",
        type=int,
        metavar="HEIGHT",
        help="the patch is live from this height on; below it no difference can be declared",
    )
    parser.add_argument(
        "--declared",
        action="append",
        default=[],
        metavar="TARGET",
        help="calls of this target (module:name) may differ; may be given again",
    )
    parser.add_argument(
        "--observe",
        action="append",
        default=[],
        metavar="NAME",
        help="compare what this name (module:name) leads to after each call, too; may be given again",
    )
    parser.add_argument("--setup", metavar="NAME", help="a function (module:name) to be called first on each side")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long each call may take; by default 30"
    )
    parser.add_argument("--unsigned", action="store_true", help="you answer for FILE yourself")
    add_trust(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Replay.  Whether the sides differ where that is declared, and nowhere else."""
    from livepatch.replaying.replay import replay

    replayed = replay(
        given.file,
        given.inputs,
        activation=given.activation,
        declared=given.declared,
        observe=given.observe,
        setup=given.setup,
        timeout=given.timeout,
        trust=answering(given),
    )
    if given.json:
        print_json({**replayed.to_dict(), "file": given.file, "inputs_file": given.inputs})
    else:
        style = Style(given.color)
        first, *rest = str(replayed).split("\n")
        print_lines([style("green" if replayed.ok else "red", first), *(style("plain", line) for line in rest)])
    return replayed.ok
