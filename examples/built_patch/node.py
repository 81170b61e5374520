"""A node of version 2.1.0 that takes the fix of 2.1.1 while it runs.  Nobody has written a patch by hand."""

import sys
from pathlib import Path

import structlog

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "2.1.0"))  # what pip would have installed

from nodeclient.peers import Connection  # noqa: E402  # the path comes first

import livepatch  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

peer = Connection("203.0.113.9")  # open long before there is a fix
flood = [f"198.51.100.{i % 256}:{i}" for i in range(5_000)]
print("flawed:  ", peer.on_peers(flood))

fix = livepatch.build(HERE / "2.1.0", HERE / "2.1.1", package="nodeclient")
for entry in fix.plan:
    print(f"  {entry.verdict:8} {entry.target} ({entry.what}){f': {entry.why}' if entry.why else ''}")
print("fits:    ", livepatch.check(fix).ok)

applied = livepatch.apply(fix)
print("patched: ", peer.on_peers(flood))
print("again:   ", peer.on_peers(flood))
print("small:   ", peer.on_peers(flood[:10]))
print("bytes:   ", peer.on_bytes(bytes(20_000)))

applied.revert()
print("reverted:", peer.on_peers(flood))
print("verified:", livepatch.verify().ok)
