"""Certified ℓ∞ robustness that you can see: ℓp-distance nets, their training, their certificates.

>>> import linfkit as lk
>>> run = lk.fit(lk.load_recipe("digits-small").replace(width=16, epochs=2), progress=False)
>>> digits = lk.load_dataset("digits")
>>> certificates = lk.certify(run.ema_model, digits.test_x / 255, digits.test_y)
>>> 0 <= certificates.accuracy(eps=0.1) <= certificates.clean_accuracy <= 1
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linfkit.certification.attacks import smallest_perturbation, survives_pgd
    from linfkit.certification.certify import certify
    from linfkit.certification.evaluation import PGD, Evaluation, evaluate
    from linfkit.certification.exact import ExactRadius, exact_radius
    from linfkit.certification.intervals import interval_radius
    from linfkit.certification.layer_checks import check_lipschitz
    from linfkit.certification.lipschitz import (
        lipschitz_bound,
        lipschitz_by_layer,
        lipschitz_estimate,
    )
    from linfkit.certification.margins import Certificates, certified_radius
    from linfkit.course.claims import Claims
    from linfkit.data.dataset import Dataset
    from linfkit.data.loading import load_dataset
    from linfkit.functional import linf_interval, lp_dist, sorted_dist
    from linfkit.nn.checkpoints import load_model, save_model
    from linfkit.nn.convnets import LpDistAlexNet, LpDistCNN7, LpDistLeNet, LpDistVGG
    from linfkit.nn.ensembles import Ensemble, HybridEnsemble, VotingEnsemble
    from linfkit.nn.hybrid import HybridNet
    from linfkit.nn.layers import LpDist, LpDistConv2d, MeanShift
    from linfkit.nn.nets import LpDistNet
    from linfkit.nn.original_checkpoints import load_original
    from linfkit.nn.recompute_means import recentre
    from linfkit.nn.sortnet import SortDist, SortNet
    from linfkit.recipes.recipe import Recipe, load_recipe, recipe_names
    from linfkit.training.building import initial_model
    from linfkit.training.ensembles import EnsembleRun, fit_ensemble
    from linfkit.training.fit import fit, fit_all
    from linfkit.training.losses import hinge_loss, mixed_loss, zero_hinge
    from linfkit.training.optimizers import LpAdamW, Madam
    from linfkit.training.pretrained import load_pretrained, load_samples
    from linfkit.training.runs import Run

__version__ = "0.1.0"

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
    "LpDistCNN7",
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
    "load_pretrained",
    "load_recipe",
    "load_samples",
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

#: Public names by their module, which is imported when one of them is first used (PEP 562).
_NAMES = {
    "certification.attacks": "smallest_perturbation survives_pgd",
    "certification.certify": "certify",
    "certification.evaluation": "Evaluation PGD evaluate",
    "certification.exact": "ExactRadius exact_radius",
    "certification.intervals": "interval_radius",
    "certification.layer_checks": "check_lipschitz",
    "certification.lipschitz": "lipschitz_bound lipschitz_by_layer lipschitz_estimate",
    "certification.margins": "Certificates certified_radius",
    "course.claims": "Claims",
    "data.dataset": "Dataset",
    "data.loading": "load_dataset",
    "functional": "linf_interval lp_dist sorted_dist",
    "nn.checkpoints": "load_model save_model",
    "nn.convnets": "LpDistAlexNet LpDistCNN7 LpDistLeNet LpDistVGG",
    "nn.ensembles": "Ensemble HybridEnsemble VotingEnsemble",
    "nn.hybrid": "HybridNet",
    "nn.layers": "LpDist LpDistConv2d MeanShift",
    "nn.nets": "LpDistNet",
    "nn.original_checkpoints": "load_original",
    "nn.recompute_means": "recentre",
    "nn.sortnet": "SortDist SortNet",
    "recipes.recipe": "Recipe load_recipe recipe_names",
    "training.building": "initial_model",
    "training.ensembles": "EnsembleRun fit_ensemble",
    "training.fit": "fit fit_all",
    "training.losses": "hinge_loss mixed_loss zero_hinge",
    "training.optimizers": "LpAdamW Madam",
    "training.pretrained": "load_pretrained load_samples",
    "training.runs": "Run",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'linfkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"linfkit.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
