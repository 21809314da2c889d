"""Faults as commands: runs killed at random instants (kills.py), files with random damage (fuzz.py)."""
