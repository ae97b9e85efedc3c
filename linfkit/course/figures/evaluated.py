"""A net's certified accuracy against ε, and what an attack left at one ε."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from linfkit._util.text import format_eps
from linfkit.certification.evaluation import Evaluation
from linfkit.course.figures.template import new_figure

__all__ = ["accuracy_against_eps"]


def accuracy_against_eps(evaluation: Evaluation, points: int = 200) -> go.Figure:
    """Certified accuracy by each proof, from ε = 0 to twice the ε that was asked for.

    What an attack left is a point at that ε; robust accuracy is between it and the lines.
    """
    eps = format_eps(evaluation.eps)
    figure = new_figure("accuracy-against-eps", dict(eps=eps))
    sizes = torch.linspace(0, min(2 * evaluation.eps, 1.0), points).tolist()
    for name, proof in evaluation.proofs.items():
        certified = [proof.accuracy(size) for size in sizes]
        figure.add_scatter(x=sizes, y=certified, name=f"certified, {name}")
    if evaluation.attack is not None:
        figure.add_scatter(
            x=[evaluation.eps],
            y=[evaluation.attacked_accuracy],
            mode="markers",
            marker=dict(symbol="x", size=11),
            name=f"attacked, PGD-{evaluation.attack.steps}",
        )
    return figure.add_vline(x=evaluation.eps, line_dash="dot", annotation_text=f"ε = {eps}")
