"""Notebooks in batch: run through papermill, their figures kept, their claims judged."""
