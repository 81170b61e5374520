"""Documents about a patch: for those who apply it, and for the world."""
