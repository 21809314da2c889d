"""The sparse UResNet: submanifold convolutions over the active pixels only. Import from the modules."""
