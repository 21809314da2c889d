"""Many processes, one model: what the ranks of a job tell one another."""
