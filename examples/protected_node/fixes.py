"""Four fixes: of what consensus calls, of the wire (wrongly and rightly), and of what concerns nobody else."""

from nodeclient.rewards import reward

import livepatch


def patch(name: str, compatible_with: str = "") -> livepatch.Patch:
    """A patch for the client of this example."""
    return livepatch.Patch(name, package="nodeclient", versions="==2.1.*", compatible_with=compatible_with)


reward_fix = patch("reward", ">=2.1")
hasty_fix = patch("wire-hasty", ">=2.1")
wire_fix = patch("wire", ">=2.1")
rpc_fix = patch("rpc")


@reward_fix.replace("nodeclient.rewards:reward")
def falling_reward(height: int) -> int:
    """The reward of a block."""
    return 100 >> (height // 1000)


@hasty_fix.replace("nodeclient.wire:decode")
def decode_hastily(message: bytes) -> int:
    """The height in a message, which the author believes to be little-endian."""
    if len(message) > 4:
        raise ValueError("oversized message")
    return int.from_bytes(message, "little")


@wire_fix.replace("nodeclient.wire:decode")
def decode(message: bytes) -> int:
    """The height in a message."""
    if len(message) > 4:
        raise ValueError("oversized message")
    return int.from_bytes(message, "big")


@rpc_fix.replace("nodeclient.rpc:describe")
def describe(height: int) -> str:
    """One line about a block, for which the height is checked."""
    return "no such block" if height < 0 else f"block {height} pays {reward(height)}"
