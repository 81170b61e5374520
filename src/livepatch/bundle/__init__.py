"""Patches as files, and patches built from two source trees."""
