"""Figures of certified accuracy against ε."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from linfkit._util.text import format_eps
from linfkit.certification.evaluation import Evaluation
from linfkit.certification.margins import Certificates
from linfkit.course.figures.template import add_line, add_points, new_figure

__all__ = ["accuracy_against_eps", "certified_accuracy"]


def certified_accuracy(
    certificates: Mapping[str, Certificates], eps: float, points: int = 200
) -> go.Figure:
    """Certified accuracy of each model against ε; a line marks the ε that the recipe reports."""
    figure = new_figure("certified-accuracy")
    sizes = torch.linspace(0, 2 * eps, points).tolist()
    for name, certified in certificates.items():
        add_line(figure, sizes, [certified.accuracy(size) for size in sizes], name)
    return figure.add_vline(x=eps, line_dash="dot", annotation_text="ε of the recipe")


def accuracy_against_eps(evaluation: Evaluation, points: int = 200) -> go.Figure:
    """Certified accuracy by each proof, from ε = 0 to twice the ε that was asked for.

    What an attack left is a point at that ε; robust accuracy is between it and the lines.
    """
    eps = format_eps(evaluation.eps)
    figure = new_figure("accuracy-against-eps", dict(eps=eps))
    sizes = torch.linspace(0, min(2 * evaluation.eps, 1.0), points).tolist()
    for name, proof in evaluation.proofs.items():
        add_line(figure, sizes, [proof.accuracy(size) for size in sizes], f"certified, {name}")
    if evaluation.attack is not None:
        left = [evaluation.attacked_accuracy]
        name = f"attacked, PGD-{evaluation.attack.steps}"
        add_points(figure, [evaluation.eps], left, name, size=11, symbol="x")
    return figure.add_vline(x=evaluation.eps, line_dash="dot", annotation_text=f"ε = {eps}")
