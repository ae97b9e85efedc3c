"""Notebooks and runs as web pages, which need no kernel, no server and no network."""

from linfkit._util.extras import require

for package in ("nbconvert", "plotly"):
    require(package, "notebooks")
