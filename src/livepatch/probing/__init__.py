"""Regression probes, asked whether the holes that patches have closed are closed still."""
