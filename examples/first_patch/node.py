"""A node that is patched while it runs."""

import sys

import structlog
from fixes import fix
from nodeclient.mempool import Mempool

import livepatch

# livepatch reports what it does through structlog; where that goes is the program's affair.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

on_transaction = Mempool().admit  # a callback, handed out long before there was a fix
original = Mempool.admit.__code__
huge = bytes(1_000_000)

print("flawed:   ", on_transaction(huge))
print(livepatch.check(fix))

applied = livepatch.apply(fix)
print("patched:  ", on_transaction(huge))

livepatch.flags["transaction-size"] = "off"
print("flag off: ", on_transaction(huge))
livepatch.flags["transaction-size"] = "on"
print("flag on:  ", on_transaction(huge))

print(applied.status())
print("verified: ", livepatch.verify().ok)

print(applied.revert())
print("reverted: ", on_transaction(huge))
print("the very code of before:", Mempool.admit.__code__ is original)
