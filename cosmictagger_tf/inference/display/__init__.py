"""Logits to pictures of events."""
