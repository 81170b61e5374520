"""The transactions that wait for a block."""

MAX_SIZE = 4096  # bytes


class Mempool:
    """Waiting transactions, in the order in which they came."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []

    def admit(self, transaction: bytes) -> str:
        """Take a transaction in, whatever its size: that is the flaw."""
        self.waiting.append(transaction)
        return "admitted"
