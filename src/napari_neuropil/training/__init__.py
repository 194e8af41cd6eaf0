"""Data, augmentation, targets, losses, trainer, and one recipe per network."""
