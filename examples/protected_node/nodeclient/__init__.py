"""A small node client: it judges blocks, and tells peers its height."""
