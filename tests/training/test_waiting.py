"""Training steps on a GPU: none waits for what the GPU computes, and few operations make one.

The GPU is a pretended one, which writes down what is called on it. Not tested: copies to a GPU,
which wait where they come from memory that is not pinned; the launches within an operator
(test_cuda).
"""

import numpy as np
import pytest
import torch

from linfkit.data.dataset import Dataset
from linfkit.recipes.recipe import load_recipe
from linfkit.training.building import initial_model
from linfkit.training.loop import Training
from tests.helpers.pretended_gpu import DEVICE, pretending, recorded

RECIPES = (
    "iclr2022-cifar10-8-255",
    "icml2021-cifar10-8-255-hybrid",
    "neurips2022-cifar10-8-255",
    "neurips2022-cifar10-8-255-hybrid",
)


def noise(images, generator):
    shape = images, 3, 8, 8
    return generator.integers(0, 256, shape, dtype=np.uint8), generator.integers(0, 10, images)


def calls_of_a_step(name):
    """What a step calls on the GPU, after the first step and before an epoch's last ones."""
    generator = np.random.default_rng(0)
    data = Dataset.from_arrays(*noise(400, generator), *noise(8, generator))
    recipe = load_recipe(name).replace(width=8, batch_size=8)
    with pretending():
        training = Training(recipe, 0, data, initial_model(recipe, data, 0), DEVICE)
        training._take_step()
        with recorded() as calls:
            training._take_step()
    return calls


@pytest.mark.parametrize("name", RECIPES)
def test_no_step_waits_for_the_gpu(name):
    calls = calls_of_a_step(name)
    assert calls
    assert [str(call.function) for call in calls if call.waits] == []


def test_operations_of_a_step_of_six_layers():
    functions = [call.function for call in calls_of_a_step("iclr2022-cifar10-8-255")]
    launched = [each for each in functions if not (each.is_view or "empty" in str(each))]
    print(f"{len(launched)} operations a step")
    assert len(launched) <= 140


@pytest.mark.parametrize(
    "see",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
    ],
    ids=["item", "bool", "cpu", "mask", "nonzero"],
)
def test_the_pretended_gpu_knows_what_waits(see):
    with pretending(), recorded() as calls:
        x = torch.ones(3).to(DEVICE)
        assert not any(call.waits for call in calls)
        see(x)
    assert any(call.waits for call in calls)
