"""What the owner of a node may ask.  Nothing of it concerns other nodes."""

from nodeclient.rewards import reward


def describe(height: int) -> str:
    """One line about a block."""
    return f"block {height} pays {reward(height)}"
