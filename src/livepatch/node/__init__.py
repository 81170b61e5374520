"""A running process that takes patches: its agent, the socket over which it is told, and who tells it."""
