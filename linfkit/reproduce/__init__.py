"""Notebooks in batch: run through papermill, their figures kept, their claims judged."""

from linfkit._util.extras import require

require("papermill", "notebooks")
