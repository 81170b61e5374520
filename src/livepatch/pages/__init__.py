"""Pages for the browsers of this machine: to look at, and for nothing else."""
