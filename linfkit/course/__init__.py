"""The course: claims, explorers, figures, studies and exercises of the notebooks."""

from linfkit._util.extras import require

require("plotly", "notebooks")
