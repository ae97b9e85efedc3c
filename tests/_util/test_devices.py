"""Tested: whoever has a net on a GPU and images on the CPU gets the answers of the CPU, on the CPU;
so does whoever has them the other way round, or a device without float64; gradients are there in
no_grad and inference_mode; the nine notebooks and the commands run where "auto" is a GPU.

The GPU is a pretended one (pretended_gpu.py). Not tested: a real one (test_cuda_kernels.py).
"""

import dataclasses
import json
import math
from functools import cache

import nbformat
import pytest
import torch
from typer.testing import CliRunner

import linfkit as lk
from linfkit._util import devices
from linfkit.certification.attacks import nearest_misclassified
from linfkit.cli.app import app
from linfkit.course.studies import (
    attacks,
    blowup,
    ensembles,
    intervals,
    neurons,
    perturbations,
    rounding,
)
from linfkit.training.loop import Training
from tests.helpers import ROOT
from tests.helpers.pretended_gpu import DEVICE, pretending, without

INF, CPU = math.inf, torch.device("cpu")


@pytest.fixture(autouse=True)
def _gpu_by_default(monkeypatch):
    monkeypatch.setattr(devices, "default_device", lambda: DEVICE)
    with pretending():
        yield


def small_net(seed=0):
    torch.manual_seed(seed)
    return lk.LpDistNet(16, width=6, depth=3, classes=4, mean=0.4, scale=0.5).eval()


def hybrid(seed=0):
    return lk.HybridNet(small_net(seed), hidden=5).eval()


def lenet():
    torch.manual_seed(0)
    return lk.LpDistLeNet((1, 16, 16), hidden=8).eval()


def sortnet():
    torch.manual_seed(0)
    return lk.SortNet(16, width=6, depth=3, classes=4, rho=0.3).eval()


MODELS = {
    "net": small_net,
    "hybrid": hybrid,
    "LeNet": lenet,
    "SortNet": sortnet,
    "ensemble": lambda: lk.Ensemble([small_net(seed) for seed in range(3)]).eval(),
    "hybrids": lambda: lk.HybridEnsemble([hybrid(seed) for seed in range(2)]).eval(),
}


def images_for(model, count=5):
    side = 16 if isinstance(model, lk.LpDistLeNet) else 4
    x = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, model(x).argmax(dim=1)


def certificates(model, x, labels):
    return lk.certify(model, x, labels, batch_size=2)


def recentred_means(model, x, labels):
    lk.recentre(model, x, batch_size=2)
    shifts = [module for module in model.modules() if isinstance(module, lk.MeanShift)]
    return [shift.running_mean.to(x.device) for shift in shifts]


ANY_MODEL = {
    "certify": certificates,
    "recentre": recentred_means,
    "survives_pgd": lambda m, x, y: lk.survives_pgd(m, x, y, 0.1, steps=3),
    "survives_pgd, an eps each": lambda m, x, y: lk.survives_pgd(m, x, y, 0.1 * x[:, 0, 0, 0], 3),
    "smallest_perturbation": lambda m, x, y: lk.smallest_perturbation(m, x, y, steps=3),
    "nearest_misclassified": lambda m, x, y: nearest_misclassified(m, x, y, steps=3),
    "lipschitz_estimate": lambda m, x, y: lk.lipschitz_estimate(m, x),
    "lipschitz_by_layer": lambda m, x, y: lk.lipschitz_by_layer(m, x[:1]),
    "lipschitz_bound": lambda m, x, y: lk.lipschitz_bound(m),
    "check_lipschitz": lambda m, x, y: lk.check_lipschitz(m),
    "predictions": lambda m, x, y: attacks.predictions(m, x),
}

ONE_NET = {
    "interval_radius": lambda m, x, y: lk.interval_radius(m, x, y, batch_size=2),
    "exact_radius": lambda m, x, y: lk.exact_radius(m, x[0], int(y[0])),
    "attack_images": lambda m, x, y: attacks.attack_images(m, x, y, steps=3),
    "one_pixel": attacks.one_pixel,
    "enclose": lambda m, x, y: intervals.enclose(m, x[:2], y[:2], steps=3),
    "sweep_exponents": lambda m, x, y: blowup.sweep_exponents(m, x, y, exponents=(8, INF)),
    "push": lambda m, x, y: perturbations.push(m, x[0], int(y[0]), eps=0.1),
    "predictions_changed": lambda m, x, y: perturbations.predictions_changed(
        m, x, y, x[:, 0, 0, 0]
    ),
    "measure_rounding": rounding.measure_rounding,
}

AN_ENSEMBLE = {
    "robustness": lambda m, x, y: ensembles.robustness(m, x, y, eps=0.05),
    "margins_along": lambda m, x, y: ensembles.margins_along(m, x, y, x - 0.5, torch.ones(2)),
    "voting_margins": lambda m, x, y: ensembles.voting_margins(m.models, [2.0], x, y, [0.1]),
}

ANSWERS = [
    *((f"{of} of {model}", model, ask) for model in MODELS for of, ask in ANY_MODEL.items()),
    *((of, "net", ask) for of, ask in ONE_NET.items()),
    *((of, "ensemble", ask) for of, ask in AN_ENSEMBLE.items()),
]


@cache
def answer_of_the_cpu(model, ask):
    net = MODELS[model]()
    return ask(net, *images_for(net))


def alike(given, wanted, on=CPU):
    """The same values, every tensor on that device."""
    if isinstance(wanted, torch.Tensor):
        assert given.device == on
        torch.testing.assert_close(given.cpu(), wanted, equal_nan=True)
    elif dataclasses.is_dataclass(wanted):
        for field in dataclasses.fields(wanted):
            alike(getattr(given, field.name), getattr(wanted, field.name), on)
    elif isinstance(wanted, list | tuple):
        assert len(given) == len(wanted)
        for one, other in zip(given, wanted, strict=True):
            alike(one, other, on)
    elif isinstance(wanted, float):
        assert given == pytest.approx(wanted)
    else:
        assert given == wanted


@pytest.mark.parametrize(
    ("model", "ask"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_a_net_on_the_gpu_answers_for_images_on_the_cpu(model, ask):
    net = MODELS[model]()
    x, labels = images_for(net)
    alike(ask(net.to(DEVICE), x, labels), answer_of_the_cpu(model, ask))


@pytest.mark.parametrize("where", ["cpu", DEVICE], ids=["a net on the CPU", "a net there too"])
@pytest.mark.parametrize(
    ("model", "ask"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_images_on_the_gpu_are_answered_there(model, ask, where):
    net = MODELS[model]()
    x, labels = images_for(net)
    answer = ask(net.to(where), x.to(DEVICE), labels.to(DEVICE))
    alike(answer, answer_of_the_cpu(model, ask), on=DEVICE)


@pytest.mark.parametrize("model", MODELS)
def test_without_float64_what_needs_it_is_computed_on_the_cpu(model, monkeypatch):
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", {DEVICE.type})
    net = MODELS[model]()
    x, labels = images_for(net)
    asked = [certificates, *(ONE_NET.values() if model == "net" else ())]
    wanted = [ask(net, x, labels) for ask in asked]
    with without(torch.float64):
        with pytest.raises(TypeError, match=r"does not support torch\.float64"):
            torch.zeros(2, dtype=torch.float64, device=DEVICE)
        net.to(DEVICE)
        for ask, answer in zip(asked, wanted, strict=True):
            alike(ask(net, x, labels), answer)
        alike(certificates(net, x.to(DEVICE), labels).radius, wanted[0].radius, on=DEVICE)


TINY = {"width": 8, "epochs": 1, "train_images": 200, "test_images": 100}


@pytest.mark.parametrize(
    "recipe", ["digits-small", "digits-hybrid", "digits-sortnet", "digits-ema"]
)
def test_a_net_that_auto_trains_on_the_gpu_is_certified_with_the_data_as_it_is(recipe, tmp_path):
    recipe = lk.load_recipe(recipe).replace(**TINY)
    run = lk.fit(recipe, out=tmp_path / "gpu", progress=False)
    assert devices.device_of(run.ema_model) == DEVICE
    data = lk.load_dataset("digits").subset(test_images=100)
    found = lk.certify(run.ema_model, data.test_x / 255, data.test_y)
    assert found.accuracy(recipe.eps) == run.results["ema_certified_by_margin"]
    evaluated = lk.evaluate(run.ema_model, data, recipe.eps, lk.PGD(steps=2), progress=False)
    assert evaluated.certified_accuracy == run.results["ema_certified"]
    on_cpu = lk.fit(recipe, out=tmp_path / "cpu", device="cpu", progress=False)
    assert run.results == pytest.approx(on_cpu.results)
    again = lk.fit(recipe, out=tmp_path / "cpu", progress=False)  # what the CPU has trained
    assert devices.device_of(again.model) == DEVICE


@pytest.mark.parametrize("recipe", ["digits-small", "digits-hybrid"])
def test_a_net_is_trained_where_there_is_no_float64(recipe, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", {DEVICE.type})
    recipe = lk.load_recipe(recipe).replace(**TINY)
    wanted = lk.fit(recipe, out=tmp_path / "cpu", device="cpu", progress=False).results
    with without(torch.float64):
        run = lk.fit(recipe, out=tmp_path / "gpu", progress=False)
        data = lk.load_dataset("digits").subset(test_images=20)
        lk.evaluate(run.ema_model, data, recipe.eps, lk.PGD(steps=2), progress=False)
    assert devices.device_of(run.model) == DEVICE
    assert run.results == pytest.approx(wanted)


def test_a_run_on_the_gpu_goes_on_after_ctrl_c(tmp_path):
    recipe = lk.load_recipe("digits-small").replace(**(TINY | {"epochs": 2}))

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lk.fit(recipe, out=tmp_path / "a", progress=False, checkpoint_every=0, after_epoch=stop)
    resumed = lk.fit(recipe, out=tmp_path / "a", progress=False)
    whole = lk.fit(recipe, out=tmp_path / "b", progress=False)
    assert resumed.results == whole.results
    loaded = lk.load_model(tmp_path / "a")
    assert devices.device_of(loaded).type == "cpu"


def test_an_ensemble_is_trained_and_certified_there():
    recipe = lk.load_recipe("digits-small").replace(**TINY, seeds=[0, 1])
    run = lk.fit_ensemble(recipe, progress=False)
    data = lk.load_dataset("digits").subset(test_images=100)
    found = lk.certify(run.ema_model, data.test_x / 255, data.test_y)
    assert found.accuracy(recipe.eps) == run.results["ema_certified_by_margin"]


def test_the_plane_is_drawn_of_a_net_on_the_gpu():
    data = neurons.spirals(30, 9)
    net = lk.LpDistNet(2, width=8, depth=2, classes=3)
    regions = neurons.decision_regions(net.to(DEVICE), INF, data, side=10)
    line = neurons.logits_along(net.eval(), torch.rand(2), 0, degrees=45, furthest=0.2)
    assert regions.radius.device.type == line.logits.device.type == "cpu"


# --- gradients wherever one asks


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("ask", ["survives_pgd", "smallest_perturbation", "lipschitz_estimate"])
def test_gradients_are_there_in_every_mode_and_for_images_that_ask_for_some(mode, ask):
    net = small_net()
    x, labels = images_for(net)
    wanted = ANY_MODEL[ask](net, x, labels)
    with mode():
        inside = x.clone()
        alike(ANY_MODEL[ask](net, inside, labels.clone()), wanted)
        alike(ANY_MODEL[ask](small_net(), inside, labels), wanted)  # a net made in that mode
    asking = x.clone().requires_grad_()
    answer = ANY_MODEL[ask](net, asking, labels)
    assert not answer.requires_grad
    alike(answer, wanted)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_net_is_trained_in_every_mode(mode, tmp_path):
    recipe = lk.load_recipe("digits-small").replace(**TINY)
    wanted = lk.fit(recipe, out=tmp_path / "a", progress=False, device="cpu").results
    with mode():
        found = lk.fit(recipe, out=tmp_path / "b", progress=False, device="cpu").results
    assert found == wanted


# --- what people start: commands and notebooks

FEW = ["--set", "width=8", "--set", "epochs=1", "--set", "train_images=200"]


def test_the_commands_run_where_auto_is_a_gpu(tmp_path):
    def linfkit(*arguments):
        outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert outcome.exit_code == 0, outcome.output
        return outcome.output

    net, several = tmp_path / "net", tmp_path / "several"
    assert "ema_certified" in linfkit("train", "digits-small", *FEW, "--out", net)
    linfkit(
        "ensemble", "digits-small", *FEW, "--set", "seeds=[0,1]", "--workers", 1, "--out", several
    )
    for run in (net, several):
        certify = ("certify", run, "--eps", 0.01, "--attack", "--steps", 2, "--images", 50)
        wanted = linfkit(*certify)
        written = linfkit(
            *certify, "--device", DEVICE, "--json", "--quiet", "--figure", tmp_path / "a.html"
        )
        assert json.loads(written)["images"] == 50
        assert "certified" in wanted
    linfkit("report", net)
    linfkit("doctor")


LITTLE = {"width": 24, "epochs": 8, "train_images": 500, "batch_size": 64}
FIRST_CELLS = {
    "00_start_here": {"sizes": [0.1]},
    "01_linf_distance_neurons": {
        "overrides": {"dataset": "spirals", "eps": 0.01, "eps_train": 0.02, "epochs": 8},
        "train_points": 200,
        "net_exponents": [8],
    },
    "02_attacks_and_certificates": {
        "overrides": LITTLE | {"epochs": 20, "eps": 0.01},
        "images": 40,
        "slider_images": 4,
        "steps": 5,
        "one_pixel_images": 3,
        "noise_images": 30,
    },
    "03_lipschitz_blowup": {"overrides": LITTLE, "images": 40, "measured_images": 4},
    "04_hinge_vs_mixed": {
        "overrides": LITTLE | {"epochs": 4, "eps": 0.01, "eps_train": 0.01, "seeds": [0]},
        "weights": [0.1, 0.02],
        "margins": [1.0, 3.0],
        "clean_margins": [1.0],
    },
    "05_ema": {"overrides": LITTLE | {"seeds": [0, 1]}, "few_seeds": 1},
    "06_ensembles": {
        "overrides": LITTLE | {"epochs": 2, "seeds": [0, 1]},
        "compared_overrides": {},
        "repetitions": 1,
        "widths": [16, 32],
        "few": 2,
        "sizes": [2],
        "size_width": 16,
        "joint_widths": [16, 32],
        "images": 10,
        "shown_images": 4,
        "logit_scales": [8.0, 32.0],
    },
    "07_paper_tables": {
        "overrides": LITTLE | {"epochs": 2},
        "widths": [8, 16],
        "epochs": [1, 2],
    },
    "08_theory": {
        "overrides": LITTLE | {"depth": 4},
        "conventional": {"width": 8, "epochs": 1},
        "seeds": [0],
        "images": 20,
        "batch": 32,
        "slider_images": 2,
        "tiny_overrides": {"width": 6, "epochs": 8, "train_images": 500},
        "tiny_images": 4,
        "steps": 5,
    },
    "09_ablations": {
        "overrides": LITTLE | {"epochs": 2, "seeds": [0]},
        "thetas": [3.0],
        "theta_seeds": [0],
    },
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_the_notebooks_runs_where_auto_is_a_gpu(path, monkeypatch):
    trained = []

    def fit(self, *arguments):
        trained.append(self.device)
        return run(self, *arguments)

    run = Training.finished
    monkeypatch.setattr(Training, "finished", fit)
    names = {}
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, f"{path.stem}, {cell.id}", "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            assert FIRST_CELLS[path.stem].keys() <= names.keys()
            names |= FIRST_CELLS[path.stem]
    assert (DEVICE in trained) == (path.stem != "00_start_here")  # which trains nothing
    assert len(names["claims"])
