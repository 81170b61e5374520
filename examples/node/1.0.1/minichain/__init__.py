"""minichain: a small chain of blocks that a few validators agree on.  Every node listens on 127.0.0.1 only."""

__version__ = "1.0.1"
