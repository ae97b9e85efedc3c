"""Tested: steps against numpy written out by hand, what decays, bounds, resuming, refusals.
Not tested: how nets train with them (test_training.py)."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from linfkit.training.optimizers import LpAdamW, Madam, row_decay

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
exponents = st.one_of(st.floats(1, 2000), st.just(INF))


def gradients(seed, *shape, steps=4):
    return np.random.default_rng(seed).normal(size=(steps, *shape))


def stepped(optimizer, weight, grads):
    """The weight after one step along each gradient."""
    for grad in grads:
        weight.grad = torch.as_tensor(grad).to(weight.dtype)
        optimizer.step()
    return weight.detach()


def parameter(seed, *shape):
    return nn.Parameter(torch.as_tensor(np.random.default_rng(seed).normal(size=shape)))


def decay_by_hand(rows, p):
    """(|w_i| / ‖w‖_p)^(p−2) · w_i, as the paper writes it, with no care for overflow."""
    return (np.abs(rows) / np.linalg.norm(rows, p, axis=1, keepdims=True)) ** (p - 2) * rows


# --- the direction of decay


@pytest.mark.parametrize("p", [2, 3, 8, 30.5])
def test_weights_decay_as_the_paper_writes_it(p):
    rows = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_allclose(row_decay(torch.as_tensor(rows), p), decay_by_hand(rows, p))


@settings(deadline=None, derandomize=True)
@given(seed=seeds, p=st.floats(1.1, 100))
def test_decay_is_the_gradient_of_half_the_squared_norm(seed, p):
    rows = parameter(seed, 3, 5)
    (torch.linalg.vector_norm(rows, p, dim=1) ** 2 / 2).sum().backward()
    torch.testing.assert_close(row_decay(rows.detach(), p), rows.grad, rtol=1e-8, atol=1e-12)


@settings(deadline=None, derandomize=True)
@given(seed=seeds, p=exponents, size=st.sampled_from([1e-30, 1e-5, 1, 1e5, 1e30]))
def test_no_p_overflows_and_no_weight_is_pulled_past_zero(seed, p, size):
    rows = size * parameter(seed, 3, 5).detach().float()
    pull = row_decay(rows, p)
    assert pull.isfinite().all()
    if p >= 2:
        assert (pull.abs() <= rows.abs() * (1 + 1e-5)).all()
    assert (pull * rows >= 0).all()


def test_at_p_infinity_only_the_first_largest_weight_of_a_row_decays():
    rows = torch.tensor([[1.0, -4.0, 3.0], [2.0, -2.0, 0.0]])
    assert row_decay(rows, INF).tolist() == [[0, -4, 0], [2, 0, 0]]


def test_a_large_p_comes_close_to_infinity():
    rows = torch.tensor([[1.0, -4.0, 3.0], [2.0, 1.0, 0.0]])
    torch.testing.assert_close(row_decay(rows, 1e4), row_decay(rows, INF))


@pytest.mark.parametrize("p", [1, 1.5, 2, 8, 1000, INF])
def test_zeros_stay_zeros(p):
    rows = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    torch.testing.assert_close(row_decay(rows, p), torch.tensor([[0.0, 0.0], [0.0, 3.0]]))


def test_kernels_decay_as_flattened_rows():
    kernels = parameter(0, 4, 3, 2, 2).detach()
    for p in (8, INF):
        assert torch.equal(row_decay(kernels, p).flatten(1), row_decay(kernels.flatten(1), p))


# --- LpAdamW


@pytest.mark.parametrize("p", [2, 8, INF])
def test_lp_adamw_takes_the_steps_that_numpy_takes(p):
    weight, grads = parameter(0, 3, 5), gradients(1, 3, 5)
    lr, beta1, beta2, eps, decay = 0.1, 0.8, 0.95, 1e-3, 0.3
    w, m, v = weight.detach().numpy().copy(), 0, 0
    for t, g in enumerate(grads, start=1):
        if p == INF:
            rows, largest = np.arange(3), np.abs(w).argmax(axis=1)
            w[rows, largest] *= 1 - lr * decay
        else:
            w = w - lr * decay * decay_by_hand(w, p)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    optimizer = LpAdamW([weight], lr, (beta1, beta2), eps, decay, p)
    np.testing.assert_allclose(stepped(optimizer, weight, grads), w)


def test_without_decay_it_is_adam_and_at_p_2_adamw():
    options = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-10}
    grads = gradients(1, 3, 5)
    ours, theirs = parameter(0, 3, 5), parameter(0, 3, 5)
    stepped(LpAdamW([ours], weight_decay=0, p=8, **options), ours, grads)
    stepped(torch.optim.Adam([theirs], **options), theirs, grads)
    torch.testing.assert_close(ours, theirs)
    stepped(LpAdamW([ours], weight_decay=0.2, p=2, **options), ours, grads)
    stepped(torch.optim.AdamW([theirs], weight_decay=0.2, **options), theirs, grads)
    torch.testing.assert_close(ours, theirs)


def test_each_group_has_its_own_p_which_training_sets():
    first, second = nn.Parameter(torch.tensor([[4.0, 2.0]])), nn.Parameter(torch.tensor([[4.0, 2]]))
    groups = [{"params": [first]}, {"params": [second], "p": 2}]
    optimizer = LpAdamW(groups, lr=0.5, weight_decay=1.0, p=8)
    first.grad, second.grad = torch.zeros(1, 2), torch.zeros(1, 2)
    optimizer.param_groups[0]["p"] = INF
    optimizer.step()
    assert first.tolist() == [[2, 2]]
    assert second.tolist() == [[2, 1]]


def test_biases_scalars_and_what_has_no_gradient_do_not_decay():
    bias, scalar = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(()))
    frozen = nn.Parameter(torch.ones(2, 2))
    bias.grad, scalar.grad = torch.zeros(3), torch.zeros(())
    LpAdamW([bias, scalar, frozen], lr=0.5, weight_decay=1.0).step()
    assert all((each == 1).all() for each in (bias, scalar, frozen))


# --- Madam


def test_madam_takes_the_steps_that_numpy_takes():
    weight, grads = parameter(0, 3, 5), gradients(1, 3, 5)
    grads[:, 0, 0] = 0
    w, v = weight.detach().numpy().copy(), 0
    largest = 1.5 * np.sqrt((w**2).mean())
    for t, g in enumerate(grads, start=1):
        v = 0.999 * v + 0.001 * g**2
        with np.errstate(invalid="ignore"):
            normalised = np.nan_to_num(g / np.sqrt(v / (1 - 0.999**t)), nan=0).clip(-0.7, 0.7)
        w = (w * np.exp(-0.1 * np.sign(w) * normalised)).clip(-largest, largest)
    optimizer = Madam([weight], lr=0.1, weight_bound=1.5, gradient_bound=0.7)
    np.testing.assert_allclose(stepped(optimizer, weight, grads), w)


@settings(deadline=None, derandomize=True)
@given(seed=seeds, lr=st.floats(0, 10), size=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e30]))
def test_madam_keeps_signs_and_bounds_whatever_the_gradient(seed, lr, size):
    weight = nn.Parameter(parameter(seed, 4, 5).detach().float())
    before = weight.detach().clone()
    grads = (size * gradients(seed + 1, 4, 5)).clip(-1e38, 1e38)
    after = stepped(Madam([weight], lr=lr), weight, grads)
    assert after.isfinite().all()
    assert (after * before >= 0).all()
    assert (after.abs() <= 3 * before.square().mean().sqrt() * (1 + 1e-6)).all()


def test_madam_moves_each_weight_against_its_gradient():
    weight = nn.Parameter(torch.tensor([1.0, 1.0, -1.0, -1.0]))
    after = stepped(Madam([weight], lr=0.1), weight, [[1.0, -1.0, 1.0, -1.0]])
    assert (after - torch.tensor([1.0, 1, -1, -1])).sign().tolist() == [-1, 1, -1, 1]


def test_madam_leaves_weights_without_gradient_and_zeros_alone():
    weight, frozen = nn.Parameter(torch.tensor([1.0, 0.0])), nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([0.0, 5.0])
    Madam([weight, frozen]).step()
    assert (weight.tolist(), frozen.tolist()) == ([1, 0], [1, 1])


# --- both


OPTIMISERS = [
    lambda params: LpAdamW(params, lr=0.1, weight_decay=0.3, p=8),
    lambda params: LpAdamW(params, lr=0.1, weight_decay=0.3, p=INF),
    lambda params: Madam(params, lr=0.1),
]


@pytest.mark.parametrize("made", OPTIMISERS)
def test_a_resumed_run_takes_bit_for_bit_the_same_steps(made):
    whole, grads = nn.Parameter(torch.randn(3, 5)), gradients(0, 3, 5, steps=9)
    optimizer = made([whole])
    stepped(optimizer, whole, grads[:5])
    kept = io.BytesIO()
    torch.save(optimizer.state_dict(), kept)
    resumed = nn.Parameter(whole.detach().clone())
    stepped(optimizer, whole, grads[5:])
    kept.seek(0)
    again = made([resumed])
    again.load_state_dict(torch.load(kept, weights_only=True))
    assert again.param_groups[0] == {**optimizer.param_groups[0], "params": [resumed]}
    assert torch.equal(stepped(again, resumed, grads[5:]), whole.detach())


@pytest.mark.parametrize("made", OPTIMISERS)
def test_all_state_is_tensors_so_that_a_checkpoint_needs_no_pickle(made):
    weight = parameter(0, 3, 5)
    optimizer = made([weight])
    stepped(optimizer, weight, gradients(0, 3, 5))
    state = optimizer.state_dict()["state"][0]
    assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.parametrize("made", OPTIMISERS)
def test_a_closure_is_evaluated_with_gradients_and_its_loss_given_back(made):
    weight = nn.Parameter(torch.tensor([[2.0, 1.0]]))
    optimizer = made([weight])

    def loss():
        optimizer.zero_grad()
        (squares := weight.square().sum()).backward()
        return squares

    assert optimizer.step(loss).item() == 5
    assert optimizer.step(loss).item() < 5


@pytest.mark.parametrize("made", OPTIMISERS)
def test_a_linear_fit_comes_closer(made):
    torch.manual_seed(0)
    x, weight = torch.randn(50, 4), nn.Parameter(torch.randn(1, 4))
    wanted = x @ (weight.detach() * torch.tensor([0.5, 1.5, 1.2, 0.8])).T
    optimizer, losses = made([weight]), []
    for _ in range(60):
        loss = (x @ weight.T - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] *= 0.95
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


# --- refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1}, ValueError, r"^lr must be a number of 0 or more; got -1$"),
        ({"lr": "fast"}, TypeError, r"^lr must be a number of 0 or more; got 'fast'$"),
        ({"eps": math.nan}, ValueError, r"^eps must be .*; got nan$"),
        ({"weight_decay": -0.1}, ValueError, r"^weight_decay must be .*; got -0\.1$"),
        ({"betas": (0.9, 1.0)}, ValueError, r"^betas must be two numbers .*; got \(0\.9, 1\.0\)$"),
        ({"betas": (0.9,)}, ValueError, r"^betas must be two numbers .*; got \(0\.9,\)$"),
        ({"p": 0.5}, ValueError, r"^p must be a number from 1 up to math\.inf; got 0\.5$"),
    ],
)
def test_lp_adamw_names_the_option_that_is_wrong(options, error, message):
    with pytest.raises(error, match=message):
        LpAdamW([parameter(0, 2, 2)], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": INF}, r"^lr must be a number of 0 or more; got inf$"),
        ({"weight_bound": 0}, r"^weight_bound must be a number above 0; got 0$"),
        ({"gradient_bound": -1}, r"^gradient_bound must be .*; got -1$"),
    ],
)
def test_madam_names_the_option_that_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        Madam([parameter(0, 2, 2)], **options)


def test_a_p_that_training_sets_is_checked_too():
    weight = parameter(0, 2, 2)
    weight.grad = torch.zeros_like(weight)
    optimizer = LpAdamW([weight])
    optimizer.param_groups[0]["p"] = 0.5
    with pytest.raises(ValueError, match=r"^p must be .*; got 0\.5$"):
        optimizer.step()
