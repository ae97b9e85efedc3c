"""Trained nets and a few images that come with linfkit, to certify and to play with at once.

`python -m linfkit.training.pretrained` makes them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from linfkit._util.checks import check_choice
from linfkit.nn.checkpoints import load_model, read_tensors

#: The nets by name: `mnist-tiny-ordinary` has linear layers and ReLU, the others are linfkit's.
NAMES = ("digits-small", "mnist-tiny", "mnist-tiny-ordinary")

#: Images by name.
SAMPLES = ("mnist-samples",)


def load_pretrained(name: str) -> nn.Module:
    """Load a trained net that comes with linfkit, in evaluation mode at p=∞.

    =================== ======================================= ============================
    digits-small        the recipe's net, 64-256-256-10         ε = 0.1
    mnist-tiny          the recipe's net, 784-32-32-10          ε = 0.1
    mnist-tiny-ordinary linear layers and ReLU, 784-32-32-10,   nothing can be certified that
                        about as accurate as mnist-tiny         is of use
    =================== ======================================= ============================

    All take images (B, C, H, W) with pixels in [0, 1] and give logits (B, 10). `pretrained_file`
    says where the file is, which names recipe, data and results.

    Args:
        name: one of the names above.

    Raises:
        ValueError: there is no such net; the message names the nearest.

    >>> from linfkit.certification.certify import certify
    >>> from linfkit.data.loading import load_dataset
    >>> digits = load_dataset("digits")
    >>> certificates = certify(load_pretrained("digits-small"), digits.test_x / 255, digits.test_y)
    >>> certificates.accuracy(eps=0.1) > 0.7
    True
    """
    check_choice("name", name, NAMES)
    file = pretrained_file(name)
    if name != "mnist-tiny-ordinary":
        return load_model(file)
    tensors, header = read_tensors(file)
    net = ordinary_net(header["sizes"])
    net.load_state_dict(tensors)
    return net.eval()


def pretrained_file(name: str) -> Path:
    """File of a net, or of images (`"mnist-samples"`), that comes with linfkit.

    Raises:
        ValueError: there is no such file.

    >>> pretrained_file("digits-small").name
    'digits-small.safetensors'
    """
    check_choice("name", name, NAMES + SAMPLES)
    return Path(__file__).with_name(f"{name}.safetensors")


def load_samples(name: str) -> tuple[Tensor, Tensor]:
    """Load a few test images that come with linfkit, and their labels.

    Of MNIST, the first two of each class that both `mnist-tiny` and `mnist-tiny-ordinary` classify
    correctly, so chosen images: for looking at, not for measuring. MNIST is by Yann LeCun and
    Corinna Cortes, under CC BY-SA 3.0.

    Args:
        name: of the data set, "mnist".

    Returns:
        Images with pixels in [0, 1], (20, 1, 28, 28), float32, and labels, (20,).

    Raises:
        ValueError: there are no samples of this name.

    >>> images, labels = load_samples("mnist")
    >>> bool((load_pretrained("mnist-tiny")(images).argmax(dim=1) == labels).all())
    True
    """
    check_choice("name", name, ("mnist",))
    tensors, _ = read_tensors(pretrained_file(f"{name}-samples"))
    return tensors["images"] / 255, tensors["labels"]


def ordinary_net(sizes: Sequence[int]) -> nn.Sequential:
    """Net of linear layers with ReLU between them, with new weights.

    >>> ordinary_net([4, 8, 3])
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=4, out_features=8, bias=True)
      (2): ReLU()
      (3): Linear(in_features=8, out_features=3, bias=True)
    )
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
