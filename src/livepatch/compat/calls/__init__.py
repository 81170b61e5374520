"""The call graph: code objects read by an abstract machine, and where their values may go, worked out together."""
