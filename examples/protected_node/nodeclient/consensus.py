"""What all nodes must judge alike."""

from nodeclient.rewards import reward


def is_valid(height: int, claimed: int) -> bool:
    """Whether a block of that height claims what it may."""
    return claimed <= reward(height)
