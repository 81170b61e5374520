"""What a patch consists of, as values: who it is, what it changes, what it claims.  `patch.py` puts them together."""
