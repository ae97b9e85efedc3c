"""Figures as pure functions: data in, plotly Figure out, in one template."""

from linfkit.figures.averaging import ema_curves, ema_gain_curves, ensemble_accuracy, ensemble_sizes
from linfkit.figures.bench import pairs_per_second
from linfkit.figures.certified import certified_accuracy
from linfkit.figures.lipschitz import (
    constant_against_p,
    constant_by_layer,
    constant_in_training,
    margin_histogram,
    margins_against_p,
)
from linfkit.figures.losses import certified_against_margin, clean_labels, starved_against_p

__all__ = [
    "certified_accuracy",
    "certified_against_margin",
    "clean_labels",
    "constant_against_p",
    "constant_by_layer",
    "constant_in_training",
    "ema_curves",
    "ema_gain_curves",
    "ensemble_accuracy",
    "ensemble_sizes",
    "margin_histogram",
    "margins_against_p",
    "pairs_per_second",
    "starved_against_p",
]
