"""Tested: radii by hand, what certify leaves as it was, refusals, and that certificates hold.
Not tested: that nets are 1-Lipschitz (test_nets.py), the attack itself (test_attacks.py)."""

import copy
import math
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import linfkit as lk
from linfkit.certification.certify import check_for_proofs
from linfkit.certification.intervals import interval_radius
from linfkit.course.studies.attacks import predictions
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.layers import set_p

INF = math.inf


@pytest.fixture(scope="module")
def digits():
    data = lk.load_dataset("digits")
    return data.test_x[:200].float() / 255, data.test_y[:200]


@pytest.fixture(scope="module")
def trained_net(tmp_path_factory):
    recipe = lk.load_recipe("digits-small").replace(width=32, epochs=20, batch_size=64)
    return lk.fit(recipe, out=tmp_path_factory.mktemp("run"), progress=False).ema_model


@pytest.fixture(scope="module")
def random_net():
    torch.manual_seed(0)
    return lk.LpDistNet(64, width=32, depth=3, classes=10, mean=0.3, scale=0.4).eval()


@pytest.fixture
def small_net():
    torch.manual_seed(0)
    return lk.LpDistNet(12, width=9, depth=3, classes=4)


def images(count=6, features=12):
    return torch.rand(count, features, generator=torch.Generator().manual_seed(0))


# --- radii by hand


@pytest.mark.parametrize(
    ("logits", "label", "radius"),
    [
        ([0.5, 0.25, 0.0], 0, 0.125),
        ([0.0, 1.0, 0.0], 0, -0.5),
        ([0.0, 1.0, 0.0], 1, 0.5),
        ([2.0, 2.0, -1.0], 1, 0.0),
        ([-3.0, -5.0, -4.0], 0, 0.5),
        ([-3.0, -5.0, -4.0], 1, -1.0),
        ([1.0, 0.0], 0, 0.5),
    ],
)
def test_the_radius_is_half_the_margin_and_negative_where_misclassified(logits, label, radius):
    assert lk.certified_radius(torch.tensor([logits]), torch.tensor([label])).tolist() == [radius]


def test_a_certificate_on_the_line_reaches_to_the_point_between_two_classes():
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[0.0], [1.0]]))  # the logits are −|x| and −|x − 1|
    x, labels = torch.tensor([[0.25], [0.875], [0.625]]), torch.tensor([0, 1, 0])
    radius, exact = lk.certify(net, x, labels).radius, torch.tensor([0.25, 0.375, -0.125])
    torch.testing.assert_close(radius, exact, rtol=0, atol=2e-6)
    assert ((radius < exact) == (exact > 0)).all(), "rounded down"


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), members=st.integers(1, 5), classes=st.integers(2, 5))
def test_a_mean_of_logits_certifies_at_least_the_mean_of_their_radii(seed, members, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(members, 20, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (20,), generator=generator)
    alone = torch.stack([lk.certified_radius(of_member, labels) for of_member in logits])
    assert (lk.certified_radius(logits.mean(dim=0), labels) >= alone.mean(dim=0) - 1e-12).all()


def test_certified_accuracy_counts_radii_above_eps():
    certificates = lk.Certificates(torch.tensor([0.25, 0.125, 0.0, -0.5]))
    assert certificates.clean_accuracy == 0.5
    shares = [certificates.accuracy(eps) for eps in (0, 0.1, 0.125, 0.2, 0.25, 1)]
    assert shares == [0.5, 0.5, 0.25, 0.25, 0, 0]


def test_a_margin_that_rounding_can_have_made_proves_nothing_but_counts_as_correct():
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[-4096.0], [4097.0]]))  # the classes meet at 1/2
    x = torch.tensor([[0.5005], [0.6], [0.5], [0.4]])
    certificates = lk.certify(net, x, torch.ones(4).long())
    assert certificates.correct.tolist() == [True, True, False, False]
    assert certificates.radius.sign().tolist() == [0, 1, 0, -1]
    assert (certificates.accuracy(0), certificates.clean_accuracy) == (0.25, 0.5)
    assert (certificates.rounding > 1e-4).all()


def test_without_being_told_certificates_take_a_radius_above_0_for_correct():
    certificates = lk.Certificates(torch.tensor([0.25, 0.0, -0.5]))
    assert certificates.correct.tolist() == [True, False, False]
    assert certificates.rounding is None


# --- what certify does


def test_certify_takes_half_the_margin_at_p_infinity_in_evaluation_mode(small_net):
    x, labels = images(), torch.tensor([0, 1, 2, 3, 0, 1])
    small_net(x)  # moves the running means
    small_net.p = 8
    radius = lk.certify(small_net, x, labels).radius
    small_net.p = INF
    with torch.no_grad():
        half_margin = lk.certified_radius(small_net.eval()(x), labels)
    torch.testing.assert_close(radius, half_margin, rtol=0, atol=2e-5)
    assert (radius[half_margin > 0] < half_margin[half_margin > 0]).all()
    assert torch.equal(radius[half_margin < 0], half_margin[half_margin < 0])


def test_the_size_of_batches_does_not_matter(small_net):
    x, labels = images(), torch.tensor([0, 1, 2, 3, 0, 1])
    whole = lk.certify(small_net, x, labels).radius
    for batch_size in (1, 4, 6):
        assert torch.equal(lk.certify(small_net, x, labels, batch_size).radius, whole)


def test_certify_leaves_p_modes_weights_and_means_as_they_were(small_net):
    small_net.layers[0].p, small_net.layers[2].p = 8, 100
    small_net.layers[1].eval()
    small_net.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in small_net.state_dict().items()}
    certificates = lk.certify(small_net, images(), torch.zeros(6).long())
    assert [layer.p for layer in small_net.layers[::2]] == [8.0, 100.0, INF]
    assert [layer.training for layer in small_net.layers] == [True, False, True, True, True]
    assert small_net.training
    assert all(torch.equal(before[name], now) for name, now in small_net.state_dict().items())
    assert not certificates.radius.requires_grad


def test_certify_puts_p_and_mode_back_after_an_exception(small_net):
    small_net.p = 8
    with pytest.raises(ValueError, match=r"^labels must be from 0 to 3"):
        lk.certify(small_net, images(), torch.full((6,), 4))
    assert (small_net.p, small_net.training) == (8.0, True)


def test_evaluating_at_gives_the_model_as_asked_and_puts_it_back(small_net):
    small_net.p = 8
    with evaluating_at(small_net, 3) as model:
        assert (model, model.p, model.training) == (small_net, 3.0, False)
        assert not any(module.training for module in model.modules())
    assert (small_net.p, small_net.training) == (8.0, True)


def test_an_exponent_that_is_refused_changes_nothing(small_net):
    with pytest.raises(ValueError, match=r"^p must be"), evaluating_at(small_net, 0.5):
        pass
    assert (small_net.p, small_net.training) == (INF, True)


# --- certificates hold


@pytest.mark.parametrize("net", ["trained_net", "random_net"])
def test_every_certificate_survives_gradient_descent_just_below_its_radius(net, digits, request):
    net, (x, _) = request.getfixturevalue(net), digits
    with torch.no_grad():
        labels = net(x).argmax(dim=1)
    radius = lk.certify(net, x, labels).radius
    assert (radius > 0).all()
    chosen = slice(0, 20)
    assert lk.survives_pgd(net, x[chosen], labels[chosen], 0.999 * radius[chosen], steps=40).all()


@pytest.mark.parametrize("net", ["trained_net", "random_net"])
def test_every_certificate_survives_random_corners_of_its_ball(net, digits, request):
    net, (x, _) = request.getfixturevalue(net), digits
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        labels = net(x).argmax(dim=1)
        radius = lk.certify(net, x, labels).radius
        for _ in range(50):
            corner = torch.randint(2, x.shape, generator=generator) * 2 - 1
            moved = x + 0.999 * radius.view(-1, 1, 1, 1) * corner
            assert torch.equal(net(moved).argmax(dim=1), labels)


def test_an_attack_far_above_the_radius_changes_predictions_of_a_trained_net(trained_net, digits):
    x, labels = digits
    radius = lk.certify(trained_net, x, labels).radius
    certified = radius > 0
    survives = lk.survives_pgd(trained_net, x[certified], labels[certified], eps=0.5, steps=40)
    assert radius.max() < 0.5
    assert survives.float().mean() < 0.5


def test_a_trained_net_certifies_what_chance_does_not(trained_net, random_net, digits):
    assert lk.certify(trained_net, *digits).accuracy(0.1) > 0.4
    assert lk.certify(random_net, *digits).accuracy(0.1) < 0.2


# --- refusals


def spoilt(value):
    x = images()
    x[2, 3] = value
    return x


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (spoilt(math.nan), ValueError, "^x must hold finite pixels; got NaN or infinite"),
        (spoilt(INF), ValueError, "^x must hold finite pixels"),
        (spoilt(-INF), ValueError, "^x must hold finite pixels"),
        (spoilt(1.5), ValueError, r"^x must hold pixels in \[0, 1\]; got values from .* to 1.5$"),
        ((images() * 255).byte(), TypeError, "^x must hold floating-point.*uint8: divide by 255$"),
        (images()[:0], ValueError, r"^x must be a non-empty batch of images.*\(0, 12\)"),
        (images()[0], ValueError, r"^x must be a non-empty batch of images.*\(12,\)"),
        (images().tolist(), TypeError, "^x must be a torch.Tensor of images; got list"),
        (images().double().numpy(), TypeError, "^x must .*float32.*float64"),
        (images(features=11), ValueError, r"^x must be .* 12 pixels each.*\(6, 11\)"),
        (images().double(), TypeError, "^x must .*float32.*float64"),
    ],
)
def test_certify_refuses_images_that_do_not_fit(x, error, message, small_net):
    with pytest.raises(error, match=message):
        lk.certify(small_net, x, torch.zeros(len(x)).long())


NORMALISED = r" \(a net normalises its images itself: give it pixels\)"
GREY_LEVELS = r" \(are they in grey levels\? divide by 255\)"


@pytest.mark.parametrize(
    ("low", "high", "likely"),
    [
        (-0.25, 1, NORMALISED),
        (-2, 255, NORMALISED),
        (0, 255, GREY_LEVELS),
        (0, 2.5, GREY_LEVELS),
        (0.5, 255, GREY_LEVELS),
        (0, 2, ""),
        (0.5, 1.5, ""),
    ],
)
def test_pixels_out_of_range_are_told_with_what_they_likely_are(low, high, likely, small_net):
    x = torch.full((2, 12), float(low))
    x[1] = high
    message = rf"^x must hold pixels in \[0, 1\]; got values from {low:g} to {high:g}{likely}$"
    with pytest.raises(ValueError, match=message):
        lk.certify(small_net, x, torch.zeros(2).long())


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.full((6,), 4), ValueError, "^labels must be from 0 to 3; got values from 4 to 4"),
        (torch.full((6,), -1), ValueError, "^labels must be from 0 to 3; got values from -1"),
        (torch.zeros(6), TypeError, "^labels must hold whole numbers.*float32"),
        (torch.zeros(6).bool(), TypeError, "^labels must hold whole numbers.*bool"),
        (np.zeros(6), TypeError, "^labels must hold whole numbers; got ndarray"),
        (torch.tensor(0), ValueError, r"^labels must be one .*is it one image\? give x\[None\]"),
        (torch.zeros(5).long(), ValueError, r"^labels must be one for each of the 6.*\(5,\)"),
        (torch.zeros(6, 4).long(), ValueError, r"^labels must be one for each.*\(6, 4\)"),
        (["0"] * 6, TypeError, "^labels must hold whole numbers; got list"),
        ([[0], [0, 1]], TypeError, "^labels must hold whole numbers; got list"),
    ],
)
def test_certify_refuses_labels_that_do_not_fit(labels, error, message, small_net):
    with pytest.raises(error, match=message):
        lk.certify(small_net, images(), labels)


INTEGERS = [torch.int32, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int64]


@pytest.mark.parametrize(
    "labels",
    [
        *(torch.tensor([0, 1, 2, 3, 2, 1]).to(dtype) for dtype in INTEGERS),
        *(np.array([0, 1, 2, 3, 2, 1], dtype) for dtype in ("<i8", ">i4", "u1", "u8")),
        np.array([1, 2, 3, 2, 1, 0])[::-1],
        [0, 1, 2, 3, 2, 1],
        (0, 1, np.int64(2), np.uint8(3), 2, 1),
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
def test_labels_of_any_integer_type_and_images_in_numpy_arrays_are_taken(labels, small_net):
    x, plain = images(), torch.tensor([0, 1, 2, 3, 2, 1])
    wanted = lk.certify(small_net, x, plain).radius
    assert lk.certify(small_net, x, labels).radius.equal(wanted)
    assert lk.certify(small_net, x.numpy(), labels).radius.equal(wanted)
    assert lk.certify(small_net, x.numpy().astype(">f4"), labels).radius.equal(wanted)
    assert lk.interval_radius(small_net, x.numpy(), labels).equal(
        lk.interval_radius(small_net, x, plain)
    )
    for attack in (lk.survives_pgd, lk.smallest_perturbation):
        arguments = {"eps": 0.1, "steps": 3} if attack is lk.survives_pgd else {"steps": 3}
        found = attack(small_net, x.numpy(), labels, **arguments)
        assert found.equal(attack(small_net, x, plain, **arguments))
    logits = small_net(x)
    assert lk.certified_radius(logits, labels).equal(lk.certified_radius(logits, plain))
    assert lk.hinge_loss(logits, labels, 0.5).equal(lk.hinge_loss(logits, plain, 0.5))
    assert lk.mixed_loss(logits, labels, 0.5, 0.1, 1.0).equal(
        lk.mixed_loss(logits, plain, 0.5, 0.1, 1.0)
    )


@pytest.mark.parametrize("eps", [Fraction(8, 255), np.float32(8 / 255), np.float64(8 / 255)])
def test_eps_may_be_any_number(eps, small_net):
    x, labels = images(), small_net(images()).argmax(dim=1)
    certificates = lk.certify(small_net.eval(), x, labels)
    assert certificates.accuracy(eps) == certificates.accuracy(float(eps))
    attacked = lk.survives_pgd(small_net, x, labels, eps, steps=3)
    assert attacked.equal(lk.survives_pgd(small_net, x, labels, float(eps), steps=3))
    assert lk.lipschitz_estimate(small_net, x, eps).equal(
        lk.lipschitz_estimate(small_net, x, float(eps))
    )


@pytest.mark.parametrize(
    ("batch_size", "error", "message"),
    [
        (0, ValueError, r"^batch_size must be at least 1; got 0"),
        (-8, ValueError, r"^batch_size must be at least 1; got -8"),
        (2.5, TypeError, r"^batch_size must be a whole number; got 2\.5"),
    ],
)
@pytest.mark.parametrize("certify", [lk.certify, interval_radius])
def test_a_batch_size_that_is_none_is_named(certify, batch_size, error, message, small_net):
    with pytest.raises(error, match=message):
        certify(small_net, images(), torch.zeros(6).long(), batch_size)


def test_a_model_without_distance_layers_proves_nothing():
    with pytest.raises(ValueError, match=r"^model must hold ℓp-distance layers"):
        lk.certify(nn.Linear(12, 4), images(), torch.zeros(6).long())


def test_one_class_has_no_margin():
    with pytest.raises(ValueError, match=r"^logits must have at least two classes"):
        lk.certified_radius(torch.zeros(2, 1), torch.zeros(2).long())


@pytest.mark.parametrize("eps", [8, 1.5, 255, -0.1, math.nan, INF])
def test_accuracy_refuses_an_eps_that_is_not_in_pixels(eps):
    with pytest.raises(ValueError, match=rf"^eps must be in pixels of \[0, 1\].*got {eps}"):
        lk.Certificates(torch.zeros(3)).accuracy(eps)


@pytest.mark.parametrize("eps", [1.5, 8, 255])
def test_accuracy_guesses_what_an_eps_in_grey_levels_meant(eps):
    with pytest.raises(ValueError, match=rf"; got {eps} \(did you mean {eps}/255\?\)$"):
        lk.Certificates(torch.zeros(3)).accuracy(eps)


@pytest.mark.parametrize("eps", [-0.1, 255.5, INF, math.nan])
def test_accuracy_does_not_guess_what_is_no_grey_level(eps):
    with pytest.raises(ValueError, match=f"; got {eps}$"):
        lk.Certificates(torch.zeros(3)).accuracy(eps)


@pytest.mark.parametrize("eps", ["8/255", True, None])
def test_accuracy_refuses_an_eps_that_is_no_number(eps):
    with pytest.raises(TypeError, match=rf"^eps must be in pixels of \[0, 1\].*; got {eps!r}$"):
        lk.Certificates(torch.zeros(3)).accuracy(eps)


def test_radii_are_a_tensor():
    with pytest.raises(TypeError, match=r"^radius must be a torch.Tensor; got list"):
        lk.Certificates([0.25, 0.125])


# Models with a proof of their own, and with none


def hybrid():
    return lk.HybridNet(lk.LpDistNet(4, width=8, depth=3, classes=3), hidden=6).eval()


def test_a_hybrid_is_certified_by_its_own_proof():
    net, x = hybrid(), torch.rand(7, 4)
    labels = net(x).argmax(dim=1)
    certificates = lk.certify(net, x, labels)
    assert certificates.rounding is None
    assert certificates.correct.all()


def test_a_hybrid_s_radius_in_float32_is_one_of_real_numbers():
    torch.manual_seed(0)
    net = lk.HybridNet(lk.LpDistNet(4, width=8, depth=3, classes=3, scale=0.3), hidden=6).eval()
    x = torch.rand(300, 4)
    labels = net(x).argmax(dim=1)
    radius = lk.certify(net, x, labels).radius
    exact = lk.certify(copy.deepcopy(net).double(), x.double(), labels).radius
    assert radius.dtype == torch.float32
    assert (radius.double() <= exact).all()
    torch.testing.assert_close(radius.double(), exact, rtol=0, atol=1e-5)
    assert (radius > 0).float().mean() > 0.9
    wrong = lk.certify(net, x, (labels + 1) % 3)
    assert torch.equal(wrong.radius[radius > 0], -radius[radius > 0])
    assert not wrong.correct.any()


@pytest.mark.parametrize(
    "model",
    [
        torch.nn.Sequential(lk.LpDistNet(4, 8, 2, 3), torch.nn.Linear(3, 3)),
        lk.Ensemble([hybrid(), hybrid()]),
    ],
    ids=["a linear layer at the end", "a mean of hybrids"],
)
def test_a_model_whose_weights_multiply_is_refused(model):
    with pytest.raises(ValueError, match=r"its layer '.*Linear, multiplies by its weights"):
        lk.certify(model, torch.rand(2, 4), torch.tensor([0, 1]))


JUDGES_BY_LOGITS = [
    lk.certify,
    lambda net, x, labels: lk.survives_pgd(net, x, labels, 0.5, steps=3),
    lambda net, x, labels: lk.survives_pgd(net, x, labels, 0.0, steps=3),
    lambda net, x, labels: lk.smallest_perturbation(net, x, labels, steps=3),
    lambda net, x, labels: lk.lipschitz_estimate(net, x),
    lambda net, x, labels: predictions(net, x),
]
JUDGES_BY_WEIGHTS = [
    interval_radius,
    lambda net, x, labels: lk.exact_radius(net, x[0], 0),
    lambda net, x, labels: lk.lipschitz_bound(net),
    lambda net, x, labels: lk.lipschitz_by_layer(net, x),
    lambda net, x, labels: lk.check_lipschitz(net),
]


def test_a_net_that_gives_nan_is_refused_by_all_that_judge_it(small_net):
    small_net.eval().layers[0].weight.data[0, 0] = math.nan
    x, labels = images(5), torch.zeros(5).long()
    unknown = r"^model must give numbers; got NaN for 5 of 5 images: are its weights finite\?$"
    for judge in JUDGES_BY_LOGITS:
        with pytest.raises(ValueError, match=unknown):
            judge(small_net, x, labels)
    named = r"^model must have finite weights; its 'layers\.0\.weight' has NaN or infinite ones$"
    for judge in JUDGES_BY_WEIGHTS:
        with pytest.raises(ValueError, match=named):
            judge(small_net, x, labels)
    other = lk.LpDistNet(12, width=8, depth=3, classes=4).eval()
    for ensemble in (lk.Ensemble([other, small_net]), lk.VotingEnsemble([other, small_net], 1.0)):
        for judge in JUDGES_BY_LOGITS[1:]:
            with pytest.raises(ValueError, match=unknown):
                judge(ensemble.eval(), x, labels)


def test_of_an_infinite_margin_nothing_is_proved(small_net):
    labels = torch.zeros(5).long()
    small_net.layers[-1].bias.data[1:] = math.inf
    certificates = lk.certify(small_net, images(5), labels)
    assert torch.equal(certificates.radius, torch.zeros(5))
    assert certificates.correct.all()


def test_threads_that_evaluate_a_net_wait_for_each_other(small_net):
    small_net.p, entered = 2, threading.Event()

    def evaluate():
        with evaluating_at(small_net, 8):
            entered.set()

    thread = threading.Thread(target=evaluate)
    with evaluating_at(small_net, INF):
        thread.start()
        assert not entered.wait(0.2)
        assert small_net.p == INF
    thread.join()
    assert entered.is_set()
    assert small_net.p == 2


class ChangedMeanwhile(lk.LpDistNet):
    """A net that somebody goes on training while it is certified."""

    def forward(self, x):
        logits = super().forward(x)
        self.change()
        return logits


@pytest.mark.parametrize("change", [lambda net: net.layers[1].train(), lambda net: set_p(net, 8.0)])
@pytest.mark.filterwarnings("ignore:cannot verify ChangedMeanwhile")
def test_a_net_that_is_changed_while_it_is_certified_is_no_net_of_the_certificate(change):
    net = ChangedMeanwhile(12, 8, 2, 3)
    net.change = lambda: change(net)
    with pytest.raises(RuntimeError, match=r"^model must be left alone .*, certify a copy$"):
        lk.certify(net, images(5), torch.zeros(5).long())


def test_a_net_is_certified_by_its_margin_unless_it_has_another_proof():
    class Proved(lk.LpDistNet):
        def certified_radius(self, x, labels):
            return x.new_zeros(len(x))

    net = lk.LpDistNet(4, width=8, depth=2, classes=3)
    hybrid = lk.HybridNet(net, hidden=4)
    proved = (hybrid, lk.HybridEnsemble([hybrid, hybrid]), Proved(4, 8, 2, 3))
    by_margin, *others = map(check_for_proofs, (net, *proved))
    assert by_margin.roundings is not None
    assert all(other.roundings is None for other in others)
    assert [len(other.members or []) for other in others] == [1, 2, 0]
    assert [other.has_own_method for other in others] == [False, False, True]
