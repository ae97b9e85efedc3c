"""Bad input: each gives the documented error, soon, and leaves all files as they were.

Of every public function and command one bad input at least, and of the files they read. Inputs that
are odd but sound, and what the sources may not do, are at the end. Not tested here: random bytes,
which tests/robustness/test_fuzzing.py makes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import re
import struct
import tarfile
import time
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import psutil
import pytest
import safetensors.torch
import torch
from nbformat.v4 import new_code_cell, new_notebook
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import linfkit as lk
from linfkit._util.workers import local_cluster
from linfkit.cli.app import app
from linfkit.data.downloads import SOURCES as DOWNLOADS
from linfkit.data.downloads import PublishedFile, Source
from linfkit.nn.checkpoints import write_tensors
from linfkit.reproduce.reproduction import reproduce
from linfkit.training.losses import worst_logits
from linfkit.training.optimizers import row_decay
from linfkit.training.saved import SavedNet, saved_nets
from tests.helpers import ROOT

SECONDS = 2.0

#: Public, but made by other functions alone: they take what those have checked.
RECORDS = {"EnsembleRun", "Evaluation", "ExactRadius"}

X, LABELS = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
LOGITS = torch.tensor([[0.5, 0.0, 0.1]] * 3)
ONE = torch.ones(1)
ROWS, WEIGHTS = torch.ones(2, 4), torch.zeros(3, 4)
PIXELS, DIGITS = np.zeros((3, 5, 6), dtype=np.uint8), np.array([0, 1, 2])


@cache
def net():
    return lk.LpDistNet(4, width=8, depth=2, classes=3).eval()


@cache
def digits():
    return lk.load_dataset("digits").subset(train_images=50, test_images=20)


@cache
def tiny():
    return lk.load_recipe("digits-small").replace(epochs=1, width=8)


def conv():
    return lk.LpDistConv2d(2, 4, kernel_size=3)


def parameters():
    return [nn.Parameter(torch.ones(2, 2))]


def data_set(train_x=PIXELS, train_y=DIGITS, test_x=PIXELS, test_y=DIGITS, classes=None):
    return lk.Dataset.from_arrays(train_x, train_y, test_x, test_y, classes=classes)


def run():
    return lk.Run(tiny(), 0, net(), net(), [{"epoch": 1.0}], {}, None)


# --- arguments


class Case(NamedTuple):
    name: str
    call: Callable[[], object]
    error: type[Exception]
    message: str


ARGUMENTS = [
    Case("check_lipschitz", lambda: lk.check_lipschitz("net"), TypeError, "^model must be a torch"),
    Case(
        "Certificates",
        lambda: lk.Certificates(torch.tensor([0.2])).accuracy(eps="8/255"),
        TypeError,
        "^eps must be",
    ),
    Case("Certificates", lambda: lk.Certificates([0.2]), TypeError, "^radius must be a torch.Tens"),
    Case("PGD", lambda: lk.PGD(steps=0), ValueError, "^steps must be at least 1; got 0"),
    Case("PGD", lambda: lk.PGD(restarts="2"), TypeError, "^restarts must be a whole number"),
    Case("PGD", lambda: lk.PGD(seed=-1), ValueError, "^seed must be at least 0; got -1"),
    Case(
        "Certificates",
        lambda: lk.Certificates(torch.tensor([0.2])).accuracy(eps=8),
        ValueError,
        r"^eps must be in pixels.*did you mean 8/255\?",
    ),
    Case(
        "Certificates",
        lambda: lk.Certificates(torch.tensor([0.2])).accuracy(eps=math.nan),
        ValueError,
        "^eps must be in pixels",
    ),
    Case(
        "Claims",
        lambda: lk.Claims("a").check("Not An Id", "text", 1, at_least=1),
        ValueError,
        "^id must be lower-case words",
    ),
    Case(
        "Claims",
        lambda: lk.Claims("a").check("id", "text", [1, 2], at_least=1),
        TypeError,
        "^value must be one number; got list",
    ),
    Case(
        "Claims",
        lambda: lk.Claims("a").check("id", "text", 1, at_least=math.nan),
        ValueError,
        "must have bounds that are numbers",
    ),
    Case("Claims", lambda: lk.Claims("05_ema").judge({"no-ema": 1}), ValueError, "no claim 'no-em"),
    Case("Dataset", lambda: data_set(train_x=[0]), TypeError, "^train_x must be .*; got list"),
    Case("Dataset", lambda: data_set(PIXELS - 0.5), ValueError, "^train_x must be uint8 pixels, o"),
    Case("Dataset", lambda: data_set(PIXELS.astype(int)), TypeError, "^train_x must be uint8 pixe"),
    Case(
        "Dataset",
        lambda: data_set(test_x=PIXELS[:0]),
        ValueError,
        r"^test_x must be .*; got shape \(0, 1, 5",
    ),
    Case(
        "Dataset",
        lambda: data_set(train_y=DIGITS - 1),
        ValueError,
        "^train_y must hold labels .*; got -1",
    ),
    Case(
        "Dataset",
        lambda: data_set(train_y=DIGITS / 1.0),
        TypeError,
        "^train_y must hold whole numbers; got ndarray of float64",
    ),
    Case(
        "Dataset",
        lambda: data_set(train_y=DIGITS[:2]),
        ValueError,
        "^train_y must hold one label .*; got 2",
    ),
    Case(
        "Dataset", lambda: data_set(classes=()), ValueError, "^classes must be at least two names"
    ),
    Case("Dataset", lambda: data_set(classes=10), TypeError, "^classes must be .*; got 10"),
    Case("Dataset", lambda: data_set(train_y=10**6 * DIGITS), ValueError, "^classes must be given"),
    Case("Dataset", lambda: lk.Dataset.from_folder(3), TypeError, "^root must be .*; got 3"),
    Case(
        "Dataset", lambda: lk.Dataset.from_folder("no"), FileNotFoundError, "^root must .* is no no"
    ),
    Case("Dataset", lambda: lk.Dataset.from_folder("."), ValueError, r"^\. must hold a folder of"),
    Case("Dataset", lambda: lk.Dataset.from_folder(".", size=32), TypeError, "^size must be two"),
    Case(
        "Dataset", lambda: lk.Dataset.from_folder(".", size=(0, 8)), ValueError, "^size must be at"
    ),
    Case(
        "Dataset", lambda: lk.Dataset.from_folder(".", test_share=1), ValueError, "^test_share must"
    ),
    Case("Dataset", lambda: lk.Dataset.from_folder(".", seed=-1), ValueError, "^seed must be at"),
    Case("Dataset", lambda: lk.Dataset.from_torch(X, X), TypeError, "^train must be .* got Tensor"),
    Case(
        "Dataset",
        lambda: lk.Dataset.from_torch(TensorDataset(X[:0]), TensorDataset(X)),
        ValueError,
        "^train must hold images; got none",
    ),
    Case(
        "Dataset", lambda: digits().subset(0), ValueError, "^train_images must be at least 1; got 0"
    ),
    Case("Ensemble", lambda: lk.Ensemble([]), ValueError, "^models must hold at least one"),
    Case("Ensemble", lambda: lk.Ensemble(3), TypeError, "^models must be several models; got int"),
    Case("Ensemble", lambda: lk.Ensemble("ab"), TypeError, "^models must be several models"),
    Case("HybridEnsemble", lambda: lk.HybridEnsemble([net()]), TypeError, "^models must be hybrid"),
    Case("HybridNet", lambda: lk.HybridNet("net", 4), TypeError, "^net must be a net of distances"),
    Case("HybridNet", lambda: lk.HybridNet(net(), 0), ValueError, "^hidden must be at least 1"),
    Case(
        "HybridNet",
        lambda: lk.HybridNet(net(), 5).worst_logits(X, LABELS, "8/255"),
        TypeError,
        r"^eps must be in pixels of \[0, 1\], such as 8/255; got '8/255'$",
    ),
    Case(
        "HybridEnsemble",
        lambda: lk.HybridEnsemble(
            [lk.HybridNet(lk.LpDistNet(4, width, 2, 3), 5) for width in (8, 9)]
        ),
        ValueError,
        r"^models must be of one width; got \[8, 9\]",
    ),
    Case("LpAdamW", lambda: lk.LpAdamW(parameters(), lr=math.nan), ValueError, "^lr must be"),
    Case("LpAdamW", lambda: lk.LpAdamW(parameters(), betas=0.9), TypeError, "^betas must be two"),
    Case("LpAdamW", lambda: lk.LpAdamW(parameters(), betas="ab"), TypeError, "^betas must be two"),
    Case("LpAdamW", lambda: lk.LpAdamW(parameters(), p="8"), TypeError, "^p must be a number"),
    Case("LpAdamW", lambda: row_decay([1.0], 2), TypeError, "^weight must be a torch.Tensor"),
    Case("LpAdamW", lambda: row_decay(torch.ones(3), 2), ValueError, "^weight must be non-empty"),
    Case("LpAdamW", lambda: row_decay(torch.ones(0, 3), 2), ValueError, "^weight must be non-em"),
    Case("LpAdamW", lambda: row_decay(ROWS, 0.5), ValueError, "^p must be a number from 1"),
    Case("LpDist", lambda: lk.LpDist(0, 3), ValueError, "^in_features must be at least 1"),
    Case("LpDist", lambda: lk.LpDist(3, 2.5), TypeError, "^out_features must be a whole number"),
    Case("LpDist", lambda: lk.LpDist(4, 3)([1.0]), TypeError, "^x must be a torch.Tensor; got li"),
    Case("LpDist", lambda: setattr(net(), "p", "8"), TypeError, "^p must be a number .* got '8'"),
    Case("LpDistAlexNet", lambda: lk.LpDistAlexNet((3, 4, 4)), ValueError, "^image_shape must be"),
    Case("LpDistCNN7", lambda: lk.LpDistCNN7((3, 8, 8), filters=0), ValueError, "^filters must be"),
    Case("LpDistLeNet", lambda: lk.LpDistLeNet("mnist"), TypeError, "^image_shape must be"),
    Case("LpDistVGG", lambda: lk.LpDistVGG((3, 32)), ValueError, "^image_shape must be"),
    Case("LpDistConv2d", lambda: lk.LpDistConv2d(2, 4, 3, groups=3), ValueError, "^groups must di"),
    Case("LpDistConv2d", lambda: lk.LpDistConv2d(2, 4, 0), ValueError, "^kernel_size must be"),
    Case("LpDistConv2d", lambda: conv()("x"), TypeError, "^x must be a torch.Tensor; got str"),
    Case("LpDistConv2d", lambda: conv()(torch.ones(1, 2, 2, 2)), ValueError, "^x must be at leas"),
    Case("LpDistConv2d", lambda: conv()(torch.ones(1, 3, 9, 9)), ValueError, "^x must be images"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, 8, 2, 0), ValueError, "^classes must be at least 1"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, True, 2, 3), TypeError, "^width must be a whole"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, 8, 2, 3, mean="g"), TypeError, "^mean must be one n"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, 8, 2, 3, mean=math.inf), ValueError, "^mean must be"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, 8, 2, 3, scale=0), ValueError, "^scale must be a po"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, 8, 2, 3, scale=1e-320), ValueError, "^scale must be"),
    Case("LpDistNet", lambda: lk.LpDistNet(4, 8, 2, 3, scale=10**400), ValueError, "^scale must b"),
    Case("LpDistNet", lambda: net()("x"), TypeError, "^x must be a torch.Tensor; got str"),
    Case("LpDistNet", lambda: net()(X.to(torch.uint8)), TypeError, "^x must hold floating-poin"),
    Case("LpDistNet", lambda: net()(X.double()), TypeError, r"^x must be torch\.float32"),
    Case("LpDistNet", lambda: net()(X[:, :3]), ValueError, "^x must be a batch of images with 4"),
    Case("Madam", lambda: lk.Madam(parameters(), weight_bound=0), ValueError, "^weight_bound must"),
    Case("Madam", lambda: lk.Madam(parameters(), lr="fast"), TypeError, "^lr must be a number"),
    Case("MeanShift", lambda: lk.MeanShift(-1), ValueError, "^features must be at least 1"),
    Case("MeanShift", lambda: lk.MeanShift(2, math.nan), ValueError, "^momentum must be"),
    Case("MeanShift", lambda: lk.MeanShift(2, None), TypeError, "^momentum must be"),
    Case("MeanShift", lambda: lk.MeanShift(4)([[0.0]]), TypeError, "^x must be a torch.Tensor"),
    Case("Recipe", lambda: lk.Recipe(), ValueError, "(?m)^dataset must be given"),
    Case("Recipe", lambda: tiny().replace(epochs="20"), ValueError, "^epochs must .* got '20'"),
    Case("Recipe", lambda: tiny().replace(lr=math.nan), ValueError, "^lr must .* got nan"),
    Case("Recipe", lambda: tiny().replace(lr=10**400), ValueError, "^lr must .* got 1000"),
    Case("Recipe", lambda: tiny().replace(self=1), ValueError, "^'self' is no key of a recipe"),
    Case("Recipe", lambda: tiny().replace(**{"": 1}), ValueError, "^'' is no key of a recipe"),
    Case("Run", lambda: run().column("los"), ValueError, "^history has no column 'los'"),
    Case("SortDist", lambda: lk.SortDist(4, 3, rho=1.0), ValueError, "^rho must be a number"),
    Case("SortDist", lambda: lk.SortDist(4, 3, rho=0.3)([1.0]), TypeError, "^x must be a torch.T"),
    Case("SortNet", lambda: lk.SortNet(4, 8, 1, 3, rho=0.3), ValueError, "^depth must be at lea"),
    Case("SortNet", lambda: lk.SortNet(4, 8, 2, 3, rho=None), TypeError, "^rho must be a number"),
    Case("VotingEnsemble", lambda: lk.VotingEnsemble([net()], 0), ValueError, "^logit_scale must"),
    Case("VotingEnsemble", lambda: lk.VotingEnsemble([net()], "9"), TypeError, "^logit_scale must"),
    Case(
        "certified_radius",
        lambda: lk.certified_radius(LOGITS[:, :1], 0 * LABELS),
        ValueError,
        "^logits must have at least two classes",
    ),
    Case(
        "certified_radius",
        lambda: lk.certified_radius(LOGITS, LABELS - 1),
        ValueError,
        "^labels must be from 0 to 2; got values from -1 to 1",
    ),
    Case(
        "certified_radius",
        lambda: lk.certified_radius(LOGITS, LABELS.float()),
        TypeError,
        "^labels must hold whole numbers",
    ),
    Case("certify", lambda: lk.certify("net", X, LABELS), TypeError, "^model must be a torch.nn"),
    Case("certify", lambda: lk.certify(nn.Flatten(), X, LABELS), ValueError, "^model must hold"),
    Case("certify", lambda: lk.certify(net(), 255 * X, LABELS), ValueError, "divide by 255"),
    Case("certify", lambda: lk.certify(net(), X / 0, LABELS), ValueError, "^x must hold finite"),
    Case(
        "certify", lambda: lk.certify(net(), X[:0], LABELS[:0]), ValueError, "^x must be a non-em"
    ),
    Case(
        "certify", lambda: lk.certify(net(), X, LABELS[:2]), ValueError, "^labels must be one for"
    ),
    Case("certify", lambda: lk.certify(net(), X, ["0"]), TypeError, "^labels must hold whole num"),
    Case("certify", lambda: lk.certify(net(), X, LABELS, 0), ValueError, "^batch_size must be"),
    Case("evaluate", lambda: lk.evaluate("net", digits(), 0.1), TypeError, "^model must be a"),
    Case("evaluate", lambda: lk.evaluate(nn.Flatten(), digits(), 0.1), ValueError, "^model must h"),
    Case("evaluate", lambda: lk.evaluate(net(), "digits", 0.1), TypeError, "^data must be a Data"),
    Case(
        "evaluate", lambda: lk.evaluate(net(), digits(), "8/255"), TypeError, "^eps must be .*'8/"
    ),
    Case("evaluate", lambda: lk.evaluate(net(), digits(), 8), ValueError, "did you mean 8/255"),
    Case(
        "evaluate", lambda: lk.evaluate(net(), digits(), 0.1, 3), TypeError, "^attack must be a P"
    ),
    Case(
        "evaluate", lambda: lk.evaluate(net(), digits(), 0.1), ValueError, "^x must be a batch of"
    ),
    Case("exact_radius", lambda: lk.exact_radius(nn.Flatten(), X[0], 0), TypeError, "^model must"),
    Case("exact_radius", lambda: lk.exact_radius(net(), X[0, :3], 0), ValueError, "^x must be one"),
    Case("exact_radius", lambda: lk.exact_radius(net(), X[0], -1), ValueError, "^label must be"),
    Case("exact_radius", lambda: lk.exact_radius(net(), X[0], 0, -1), ValueError, "^time_limit m"),
    Case("exact_radius", lambda: lk.exact_radius(net(), X[0], 0, "1"), TypeError, "^time_limit m"),
    Case(
        "fit", lambda: lk.fit(3), TypeError, "^recipe must be a name or the path of a file; got 3"
    ),
    Case("fit", lambda: lk.fit("digits-smal"), ValueError, "did you mean 'digits-small'"),
    Case("fit", lambda: lk.fit(tiny(), PIXELS), TypeError, "^data must be a Dataset"),
    Case("fit", lambda: lk.fit(tiny(), seed=-1), ValueError, "^seed must be at least 0; got -1"),
    Case("fit", lambda: lk.fit(tiny(), seed=0.5), TypeError, "^seed must be a whole number"),
    Case("fit", lambda: lk.fit(tiny(), device="tpu9"), ValueError, "^device must be .*'tpu9'"),
    Case("fit", lambda: lk.fit(tiny(), device=0), TypeError, "^device must be .* got 0"),
    Case("fit", lambda: lk.fit(tiny(), model="net"), TypeError, "^model must be a torch.nn.Mod"),
    Case("fit", lambda: lk.fit(tiny(), out=3), TypeError, "^out must be the path of a folder"),
    Case("fit", lambda: lk.fit(tiny(), checkpoint_every=math.nan), ValueError, "^checkpoint_ever"),
    Case("fit_all", lambda: lk.fit_all(3), TypeError, "^recipes must be pairs"),
    Case("fit_all", lambda: lk.fit_all([tiny()]), TypeError, "^recipes must be pairs.*a Recipe"),
    Case(
        "fit_ensemble",
        lambda: lk.fit_ensemble(tiny().replace(seeds=[0])),
        ValueError,
        "^recipe must have two see",
    ),
    Case("fit_ensemble", lambda: lk.fit_ensemble(None), TypeError, "^recipe must .* got None"),
    Case(
        "fit_ensemble",
        lambda: lk.fit_ensemble(tiny().replace(seeds=[0, 1]), workers=0),
        ValueError,
        "^workers must be at least 1; got 0",
    ),
    Case(
        "fit_ensemble",
        lambda: lk.fit_ensemble(tiny().replace(seeds=[0, 1]), data=3),
        TypeError,
        "^data must be a Dataset; got int",
    ),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS, LABELS, True), TypeError, "^theta must be a"),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS, LABELS, 0.0), ValueError, "^theta must be a"),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS, LABELS, 10**400), ValueError, "^theta must"),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS, LABELS, 1.0, "1"), TypeError, "^kappa must"),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS, LABELS, 1.0, 2), ValueError, "^kappa must be"),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS, LABELS - 1, 1.0), ValueError, "^labels must"),
    Case("hinge_loss", lambda: lk.hinge_loss(LOGITS[:, :0], LABELS, 1.0), ValueError, "^logits mu"),
    Case("initial_model", lambda: lk.initial_model("a", digits()), TypeError, "^recipe must be a"),
    Case("initial_model", lambda: lk.initial_model(tiny(), PIXELS), TypeError, "^data must be a D"),
    Case("initial_model", lambda: lk.initial_model(tiny(), digits(), -1), ValueError, "^seed must"),
    Case("interval_radius", lambda: lk.interval_radius("net", X, LABELS), TypeError, "^model must"),
    Case(
        "linf_interval", lambda: lk.linf_interval(ROWS, ROWS[:1], WEIGHTS), ValueError, "^upper m"
    ),
    Case("linf_interval", lambda: lk.linf_interval(0, 1, WEIGHTS), TypeError, "^lower must be a"),
    Case("lipschitz_bound", lambda: lk.lipschitz_bound("net"), TypeError, "^model must be a torch"),
    Case("lipschitz_bound", lambda: lk.lipschitz_bound(nn.ReLU()), ValueError, "^model must hold"),
    Case("lipschitz_by_layer", lambda: lk.lipschitz_by_layer(3, X), TypeError, "^model must be a"),
    Case("lipschitz_by_layer", lambda: lk.lipschitz_by_layer(net(), X, 0), ValueError, "^eps must"),
    Case("lipschitz_estimate", lambda: lk.lipschitz_estimate(3, X), TypeError, "^model must be a"),
    Case(
        "lipschitz_estimate",
        lambda: lk.lipschitz_estimate(net(), X, "8/255"),
        TypeError,
        r"^eps must be in pixels of .*; got '8/255'",
    ),
    Case(
        "lipschitz_estimate",
        lambda: lk.lipschitz_estimate(net(), X, steps=0),
        ValueError,
        "^steps must be at least 1",
    ),
    Case("load_dataset", lambda: lk.load_dataset("mnits"), ValueError, "did you mean 'mnist'"),
    Case(
        "load_dataset",
        lambda: lk.load_dataset(["mnist"]),
        TypeError,
        r"^name must be a string; got \['mnist'\]",
    ),
    Case(
        "load_dataset",
        lambda: lk.load_dataset("mnist", root=3),
        TypeError,
        "^root must be .*; got 3",
    ),
    Case("load_dataset", lambda: lk.load_dataset("mnist", "."), FileNotFoundError, "^mnist: root"),
    Case("load_model", lambda: lk.load_model("no-such"), FileNotFoundError, "^no checkpoint at no"),
    Case(
        "load_model", lambda: lk.load_model("a", model="net"), TypeError, "^model must be a torch"
    ),
    Case(
        "load_original", lambda: lk.load_original("no"), FileNotFoundError, "^no checkpoint at no"
    ),
    Case("load_samples", lambda: lk.load_samples("digits"), ValueError, "^name must .*'digits'"),
    Case(
        "load_pretrained", lambda: lk.load_pretrained("mnist"), ValueError, "^name must .*'mnist'"
    ),
    Case(
        "load_pretrained",
        lambda: lk.load_pretrained(3),
        ValueError,
        "^name must be one of .* got 3",
    ),
    Case("load_recipe", lambda: lk.load_recipe(3), TypeError, "^recipe must .* got 3"),
    Case("load_recipe", lambda: lk.load_recipe(""), ValueError, "^recipe must .* got ''"),
    Case("load_recipe", lambda: lk.load_recipe("a.toml"), FileNotFoundError, "there is no file a"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS, WEIGHTS, 0.5), ValueError, "^p must be .* got 0.5"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS, WEIGHTS, math.nan), ValueError, "^p must be .* got n"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS, WEIGHTS, "8"), TypeError, "^p must be .* got '8'"),
    Case("lp_dist", lambda: lk.lp_dist([[1.0]], WEIGHTS, 8), TypeError, "^x must be a torch.Tens"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS.long(), WEIGHTS, 8), TypeError, "^x must hold floati"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS[:0], WEIGHTS, 8), ValueError, "^x must be a non-empty"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS, WEIGHTS[:, :3], 8), ValueError, "^w must have as man"),
    Case("lp_dist", lambda: lk.lp_dist(ROWS, WEIGHTS.double(), 8), TypeError, "^w must have the d"),
    Case("save_model", lambda: lk.save_model("a", "net"), TypeError, "^model must be a torch.nn.M"),
    Case("save_model", lambda: lk.save_model("a", nn.ReLU()), ValueError, "no distance layer"),
    Case(
        "save_model", lambda: lk.save_model("a", net(), 3), TypeError, "^header must be a mapping"
    ),
    Case(
        "save_model",
        lambda: lk.save_model("a", net(), {"p": 8}),
        ValueError,
        r"^header must leave p to the net; got \['p'\]",
    ),
    Case("mixed_loss", lambda: lk.mixed_loss(LOGITS, LABELS, 1, "a", 1), TypeError, "^lam must be"),
    Case("mixed_loss", lambda: lk.mixed_loss(LOGITS, LABELS, 1, -1, 1), ValueError, "^lam must be"),
    Case("mixed_loss", lambda: lk.mixed_loss(LOGITS, LABELS, 1, 0, "1"), TypeError, "^logit_scale"),
    Case("mixed_loss", lambda: lk.mixed_loss(LOGITS, LABELS, 1, 0, X[0]), ValueError, "^logit_sc"),
    Case("mixed_loss", lambda: worst_logits(LOGITS, LABELS, "8/255"), TypeError, "^eps must be a"),
    Case("recentre", lambda: lk.recentre("net", X), TypeError, "^model must be a torch.nn.Module"),
    Case("recentre", lambda: lk.recentre(net(), X, 0), ValueError, "^batch_size must be at least"),
    Case("recentre", lambda: lk.recentre(net(), X * math.nan), ValueError, "^x must hold finite"),
    Case("recipe_names", lambda: lk.recipe_names("digits"), TypeError, "0 positional arguments"),
    Case(
        "smallest_perturbation",
        lambda: lk.smallest_perturbation(net(), X, LABELS, steps=0),
        ValueError,
        "^steps must be at least 1",
    ),
    Case("sorted_dist", lambda: lk.sorted_dist(ROWS, WEIGHTS, 1.0), ValueError, "^rho must be a n"),
    Case("sorted_dist", lambda: lk.sorted_dist(ROWS, WEIGHTS, 0.3, 0), ValueError, "^terms must b"),
    Case("survives_pgd", lambda: lk.survives_pgd(3, X, LABELS, 0.1), TypeError, "^model must be a"),
    Case(
        "survives_pgd", lambda: lk.survives_pgd(net(), X, LABELS, 8), ValueError, "^eps must be i"
    ),
    Case(
        "survives_pgd",
        lambda: lk.survives_pgd(net(), X, LABELS, "8/255"),
        TypeError,
        r"^eps must be in pixels of \[0, 1\], such as 8/255; got '8/255'$",
    ),
    Case(
        "survives_pgd",
        lambda: lk.survives_pgd(net(), X, LABELS, 0.1, steps=0),
        ValueError,
        "^steps must be at least 1",
    ),
    Case("zero_hinge", lambda: lk.zero_hinge(LOGITS, LABELS, None), TypeError, "^theta must be a"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Neither data, cache nor folder of the user's takes part."""
    monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LINFKIT_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """What is imported and compiled at the first call counts for no input."""
    lk.survives_pgd(net(), X, LABELS, 0.1, steps=1)
    lk.exact_radius(net(), X[0], 0)
    digits()


def contents(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    return {str(path): path.read_bytes() for path in found if path.is_file()}


def refused(call: Callable[[], object], error: type[Exception], message: str, folder: Path) -> None:
    before, started = contents(folder), time.process_time()
    with pytest.raises(error, match=message) as fault:
        call()
    # the processor's time, so that a busy machine fails nothing
    assert time.process_time() - started < SECONDS
    assert isinstance(fault.value, (ValueError, TypeError, FileNotFoundError))
    assert contents(folder) == before


def named(cases):
    return [f"{case.name}-{number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize("case", ARGUMENTS, ids=named(ARGUMENTS))
def test_an_argument(case, tmp_path):
    refused(case.call, case.error, case.message, tmp_path)


def test_every_public_function_is_given_something_bad():
    public = {name for name in lk.__all__ if callable(getattr(lk, name))}
    assert public - RECORDS == {case.name for case in ARGUMENTS} & public


# --- files


def idx(*shape: int, content: bytes = b"") -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + content


def mnist(**changed: bytes) -> dict[str, bytes]:
    """The four files, and in the place of one of them something else."""
    files = {
        "train-images-idx3-ubyte": idx(2, 4, 4, content=bytes(32)),
        "train-labels-idx1-ubyte": idx(2, content=bytes(2)),
        "t10k-images-idx3-ubyte": idx(2, 4, 4, content=bytes(32)),
        "t10k-labels-idx1-ubyte": idx(2, content=bytes(2)),
    }
    for name, content in changed.items():
        place = next(file for file in files if file.replace("-", "_").startswith(name))
        del files[place]
        files[place + (".gz" if content[:2] == b"\x1f\x8b" else "")] = content
    return {f"MNIST/raw/{file}": content for file, content in files.items()}


def cifar(content: bytes) -> dict[str, bytes]:
    batches = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    return {f"cifar-10-batches-bin/{batch}.bin": content for batch in batches}


def tiny_imagenet(wnids: str = "n1\nn2\n", annotated: str = "a.JPEG\tn1\n") -> dict[str, bytes]:
    return {
        "tiny-imagenet-200/wnids.txt": wnids.encode(),
        "tiny-imagenet-200/val/val_annotations.txt": annotated.encode(),
        "tiny-imagenet-200/val/images/a.JPEG": b"",
        "tiny-imagenet-200/train/n1/images/a.JPEG": b"",
        "tiny-imagenet-200/train/n2/images/a.JPEG": b"",
        "n3/images/a.JPEG": b"",
    }


def photos(content: bytes) -> dict[str, bytes]:
    places = [f"{name}/{number}" for name in ("cat", "dog") for number in range(2)]
    return {f"photos/{place}.png": content for place in places}


def png(width: int, height: int) -> bytes:
    """A sound grey file of so many pixels by its header, with none of them in it."""

    def chunk(kind: bytes, content: bytes = b"") -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT")


def recipe(line: str) -> dict[str, bytes]:
    return {"mine.toml": line.encode()}


def notebook(cell: str) -> dict[str, bytes]:
    tagged = new_code_cell(cell, metadata={"tags": ["parameters"]})
    return {"notebooks/mine.ipynb": nbformat.writes(new_notebook(cells=[tagged])).encode()}


def checkpoint(header: object, **tensors: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: write_tensors(folder / "net.safetensors", tensors, header)


def built_as(net_class: str, **arguments: object) -> dict[str, object]:
    return {"model": {"class": net_class, "arguments": arguments}, "p": "inf"}


def nested(depth: int) -> Callable[[Path], None]:
    """A checkpoint of an ensemble of an ensemble of …; JSON's own writer would not go so deep."""
    begun, ended = '{"class": "Ensemble", "arguments": {"models": [', "]}}"
    header = f'{{"p": "inf", "model": {begun * depth}{ended * depth}}}'
    content = safetensors.torch.save({"a": ONE}, metadata={"linfkit": header})
    return lambda folder: (folder / "net.safetensors").write_bytes(content) and None


def original(**state: torch.Tensor) -> Callable[[Path], None]:
    saved = {name.replace("__", "."): tensor for name, tensor in state.items()}
    return lambda folder: torch.save(saved, folder / "model.pth")


def archive(member: str, link: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with tarfile.open(folder / "theirs.tar.gz", "w:gz") as packed:
            entry = tarfile.TarInfo(member)
            entry.size = 0 if link else 3
            entry.type, entry.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
            packed.addfile(entry, io.BytesIO(b"abc"))

    return write


def bring_archive(folder: Path) -> None:
    content = (folder / "theirs.tar.gz").read_bytes()
    theirs = PublishedFile(
        (folder / "theirs.tar.gz").as_uri(),
        len(content),
        hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )
    try:
        Source("theirs", {"archive": theirs}, members=("wanted.bin",)).bring(folder / "data")
    finally:  # whoever calls it throws away the folder that it was to fill
        (folder / "data" / "archive").unlink()
        (folder / "data").rmdir()


def gigabyte_of_zeros() -> bytes:
    """An IDX file that is as long as its header says, a thousandth of that when it is packed."""
    return gzip.compress(idx(1000, 1000, 1000)) + 1000 * gzip.compress(bytes(10**6))


def load_net(folder: Path) -> object:
    return lk.load_model(folder / "net.safetensors")


def load_mnist(folder: Path) -> object:
    return lk.load_dataset("mnist", folder)


class FileCase(NamedTuple):
    name: str
    written: Mapping[str, bytes] | Callable[[Path], None]
    call: Callable[[Path], object]
    message: str


def read_photos(name: str, content: bytes, message: str) -> FileCase:
    return FileCase(
        f"photos {name}",
        photos(content),
        lambda folder: lk.Dataset.from_folder(folder / "photos"),
        message,
    )


def read_mnist(name: str, message: str, **changed: bytes) -> FileCase:
    return FileCase(f"idx {name}", mnist(**changed), load_mnist, message)


def read_cifar(name: str, content: bytes, message: str) -> FileCase:
    return FileCase(
        f"cifar {name}", cifar(content), lambda at: lk.load_dataset("cifar10", at), message
    )


def read_tiny_imagenet(name: str, message: str, **lists: str) -> FileCase:
    return FileCase(
        f"tiny-imagenet {name}",
        tiny_imagenet(**lists),
        lambda at: lk.load_dataset("tiny-imagenet", at),
        message,
    )


def read_recipe(name: str, line: str, message: str) -> FileCase:
    return FileCase(
        f"recipe {name}", recipe(line), lambda at: lk.load_recipe(at / "mine.toml"), message
    )


def read_net(name: str, header: object, message: str, **tensors: torch.Tensor) -> FileCase:
    return FileCase(
        f"net {name}",
        checkpoint(header, **tensors),
        load_net,
        message,
    )


def read_original(name: str, message: str, **state: torch.Tensor) -> FileCase:
    return FileCase(
        f"original {name}",
        original(**state),
        lambda at: lk.load_original(at / "model.pth"),
        message,
    )


def read_notebook(name: str, message: str, written: Mapping[str, bytes]) -> FileCase:
    return FileCase(
        f"notebook {name}",
        written,
        lambda at: reproduce("quick", at / "out", notebooks=at / "notebooks"),
        message,
    )


BASE = """
dataset = "digits"
eps = 0.1
eps_train = 0.1
width = 8
depth = 2
batch_size = 8
lr = 0.1
"""

FILES = [
    read_mnist("truncated", "truncated", train_images=idx(2, 4, 4, content=bytes(31))),
    read_mnist("too long", "more bytes follow", train_images=idx(2, 4, 4, content=bytes(33))),
    read_mnist("empty", "got nothing", train_images=b""),
    read_mnist("bomb", r"declares 1,683,627,180,032 bytes", train_images=idx(2**31, 28, 28)),
    read_mnist("label 10", "labels from 0 to 9; got 10", train_labels=idx(2, content=b"\x00\x0a")),
    read_mnist("no images", "no pixels", train_images=idx(0, 4, 4), train_labels=idx(0)),
    read_mnist("no gzip", "no sound gzip file", t10k_labels=b"\x1f\x8b" + bytes(40)),
    read_mnist(
        "half a gzip", "no sound gzip", t10k_labels=gzip.compress(idx(2, content=bytes(2)))[:-9]
    ),
    read_mnist("gzip bomb", "declares 1,000,000,000 bytes", train_images=gigabyte_of_zeros()),
    read_cifar("truncated", bytes(3072), "no whole number of records"),
    read_cifar("empty", b"", "no whole number of records"),
    read_cifar("label 255", b"\xff" + bytes(3072), "got 255 in record 0"),
    read_tiny_imagenet("path in the classes", "must have names of folders", wnids="n1\n../../n3\n"),
    read_tiny_imagenet(
        "path in the list",
        "must have a file's name, a tab and a class",
        annotated="../a.JPEG\tn1\n",
    ),
    read_tiny_imagenet("no JPEG", "no sound image file of JPEG "),
    read_photos("empty", b"", "no sound image file"),
    read_photos("no image", b"GIF89a" + bytes(100), "no sound image file"),
    read_photos("without pixels", png(4, 4), "no sound image file"),
    read_photos("large", png(9000, 9000), "must have at most 67,108,864 pixels; got 9,000 × 9,000"),
    read_photos("bomb", png(2**31 - 1, 2**31 - 1), "no sound image file"),
    FileCase("archive without the member", archive("../wanted.bin"), bring_archive, "'wanted.bin'"),
    FileCase(
        "archive with a link out of it",
        archive("wanted.bin", "/etc/hosts"),
        bring_archive,
        "no archive|no file",
    ),
    FileCase(
        "archive that is none", {"theirs.tar.gz": b"abc"}, bring_archive, "no archive of what"
    ),
    read_recipe("no TOML", "epochs = ", r"^mine\.toml: recipe must be TOML"),
    read_recipe(
        "text for a number",
        BASE + 'epochs = "3"',
        r"^mine\.toml: epochs must .* got '3'",
    ),
    read_recipe(
        "date for a number",
        BASE + "epochs = 1979-05-27",
        r"^mine\.toml: epochs must .* datetime",
    ),
    read_recipe(
        "table for a number",
        BASE + "[epochs]\na = 1",
        r"^mine\.toml: epochs must .* \{'a': 1\}",
    ),
    read_recipe("NaN", BASE + "epochs = nan", r"^mine\.toml: epochs must .* got nan"),
    read_recipe("self", BASE + "epochs = 1\nself = 1", r"^mine\.toml: 'self' is no key"),
    read_recipe("deep", "epochs = " + "[" * 10**5, r"^mine\.toml: recipe must be TOML"),
    read_recipe(
        "path for a name",
        BASE + 'epochs = 1\nname = "../a"',
        r"^mine\.toml: name must .* '\.\./a'",
    ),
    read_net("without a header", {}, "cannot be loaded"),
    read_net("with a list for a header", [1], "cannot be loaded: its header is a list"),
    read_net("of no class", built_as("OrderedDict"), "cannot be loaded.*holds a OrderedDict"),
    read_net(
        "with text for arguments",
        {"model": {"class": "LpDistNet", "arguments": "x"}},
        "cannot be loaded",
    ),
    read_net(
        "with a huge net",
        built_as("LpDistNet", in_features=1, width=10**9, depth=2, classes=2),
        "more layers than",
        a=ONE,
    ),
    read_net(
        "with a deep net",
        built_as("LpDistNet", in_features=1, width=1, depth=900, classes=1),
        "more layers than",
        a=torch.ones(1000),
    ),
    read_net(
        "with a wide net",
        built_as("LpDistNet", in_features=9**5, width=9**5, depth=3, classes=9),
        "cannot be loaded",
        a=torch.ones(9**5),
        b=ONE,
        c=2 * ONE,
        d=3 * ONE,
    ),
    *(
        FileCase(
            f"net of {depth} nets of nets", nested(depth), load_net, "cannot be loaded|is no che"
        )
        for depth in (300, 10**5)
    ),
    FileCase(
        "run of a damaged net",
        checkpoint({"history": 3}),
        lambda at: SavedNet.read(at / "net.safetensors"),
        "must be a file of a run",
    ),
    FileCase(
        "run of a damaged recipe",
        lambda at: (
            [
                write_tensors(at / file, {"a": ONE}, {"history": [], "recipe": 3})
                for file in ("model.safetensors", "ema_model.safetensors")
            ]
            and None
        ),
        saved_nets,
        "must be a file of a run",
    ),
    read_original("that lacks all", "it must hold layers such as fc_dist", a=ONE),
    read_original(
        "of one number, a million times a million",
        "fc_dist.0.weight must be a dense tensor",
        fc_dist__0__weight=ONE.expand(10**6, 10**6),
        fc_dist__0__bias=ONE,
    ),
    read_original(
        "whose layers would be huge",
        r"size mismatch for layers\.2\.weight: .*\[1000000, 1000000\]",
        fc_dist__0__weight=torch.ones(10**6, 1),
        fc_dist__0__mean_shift__running_mean=torch.ones(10**6),
        fc_dist__1__weight=ONE[None],
        fc_dist__1__mean_shift__running_mean=torch.ones(10**6),
        fc_dist__2__weight=ONE[None],
        fc_dist__2__bias=ONE,
    ),
    read_original(
        "whose neurons would be many",
        r"(?s)size mismatch for layers\.1\.weight: .*\[1000000, 1000000\]",
        **{
            f"feature__{layer}__{part}": torch.ones(shape)
            for layer, shapes in {
                "conv1__0": {"weight": (1, 1, 1, 1), "normalize__running_mean": (1,)},
                "conv2__0": {"weight": (1, 1, 1, 1), "normalize__running_mean": (1,)},
                "fc__0": {"weight": (1, 256, 1, 1), "normalize__running_mean": (1,)},
                "fc__1": {"weight": (10**6, 1, 1, 1), "normalize__running_mean": (1,)},
                "fc__2": {"weight": (1, 1, 1, 1), "bias": (10**6,)},
            }.items()
            for part, shape in shapes.items()
        },
    ),
    read_notebook("of text", r"^mine\.ipynb is no notebook", {"notebooks/mine.ipynb": b"no JSON"}),
    read_notebook(
        "of bytes", r"^mine\.ipynb is no notebook", {"notebooks/mine.ipynb": b"\xff\xfe\x00"}
    ),
    read_notebook("of a list", r"^mine\.ipynb is no notebook", {"notebooks/mine.ipynb": b"[]"}),
    read_notebook("of an object", r"^mine\.ipynb is no notebook", {"notebooks/mine.ipynb": b"{}"}),
    read_notebook(
        "with cells of numbers",
        r"^mine\.ipynb is no notebook",
        {
            "notebooks/mine.ipynb": json.dumps(
                {"cells": [1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
            ).encode()
        },
    ),
    read_notebook(
        "with a call",
        "a name and a literal on each line; got .p = open",
        notebook("p = open('a', 'w')"),
    ),
    read_notebook("with no Python", "is not Python", notebook("p = = 3")),
    read_notebook("with a key that is none", "a name and a literal", notebook("p = {[]: 1}")),
    read_notebook(
        "with a deep value", "mine.ipynb: the parameters cell", notebook("p = " + "-" * 10**5 + "1")
    ),
]


def write(written: Mapping[str, bytes] | Callable[[Path], None], folder: Path) -> None:
    if callable(written):
        written(folder)
        return
    for name, content in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("case", FILES, ids=[case.name for case in FILES])
def test_a_file(case, tmp_path):
    write(case.written, tmp_path)
    refused(lambda: case.call(tmp_path), ValueError, case.message, tmp_path)


# --- the command line


class Command(NamedTuple):
    words: str
    message: str
    written: Mapping[str, bytes] = {}


COMMANDS = [
    Command("no-such-command", "No such command"),
    Command("train", "Missing argument"),
    Command("train no-such-recipe", "error: recipe must be the name"),
    Command(
        "train mine.toml", "error: recipe must be a file that exists; there is no file mine.toml"
    ),
    Command("train mine.toml", "error: mine.toml: recipe must be TO", {"mine.toml": b"epochs = "}),
    Command(
        "train digits-small --set epochs=many", "error: epochs must be a valid integer; got 'many'"
    ),
    Command("train digits-small --set epochs", "error: a setting must be NAME=VALUE"),
    Command(
        "train digits-small --set epochs=[[[[", "error: epochs must be a valid integer; got '[[[['"
    ),
    Command(
        "train digits-small --set epochs={[]:1}",
        "error: epochs must be a valid integer; got '{[]:1}'",
    ),
    Command("train digits-small --set self=1", "error: 'self' is no key of a recipe"),
    Command("train digits-small --seed -1", "error: seed must be at least 0; got -1"),
    Command("train digits-small --seed one", "Invalid value for '--seed'"),
    Command("ensemble digits-small --set seeds=[0]", "error: recipe must have two seeds or more"),
    Command("report no-such-run", "there is no no-such-run"),
    Command("report run", "error: run must be a finished run", {"run/recipe.toml": b""}),
    Command("certify no-such-net", "error: no checkpoint at no-such-net"),
    Command("certify a", "error: a is no checkpoint of linfkit", {"a": b"no net"}),
    Command("certify a --device tpu9", "error: device must be one that PyTorch finds here"),
    Command("certify a --images 0", "Invalid value for '--images'"),
    Command("certify a --figure a.gif", "error: figure must be a file that ends in .html or .png"),
    Command("recipes digits-smal", "did you mean 'digits-small'?"),
    Command("bench --device tpu9", "error: device must be one that PyTorch finds here"),
    Command("bench --table --quick", "error: table must stand without quick and figure"),
    Command("reproduce --profile quikc", "error: profile must be one of quick"),
    Command("reproduce --workers 0", "Invalid value for '--workers'"),
    Command("ensemble digits-small --workers 0", "Invalid value for '--workers'"),
    Command("reproduce --notebooks none", "error: notebooks must be a folder; there is no none"),
    Command(
        "reproduce --notebooks notebooks", "is no notebook", {"notebooks/mine.ipynb": b"no JSON"}
    ),
    Command(
        "reproduce --notebooks notebooks -p epoch 3",
        "did you mean 'epochs'?",
        notebook("epochs = 3"),
    ),
    Command(
        "reproduce --notebooks notebooks -p epochs ../../3",
        "epochs must be int; got str",
        notebook("epochs = 3"),
    ),
]


@pytest.mark.parametrize("command", COMMANDS, ids=[command.words for command in COMMANDS])
def test_a_command(command, tmp_path):
    here = tmp_path / "here"
    write(command.written, here)
    before, started = contents(here), time.process_time()
    ran = CliRunner().invoke(app, command.words.split())
    assert time.process_time() - started < SECONDS
    assert ran.exit_code == 2
    assert command.message in " ".join(ran.output.replace("│", " ").split())
    assert "Traceback" not in ran.output
    if "error: " in ran.output:
        assert len(ran.output.splitlines()) <= 2  # a remedy may follow
    assert contents(here) == before


# --- odd, but sound


def skipping(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers, every second one in memory."""
    return torch.stack([tensor, tensor + 1], dim=-1).flatten(-2)[..., ::2]


OPERATORS = {
    "lp_dist": lambda x, w: lk.lp_dist(x, w, 8),
    "lp_dist at ∞": lambda x, w: lk.lp_dist(x, w, math.inf),
    "sorted_dist": lambda x, w: lk.sorted_dist(x, w, 0.3),
    "linf_interval": lambda x, w: torch.cat(lk.linf_interval(x, x + 0.1, w)),
}


@pytest.mark.parametrize("memory", [skipping, lambda x: x.T.contiguous().T], ids=["skip", "turn"])
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_tensors_that_are_not_contiguous_give_the_same_and_so_do_their_gradients(operator, memory):
    draw = torch.Generator().manual_seed(1)
    x, w = torch.rand(5, 7, generator=draw), torch.rand(6, 7, generator=draw)
    odd_x, odd_w = memory(x), memory(w)
    assert not any(odd.is_contiguous() for odd in (odd_x, odd_w))
    assert operator(odd_x, odd_w).equal(operator(x, w))
    for leaf in (x, w, odd_x, odd_w):
        leaf.requires_grad_()
    operator(x, w).sum().backward()
    operator(odd_x, odd_w).sum().backward()
    assert odd_x.grad.equal(x.grad)
    assert odd_w.grad.equal(w.grad)


def test_images_that_are_not_contiguous_are_certified_alike():
    odd = skipping(X)
    assert lk.certify(net(), odd, LABELS).radius.equal(lk.certify(net(), X, LABELS).radius)


@pytest.mark.parametrize("size", [1e-42, 1e-39, 1e-30, 1e30, 3e38])
@pytest.mark.parametrize("p", [1, 2, 8, 100, 1000, math.inf])
def test_distances_of_subnormal_and_of_huge_numbers(p, size):
    x = torch.tensor([[0.5, -0.25, 0.0, 0.125]]) * size
    w = torch.zeros(2, 4)
    largest = x.double().abs().max()
    exact = largest * (x.double() / largest).norm(p=p)
    found = lk.lp_dist(x, w, p).double()
    # a quotient of subnormal numbers may count as 1: of 16 that are at most the smallest normal one
    below_normal = 0.0 if math.isinf(p) else 16 * torch.finfo(torch.float32).tiny
    assert torch.allclose(found, exact.expand(1, 2), rtol=1e-5, atol=below_normal)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_net_does_not_hide_what_is_not_finite(value):
    x = X.clone()
    x[1, 2] = value
    logits = net()(x)
    assert not logits[1].isfinite().any()
    assert logits[::2].isfinite().all()


# --- what the sources may not do

SOURCES = sorted((ROOT / "linfkit").rglob("*.py"))

FORBIDDEN = {
    "pickle": r"^\s*(?:import|from)\s+(?:c?pickle|dill|cloudpickle|joblib|shelve|marshal)\b",
    "pickled arrays": r"allow_pickle\s*=\s*True",
    "eval": r"(?<![\w.])eval\(",
    "exec": r"(?<![\w.])exec\(",
    "whole objects of torch": r"torch\.load\((?![^)]*weights_only=True)",
    "the network without TLS": r"http://(?!localhost|127\.0\.0\.1|www\.w3\.org)",
    "unchecked certificates": r"_create_unverified_context|verify\s*=\s*False|CERT_NONE",
    "a shell": r"shell\s*=\s*True|os\.system\(|os\.popen\(",
    "whole archives": r"\.extractall\(",
    "any YAML": r"yaml\.(?:unsafe_)?load\(",
}


@pytest.mark.parametrize("pattern", FORBIDDEN.values(), ids=FORBIDDEN)
def test_the_sources_do_without(pattern):
    assert len(SOURCES) > 100
    guilty = [str(path) for path in SOURCES if re.search(pattern, path.read_text("utf-8"), re.M)]
    assert guilty == []


def test_jupyter_lab_is_for_this_machine_alone_and_asks_for_a_token():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (command,) = re.findall(r"^lab:.*\n\t(.*)$", makefile, re.MULTILINE)
    assert "--ip=127.0.0.1" in command.split()
    # Jupyter makes up a token of its own unless it is told which, or that there is none
    assert not re.search("token|password|allow_origin|allow-root|allow_remote", command)


def test_downloads_are_over_tls_and_held_against_a_checksum():
    published = [file for source in DOWNLOADS.values() for file in source.files.values()]
    assert len(DOWNLOADS) == 4
    assert len(published) == 10
    for file in published:
        assert file.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{32}", file.md5)
        assert file.size > 0


def test_workers_on_this_machine_cannot_be_reached_from_another():
    with local_cluster(1):
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in processes
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening == {"127.0.0.1"}
