"""Notebooks in batch: run them through papermill, keep their figures, judge their claims.

`reproduce` runs a profile's notebooks, here or on a cluster's workers. What a notebook found it
carries in its own outputs, so that running one is a function of its source and parameters alone.
"""

from linfkit.reproduce.profiles import Profile, Row, load_profile, load_profiles
from linfkit.reproduce.reproduction import reproduce
from linfkit.reproduce.results import NotebookResult, Results

__all__ = [
    "NotebookResult",
    "Profile",
    "Results",
    "Row",
    "load_profile",
    "load_profiles",
    "reproduce",
]
