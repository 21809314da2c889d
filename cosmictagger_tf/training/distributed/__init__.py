"""Many processes, one model: how the ranks of a job communicate."""
