"""Certified accuracy against ε."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from linfkit.certification.margins import Certificates
from linfkit.course.figures.template import new_figure

__all__ = ["certified_accuracy"]


def certified_accuracy(
    certificates: Mapping[str, Certificates], eps: float, points: int = 200
) -> go.Figure:
    """Certified accuracy of each model against ε; a line marks the ε that the recipe reports."""
    figure = new_figure("certified-accuracy")
    sizes = torch.linspace(0, 2 * eps, points).tolist()
    for name, certified in certificates.items():
        figure.add_scatter(x=sizes, y=[certified.accuracy(size) for size in sizes], name=name)
    return figure.add_vline(x=eps, line_dash="dot", annotation_text="ε of the recipe")
