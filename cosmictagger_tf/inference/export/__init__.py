"""Weights to a SavedModel or a Keras file."""
