"""Tested: values and gradients of the losses against hand-computed ones, and their refusals.
Not tested: that nets learn by them (test_training.py)."""

import math

import pytest
import torch

import linfkit as lk
from linfkit.training.losses import worst_cross_entropy, worst_logits, worst_mixed_loss

# Label 0; θ = 1 makes the shortfalls of the wrong classes 1 − (f_0 − f_j):
LOGITS = torch.tensor(
    [
        [2.0, 0.0, 1.5],  # −1 and 0.5
        [0.0, 0.0, -3.0],  # 1 and −2
        [1.0, 4.0, 0.5],  # 4 and 0.5
        [5.0, 0.0, 1.0],  # −4 and −3
    ]
)
LABELS = torch.zeros(4, dtype=torch.int64)
MEAN_OF_MAXIMA = (0.5 + 1 + 4 + 0) / 4
MEAN_OF_ALL = (0.5 + 1 + 4 + 0.5) / 12
MEAN_OF_CLIPPED = (0.5 + 1 + 1 + 0) / 4


def cross_entropy(logits, scale=1.0):
    rows = (scale * logits).double().tolist()
    return sum(math.log(sum(math.exp(f - row[0]) for f in row)) for row in rows) / len(rows)


# --- hinge


@pytest.mark.parametrize(
    ("kappa", "wanted"),
    [
        (0.0, MEAN_OF_MAXIMA),
        (1.0, MEAN_OF_ALL),
        (0.25, 0.75 * MEAN_OF_MAXIMA + 0.25 * MEAN_OF_ALL),
        (0.5, 0.5 * MEAN_OF_MAXIMA + 0.5 * MEAN_OF_ALL),
    ],
)
def test_the_hinge_mixes_the_worst_class_with_the_mean_of_all(kappa, wanted):
    assert lk.hinge_loss(LOGITS, LABELS, 1.0, kappa).item() == pytest.approx(wanted)


def test_kappa_is_a_quarter_unless_said():
    assert torch.equal(
        lk.hinge_loss(LOGITS, LABELS, 1.0), lk.hinge_loss(LOGITS, LABELS, 1.0, kappa=0.25)
    )


@pytest.mark.parametrize(
    ("margin", "theta", "shortfall"),
    [(0.0, 0.2, 1.0), (0.1, 0.2, 0.5), (0.25, 0.25, 0.0), (0.5, 0.25, 0.0), (-0.2, 0.2, 2.0)],
)
def test_the_hinge_falls_from_1_at_margin_0_to_0_at_theta(margin, theta, shortfall):
    logits, labels = torch.tensor([[0.0, margin]]), torch.tensor([1])
    assert lk.hinge_loss(logits, labels, theta, kappa=0).item() == pytest.approx(shortfall)


@pytest.mark.parametrize(
    ("margin", "share", "shortfall"),
    [(0.0, 0.0, 0.0), (-0.1, 0.0, 0.5), (0.0, 0.5, 0.5), (0.1, 0.5, 0.0), (0.05, 0.75, 0.5)],
)
def test_of_a_share_of_theta_the_hinge_falls_to_0_there_as_steeply(margin, share, shortfall):
    logits, labels = torch.tensor([[0.0, margin]]), torch.tensor([1])
    loss = lk.hinge_loss(logits, labels, theta=0.2, kappa=0, share=share)
    assert loss.item() == pytest.approx(shortfall, abs=1e-6)


def test_beyond_theta_the_hinge_has_no_gradient_and_below_it_one_over_theta():
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0]]).requires_grad_()
    lk.hinge_loss(logits, torch.tensor([0, 0]), theta=1.0, kappa=0).backward()
    assert logits.grad.tolist() == [[0.0, 0.0], [-0.5, 0.5]]


# --- mixed


def test_the_mixed_loss_clips_each_sample_at_1():
    assert lk.mixed_loss(LOGITS, LABELS, 1.0, lam=0.0, logit_scale=1.0).item() == pytest.approx(
        MEAN_OF_CLIPPED
    )


@pytest.mark.parametrize("lam", [0.05, 0.5, 2])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_mixed_loss_adds_lambda_times_the_scaled_cross_entropy(lam, scale):
    loss = lk.mixed_loss(LOGITS, LABELS, 1.0, lam, torch.tensor(scale))
    assert loss.item() == pytest.approx(MEAN_OF_CLIPPED + lam * cross_entropy(LOGITS, scale))


def test_twice_lambda_is_twice_the_cross_entropy():
    none, once, twice = (
        lk.mixed_loss(LOGITS, LABELS, 1.0, lam, logit_scale=2.0).item() for lam in (0, 0.1, 0.2)
    )
    assert twice - none == pytest.approx(2 * (once - none))


def test_a_misclassified_sample_pulls_through_the_cross_entropy_alone():
    def gradient(logits, lam):
        logits = torch.tensor([logits]).requires_grad_()
        lk.mixed_loss(logits, torch.tensor([0]), 1.0, lam, logit_scale=1.0).backward()
        return logits.grad.tolist()

    assert gradient([0.0, 2.0], lam=0.0) == [[0.0, 0.0]]
    assert gradient([0.0, 2.0], lam=1.0)[0] == pytest.approx([-0.880797, 0.880797])
    assert gradient([0.5, 0.0], lam=0.0) == [[-1.0, 1.0]]
    assert gradient([1.5, 0.0], lam=0.0) == [[0.0, 0.0]]


def test_the_logit_scale_learns_through_the_cross_entropy():
    scale = torch.tensor(1.0, requires_grad=True)
    lk.mixed_loss(LOGITS, LABELS, 1.0, 0.5, scale).backward()
    step = 1e-3
    slope = (cross_entropy(LOGITS, 1 + step) - cross_entropy(LOGITS, 1 - step)) / (2 * step)
    assert scale.grad.item() == pytest.approx(0.5 * slope, rel=1e-4)


# --- worst cases


def test_the_worst_logits_are_what_each_class_can_gain_on_the_label_within_eps():
    gains = [[0.0, -1.5, 0.0], [0.0, 0.5, -2.5], [0.0, 3.5, 0.0], [0.0, -4.5, -3.5]]
    assert worst_logits(LOGITS, LABELS, eps=0.25).tolist() == gains


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.6])
def test_the_worst_logits_are_negative_where_a_sample_is_certified(eps):
    logits, labels = random_logits()
    worst = worst_logits(logits, labels, eps).scatter(1, labels[:, None], -math.inf)
    assert torch.equal(worst.amax(dim=1) < 0, lk.certified_radius(logits, labels) > eps)


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize("kappa", [0.0, 0.25, 1.0])
def test_a_share_of_the_cross_entropy_is_of_the_worst_logits(kappa, scale):
    worst = worst_logits(LOGITS, LABELS, 0.25)
    loss = worst_cross_entropy(LOGITS, worst, LABELS, kappa, scale)
    wanted = kappa * cross_entropy(worst, scale) + (1 - kappa) * cross_entropy(LOGITS, scale)
    assert loss.item() == pytest.approx(wanted)


def test_without_a_share_the_worst_logits_need_not_be_finite():
    nothing_known = torch.full_like(LOGITS, math.inf)
    loss = worst_cross_entropy(LOGITS, nothing_known, LABELS, 0.0, 1.0)
    assert loss.item() == pytest.approx(cross_entropy(LOGITS))


@pytest.mark.parametrize(("lam", "scale"), [(0.0, 1.0), (0.5, 1.0), (2, 0.5)])
def test_the_hinge_of_the_worst_logits_is_of_what_is_classified_rightly(lam, scale):
    worst = torch.tensor([[0.0, 0.5, -1.0], [0.0, -3.0, -1.0], [0.0, 9.0, 9.0], [0.0, -2.0, -2.5]])
    hinge = (1.25 + 0.5 + 0 + 0) / 4  # the third is misclassified, the last beyond θ = 2
    loss = worst_mixed_loss(LOGITS, worst, LABELS, 2.0, lam, torch.tensor(scale))
    assert loss.item() == pytest.approx(hinge + lam * cross_entropy(LOGITS, scale))


# --- the share of samples without hinge


def test_a_sample_has_no_hinge_from_margin_theta_on():
    logits = torch.tensor([[1.0, 0.0], [0.99, 0.0], [2.0, 0.0], [0.0, 1.0]])
    labels = torch.zeros(4, dtype=torch.int64)
    assert lk.zero_hinge(logits, labels, 1.0).tolist() == [True, False, True, False]


def test_where_there_is_no_hinge_the_loss_is_zero():
    starved = lk.zero_hinge(LOGITS, LABELS, 1.0)
    of_each = [
        lk.hinge_loss(row[None], label[None], 1.0).item()
        for row, label in zip(LOGITS, LABELS, strict=True)
    ]
    assert starved.tolist() == [loss == 0 for loss in of_each] == [False, False, False, True]


# --- what all have in common

LOSSES = [
    lambda logits, labels, theta: lk.hinge_loss(logits, labels, theta),
    lambda logits, labels, theta: lk.mixed_loss(logits, labels, theta, 0.1, 2.0),
]


def random_logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, generator=generator), torch.randint(5, (7,), generator=generator)


@pytest.mark.parametrize("loss", LOSSES, ids=["hinge", "mixed"])
def test_neither_the_order_of_samples_nor_that_of_classes_matters(loss):
    logits, labels = random_logits()
    samples, classes = torch.tensor([4, 1, 6, 0, 3, 2, 5]), torch.tensor([3, 0, 4, 1, 2])
    new_label_of = classes.argsort()
    shuffled = loss(logits[samples][:, classes], new_label_of[labels[samples]], 0.5)
    torch.testing.assert_close(shuffled, loss(logits, labels, 0.5))


@pytest.mark.parametrize("loss", LOSSES, ids=["hinge", "mixed"])
def test_a_number_added_to_all_logits_changes_nothing(loss):
    logits, labels = random_logits()
    torch.testing.assert_close(loss(logits + 3, labels, 0.5), loss(logits, labels, 0.5))


def test_logits_and_theta_in_other_units_give_the_same_hinge():
    logits, labels = random_logits()
    torch.testing.assert_close(
        lk.hinge_loss(10 * logits, labels, theta=5.0), lk.hinge_loss(logits, labels, theta=0.5)
    )


@pytest.mark.parametrize("loss", LOSSES, ids=["hinge", "mixed"])
def test_gradcheck_accepts_the_losses(loss):
    logits, labels = random_logits()
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: loss(logits, labels, 0.5), (logits,))


# --- refusals

TWO = torch.zeros(2, 3)
REFUSED = [
    (TWO, torch.tensor([0, 3]), 1.0, ValueError, "^labels must be from 0 to 2.* 0 to 3"),
    (TWO, torch.tensor([-1, 0]), 1.0, ValueError, "^labels must be from 0 to 2.* -1 to 0"),
    (TWO, torch.tensor([0]), 1.0, ValueError, r"^labels must be one for each of the 2.*\(1,\)"),
    (TWO, torch.zeros(2, 3).long(), 1.0, ValueError, r"^labels must be one for each.*\(2, 3\)"),
    (TWO, torch.zeros(2), 1.0, TypeError, r"^labels must hold whole numbers.*float32"),
    (TWO, torch.zeros(2).bool(), 1.0, TypeError, "^labels must hold whole numbers.*bool"),
    (TWO, [0.0, 1.0], 1.0, TypeError, r"^labels must hold whole numbers; got list"),
    (TWO[0], torch.tensor(0), 1.0, ValueError, r"^logits must be a non-empty \(B, C\).*\(3,\)"),
    (TWO[:0], torch.zeros(0).long(), 1.0, ValueError, r"^logits must be a non-empty.*\(0, 3\)"),
    (TWO.long(), torch.tensor([0, 1]), 1.0, TypeError, "^logits must hold floating-point.*int64"),
    (TWO.numpy(), torch.tensor([0, 1]), 1.0, TypeError, "^logits must be a torch.Tensor"),
    (TWO, torch.tensor([0, 1]), 0.0, ValueError, "^theta must be a positive number; got 0.0"),
    (TWO, torch.tensor([0, 1]), -1.0, ValueError, "^theta must be a positive number; got -1.0"),
    (TWO, torch.tensor([0, 1]), math.inf, ValueError, "^theta must be a positive.*got inf"),
    (TWO, torch.tensor([0, 1]), math.nan, ValueError, "^theta must be a positive.*got nan"),
    (TWO, torch.tensor([0, 1]), "1", TypeError, "^theta must"),
]


@pytest.mark.parametrize("loss", [*LOSSES, lk.zero_hinge], ids=["hinge", "mixed", "zero hinge"])
@pytest.mark.parametrize(("logits", "labels", "theta", "error", "message"), REFUSED)
def test_a_loss_refuses_what_does_not_fit(loss, logits, labels, theta, error, message):
    with pytest.raises(error, match=message):
        loss(logits, labels, theta)


def hinge(**arguments):
    return lk.hinge_loss(TWO, torch.tensor([0, 1]), 1.0, **arguments)


def mixed(theta=1.0, lam=0.1, logit_scale=1.0):
    return lk.mixed_loss(TWO, torch.tensor([0, 1]), theta, lam, logit_scale)


@pytest.mark.parametrize("kappa", [-0.1, 1.1, math.nan])
def test_a_share_outside_0_to_1_is_refused(kappa):
    with pytest.raises(ValueError, match=f"^kappa must be from 0 to 1; got {kappa}$"):
        hinge(kappa=kappa)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_of_the_margin_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=f"^share must be from 0 to 1; got {share}$"):
        hinge(share=share)


@pytest.mark.parametrize("lam", [-0.1, math.inf, math.nan])
def test_a_weight_of_the_cross_entropy_below_0_is_refused(lam):
    with pytest.raises(ValueError, match=f"^lam must be a number of 0 or more; got {lam}$"):
        mixed(lam=lam)


@pytest.mark.parametrize("theta", [0.0, -1.0, math.inf, math.nan])
def test_a_margin_that_is_not_positive_is_refused(theta):
    with pytest.raises(ValueError, match=f"^theta must be a positive number; got {theta}$"):
        mixed(theta=theta)


@pytest.mark.parametrize(
    ("logit_scale", "error", "message"),
    [
        (math.inf, ValueError, "^logit_scale must be a finite number or a tensor; got inf$"),
        (math.nan, ValueError, "^logit_scale must be a finite number or a tensor; got nan$"),
        ("2", TypeError, "^logit_scale must be a finite number or a tensor; got '2'$"),
        (torch.ones(2), ValueError, r"^logit_scale must be one number; got shape \(2,\)$"),
        (torch.ones(0), ValueError, r"^logit_scale must be one number; got shape \(0,\)$"),
    ],
)
def test_a_logit_scale_that_is_no_number_is_refused(logit_scale, error, message):
    with pytest.raises(error, match=message):
        mixed(logit_scale=logit_scale)


@pytest.mark.parametrize("eps", [-0.1, math.inf, math.nan])
def test_the_worst_logits_refuse_an_eps_that_is_no_size(eps):
    with pytest.raises(ValueError, match=f"^eps must be a number of pixels, 0 or more; got {eps}$"):
        worst_logits(TWO, torch.tensor([0, 1]), eps)


def test_the_worst_logits_refuse_labels_that_do_not_fit():
    with pytest.raises(ValueError, match=r"^labels must be from 0 to 2; got values from 0 to 3$"):
        worst_logits(TWO, torch.tensor([0, 3]), 0.1)


def test_gradients_of_each_sample_by_torch_func_are_those_of_a_loop():
    def loss(logits, label):
        return lk.hinge_loss(logits[None], label[None], theta=1.0)

    labels = torch.tensor([0, 1, 2, 0])
    each = [torch.func.grad(loss)(*sample) for sample in zip(LOGITS, labels, strict=True)]
    got = torch.func.vmap(torch.func.grad(loss))(LOGITS, labels)
    assert torch.equal(got, torch.stack(each))
    assert got.count_nonzero() > 0


@pytest.mark.parametrize("label", [-1, 3])
def test_within_torch_func_a_label_that_is_no_class_is_still_an_error(label):
    with pytest.raises(RuntimeError, match="out of bounds"):
        torch.func.grad(lk.hinge_loss)(LOGITS, torch.full((4,), label), theta=1.0)
