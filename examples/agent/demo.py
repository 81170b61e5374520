"""An operator at another terminal: a signed file goes into the node, outlives a kill, and goes out again."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from livepatch.cli.main import main as command

HERE = Path(__file__).resolve().parent
RELEASES = HERE.parent / "built_patch"


def livepatch(line: str) -> None:
    """What the operator types."""
    print(f"$ livepatch {line}", flush=True)
    print(f"  status {command(line.split())}", flush=True)


def prepare(folder: Path) -> None:
    """Keys, a trust root, and a patch file that all have signed; examples/signed_patch tells more of it."""
    for name in ("root", "alice", "carol", "erin"):
        livepatch(f"keygen {folder / name}")
    roles = {"root": "root", "author": "alice", "security-reviewer": "carol", "operator": "erin"}
    added = " ".join(f"--add {role}={folder / name}.pub" for role, name in roles.items())
    livepatch(f"trust init {folder}/trust.json --package nodeclient --expires 2199-01-01T00:00:00Z {added}")
    livepatch(f"trust sign {folder}/trust.json --key {folder}/root")
    old, new = RELEASES / "2.1.0", RELEASES / "2.1.1"
    livepatch(f"build {old} {new} --package nodeclient --id CVE-2026-1234 -o {folder}/fix.lpatch")
    for name in ("alice", "carol", "erin"):
        livepatch(f"sign {folder}/fix.lpatch --key {folder / name}")


def start(folder: Path) -> subprocess.Popen[str]:
    """The node, in a process of its own, that ends by Ctrl-C even where this one was started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen([sys.executable, HERE / "node.py", folder], stdout=subprocess.PIPE, text=True)


def says(node: subprocess.Popen[str]) -> None:
    """Print the next thing that the node says."""
    assert node.stdout is not None
    print(f"node: {node.stdout.readline()}", end="", flush=True)


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    prepare(folder)
    where = f"--node {folder}/store"

    node = start(folder)
    says(node)
    livepatch(f"doctor {where}")
    livepatch(f"check {folder}/fix.lpatch {where}")
    livepatch(f"apply {folder}/fix.lpatch {where}")
    says(node)
    livepatch(f"status --verify {where}")

    time.sleep(1.5)  # longer than the guard: the node has shown that it lives with the patch
    node.kill()
    node.wait()
    print("node: killed", flush=True)
    node = start(folder)
    says(node)  # it comes up with the patch

    livepatch(f"flag CVE-2026-1234 off {where}")
    says(node)
    livepatch(f"flag CVE-2026-1234 on {where}")
    says(node)
    livepatch(f"revert CVE-2026-1234 {where}")
    says(node)
    livepatch(f"audit verify {where}")
    node.send_signal(signal.SIGINT)
    says(node)
    node.wait()
