"""Connections to other nodes."""

from nodeclient.limits import MAX_BYTES, MAX_PEERS


class Connection:
    """One peer, and what it has sent us."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.known: list[str] = []

    def on_peers(self, peers: list[str], most: int = MAX_PEERS) -> str:
        """Take in a list of peers."""
        if len(peers) > most:
            return "refused"
        self.known.extend(peers)
        return "taken"

    def on_bytes(self, data: bytes) -> str:
        """Take in a raw message."""
        return "refused" if len(data) > MAX_BYTES else "taken"
