"""The fix counts what each connection has asked for, and how often a frame was looked at."""

from __future__ import annotations

import asyncio

import nodeclient.connection  # noqa: F401  # a patch finds only what is imported

import livepatch

fix = livepatch.Patch("CVE-2026-2345", package="nodeclient", versions="==2.1.*", summary="refuse unasked transactions")

# Connections that are open have never heard of it: each gets a count of its own.
fix.shadow("nodeclient.connection:Connection", expected=0)


@fix.replace("nodeclient.connection:Connection.request_transaction")
async def request_transaction(self) -> None:
    """Ask the peer for a transaction, and expect one."""
    self.expected += 1
    await asyncio.sleep(0)


@fix.replace("nodeclient.connection:Connection.on_transaction")
async def on_transaction(self, frame) -> str:
    """Take a transaction that was asked for, once."""
    looked_at = livepatch.shadow(frame, "looked_at", default=list)  # a frame has no room for an attribute
    looked_at.append(self.name)
    await asyncio.sleep(0)
    if len(looked_at) > 1:
        return "refused, seen before"
    if self.expected == 0:
        return "refused, nobody asked"
    self.expected -= 1
    return "taken"
