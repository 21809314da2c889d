"""What is saved of a training, found again, shipped with the package, and imported from the reference."""
