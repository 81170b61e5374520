"""A patch file from the first key to the running node: three people sign it, and the node takes it from nobody else."""

import os
import sys
import tempfile
from pathlib import Path

import structlog

RELEASES = Path(__file__).resolve().parents[1] / "built_patch"
sys.path.insert(0, str(RELEASES / "2.1.0"))  # what pip would have installed

from nodeclient.peers import Connection  # noqa: E402  # the path comes first

import livepatch  # noqa: E402
from livepatch.cli.main import main as command  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def run(line: str) -> None:
    """What people would type."""
    print(f"$ livepatch {line}", flush=True)
    print(f"  status {command(line.split())}", flush=True)


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)

    # Once: everybody draws a key, and those who hold the root keys sign whom to trust.
    for name in ("root", "alice", "carol", "erin"):
        run(f"keygen {name}")
    roles = "--add author=alice.pub --add security-reviewer=carol.pub --add operator=erin.pub"
    run(f"trust init trust.json --package nodeclient --expires 2199-01-01T00:00:00Z --add root=root.pub {roles}")
    run("trust sign trust.json --key root")

    # For each fix: one builds and signs, others look into the file and sign it too.
    old, new = RELEASES / "2.1.0", RELEASES / "2.1.1"
    run(f"build {old} {new} --package nodeclient --id CVE-2026-1234 --expires 2198-01-01T00:00:00Z -o fix.lpatch")
    run("lint fix.lpatch")  # what it tells the world
    run("sign fix.lpatch --key alice")
    run("sign fix.lpatch --key carol")

    # In the node. The state file is the node's own.
    peer = Connection("203.0.113.9")
    flood = [f"198.51.100.{i % 256}:{i}" for i in range(5_000)]
    trust = livepatch.TrustRoot.load("trust.json", state="trust-state.json")
    try:
        livepatch.apply("fix.lpatch", trust=trust)
    except livepatch.TrustError as error:
        print("refused: ", error.found)
    print("flawed:  ", peer.on_peers(flood))

    run("sign fix.lpatch --key erin")
    applied = livepatch.apply("fix.lpatch", trust=trust)
    print("patched: ", peer.on_peers(flood))
    applied.revert()
    print("reverted:", peer.on_peers(flood))
