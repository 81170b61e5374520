"""How much a peer may ask for."""

MAX_PEERS = 100_000  # far too many: that is the flaw
MAX_BYTES = MAX_PEERS * 18
