"""Plans and inventories for tests."""

from __future__ import annotations

import json

from livepatch.fleet.inventory import Inventory, Node
from livepatch.fleet.planfile import rollout_in
from livepatch.fleet.planning import Planned, plan
from livepatch.fleet.rollout import Rollout

PLAN = """\
[rollout]
id = "r-1"
promoters = ["alice", "bob"]
detection-minutes = 5
retraction-minutes = 1
max-unavailable = 2

[patch]
id = "CVE-2026-1234"
digest = "sha256:DIGEST"
package = "nodeclient"
versions = ">=2.1,<2.3"

[[stage]]
name = "canary"
count = 10
soak-minutes = 30

[[stage]]
name = "third"
percent = 30
soak-minutes = 30

[[stage]]
name = "two-thirds"
percent = 60
soak-minutes = 30
promotion = "approved"

[[stage]]
name = "most"
percent = 85
soak-minutes = 30

[[stage]]
name = "all"
percent = 100
soak-minutes = 60

[[gate]]
metric = "errors"
most = 0.01

[[gate]]
metric = "latency"
worse = "higher"
""".replace("DIGEST", "ab" * 32)

CONSENSUS = """\
[rollout]
id = "r-2"
promoters = ["alice"]
detection-minutes = 5
retraction-minutes = 1
reach-minutes = 30

[patch]
id = "CVE-2026-1234"
digest = "sha256:DIGEST"
package = "nodeclient"
versions = ">=2.1,<2.3"
consensus = true

[[stage]]
name = "all"
percent = 100
soak-minutes = 30

[activation]
height = 2000
readiness = 0.9
margin-blocks = 100
block-seconds = 10
""".replace("DIGEST", "ab" * 32)


def rollout(text: str = PLAN) -> Rollout:
    return rollout_in(text.encode(), "plan.toml")


def nodes(count: int = 200, **changes) -> tuple[Node, ...]:
    regions = ("eu", "us", "asia")
    return tuple(Node(**{"id": f"n{i}", "version": "2.1.0", "region": regions[i % 3], **changes}) for i in range(count))


def inventory(count: int = 200, height: int | None = 1000, **changes) -> Inventory:
    return Inventory(source="nodes.json", nodes=nodes(count, **changes), height=height)


def planned(text: str = PLAN, count: int = 200) -> Planned:
    return plan(rollout(text), inventory(count))


def as_json(there: Inventory) -> str:
    rows = [{"id": n.id, "version": n.version, "region": n.region, "labels": list(n.labels), "weight": n.weight}
            for n in there.nodes]  # fmt: skip
    return json.dumps({"nodes": rows, "height": there.height})
