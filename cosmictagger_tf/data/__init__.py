"""Files to batches of pixel lists. Knows no network."""
