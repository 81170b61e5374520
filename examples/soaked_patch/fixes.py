"""Two fixes of one flaw: the first closes it, and stops the event loop now and then; the second only closes it."""

import time

import livepatch

slow = livepatch.Patch("CVE-2026-1234", package="nodeclient", versions="==2.1.*", summary="refuse large transactions")
good = livepatch.Patch("CVE-2026-1234.2", package="nodeclient", versions="==2.1.*", summary="the same, without a wait")


@slow.replace("nodeclient.mempool:Mempool.admit")
def admit_slowly(self, transaction: bytes) -> str:
    """Take a transaction in, unless it is too large, and wait for nobody knows what."""
    time.sleep(0.2)
    if len(transaction) > 4096:
        return "refused"
    self.waiting.append(transaction)
    return "admitted"


@good.replace("nodeclient.mempool:Mempool.admit")
def admit(self, transaction: bytes) -> str:
    """Take a transaction in, unless it is too large."""
    if len(transaction) > 4096:
        return "refused"
    self.waiting.append(transaction)
    del self.waiting[:-1000]
    return "admitted"
