"""What is saved of a training and loaded again, shipped with the package, and imported from the reference."""
