"""What a network's logits mean: calibrated probabilities of pixels and readouts, and the thresholds applied to them."""
