"""cosmictagger_tf: cosmic rays and neutrinos told apart, pixel by pixel, in liquid-argon images."""

__version__ = "0.1.0"
