"""Data sets: what they are, where they are found, and how a batch of them is augmented."""

from linfkit.data.augmentations import random_crop, random_flip
from linfkit.data.dataset import Dataset
from linfkit.data.folders import cache_folder, expanded
from linfkit.data.loading import dataset_names, is_at_hand, load_dataset

__all__ = [
    "Dataset",
    "cache_folder",
    "dataset_names",
    "expanded",
    "is_at_hand",
    "load_dataset",
    "random_crop",
    "random_flip",
]
