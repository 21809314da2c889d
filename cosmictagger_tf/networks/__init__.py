"""Pixel lists to logits, in keras.layers and keras.ops only. Knows no file format."""
