"""What a block pays.  No part of the consensus by its name, but the consensus calls it."""


def reward(height: int) -> int:
    """The reward of a block; with a flaw: it never falls below 25."""
    return max(100 >> (height // 1000), 25)
