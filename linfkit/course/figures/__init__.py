"""Figures as pure functions: data in, plotly Figure out, in one template."""

from linfkit.course.figures.attacked import (
    accuracy_after_changes,
    certified_and_attacked,
    image_and_perturbation,
    radius_against_attack,
    turned_image,
)
from linfkit.course.figures.bench import pairs_per_second
from linfkit.course.figures.certified import certified_accuracy
from linfkit.course.figures.ema import (
    certified_with_decay,
    ema_curves,
    ema_gain_curves,
    warm_up,
    weights_in_plane,
    weights_moved,
)
from linfkit.course.figures.enclosed import proved_true_found
from linfkit.course.figures.ensembles import (
    certified_against_weights,
    ensemble_accuracy,
    ensemble_sizes,
    fusion_against_voting,
    gain_by_width,
    margins_on_the_way,
    voting_margin,
)
from linfkit.course.figures.evaluated import accuracy_against_eps
from linfkit.course.figures.lipschitz import (
    constant_against_p,
    constant_by_layer,
    constant_in_training,
    constant_through_layers,
    margins_against_p,
    net_at_exponent,
)
from linfkit.course.figures.loss_surfaces import loss_curves, loss_surface
from linfkit.course.figures.losses import certified_against_margin, clean_labels, starved_against_p
from linfkit.course.figures.perturbing import image_at_radius, logits_under_perturbation
from linfkit.course.figures.plane import (
    decision_regions,
    level_sets,
    level_sets_by_p,
    margin_cones,
    squares_of_size,
)
from linfkit.course.figures.published import (
    certified_against_scale,
    certified_by_exponent,
    results_table,
    training_beside,
)
from linfkit.course.figures.rounding import rounding_table
from linfkit.course.figures.sweep import claims_against
from linfkit.course.figures.training import (
    accuracy_in_training,
    loss_in_training,
    schedules_in_training,
)

__all__ = [
    "accuracy_after_changes",
    "accuracy_against_eps",
    "accuracy_in_training",
    "certified_accuracy",
    "certified_against_margin",
    "certified_against_scale",
    "certified_against_weights",
    "certified_and_attacked",
    "certified_by_exponent",
    "certified_with_decay",
    "claims_against",
    "clean_labels",
    "constant_against_p",
    "constant_by_layer",
    "constant_in_training",
    "constant_through_layers",
    "decision_regions",
    "ema_curves",
    "ema_gain_curves",
    "ensemble_accuracy",
    "ensemble_sizes",
    "fusion_against_voting",
    "gain_by_width",
    "image_and_perturbation",
    "image_at_radius",
    "level_sets",
    "level_sets_by_p",
    "logits_under_perturbation",
    "loss_curves",
    "loss_in_training",
    "loss_surface",
    "margin_cones",
    "margins_against_p",
    "margins_on_the_way",
    "net_at_exponent",
    "pairs_per_second",
    "proved_true_found",
    "radius_against_attack",
    "results_table",
    "rounding_table",
    "schedules_in_training",
    "squares_of_size",
    "starved_against_p",
    "training_beside",
    "turned_image",
    "voting_margin",
    "warm_up",
    "weights_in_plane",
    "weights_moved",
]
