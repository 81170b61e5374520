"""Recorded inputs, run on the old side and on the new one, each in a process of its own."""
