"""Checkpoints and recipes that earlier versions wrote: the nets read back compute what they did."""

import json
from pathlib import Path

import pytest
import torch

import linfkit as lk

BEFORE = Path(__file__).parent / "before"
LOGITS = json.loads((BEFORE / "logits.json").read_text())


@pytest.mark.parametrize("name", LOGITS)
def test_a_net_computes_what_it_did(name):
    net = lk.load_model(BEFORE / f"{name}.safetensors")
    shape = (2, 1, 16, 16) if name == "lenet" else (5, 4)
    x = torch.linspace(0, 1, torch.Size(shape).numel()).view(shape)
    assert torch.allclose(net(x), torch.tensor(LOGITS[name]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["model", "ema_model"])
def test_the_net_of_a_run_certifies_what_its_history_says(name):
    net, digits = lk.load_model(BEFORE / "run" / f"{name}.safetensors"), lk.load_dataset("digits")
    last = json.loads((BEFORE / "run" / "history.jsonl").read_text().splitlines()[-1])
    told = last["certified" if name == "model" else "ema_certified"]
    certified = lk.certify(net, digits.test_x / 255, digits.test_y).accuracy(eps=0.1)
    assert certified == pytest.approx(told, abs=1 / len(digits.test_y))


def test_a_recipe_is_read():
    recipe = lk.load_recipe(BEFORE / "run" / "recipe.toml")
    assert recipe == lk.load_recipe("digits-small").replace(width=8, depth=2, epochs=2)
