"""Logits to files, tables and pictures."""
