"""What things cost: time and memory of networks, measured on this machine."""
