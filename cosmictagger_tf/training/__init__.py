"""Logits to weights: loss, metrics, schedules, checkpoints and the loop around model.fit."""
