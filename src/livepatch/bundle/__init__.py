"""Patches as files: made from two source trees, written down, read back."""
