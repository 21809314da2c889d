"""What things cost: reading, networks and ranks, measured on this machine or calculated."""
