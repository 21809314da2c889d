"""Logits to metrics, tables and a report."""
