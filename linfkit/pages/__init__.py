"""Notebooks, documentation and runs as web pages that need no kernel and no network."""

from linfkit._util.extras import require

require("plotly", "notebooks")
