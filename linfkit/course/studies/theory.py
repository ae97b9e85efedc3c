"""Theory that can be run: r-separation, the net that it promises, and conventional nets beside it.

Zhang et al., ICLR 2022 (arXiv 2110.06850), section 3. Their theorem 3.2: where images of different
classes are apart in ℓ∞, an ℓ∞-distance net of two layers certifies all of them at half that
distance. Conventional nets under interval bounds cannot (Mirman, Baader, Vechev, 2021, arXiv
2112.05235).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.checks import check_count, check_eps, check_samples
from linfkit._util.devices import on_device_of_model
from linfkit.certification.intervals import HALVINGS, clipped_box
from linfkit.certification.margins import Certificates, certified_radius, join, largest_eps
from linfkit.functional import lp_dist
from linfkit.nn.layers import DistanceLayer, LpDist
from linfkit.nn.nets import LpDistNet

# --- the distance between classes


@dataclass(frozen=True)
class Separation:
    """Smallest ℓ∞ distance between images of every two classes, and the pairs that attain it.

    Attributes:
        images: that were compared, (N, C, H, W), in [0, 1].
        labels: (N,).
        distance: (classes, classes), in pixels, symmetric; inf on the diagonal.
        pair: places of an image of class a and the nearest of class b, (classes, classes, 2).
    """

    images: Tensor
    labels: Tensor
    distance: Tensor
    pair: Tensor

    @property
    def r(self) -> float:
        """The largest r for which the images are r-separated: the smallest of all distances."""
        return self.distance.min().item()

    def nearest_class(self, label: int) -> int:
        """Class with the image that comes nearest to one of `label`."""
        return int(self.distance[label].argmin())


def measure_separation(images: Tensor, labels: Tensor, block: int = 2048) -> Separation:
    """Compute the ℓ∞ distance between classes, exactly: every pair of images is compared.

    Images are *r-separated* where any two of different classes are at least r apart,

        ‖x_i − x_j‖_∞ ≥ r  for all i, j with y_i ≠ y_j

    (some authors write 2r for that distance). Each two of n images of d pixels are compared, which
    takes some n²·d/2 differences: on MNIST's 60,000, minutes on a CPU.

    Args:
        images: (N, C, H, W), in [0, 1].
        labels: whole numbers from 0, (N,), of at least two classes.
        block: images of one class that are compared at once.

    Raises:
        TypeError, ValueError: images or labels are not as above.

    >>> images = torch.tensor([0.0, 0.5, 0.7, 1.0]).view(4, 1, 1, 1)
    >>> separation = measure_separation(images, torch.tensor([0, 0, 1, 2]))
    >>> round(separation.r, 4), separation.pair[0, 1].tolist(), separation.nearest_class(2)
    (0.2, [1, 2], 1)
    """
    images, labels = check_samples(images, labels)
    block = check_count("block", block)
    _require_two_classes(labels)
    pixels, classes = images.flatten(1), int(labels.max()) + 1
    places = [(labels == label).nonzero().squeeze(1) for label in range(classes)]
    distance = pixels.new_full((classes, classes), math.inf)
    pair = labels.new_zeros((classes, classes, 2))
    for a, b in combinations(range(classes), 2):
        for rows in places[a].split(block):
            if not (len(rows) and len(places[b])):
                continue
            between = lp_dist(pixels[rows], pixels[places[b]], math.inf)
            row, column = divmod(int(between.argmin()), between.shape[1])
            if between[row, column] < distance[a, b]:
                distance[a, b] = distance[b, a] = between[row, column]
                pair[a, b] = torch.stack([rows[row], places[b][column]])
                pair[b, a] = pair[a, b].flip(0)
    return Separation(images, labels, distance, pair)


@torch.no_grad()
def separating_net(images: Tensor, labels: Tensor, classes: int) -> LpDistNet:
    """Build the two-layer net of the r-separation theorem: a hidden neuron for each image.

    Nothing is trained. Hidden neuron i has image i as its weights, and its mean shift stays 0:

        h_i(x) = ‖x − x_i‖_∞ ,

    which is at most 1 for x in [0, 1]. Neuron c of the last layer has the weight 2 where y_i ≠ c,
    0 where y_i = c, and the bias −2. As h_i ≤ 1 ≤ 2 − h_i, the largest difference is one of the
    former, and

        f_c(x) = 2 − max_i |h_i(x) − 2·[y_i ≠ c]| = min { h_i(x) : y_i ≠ c } :

    the logit of c is the distance to the nearest image that is *not* of class c.

    **Margin.** At image k, of class y: every other class has f_c = h_k = 0, and f_y is the distance
    to the nearest image of another class, at least r where the images are r-separated
    (`measure_separation`). So the margin is at least r, and half of it, r/2, is certified. No
    classifier certifies all images at more: half-way between the nearest two of different classes
    it gives one class, which is wrong for one of them.

    **Any other image** is given the class of the nearest image, with a radius of half of how much
    farther the nearest of another class is: the rule of the nearest neighbour.

    Zhang et al., ICLR 2022, theorem 3.2.

    Args:
        images: (N, C, H, W), in [0, 1]; they become the weights of N hidden neurons.
        labels: whole numbers from 0 to classes − 1, (N,), of at least two classes.
        classes: number of logits.

    Returns:
        The net, in evaluation mode; `linfkit.certify` proves its radii like any other's.

    Raises:
        TypeError, ValueError: an argument is not as above.

    >>> from linfkit.certification.certify import certify
    >>> images, labels = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1), torch.tensor([0, 1, 1])
    >>> net = separating_net(images, labels, classes=2)
    >>> net(torch.tensor([[[[0.125]]]])).tolist()
    [[0.375, 0.125]]
    >>> bool((certify(net, images, labels).radius > 0.5 / 2 - 1e-5).all())
    True
    """
    images, labels = check_samples(images, labels)
    _require_two_classes(labels)
    if labels.max() >= check_count("classes", classes):
        raise ValueError(f"classes must be more than {labels.max()}, the last label; got {classes}")
    pixels = images.flatten(1)
    net = LpDistNet(pixels.shape[1], len(images), depth=2, classes=classes, identity_start=False)
    state = net.to(pixels).state_dict()  # of the net's own tensors; its running mean is 0
    state["layers.0.weight"].copy_(pixels)
    others = labels != torch.arange(classes, device=labels.device)[:, None]
    state["layers.2.weight"].copy_(2 * others)
    state["layers.2.bias"].fill_(-2)
    return net.eval()


def _require_two_classes(labels: Tensor) -> None:
    if labels.min() < 0 or labels.min() == labels.max():
        raise ValueError(
            "labels must be numbers from 0, of at least two classes; "
            f"got values from {labels.min()} to {labels.max()}"
        )


# --- conventional nets under interval bounds


def box_after(layer: nn.Module, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Interval bounds after one layer, of every input in the box [lower, upper].

    A linear layer takes the box's centre c to W c + b and its half-widths s to |W| s; ReLU,
    flattening and mean shifts, which are monotone, take ends to ends (interval bound propagation:
    Gowal et al., 2018, arXiv 1810.12715); distances have their own
    (`LpDist.interval`).

    Args:
        layer: one of these, used as it is.
        lower: lower ends, (B, I).
        upper: upper ends, (B, I).

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(layer.weight, -3.0)
    >>> low, high = box_after(layer, torch.zeros(1, 2), torch.ones(1, 2))
    >>> (low.item(), high.item())
    (-6.0, 0.0)
    """
    if isinstance(layer, nn.Linear):
        centre = layer((lower + upper) / 2)
        reach = F.linear((upper - lower) / 2, layer.weight.abs())
        return centre - reach, centre + reach
    if isinstance(layer, LpDist):
        return layer.interval(lower, upper)
    if isinstance(layer, DistanceLayer):
        raise TypeError(f"layer must be linear, monotone or an LpDist; got {type(layer).__name__}")
    return layer(lower), layer(upper)


class ReLUNet(nn.Module):
    """A conventional net, of linear layers with ReLU between them, and interval bounds of it.

    Args:
        in_features: pixels of one image.
        width: units of each hidden layer.
        depth: layers in all, at least 2.
        classes: number of logits.

    >>> net, x = ReLUNet(4, width=8, depth=2, classes=3), torch.rand(5, 1, 2, 2)
    >>> labels, logits = torch.tensor([0, 1, 2, 0, 1]), net(x)
    >>> worst = net.worst_logits(x, labels, eps=0.1)
    >>> bool((worst >= logits - logits.gather(1, labels[:, None]) - 1e-5).all())
    True
    """

    def __init__(self, in_features: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        depth = check_count("depth", depth, least=2)
        sizes = [in_features, *[width] * (depth - 1)]
        parts = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())]
        self.hidden, self.last = nn.Sequential(*parts), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), of images in [0, 1], (B, C, H, W)."""
        logits: Tensor = self.last(self.hidden(x.flatten(1)))
        return logits

    def worst_logits(self, x: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """Upper bounds of each f_j − f_y over the images within eps of x and within [0, 1].

        The last layer is bounded on the differences of its rows, W_j − W_y, which is tighter than
        to bound each logit alone. Rounding is not counted.

        Args:
            x: images, (B, C, H, W).
            labels: whole numbers, (B,).
            eps: in pixels; one number, or one a sample, (B,).

        Returns:
            Bounds, (B, classes), 0 at the label; certified where all others are below 0.
        """
        box = clipped_box(x.flatten(1), eps)
        for layer in self.hidden:
            box = box_after(layer, *box)
        lower, upper = box
        centre = self.last((lower + upper) / 2)
        rows = (self.last.weight - self.last.weight[:, None]).abs()  # [y, j]: |W_j − W_y|
        reach = F.linear((upper - lower) / 2, rows.flatten(0, 1)).unflatten(1, rows.shape[:2])
        of_label = reach[torch.arange(len(x), device=x.device), labels]
        return centre - centre.gather(1, labels[:, None]) + of_label

    @torch.no_grad()
    def certify(self, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Certificates:
        """Certify each image by interval bounds, at the largest ε that bisection finds.

        Args:
            x: images, (B, C, H, W), in [0, 1].
            labels: whole numbers, (B,).
            batch_size: images that pass through the net at once.

        Returns:
            `Certificates`; negative where misclassified, and rounding is not counted.
        """
        batches = zip(x.split(batch_size), labels.split(batch_size), strict=True)
        return join([self._certify(*batch) for batch in batches])

    def _certify(self, x: Tensor, labels: Tensor) -> Certificates:
        def holds(eps: Tensor) -> Tensor:
            worst = self.worst_logits(x, labels, eps)
            return worst.scatter(1, labels[:, None], -math.inf).amax(dim=1) < 0

        half_margin = certified_radius(self(x), labels)
        radius = largest_eps(holds, half_margin, HALVINGS)
        correct = half_margin > 0
        return Certificates(radius.where(correct, half_margin), correct)


def train_by_intervals(
    x: Tensor,
    labels: Tensor,
    classes: int,
    eps: float,
    width: int = 128,
    depth: int = 3,
    epochs: int = 120,
    batch_size: int = 128,
    lr: float = 5e-3,
    seed: int = 0,
) -> ReLUNet:
    """Train a conventional net by interval bound propagation (Gowal et al., 2018).

    The loss is the cross-entropy of the worst logits that the bounds allow within ε, which rises
    from 0 to `eps` over nine tenths of the epochs; the optimizer is Adam.

    Args:
        x: images, (N, C, H, W), in [0, 1].
        labels: whole numbers from 0 to classes − 1, (N,).
        classes: number of logits.
        eps: in pixels; 0 trains the net as usual.
        width: units of each hidden layer.
        depth: layers in all, at least 2.
        epochs: passes over the images.
        batch_size: images of one step.
        lr: learning rate.
        seed: of initial weights and the order of the images.

    >>> x, labels = torch.tensor([[0.0], [1.0]]).view(2, 1, 1, 1), torch.tensor([0, 1])
    >>> net = train_by_intervals(x, labels, classes=2, eps=0.2, width=8, batch_size=2)
    >>> net.certify(x, labels).accuracy(0.2)
    1.0
    """
    eps, epochs = check_eps(eps), check_count("epochs", epochs)
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ReLUNet(x[0].numel(), width, depth, classes)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for epoch in range(epochs):
        now = eps * min(1.0, epoch / (0.9 * epochs))
        for rows in torch.randperm(len(x), generator=order).split(batch_size):
            worst = net.worst_logits(x[rows], labels[rows], now)
            loss = F.cross_entropy(worst, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


@on_device_of_model
@torch.no_grad()
def box_shares(net: LpDistNet | ReLUNet, x: Tensor, eps: float) -> list[float]:
    """Half-width of the interval bounds after each layer, over the spread of its values.

    Within ε of an image each neuron's value lies in an interval. Its half-width is averaged over
    neurons and images, and divided by the standard deviation of the values between images, averaged
    over neurons: so the share does not depend on the scale of the weights, which for a conventional
    net is arbitrary. From about 1 on, boxes cover what tells images apart.

    Args:
        net: in evaluation mode, an ℓ∞-distance net at p=∞.
        x: at least two images, (B, C, H, W), in [0, 1].
        eps: in pixels, above 0.

    Returns:
        A share for each layer that has weights.

    >>> net = LpDistNet(1, width=2, depth=1, classes=2, scale=0.4).eval()
    >>> images = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1)  # 0.25·√2 from their mean
    >>> [round(share, 3) for share in box_shares(net, images, eps=0.1)]
    [0.283]
    """
    eps = check_eps(eps, positive=True)
    values = x.flatten(1)
    lower, upper = clipped_box(values, eps)
    if isinstance(net, LpDistNet):
        layers = [*net.layers]
        lower, upper, values = (net.normalise(pixels) for pixels in (lower, upper, values))
    else:
        layers = [*net.hidden, net.last]
    shares = []
    for layer in layers:
        lower, upper = box_after(layer, lower, upper)
        values = layer(values)
        if isinstance(layer, nn.Linear | LpDist):
            half_width, spread = (upper - lower).mean() / 2, values.std(dim=0).mean()
            shares.append((half_width / spread).item())
    return shares
