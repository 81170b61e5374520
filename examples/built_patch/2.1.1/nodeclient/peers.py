"""Connections to other nodes."""

from nodeclient.limits import MAX_BYTES, MAX_PEERS


class TooManyPeersError(ValueError):
    """A peer has sent more than it may."""


def _check(peers: list[str], most: int) -> None:
    if len(peers) > most:
        raise TooManyPeersError(f"{len(peers)} peers, of at most {most}")


class Connection:
    """One peer, and what it has sent us."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.known: list[str] = []
        self.offences = 0

    def on_peers(self, peers: list[str], most: int = MAX_PEERS) -> str:
        """Take in a list of peers, and remember who sends too many."""
        try:
            _check(peers, most)
        except TooManyPeersError:
            self.offences += 1
            return f"refused, offence {self.offences}"
        self.known.extend(peers)
        return "taken"

    def on_bytes(self, data: bytes) -> str:
        """Take in a raw message."""
        return "refused" if len(data) > MAX_BYTES else "taken"
