"""`python -m linfkit.training.pretrained`: make the nets and images that come with linfkit anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from linfkit._util.text import say
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import load_model, save_model, write_tensors
from linfkit.recipes.recipe import load_recipe
from linfkit.training.fit import apply_recipe, fit
from linfkit.training.pretrained import (
    NAMES,
    load_pretrained,
    ordinary_net,
    pretrained_file,
)
from linfkit.training.runs import provenance


def main() -> None:
    """Train each net by its recipe, and the ordinary one until it is as accurate as its pair."""
    for name in NAMES[:2]:
        recipe = load_recipe(name)
        run = fit(recipe)
        data = apply_recipe(load_dataset(recipe.dataset), recipe)
        names = ("accuracy", "certified", "certified_by_margin")
        averaged = {name: run.results[f"ema_{name}"] for name in names}
        header = {"seed": run.seed, **provenance(recipe, data, averaged)}
        save_model(pretrained_file(name), run.ema_model, header)
        say(f"{name}: {averaged}")
    train_ordinary("mnist-tiny")
    write_samples("mnist", NAMES[1:])


def train_ordinary(pair: str) -> None:
    """Train an ordinary net on the images of its pair, until held-out images show it as accurate.

    Adam at 0.001, cross-entropy, 128 images a step.
    """
    recipe, certified_net = load_recipe(pair), load_model(pretrained_file(pair))
    data = apply_recipe(load_dataset(recipe.dataset), recipe)
    kept = recipe.trained_images(len(data.train_x))
    x, held_out, test = data.train_x[:kept] / 255, data.train_x[kept:] / 255, data.test_x / 255
    wanted = _accuracy(certified_net, held_out, data.train_y[kept:])
    torch.manual_seed(0)
    sizes = [data.in_features, *[recipe.width] * (recipe.depth - 1), len(data.classes)]
    net = ordinary_net(sizes)
    optimizer = torch.optim.Adam(net.parameters())
    while _accuracy(net, held_out, data.train_y[kept:]) < wanted:
        for rows in torch.randperm(kept)[: 20 * 128].split(128):
            loss = cross_entropy(net(x[rows]), data.train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    results = {"accuracy": _accuracy(net, test, data.test_y)}
    of_data = {"name": data.name, "fingerprint": data.fingerprint}
    header = {"sizes": sizes, "data": of_data, "results": results}
    write_tensors(pretrained_file(f"{pair}-ordinary"), net.state_dict(), header)
    say(f"{pair}-ordinary: {results}")


def write_samples(name: str, nets: Sequence[str], of_each_class: int = 2) -> None:
    """Write the first test images of each class that all those nets classify correctly."""
    data = load_dataset(name)
    right = torch.ones(len(data.test_y), dtype=torch.bool)
    for net in map(load_pretrained, nets):
        right &= net(data.test_x / 255).argmax(dim=1) == data.test_y
    of_class = [(right & (data.test_y == label)).nonzero()[:of_each_class] for label in range(10)]
    rows = torch.cat(of_class).flatten()
    tensors = {"images": data.test_x[rows], "labels": data.test_y[rows]}
    header = {"data": {"name": data.name, "fingerprint": data.fingerprint}, "rows": rows.tolist()}
    write_tensors(pretrained_file(f"{name}-samples"), tensors, header)


@torch.no_grad()
def _accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return (net(images).argmax(dim=1) == labels).double().mean().item()


if __name__ == "__main__":
    main()
