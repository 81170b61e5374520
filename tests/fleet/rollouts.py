"""A rollout that was begun in a store, and nodes that are only reports."""

from __future__ import annotations

from tests.fleet.plans import as_json, inventory
from tests.node.stores import patch_file

from livepatch.bundle.envelope import read_bundle
from livepatch.bundle.trust import admitted
from livepatch.fleet.beginning import Files, begin
from livepatch.fleet.following import Member
from livepatch.fleet.keys import measured_of
from livepatch.fleet.measured import Windows
from livepatch.fleet.running import Follower

TEXT = """\
[rollout]
id = "r-1"
promoters = ["alice", "bob"]
detection-minutes = 5
retraction-minutes = 1
max-unavailable = 1

[patch]
id = "CVE-2026-1234"
digest = "DIGEST"
package = "nodeclient"
versions = ">=2.1,<2.3"
can-halt = false

[[stage]]
name = "canary"
count = 3
soak-minutes = 30

[[stage]]
name = "all"
percent = 100
soak-minutes = 30
promotion = "approved"

[[gate]]
metric = "errors"
most = 0.01
"""


def text_of(patch: bytes, rollout: str = "r-1", name: str = "CVE-2026-1234", text: str = TEXT) -> str:
    """A plan for that very file."""
    digest = admitted(read_bundle(patch), None, "").digest
    return text.replace("DIGEST", digest).replace('"r-1"', f'"{rollout}"').replace("CVE-2026-1234", name)


def files(name: str = "CVE-2026-1234", rollout: str = "r-1", nodes: int = 8, **changes) -> Files:
    patch = patch_file(name)
    given = {
        "plan": text_of(patch, rollout, name).encode(),
        "inventory": as_json(inventory(nodes)).encode(),
        "patch": patch,
        **changes,
    }
    return Files(**given)


class Begun:
    """A rollout in a store, with followers that do at once what they are told."""

    def __init__(self, store, clock, **changes):
        self.store, self.clock = store, clock
        self.planned = begin(store, files(**changes), who="alice")
        self.rollout = self.planned.rollout.id
        rows = zip(self.planned.nodes, self.planned.stages, strict=True)
        self.followers = [
            Follower(self.rollout, Member(id=node.id, stage=stage), store, lambda goal, _: goal, ttl=2000.0)
            for node, stage in rows
        ]

    def turn(self, errors=0.001):
        """All nodes follow, and have measured that ever since."""
        for follower in self.followers:
            follower.turn()
            windows = Windows(60.0)
            for minute in range(40):
                windows.add("errors", self.clock() - 60 * (40 - minute), errors)
            windows.is_news(self.clock())
            self.store.put(measured_of(self.rollout, follower.member.id), windows.encoded(), expected=None)
