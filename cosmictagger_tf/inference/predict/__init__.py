"""Logits to a larcv3 file of scores."""
