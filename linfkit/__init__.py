"""Certified ℓ∞ robustness that you can see: ℓp-distance nets, their training, their certificates.

>>> import linfkit as lk
>>> run = lk.fit(lk.load_recipe("digits-small").replace(width=16, epochs=2), progress=False)
>>> digits = lk.load_dataset("digits")
>>> certificates = lk.certify(run.ema_model, digits.test_x / 255, digits.test_y)
>>> 0 <= certificates.accuracy(eps=0.1) <= certificates.clean_accuracy <= 1
True
"""

from __future__ import annotations

from linfkit.attacks import smallest_perturbation, survives_pgd
from linfkit.certificates import Certificates, certified_radius, certify, interval_radius
from linfkit.checkpoints import load_model, save_model
from linfkit.claims import Claims
from linfkit.convnets import LpDistAlexNet, LpDistLeNet, LpDistVGG
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.evaluation import PGD, Evaluation, evaluate
from linfkit.exact import ExactRadius, exact_radius
from linfkit.functional import linf_interval, lp_dist, sorted_dist
from linfkit.hybrid import HybridEnsemble, HybridNet
from linfkit.layers import LpDist, LpDistConv2d, MeanShift
from linfkit.lipschitz import lipschitz_bound, lipschitz_by_layer, lipschitz_estimate
from linfkit.losses import hinge_loss, mixed_loss, zero_hinge
from linfkit.models import Ensemble, LpDistNet, VotingEnsemble
from linfkit.optim import LpAdamW, Madam
from linfkit.original import load_original
from linfkit.recentring import recentre
from linfkit.recipes import Recipe, load_recipe, recipe_names
from linfkit.sortnet import SortDist, SortNet
from linfkit.soundness import check_lipschitz
from linfkit.training import EnsembleRun, Run, fit, fit_all, fit_ensemble, initial_model
from linfkit.version import __version__

__all__ = [
    "PGD",
    "Certificates",
    "Claims",
    "Dataset",
    "Ensemble",
    "EnsembleRun",
    "Evaluation",
    "ExactRadius",
    "HybridEnsemble",
    "HybridNet",
    "LpAdamW",
    "LpDist",
    "LpDistAlexNet",
    "LpDistConv2d",
    "LpDistLeNet",
    "LpDistNet",
    "LpDistVGG",
    "Madam",
    "MeanShift",
    "Recipe",
    "Run",
    "SortDist",
    "SortNet",
    "VotingEnsemble",
    "__version__",
    "certified_radius",
    "certify",
    "check_lipschitz",
    "evaluate",
    "exact_radius",
    "fit",
    "fit_all",
    "fit_ensemble",
    "hinge_loss",
    "initial_model",
    "interval_radius",
    "linf_interval",
    "lipschitz_bound",
    "lipschitz_by_layer",
    "lipschitz_estimate",
    "load_dataset",
    "load_model",
    "load_original",
    "load_recipe",
    "lp_dist",
    "mixed_loss",
    "recentre",
    "recipe_names",
    "save_model",
    "smallest_perturbation",
    "sorted_dist",
    "survives_pgd",
    "zero_hinge",
]
