"""Tested: values, derivatives in both modes and by torch.func, registration with torch.library and
refusals of the operators. Not tested: values of sorted_dist (test_sortnet.py), which kernel is
taken and how fast it is (test_kernels.py); no CUDA device is needed."""

import gc
import math
import weakref
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import linfkit as lk
from linfkit import functional
from linfkit.kernels import reference

INF = math.inf
EXPONENTS = [1, 1.5, 2, 3, 7.3, 8, 100.5, 1000, INF]
SHAPES = [  # (B, I, O): all three differ, and each of 1, 3, 17, 33, 257 stands in every place
    (1, 3, 17),
    (3, 17, 33),
    (17, 33, 257),
    (33, 257, 1),
    (257, 1, 3),
    (1, 257, 33),
    (3, 1, 257),
    (17, 3, 1),
    (33, 17, 3),
    (257, 33, 17),
]


def plain_lp_dist(x, w, p):
    """The definition, differentiable by autograd, divided by the maximum against overflow."""
    size = (x[:, None] - w).abs()
    if p == INF:
        return size.amax(-1)
    largest = size.detach().amax(-1, keepdim=True)
    return largest.squeeze(-1) * (size / largest).pow(p).sum(-1).pow(1 / p)


def plain_linf_interval(lower, upper, w):
    from_lower, from_upper = lower[:, None] - w, upper[:, None] - w
    least = torch.maximum(from_lower, -from_upper).amax(-1).clamp(min=0)
    return least, torch.maximum(from_lower.abs(), from_upper.abs()).amax(-1)


def random_inputs(batch, in_features, out_features, dtype=torch.float32):
    generator = torch.Generator().manual_seed(batch + 7 * in_features + 31 * out_features)
    shapes = [(batch, in_features), (out_features, in_features), (batch, out_features)]
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def value_and_gradients(function, inputs, weights_of_outputs):
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = sum((out * g).sum() for out, g in zip(outputs, weights_of_outputs, strict=True))
    return [*outputs, *torch.autograd.grad(total, inputs)]


def relative_error(got, wanted):
    return ((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()


# --- lp_dist


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lp_dist_and_its_gradients_are_those_of_the_definition_in_float64(shape, p):
    x, w, g = random_inputs(*shape)
    got = value_and_gradients(lambda x, w: lk.lp_dist(x, w, p), [x, w], [g])
    exact = value_and_gradients(
        lambda x, w: plain_lp_dist(x, w, p), [x.double(), w.double()], [g.double()]
    )
    # a gradient is the power p − 1 of a float32 ratio, which multiplies its rounding error
    of_gradients = 5e-6 + (0 if p == INF else 5e-7 * p)
    for tensor, wanted, tolerance in zip(
        got, exact, [1e-6, of_gradients, of_gradients], strict=True
    ):
        assert tensor.dtype == torch.float32
        assert relative_error(tensor, wanted) < tolerance


@pytest.mark.parametrize("p", EXPONENTS)
def test_gradcheck_accepts_lp_dist_in_float64(p):
    x, w, _ = random_inputs(3, 7, 4, dtype=torch.float64)
    inputs = x.requires_grad_(), w.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: lk.lp_dist(x, w, p), inputs)


def test_at_p_infinity_the_distance_is_exactly_the_largest_difference():
    x, w, _ = random_inputs(33, 257, 17)
    assert torch.equal(lk.lp_dist(x, w, INF), plain_lp_dist(x, w, INF))


@pytest.mark.parametrize("p", EXPONENTS)
def test_only_the_gradient_that_is_asked_for_is_computed(p):
    x, w, g = random_inputs(3, 17, 5)
    both = value_and_gradients(lambda x, w: lk.lp_dist(x, w, p), [x, w], [g])
    of_x = value_and_gradients(lambda x: lk.lp_dist(x, w, p), [x], [g])
    of_w = value_and_gradients(lambda w: lk.lp_dist(x, w, p), [w], [g])
    assert torch.equal(of_x[1], both[1])
    assert torch.equal(of_w[1], both[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", EXPONENTS)
def test_at_distance_zero_the_gradient_is_zero(p, dtype):
    x = torch.ones(2, 5, dtype=dtype)
    distance, of_x, of_w = value_and_gradients(
        lambda x, w: lk.lp_dist(x, w, p), [x, x[:1]], [torch.ones(2, 1, dtype=dtype)]
    )
    assert [t.count_nonzero().item() for t in (distance, of_x, of_w)] == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_p_infinity_a_tie_goes_to_the_first_coordinate(dtype):
    x = torch.tensor([[0.0, 2.0, -2.0, 2.0]], dtype=dtype)
    w = torch.zeros(1, 4, dtype=dtype)
    _, of_x, of_w = value_and_gradients(
        lambda x, w: lk.lp_dist(x, w, INF), [x, w], [torch.ones(1, 1, dtype=dtype)]
    )
    assert of_x.tolist() == [[0, 1, 0, 0]]
    assert of_w.tolist() == [[0, -1, 0, 0]]


@pytest.mark.parametrize("magnitude", [1e-30, 1e30])
@pytest.mark.parametrize("p", EXPONENTS)
def test_numbers_far_from_one_neither_overflow_nor_vanish(p, magnitude):
    x, w, g = random_inputs(3, 17, 5)
    _, *slopes = value_and_gradients(lambda x, w: lk.lp_dist(x, w, p), [x, w], [g])
    distance, *far_slopes = value_and_gradients(
        lambda x, w: lk.lp_dist(x, w, p), [x * magnitude, w * magnitude], [g]
    )
    wanted = lk.lp_dist(x.double() * magnitude, w.double() * magnitude, p)
    assert relative_error(distance, wanted) < 1e-5
    for slope, far_slope in zip(slopes, far_slopes, strict=True):
        assert relative_error(far_slope, slope) < 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1, 8, 100.5, INF])
def test_nan_is_passed_on(p, dtype):
    x = torch.tensor([[0.0, math.nan, 1.0], [0.0, 1.0, 2.0]], dtype=dtype)
    w = torch.zeros(2, 3, dtype=dtype)
    assert lk.lp_dist(x, w, p).isnan().tolist() == [[True, True], [False, False]]
    assert lk.lp_dist(w, x, p).isnan().tolist() == [[True, False], [True, False]]


points = arrays(np.float64, (1, 4), elements=st.floats(-100, 100)).map(torch.from_numpy)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(x=points, y=points, w=points, p=st.sampled_from(EXPONENTS))
def test_lp_dist_is_a_distance(x, y, w, p):
    def distance(a, b):
        return lk.lp_dist(a, b, p).item()

    assert distance(x, x) == 0
    assert distance(x, w) == distance(w, x) >= (x - w).abs().max() * (1 - 1e-12)
    assert distance(x, w) <= (distance(x, y) + distance(y, w)) * (1 + 1e-12)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(x=points, w=points)
def test_lp_dist_falls_with_p_and_by_no_more_than_the_root_of_the_dimension(x, w):
    distances = [lk.lp_dist(x, w, p).item() for p in EXPONENTS]
    for at_p, at_next in pairwise(distances):
        assert at_next <= at_p * (1 + 1e-12)
    for p, distance in zip(EXPONENTS, distances, strict=True):
        assert distance <= 4 ** (1 / p) * distances[-1] * (1 + 1e-12)


# --- linf_interval


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linf_interval_and_its_gradients_are_those_of_the_definition_in_float64(shape):
    lower, w, g = random_inputs(*shape)
    upper = lower + torch.rand(lower.shape, generator=torch.Generator().manual_seed(0))
    got = value_and_gradients(lk.linf_interval, [lower, upper, w], [g, g.flip(0)])
    exact = value_and_gradients(
        plain_linf_interval,
        [lower.double(), upper.double(), w.double()],
        [g.double(), g.flip(0).double()],
    )
    for tensor, wanted in zip(got, exact, strict=True):
        assert tensor.dtype == torch.float32
        assert relative_error(tensor, wanted) < 1e-5


def test_gradcheck_accepts_linf_interval_in_float64():
    lower, w, _ = random_inputs(3, 7, 4, dtype=torch.float64)
    upper = lower + torch.linspace(0.1, 1, 7, dtype=torch.float64)
    inputs = [tensor.detach().requires_grad_() for tensor in (lower, upper, w)]
    assert torch.autograd.gradcheck(lk.linf_interval, inputs)


@pytest.mark.parametrize("unused", [0, 1])
def test_an_interval_bound_that_is_not_used_passes_no_gradient(unused):
    lower, w, g = random_inputs(3, 7, 4)
    weights = [g, g]
    weights[unused] = torch.zeros_like(g)
    with_zeros = value_and_gradients(lk.linf_interval, [lower, lower + 1, w], weights)[2:]
    alone = value_and_gradients(
        lambda low, high, w: lk.linf_interval(low, high, w)[1 - unused],
        [lower, lower + 1, w],
        [g],
    )[1:]
    assert all(map(torch.equal, alone, with_zeros))


def test_linf_interval_of_a_point_is_its_distance():
    x, w, _ = random_inputs(3, 17, 5)
    low, high = lk.linf_interval(x, x, w)
    assert torch.equal(low, lk.lp_dist(x, w, INF))
    assert torch.equal(high, lk.lp_dist(x, w, INF))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(centre=points, radius=points.map(torch.abs), w=points, seed=st.integers(0, 2**32 - 1))
def test_linf_interval_holds_every_point_of_the_box_and_is_attained_at_one(centre, radius, w, seed):
    lower, upper = centre - radius, centre + radius
    low, high = lk.linf_interval(lower, upper, w)
    share = torch.rand(100, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inside = lk.lp_dist(lower + share * (upper - lower), w, INF)
    rounding = 1e-12 * high.item()
    assert low.item() - rounding <= inside.min().item()
    assert inside.max().item() <= high.item() + rounding
    nearest = lk.lp_dist(w.clamp(lower, upper), w, INF)
    farthest = lk.lp_dist(torch.where(w > centre, lower, upper), w, INF)
    assert low.item() == pytest.approx(nearest.item(), abs=rounding)
    assert high.item() == pytest.approx(farthest.item(), abs=rounding)


# --- derivatives in forward mode, of any order, and by torch.func, against those of formulas


def plain_sorted_dist(x, w, rho, terms):
    largest = (x[:, None] - w).abs().sort(descending=True).values[..., :terms]
    powers = rho ** torch.arange(terms, dtype=x.dtype)
    return (largest * powers).sum(-1) / powers.sum()


def both_bounds(interval):
    """As one output, of the corner x and of w, that depends on all four sums."""

    def bounds(x, w):
        low, high = interval(x, x + torch.linspace(0.1, 2, x.shape[1], dtype=x.dtype), w)
        return low - 2 * high

    return bounds


OPERATORS = {  # each with a formula that autograd differentiates
    **{
        f"lp_dist, p={p}": (
            lambda x, w, p=p: lk.lp_dist(x, w, p),
            lambda x, w, p=p: plain_lp_dist(x, w, p),
        )
        for p in (1, 1.5, 2, 3, 8, INF)
    },
    "linf_interval": (both_bounds(lk.linf_interval), both_bounds(plain_linf_interval)),
    "sorted_dist": (
        lambda x, w: lk.sorted_dist(x, w, 0.4, 3),
        lambda x, w: plain_sorted_dist(x, w, 0.4, 3),
    ),
}
each_operator = pytest.mark.parametrize(("operator", "formula"), OPERATORS.values(), ids=OPERATORS)


def float64_pair(batch=3, in_features=5, out_features=4):
    return random_inputs(batch, in_features, out_features, dtype=torch.float64)[:2]


def squares(distance):
    """A scalar whose second derivatives take first and second derivatives of the distance."""
    return lambda x, w: distance(x, w).square().sum()


@each_operator
def test_forward_mode_gives_the_derivative_of_the_formula(operator, formula):
    x, w = float64_pair()
    tangents = x.sin(), w.cos()
    wanted = jvp(formula, (x, w), tangents)
    wanted_in_x = jvp(lambda x: formula(x, w), (x,), tangents[:1])
    torch.testing.assert_close(jvp(operator, (x, w), tangents), wanted)
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, (x, w), tangents)
        torch.testing.assert_close(tuple(forward_ad.unpack_dual(operator(*duals))), wanted)
        with torch.no_grad():  # which turns reverse mode off alone
            dual = operator(forward_ad.make_dual(x, tangents[0]), w)
        torch.testing.assert_close(tuple(forward_ad.unpack_dual(dual)), wanted_in_x)


@each_operator
@pytest.mark.parametrize("jacobian", [jacfwd, jacrev])
def test_jacobians_by_torch_func_are_those_of_the_formula(operator, formula, jacobian):
    x, w = float64_pair()
    got = jacobian(operator, argnums=(0, 1))(x, w)
    torch.testing.assert_close(got, jacrev(formula, argnums=(0, 1))(x, w))


@each_operator
@pytest.mark.parametrize(("outer", "inner"), list(product([jacfwd, jacrev], repeat=2)))
def test_second_derivatives_are_those_of_the_formula(operator, formula, outer, inner):
    x, w = float64_pair()

    def second(distance):
        return outer(inner(squares(distance), argnums=(0, 1)), argnums=(0, 1))(x, w)

    torch.testing.assert_close(second(operator), second(formula))


@each_operator
def test_numerical_differences_confirm_derivatives_in_both_modes(operator, formula):
    inputs = [matrix.requires_grad_() for matrix in float64_pair()]
    assert torch.autograd.gradcheck(
        operator,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(
        operator, inputs, check_fwd_over_rev=True, check_rev_over_rev=True
    )


@each_operator
def test_third_derivatives_are_those_of_the_formula(operator, formula):
    x, w = float64_pair(1, 3, 2)

    def third(distance):
        return jacrev(hessian(lambda x: squares(distance)(x, w)))(x)

    torch.testing.assert_close(third(operator), third(formula))


@each_operator
@pytest.mark.parametrize("needed", [0, 1], ids=["x", "w"])
def test_a_gradient_of_one_gradient_is_that_of_the_formula(operator, formula, needed):
    def second(distance):
        inputs = [matrix.requires_grad_(at == needed) for at, matrix in enumerate(float64_pair())]
        (first,) = torch.autograd.grad(
            squares(distance)(*inputs), inputs[needed], create_graph=True
        )
        return torch.autograd.grad(first.sin().sum(), inputs[needed])

    torch.testing.assert_close(second(operator), second(formula))


@each_operator
def test_derivatives_are_computed_some_rows_at_a_time(operator, formula, monkeypatch):
    x, w = float64_pair(7)

    def derivatives():
        return [jacfwd(operator, (0, 1))(x, w), hessian(squares(operator), (0, 1))(x, w)]

    at_once = derivatives()
    monkeypatch.setattr(reference, "BYTES_ON_CPU", 2 * w.numel() * w.element_size())
    torch.testing.assert_close(derivatives(), at_once)


@each_operator
def test_fast_kernels_are_differentiated_twice_as_well(operator, formula):
    x, w = (matrix.float() for matrix in float64_pair())
    got = hessian(squares(operator), (0, 1))(x, w), jacfwd(operator, (0, 1))(x, w)
    exact = float64_pair()
    wanted = hessian(squares(formula), (0, 1))(*exact), jacrev(formula, (0, 1))(*exact)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("p", EXPONENTS)
def test_at_distance_zero_second_derivatives_are_zero(p):
    x = torch.ones(1, 5, dtype=torch.float64)
    curvature = hessian(lambda x: lk.lp_dist(x, torch.ones_like(x), p).sum())(x)
    assert curvature.count_nonzero() == 0


def test_where_a_coordinate_does_not_differ_second_derivatives_are_those_of_the_norm():
    x, w = torch.tensor([[[0.0, 1.0, -1.0]], [[0.0, 4.0, 3.0]]], dtype=torch.float64)
    difference = (x - w).flatten()  # 0, −3, −4
    at_2 = torch.eye(3, dtype=x.dtype) / 5 - difference.outer(difference) / 125
    for p, wanted in [(1, 0 * at_2), (2, at_2), (INF, 0 * at_2)]:
        got = hessian(lambda x, p=p: lk.lp_dist(x, w, p).sum())(x)
        torch.testing.assert_close(got.reshape(3, 3), wanted)


@each_operator
@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0), (1, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vmap_is_a_loop(operator, formula, in_dims, dtype):
    generator = torch.Generator().manual_seed(0)
    x, w = (
        torch.randn((rows, 5), generator=generator, dtype=dtype)
        if dim is None
        else torch.randn((6, rows, 5), generator=generator, dtype=dtype).movedim(0, dim)
        for rows, dim in zip((3, 4), in_dims, strict=True)
    )

    def gradients(x, w):
        return operator(x, w), *grad(squares(operator), (0, 1))(x, w), grad(squares(operator))(x, w)

    each = [
        gradients(
            *(m if d is None else m.select(d, at) for m, d in zip((x, w), in_dims, strict=True))
        )
        for at in range(6)
    ]
    wanted = tuple(map(torch.stack, zip(*each, strict=True)))
    torch.testing.assert_close(vmap(gradients, in_dims)(x, w), wanted)


def test_gradients_of_each_sample_are_those_of_a_loop():
    x, w = float64_pair()

    def loss(w, row):
        return lk.lp_dist(row[None], w, 8).square().sum()

    wanted = torch.stack([grad(loss)(w, row) for row in x])
    torch.testing.assert_close(vmap(grad(loss), (None, 0))(w, x), wanted)


def test_what_torch_func_differentiates_within_no_grad_is_constant():
    x, w = float64_pair()

    def partly_constant(distance):
        def product(x):
            with torch.no_grad():
                constant = distance(x, w)
            return (constant * distance(x, w)).sum()

        return product

    for differentiate in (grad, lambda function: grad(lambda x: grad(function)(x).sum())):
        got, wanted = (
            differentiate(partly_constant(lambda x, w, at=at: at(x, w, 3)))(x)
            for at in (lk.lp_dist, plain_lp_dist)
        )
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernels", ["", "reference"])
@each_operator
def test_autocast_makes_no_derivative_coarser(operator, formula, kernels, half, monkeypatch):
    monkeypatch.setenv("LINFKIT_KERNELS", kernels)
    x, w = (matrix.float() for matrix in float64_pair())

    def derivatives():
        inputs = x.clone().requires_grad_(), w.clone().requires_grad_()
        first = torch.autograd.grad(squares(operator)(*inputs), inputs, create_graph=True)
        second = torch.autograd.grad(sum(each.sin().sum() for each in first), inputs)
        return *first, *second, *jvp(operator, (x, w), (x.sin(), w.cos()))

    wanted = derivatives()
    with torch.autocast("cpu", dtype=half):
        got = derivatives()
    assert all(map(torch.equal, got, wanted))


def test_forward_mode_keeps_no_output_alive():
    x, w = float64_pair()
    with forward_ad.dual_level():
        out = lk.lp_dist(forward_ad.make_dual(x.requires_grad_(), x.sin()), w, 8)
        kept = weakref.ref(out)
        del out
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    "transformed",
    [
        lambda function: lambda x: jvp(function, (x,), (x.sin(),)),
        lambda function: grad(lambda x: function(x).sum()),
        lambda function: vmap(lambda row: function(row[None])),
        lambda function: hessian(lambda x: function(x).sum()),
    ],
    ids=["jvp", "grad", "vmap", "hessian"],
)
@pytest.mark.parametrize("operator", ["lp_dist, p=8", "linf_interval", "sorted_dist"])
def test_transforms_of_torch_func_compile(operator, transformed):
    (x, w), (operator, _) = float64_pair(), OPERATORS[operator]
    function = transformed(lambda x: operator(x, w))
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x))


# --- what torch asks of an operator


def custom_operators():
    x, w, g = random_inputs(3, 7, 4)
    x_leaf, w_leaf, upper = x.clone().requires_grad_(), w.clone().requires_grad_(), x + 1
    for p in (7.3, INF):
        out = lk.lp_dist(x, w, p)
        yield functional._lp_dist, (x_leaf, w_leaf, p)
        for need_x, need_w in [(True, True), (True, False), (False, True)]:
            yield functional._lp_dist_backward, (g, x, w, out, p, need_x, need_w)
    yield functional._linf_interval, (x_leaf, upper, w_leaf)
    yield functional._linf_interval_backward, (g, g, x, upper, w)


def test_opcheck_accepts_all_four_operators():
    for operator, arguments in custom_operators():
        results = torch.library.opcheck(operator, arguments)
        assert set(results.values()) == {"SUCCESS"}


def test_lp_dist_compiles_into_one_graph_and_follows_a_changed_p():
    compiled = torch.compile(lk.lp_dist, fullgraph=True, backend="aot_eager")
    x, w, g = random_inputs(3, 17, 5)
    for p in (8, 8.0, 9.5, INF):
        got = value_and_gradients(lambda x, w, p=p: compiled(x, w, p), [x, w], [g])
        eager = value_and_gradients(lambda x, w, p=p: lk.lp_dist(x, w, p), [x, w], [g])
        assert all(map(torch.equal, got, eager))


def test_linf_interval_compiles_into_one_graph():
    compiled = torch.compile(lk.linf_interval, fullgraph=True, backend="aot_eager")
    lower, w, g = random_inputs(3, 17, 5)
    got = value_and_gradients(compiled, [lower, lower + 1, w], [g, g])
    eager = value_and_gradients(lk.linf_interval, [lower, lower + 1, w], [g, g])
    assert all(map(torch.equal, got, eager))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_operators_in_float32(half):
    x, w, g = random_inputs(3, 17, 5)
    wanted = value_and_gradients(lambda x, w: lk.lp_dist(x, w, 8), [x, w], [g])
    bounds = lk.linf_interval(x, x + 1, w)
    with torch.autocast("cpu", dtype=half):
        assert torch.nn.functional.linear(x, w).dtype == half
        got = value_and_gradients(lambda x, w: lk.lp_dist(x, w, 8), [x, w], [g])
        assert all(map(torch.equal, lk.linf_interval(x, x + 1, w), bounds))
    assert all(map(torch.equal, got, wanted))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_under_autocast_what_a_layer_before_has_halved_is_taken_too(half):
    x, w, _ = random_inputs(3, 17, 5)
    with torch.autocast("cpu", dtype=half):
        halved = torch.nn.functional.linear(x, torch.eye(17))
        assert halved.dtype == half
        assert torch.equal(lk.lp_dist(halved, w, 8), lk.lp_dist(halved.float(), w, 8))
        lower, upper = lk.linf_interval(halved, halved, w)
    assert lower.dtype == upper.dtype == torch.float32


@pytest.mark.parametrize("p", [1, 8, 100.5, INF])
def test_the_layout_in_memory_does_not_matter(p):
    x, w, g = random_inputs(33, 17, 3)
    wanted = value_and_gradients(lambda x, w: lk.lp_dist(x, w, p), [x, w], [g])

    def columns_first(tensor):
        return tensor.T.contiguous().T

    strided = torch.stack([x, -x], dim=2)[..., 0]
    for x_view, w_view, g_view in [
        (columns_first(x), columns_first(w), columns_first(g)),
        (strided, w, g),
    ]:
        assert not x_view.is_contiguous()
        inputs = x_view.requires_grad_(), w_view.requires_grad_()
        out = lk.lp_dist(*inputs, p)
        got = [out, *torch.autograd.grad(out, inputs, g_view)]
        assert all(map(torch.equal, got, wanted))


def test_gradients_of_a_broadcast_sum_are_those_of_ones():
    x, w, g = random_inputs(3, 17, 5)
    leaf = x.clone().requires_grad_()
    lk.lp_dist(leaf, w, 8).sum().backward()  # its gradient is one number, expanded
    wanted = value_and_gradients(lambda x: lk.lp_dist(x, w, 8), [x], [torch.ones_like(g)])[1]
    assert torch.equal(leaf.grad, wanted)


# --- refusals

ROWS = torch.zeros(3, 4)
META = torch.zeros(5, 4, device="meta")
REFUSED_PAIRS = [
    (torch.zeros(4), ROWS, ValueError, r"^x must be a non-empty matrix.*\(4,\)"),
    (torch.zeros(1, 3, 4), ROWS, ValueError, r"^x must be a non-empty matrix.*\(1, 3, 4\)"),
    (torch.zeros(0, 4), ROWS, ValueError, r"^x must be a non-empty matrix.*\(0, 4\)"),
    (torch.zeros(3, 0), ROWS, ValueError, r"^x must be a non-empty matrix.*\(3, 0\)"),
    (ROWS.int(), ROWS, TypeError, r"^x must hold floating-point.*int32"),
    (ROWS.bool(), ROWS, TypeError, r"^x must hold floating-point.*bool"),
    ([[0.0] * 4], ROWS, TypeError, r"^x must be a torch\.Tensor; got list"),
    (ROWS.numpy(), ROWS, TypeError, r"^x must be a torch\.Tensor; got ndarray"),
    (ROWS, torch.zeros(4), ValueError, r"^w must be a non-empty matrix.*\(4,\)"),
    (ROWS, torch.zeros(0, 4), ValueError, r"^w must be a non-empty matrix.*\(0, 4\)"),
    (ROWS, ROWS.long(), TypeError, r"^w must hold floating-point.*int64"),
    (ROWS, None, TypeError, r"^w must be a torch\.Tensor; got NoneType"),
    (ROWS, ROWS.double(), TypeError, r"^w must have the dtype of \w+, torch.float32.*float64"),
    (ROWS, META, ValueError, r"^w must be on the device of \w+, cpu.*meta"),
    (ROWS, torch.zeros(5, 3), ValueError, r"^w must have as many columns as \w+, 4.*\(5, 3\)"),
]
REFUSED_P = [
    (0.5, ValueError, "got 0.5"),
    (-INF, ValueError, "got -inf"),
    (math.nan, ValueError, "got nan"),
    ("8", TypeError, "got '8'"),
    (True, TypeError, "got True"),
    (None, TypeError, "got None"),
    (torch.tensor(8.0), TypeError, r"got tensor\(8.\)"),
    (8j, TypeError, "got 8j"),
]


@pytest.mark.parametrize(("x", "w", "error", "message"), REFUSED_PAIRS)
def test_lp_dist_refuses_tensors_that_do_not_fit(x, w, error, message):
    with pytest.raises(error, match=message):
        lk.lp_dist(x, w, 8)


@pytest.mark.parametrize(("p", "error", "message"), REFUSED_P, ids=repr)
def test_lp_dist_refuses_what_is_no_exponent(p, error, message):
    with pytest.raises(error, match=f"^p must be a number from 1 up to math.inf; .*{message}"):
        lk.lp_dist(ROWS, ROWS, p)


@pytest.mark.parametrize("p", [8, 8.0, np.float32(8), np.int64(8)], ids=repr)
def test_lp_dist_takes_any_kind_of_real_number_for_p(p):
    x, w, _ = random_inputs(3, 17, 5)
    assert torch.equal(lk.lp_dist(x, w, p), lk.lp_dist(x, w, 8.0))


@pytest.mark.parametrize(("lower", "w", "error", "message"), REFUSED_PAIRS)
def test_linf_interval_refuses_tensors_that_do_not_fit(lower, w, error, message):
    with pytest.raises(error, match=message.replace("^x", "^lower")):
        lk.linf_interval(lower, lower, w)


@pytest.mark.parametrize(
    ("upper", "error", "message"),
    [
        (torch.zeros(2, 4), ValueError, r"^upper must have the shape of lower, \(3, 4\).*\(2, 4\)"),
        (ROWS.double(), TypeError, "^upper must have the dtype of lower"),
        (ROWS.to("meta"), ValueError, "^upper must be on the device of lower"),
        (1.0, TypeError, r"^upper must be a torch\.Tensor; got float"),
    ],
)
def test_linf_interval_refuses_an_upper_corner_unlike_the_lower(upper, error, message):
    with pytest.raises(error, match=message):
        lk.linf_interval(ROWS, upper, ROWS)
