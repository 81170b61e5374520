"""Who lets a patch in, and when: two reviewers and an operator, a window that is closed, and an emergency."""

import os
import shlex
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

HERE = Path(__file__).resolve().parent
RELEASES = HERE.parent / "built_patch"
RULES = HERE / "rules.toml"
sys.path.insert(0, str(RELEASES / "2.1.0"))  # what pip would have installed

from nodeclient.peers import Connection  # noqa: E402  # the path comes first

import livepatch  # noqa: E402
from livepatch.cli.main import main as command  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

WINDOW = """\
[[window]]
from = "{:%H:%M}"
to = "{:%H:%M}"
"""


def run(line: str) -> None:
    """What people would type."""
    print(f"$ livepatch {line}", flush=True)
    print(f"  status {command(shlex.split(line))}", flush=True)


def put_in(*approvals: str) -> livepatch.Applied | None:
    """What the node does, and what it is told."""
    try:
        applied = livepatch.apply("fix.lpatch", trust=trust, policy=RULES, approvals=approvals)
    except livepatch.ProtectedError as error:
        for finding in error.report.errors:
            print(f"refused:   {finding.code}: {finding.found}")
        return None
    for finding in applied.report.findings:
        if finding.code == "emergency-override":
            print(f"overrides: {finding.expected}")
    print("applied:  ", applied.status())
    return applied


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)

    # The operators' own file, read from the working directory: a window of an hour, which opens in six.
    opens = datetime.now(UTC) + timedelta(hours=6)
    Path("livepatch.toml").write_text(WINDOW.format(opens, opens + timedelta(hours=1)), encoding="utf-8")

    # Once: everybody draws a key. Alice writes fixes and reviews those of others, so she has two.
    for name in ("root", "alice", "alice-reviews", "carol", "dave", "erin"):
        run(f"keygen {name}")
    reviewers = ["alice:alice-reviews.pub", "carol.pub", "dave.pub"]
    added = "".join(f" --add security-reviewer={key}" for key in reviewers)
    run(
        "trust init trust.json --package nodeclient --expires 2199-01-01T00:00:00Z"
        f" --add root=root.pub --add author=alice.pub --add operator=erin.pub{added}"
    )
    run("trust sign trust.json --key root")
    run(f"policy test {RULES}")

    # A fix, as it was built, signed, and given out.
    old, new = RELEASES / "2.1.0", RELEASES / "2.1.1"
    owners = "--owner watches 'node operations' --owner call 'the security team'"
    run(f"build {old} {new} --package nodeclient --id CVE-2026-1234 {owners} -o fix.lpatch")
    for name in ("alice", "carol", "erin"):
        run(f"sign fix.lpatch --key {name}")

    # In the node. Who signed has said that the file is what it says; who approves says that it may go in here.
    trust = livepatch.TrustRoot.load("trust.json", state="trust-state.json")
    put_in()

    run("approve fix.lpatch --key alice-reviews --class hot-patch -o alice.approval")
    run("approve fix.lpatch --key carol --class hot-patch -o carol.approval")
    run("approve fix.lpatch --key erin --class hot-patch -o erin.approval")
    put_in("alice.approval", "carol.approval", "erin.approval")  # Alice's does not count

    run("approve fix.lpatch --key dave --class hot-patch -o dave.approval")
    put_in("carol.approval", "dave.approval", "erin.approval")  # all that are needed, and the window is closed

    # Somebody uses the hole. A reviewer and the operator say that it cannot wait.
    peer = Connection("203.0.113.9")
    flood = [f"198.51.100.{i % 256}:{i}" for i in range(5_000)]
    print("flawed:   ", peer.on_peers(flood))
    for name in ("carol", "erin"):
        run(f"approve fix.lpatch --key {name} --emergency --reason 'it is used' -o {name}.emergency")
    applied = put_in("carol.emergency", "dave.approval", "erin.emergency")
    assert applied is not None
    print("patched:  ", peer.on_peers(flood))

    # The way back asks for nothing.
    applied.revert()
    print("reverted: ", peer.on_peers(flood))
