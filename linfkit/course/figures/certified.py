"""Figures of certified accuracy against ε, and the table of what rounding takes off."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from torch import Tensor

from linfkit._util.text import format_eps
from linfkit.certification.evaluation import Evaluation
from linfkit.certification.margins import Certificates
from linfkit.course.figures.table import Table
from linfkit.course.figures.template import add_line, add_points, new_figure
from linfkit.course.studies.rounding import Rounding

__all__ = ["accuracy_against_eps", "certified_accuracy", "rounding_table"]


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


def rounding_table(measured: Rounding, eps: float) -> Table:
    """Table of the rounding of logits: seen, allowed for, and its cost at eps.

    >>> import torch
    >>> one = torch.ones(1)
    >>> print(rounding_table(Rounding(0.2 * one, 0.1 * one, 4e-6 * one, 1e-7 * one), eps=0.1))
    Rounding, over 1 image; 1 certified at ε=0.1 by half the margin, of which rounding costs 1.
    in pixels                  mean     largest
    error of a logit, seen     1.0e-07  1.0e-07
    error of a logit, allowed  2.0e-06  2.0e-06
    taken off the radius       4.0e-06  4.0e-06
    """
    count = len(measured.radius)
    certified = int((measured.half_margin > eps).sum())
    return Table(
        f"Rounding, over {count} image{'s' * (count > 1)}; {certified} certified at ε={eps:g} by "
        f"half the margin, of which rounding costs {measured.lost(eps)}.",
        ["in pixels", "mean", "largest"],
        [
            _row("error of a logit, seen", measured.seen),
            _row("error of a logit, allowed", measured.allowed),
            _row("taken off the radius", measured.taken_off),
        ],
    )


def _row(name: str, sizes: Tensor) -> list[str]:
    return [name, f"{sizes.mean().item():.1e}", f"{sizes.max().item():.1e}"]
