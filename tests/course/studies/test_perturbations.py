"""Perturbations stay within their size, logits within theirs; figures show both.

Not here: how strong the push is; real attacks are in test_attacks.
"""

import math

import pytest
import torch

import linfkit as lk
from linfkit.course import figures
from linfkit.course.studies import perturbations

PUSHED = perturbations.Pushed(
    0.1, torch.zeros(1, 4, 4), 0, torch.tensor([0.9, 0.5]), torch.tensor([0.8, 0.6])
)
#: every figure of a perturbed image, for test_figures
FIGURES = {
    "image-at-radius": lambda: figures.image_at_radius(torch.zeros(1, 4, 4), 0.1),
    "nearest-misread": lambda: figures.nearest_misread(
        torch.zeros(1, 4, 4), 3, {"ours": (torch.full((1, 4, 4), 0.25), 8)}
    ),
    "logits-under-perturbation": lambda: figures.logits_under_perturbation(PUSHED),
}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return lk.LpDistNet(16, width=12, depth=3, classes=4, mean=0.5, scale=0.3).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
def test_a_push_stays_within_eps_and_the_image_within_its_range(net, images, eps):
    pushed = perturbations.push(net, images[0], label=1, eps=eps)
    assert (pushed.image - images[0]).abs().max() <= eps + 1e-6
    assert 0 <= pushed.image.min() <= pushed.image.max() <= 1
    assert (pushed.moved_logits - pushed.logits).abs().max() <= eps + 1e-5


def test_a_push_narrows_the_margin_at_its_own_p_and_leaves_the_net_alone(net, images):
    pushed = perturbations.push(net, images[0], label=1, eps=0.1, p=math.inf)
    after = lk.certified_radius(pushed.moved_logits[None], torch.tensor([1]))
    assert after < pushed.radius
    assert net.p == math.inf
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_radius_is_that_of_certify(net, images):
    pushed = perturbations.push(net, images[0], label=1, eps=0.1)
    certified = lk.certify(net, images[:1], torch.tensor([1])).radius.item()
    assert pushed.radius == pytest.approx(certified)


def test_random_signs_move_each_image_by_its_own_size(images):
    sizes = torch.linspace(0, 0.5, 6)
    moved = (perturbations.random_signs(images, sizes) - images).abs()
    assert torch.allclose(moved, sizes.view(-1, 1, 1, 1).expand_as(moved), atol=1e-6)
    assert not torch.equal(
        perturbations.random_signs(images, 0.1, seed=0),
        perturbations.random_signs(images, 0.1, seed=1),
    )


def test_changed_predictions_are_counted(net, images):
    labels = net(images).argmax(dim=1)
    radius = lk.certify(net, images, labels).radius
    assert perturbations.predictions_changed(net, images, labels, 0.999 * radius) == 0
    others = (labels + 1) % 4
    assert perturbations.predictions_changed(net, images, others, 0.0 * radius, tries=3) == 5 * 6


class TestFigures:
    def test_four_pictures_stand_side_by_side(self, images):
        (picture,) = figures.image_at_radius(images[0], 0.1).data
        assert picture.z.shape == (4, 4 * 4 + 3)
        assert picture.z[:, 5:9] == pytest.approx(images[0, 0].numpy(), abs=1e-3)
        assert picture.z[:, :4] == pytest.approx(images[0, 0].numpy() - 0.1, abs=1e-3)

    def test_each_net_s_nearest_image_stands_beside_its_size(self):
        figure = FIGURES["nearest-misread"]()
        assert list(figure.layout.xaxis.ticktext) == [
            "the image, a 3",
            "ours reads 8,<br>changed by 0.250",
        ]
        assert figure.data[0].z[:, 5:] == pytest.approx(0.25)
        assert "0.250 for ours" in figure.layout.meta["description"]

    @pytest.mark.parametrize(
        ("eps", "moved", "said"),
        [
            (0.1, [0.9, 0.4], "certified (r=0.200); the prediction stands"),
            (0.2, [0.8, 0.6], "not certified (r=0.200); the prediction stands"),
            (0.3, [0.6, 0.7], "not certified (r=0.200); the prediction is wrong"),
        ],
    )
    def test_the_title_gives_the_verdict(self, images, eps, moved, said):
        pushed = perturbations.Pushed(
            eps, images[0], 0, torch.tensor([0.9, 0.5]), torch.tensor(moved)
        )
        figure = figures.logits_under_perturbation(pushed)
        assert figure.layout.title.text == f"Digit 0, ε={eps:g}: {said}"
        _, logits, after = figure.data
        assert logits.error_y.array == (eps, eps)
        assert after.y == pytest.approx(moved)
