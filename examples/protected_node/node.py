"""A node whose consensus and wire are protected takes four fixes; one it refuses, and one waits for its height."""

import sys
from pathlib import Path

import structlog

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from fixes import hasty_fix, reward_fix, rpc_fix, wire_fix  # noqa: E402  # the path comes first
from nodeclient import consensus, rpc, wire  # noqa: E402

import livepatch  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
POLICY = HERE / "livepatch.toml"  # from this folder it would be found by itself


def refusal(patch: livepatch.Patch, mode: object = "on") -> str:
    """What the first error says was found."""
    try:
        livepatch.apply(patch, mode=mode, policy=POLICY)
    except livepatch.IncompatibleError as error:
        return error.report.errors[0].found
    raise SystemExit(f"{patch.id} was not refused")


height = 2500


def chain_height() -> int:
    """How far the chain is."""
    return height


print("rpc:      ", livepatch.check(rpc_fix, policy=POLICY).ok)
livepatch.apply(rpc_fix, policy=POLICY)
print("answers:  ", rpc.describe(-1))

print("reward:   ", refusal(reward_fix))
print("split:    ", refusal(reward_fix, livepatch.split(10)))
applied = livepatch.apply(reward_fix, mode=livepatch.at(3000, chain_height), policy=POLICY)
print("before:   ", consensus.is_valid(3000, 25))
try:
    applied.mode = "on"
except livepatch.PolicyError as error:
    print("on:       ", error.found)
height = 3000
print("after:    ", consensus.is_valid(3000, 25))

print("hasty:    ", refusal(hasty_fix))
livepatch.apply(wire_fix, policy=POLICY)
print("wire:     ", wire.decode(wire.encode(1200)))

for status in livepatch.status():
    livepatch.revert(status.id)
print("reverted: ", consensus.is_valid(3000, 25), livepatch.verify().ok)
