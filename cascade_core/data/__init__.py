"""Data sets: the checked index, samples, augmentation and the order of training."""
