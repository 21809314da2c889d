"""A small LArTPC: particles to wires to Events."""
