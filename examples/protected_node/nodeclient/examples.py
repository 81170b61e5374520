"""Values that messages carry."""

HEIGHTS = [0, 1, 1200, 2**32 - 1]
