"""Data sets: loading, standard files, downloads and augmentations."""
