"""Other people's systems, each behind an extra of its own and imported on first use."""
