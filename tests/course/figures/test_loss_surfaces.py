"""Figures of the losses: that they draw the library's losses, and zero where the hinge is zero.

Not here: how they look.
"""

import pytest
import torch

import linfkit as lk
from linfkit.course.figures import loss_curves, loss_surface
from linfkit.course.studies.losses import losses_of_a_sample

LOSSES = ["hinge", "clipped hinge", "λ·cross-entropy", "mixed"]


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_costs_what_the_library_s_losses_say(seed):
    logits = torch.randn(1, 5, generator=torch.Generator().manual_seed(seed)).double()
    label = torch.tensor([2])
    differences = (logits[0, 2] - logits[0])[[0, 1, 3, 4]]
    losses = losses_of_a_sample(differences, theta=0.8, lam=0.3, logit_scale=2.0)
    torch.testing.assert_close(losses["hinge"], lk.hinge_loss(logits, label, 0.8))
    torch.testing.assert_close(losses["mixed"], lk.mixed_loss(logits, label, 0.8, 0.3, 2.0))
    torch.testing.assert_close(losses["clipped hinge"], lk.mixed_loss(logits, label, 0.8, 0.0, 2.0))
    parts = losses["clipped hinge"] + losses["λ·cross-entropy"]
    torch.testing.assert_close(losses["mixed"], parts)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_surface_is_the_loss_over_the_plane(loss):
    surface, corner = loss_surface(loss, lam=0.1, theta=0.2, logit_scale=2.0).data
    row, column = 3, 20
    differences = torch.tensor([surface.x[column], surface.y[row]], dtype=torch.float64)
    value = losses_of_a_sample(differences, 0.2, 0.1, 2.0)[loss].item()
    assert surface.z[row][column] == pytest.approx(value, abs=1e-3)
    assert corner.x[:2] == corner.y[1:] == (0.2, 0.2)


def test_the_hinge_is_zero_beyond_the_corner_and_the_mixed_loss_nowhere():
    z = {
        loss: torch.tensor(loss_surface(loss, 0.0005, 0.6, 2.0).data[0].z)
        for loss in ("hinge", "mixed")
    }
    assert z["hinge"][-1, -1] == 0
    assert (z["mixed"] > 0).all()


def test_slopes_end_at_theta_but_for_the_cross_entropy():
    figure = loss_curves(lam=0.1, theta=0.6, logit_scale=2.0)
    slopes = {trace.name: trace for trace in figure.data if trace.name.endswith("slope")}
    for loss in ("hinge", "clipped hinge"):
        trace = slopes[f"{loss}, slope"]
        assert all(
            (size is None) == (x > 0.6)
            for x, size in zip(trace.x, trace.y, strict=True)
            if abs(x - 0.6) > 1e-6 and x > 0
        )
    assert all(size > 0 for size in slopes["mixed, slope"].y)


def test_only_the_clipped_hinge_is_flat_on_the_wrong_side():
    figure = loss_curves(lam=0.1, theta=0.6, logit_scale=2.0)
    first = {trace.name: trace.y[0] for trace in figure.data if trace.name.endswith("slope")}
    assert first["clipped hinge, slope"] is None
    assert first["hinge, slope"] == pytest.approx((0.75 + 0.25 / 3) / 0.6)
    assert first["mixed, slope"] == first["λ·cross-entropy, slope"] > 0


def test_sliders_find_the_same_traces_and_axes_everywhere():
    for figures in (
        [loss_curves(lam, theta, 2.0) for lam, theta in [(0.1, 0.2), (0.0005, 0.6)]],
        [loss_surface(loss, 0.1, 0.2, 2.0) for loss in LOSSES],
    ):
        assert len({tuple(trace.type for trace in figure.data) for figure in figures}) == 1
        axes = [(f.layout.xaxis.to_plotly_json(), f.layout.yaxis.to_plotly_json()) for f in figures]
        assert all(axis == axes[0] for axis in axes)
        assert len({figure.layout.title.text for figure in figures}) == len(figures)
