"""What the papers' tables report of a net: clean, attacked and certified accuracy, and of which."""

from linfkit.evaluation.evaluating import PGD, Evaluation, evaluate
from linfkit.evaluation.record import Record
from linfkit.evaluation.trained import DataIdentity, TrainedNet, load_trained

__all__ = [
    "PGD",
    "DataIdentity",
    "Evaluation",
    "Record",
    "TrainedNet",
    "evaluate",
    "load_trained",
]
