"""``livepatch verify``: is a patch file signed as a trust root asks?"""

from __future__ import annotations

import argparse

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_trust, trust_of

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "say whether a patch file is signed as a trust root asks"
DESCRIPTION = """\
Verify the signatures on FILE, and that it was given out for this package, channel and
node and is still valid.  Nothing of it is compiled, imported or run."""
EXAMPLE = "livepatch verify fix.lpatch --trust trust.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file")
    add_trust(parser, required=True)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Verify.  What is missing is raised."""
    from livepatch.bundle.load import load

    root = trust_of(given)
    assert root is not None
    patch = load(given.file, trust=root)
    origin = patch.origin
    assert origin is not None
    signers = {
        role: [{"keyid": keyid, "holder": root.keys[keyid].name} for keyid in keyids]
        for role, keyids in origin.signers.items()
    }
    if given.json:
        print_json(
            {
                "file": given.file,
                "digest": origin.digest,
                "id": patch.id,
                "verified": origin.verified,
                "signers": signers,
                "trust_root": {"version": root.version, "digest": root.digest, "expires": root.expires},
            }
        )
        return origin.verified
    print_lines(
        [
            f"{in_line(given.file)}: {patch.id} for {patch.package} {patch.versions} ({origin.digest})",
            *(
                f"  {role}: {', '.join(each['holder'] for each in every)} "
                f"({len(every)}, {root.roles[role].threshold} needed)"
                for role, every in signers.items()
            ),
            f"verified by version {root.version} of the trust root, valid until {origin.until}",
        ]
    )
    return origin.verified
