"""cosmictagger_tf: cosmic rays and neutrinos told apart, pixel by pixel, in liquid-argon images."""

import os
import sys

__version__ = "0.1.0"

# `python -m` looks for modules in the current folder first, where a queue.py of the user's would take the place of
# Python's; while it looks for the command, "-m" is the first argument. A checkout is found there, and stays.
_ABOVE = os.path.realpath(os.path.dirname(__path__[0]))
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _ABOVE:
    del sys.path[0]
