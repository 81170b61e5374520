"""The fix, in a module of its own."""

from nodeclient.mempool import MAX_SIZE

import livepatch

fix = livepatch.Patch(
    "CVE-2026-1234",
    package="nodeclient",
    versions="==2.1.*",
    summary="refuse transactions that are too large",
    flag="transaction-size",
)


@fix.replace("nodeclient.mempool:Mempool.admit")
def admit(self, transaction: bytes) -> str:
    """Take a transaction in, unless it is too large."""
    if len(transaction) > MAX_SIZE:
        return "refused"
    self.waiting.append(transaction)
    return "admitted"
