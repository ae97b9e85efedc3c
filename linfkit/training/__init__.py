"""Training: from a recipe to a net, its moving average and its history, kept and resumed."""

from linfkit.training.building import build_model, initial_model
from linfkit.training.ensembles import EnsembleRun, fit_ensemble
from linfkit.training.fitting import fit, fit_all
from linfkit.training.runs import Run

__all__ = [
    "EnsembleRun",
    "Run",
    "build_model",
    "fit",
    "fit_all",
    "fit_ensemble",
    "initial_model",
]
