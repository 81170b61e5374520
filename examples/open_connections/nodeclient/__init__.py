"""A small node client: it keeps connections to its peers open."""
