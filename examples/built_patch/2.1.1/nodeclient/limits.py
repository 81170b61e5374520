"""How much a peer may ask for."""

MAX_PEERS = 1_000
MAX_BYTES = MAX_PEERS * 18
