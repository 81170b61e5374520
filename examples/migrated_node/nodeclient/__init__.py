"""A client of a node that remembers its peers."""
