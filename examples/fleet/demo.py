"""A fleet on one machine: a fix rolls out while its controller is killed, and a bad one stops by itself.

``python demo.py --nodes 8``, or with ``--store nats://127.0.0.1:4222`` on a NATS server with JetStream.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from fleet import Fleet, Patches, quietly

PLAN = """\
[rollout]
id = "ROLLOUT"
promoters = ["alice"]
detection-minutes = 0.02
retraction-minutes = 0.02
max-unavailable = 1

[[stage]]
name = "canary"
count = 1
soak-minutes = SOAK

[[stage]]
name = "half"
percent = 50
soak-minutes = SOAK

[[stage]]
name = "all"
percent = 100
soak-minutes = SOAK

[[gate]]                # a node's own health rules, if it has any
metric = "well"
least = 1

[[gate]]                # transactions that the pool refuses between two readings, a second apart
metric = "refused"
most = 0.5
"""


def told(fleet: Fleet) -> str:
    """Which patches are on how many nodes."""
    counts = Counter(patch for _, patches in fleet.patched() for patch in patches)
    return ", ".join(f"{patch} on {count}" for patch, count in sorted(counts.items())) or "no patch anywhere"


def show(fleet: Fleet, rollout: str) -> None:
    """What an operator sees."""
    print(f"$ livepatch rollout status {rollout}", flush=True)
    print(quietly("rollout", "status", rollout, "--store", fleet.store), flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--soak", type=float, default=6.0, help="seconds that each stage is watched")
    parser.add_argument("--store", default="", help="by default a file")
    given = parser.parse_args()
    plan = PLAN.replace("SOAK", f"{given.soak / 60:.6f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        patches = Patches(folder)
        good, bad, unsigned = patches.good("POOL"), patches.bad("POOL-2"), patches.unsigned("POOL-3")
        print(f"starting {given.nodes} nodes", flush=True)
        with Fleet(folder, patches.trust, given.store or str(folder / "fleet.db"), given.nodes) as fleet:
            fleet.start_controller("one")

            print("\n--- a fix, and the controller is killed in the middle of it", flush=True)
            fleet.start(plan, good, "good")
            fleet.wait("good", lambda now: now["opened"] == 1 and now["since"])
            print(f"the canary has it: {told(fleet)}", flush=True)
            fleet.start_controller("two")
            fleet.kill_controller("one")
            print("controller one: killed", flush=True)
            print(f"{fleet.ended('good')}: {told(fleet)}", flush=True)
            show(fleet, "good")

            print("--- a patch that is not signed as the nodes ask", flush=True)
            fleet.start(plan, unsigned, "unsigned")
            print(f"{fleet.ended('unsigned')}: {told(fleet)}", flush=True)
            show(fleet, "unsigned")

            print("--- the same fix by somebody who has got it wrong", flush=True)
            quietly("rollout", "abort", "good", "--why", "a newer one comes", "--store", fleet.store)
            print(f"first, the other is taken back: {fleet.ended('good')}: {told(fleet)}", flush=True)
            fleet.start(plan, bad, "bad")
            begun = time.monotonic()
            print(f"{fleet.ended('bad')} after {time.monotonic() - begun:.1f} s: {told(fleet)}", flush=True)
            show(fleet, "bad")


if __name__ == "__main__":
    main()
