"""Calibrating a trained network on validation data."""
