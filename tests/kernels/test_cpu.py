"""The kernels against the definition in float64: values, gradients, scales, ties, NaN, threads.

Not tested here: argument checks and registration with torch (`test_functional`), and speed, which
`linfkit bench` measures.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from linfkit import kernels
from linfkit.functional import lp_dist
from linfkit.kernels import compiling, cpu, lists, reference
from linfkit.kernels.powers import OCTAVES, SQUARINGS, fitted_power

INTEGERS = (1, 2, 3, 8, 1000)
EXPONENTS = (1, 1.5, 2, 3, 7.3, 8, 20.5, 100.5, 1000, math.inf)
LARGE_EXPONENTS = (8.0001, 9.3, 12.5, 20.5, 33.3, 47.9, 48.1, 64.2, 79.9, 80.1, 100.5, 313.7, 999.0)
# batch, in, out: odd, all different, each size in each place
SHAPES = (
    (1, 3, 17),
    (3, 1, 33),
    (17, 33, 1),
    (33, 257, 3),
    (257, 17, 3),
    (3, 17, 257),
    (17, 257, 33),
    (33, 3, 257),
)

both_kernels = pytest.mark.parametrize("kernel", [reference, cpu], ids=["reference", "cpu"])
every_exponent = pytest.mark.parametrize("p", EXPONENTS)


def definition(x: Tensor, w: Tensor, p: float) -> Tensor:
    """‖x_b − w_o‖_p in float64, written so that autograd can follow."""
    size = (x.double()[:, None] - w.double()).abs()
    if p == math.inf:
        return size.amax(-1)
    scale = size.detach().amax(-1, keepdim=True).clamp(min=1e-300)
    return ((size / scale) ** p).sum(-1) ** (1 / p) * scale[..., 0]


def interval_definition(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    low, high = lower.double()[:, None] - w.double(), upper.double()[:, None] - w.double()
    return torch.maximum(low, -high).amax(-1).clamp(min=0), torch.maximum(
        low.abs(), high.abs()
    ).amax(-1)


def draw(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def relative(result: Tensor, truth: Tensor) -> float:
    """Largest relative error."""
    return ((result - truth).abs() / truth.abs()).max().item()


def relative_norm(result: Tensor, truth: Tensor) -> float:
    return ((result - truth).norm() / truth.norm()).item()


def tolerance(p: float) -> float:
    return 2e-6 if p in INTEGERS or p == math.inf else 1e-5


@both_kernels
@every_exponent
@pytest.mark.parametrize("shape", SHAPES)
def test_distances_and_gradients_match_the_definition(kernel, p, shape):
    batch, inputs, outputs = shape
    x, w, grad = (
        draw(batch, inputs, seed=1),
        draw(outputs, inputs, seed=2),
        draw(batch, outputs, seed=3),
    )
    leaves = [x.double().requires_grad_(), w.double().requires_grad_()]
    truth = definition(*leaves, p)
    (truth * grad).sum().backward()

    out = kernel.lp_dist(x, w, float(p))
    grads = kernel.lp_dist_backward(grad, x, w, out, float(p), True, True)

    assert relative(out, truth) < tolerance(p)
    for result, leaf in zip(grads, leaves, strict=True):
        assert result.shape == leaf.shape
        assert relative_norm(result, leaf.grad) < 2e-4


@both_kernels
@pytest.mark.parametrize("p", [*EXPONENTS, 20.5, 47.9, 120.0, 199.0, 201.0])
def test_no_scale_overflows_or_underflows(kernel, p):
    # rows from 1e-6 to 1e6 beside each other, and coordinates of mixed sizes within a row
    rows = torch.logspace(-6, 6, 13)[:, None]
    x, w = draw(13, 40, seed=1) * rows, draw(13, 40, seed=2) * rows
    x[:, ::3] *= 1e-3
    w[:, ::3] *= 1e-3
    grad = draw(13, 13, seed=3)
    leaves = [x.double().requires_grad_(), w.double().requires_grad_()]
    truth = definition(*leaves, p)
    (truth * grad).sum().backward()

    out = kernel.lp_dist(x, w, float(p))
    grads = kernel.lp_dist_backward(grad, x, w, out, float(p), True, True)

    assert relative(out, truth) < tolerance(p)
    for result, leaf in zip(grads, leaves, strict=True):
        assert relative_norm(result, leaf.grad) < 2e-4


def check_both_ways(
    x: Tensor, w: Tensor, p: float, of_out: float = 3e-6, of_grads: float = 2e-5
) -> None:
    """Distances and gradients of the CPU kernels, which the rounding of distances adds to."""
    grad = draw(len(x), len(w), seed=3)
    leaves = [x.double().requires_grad_(), w.double().requires_grad_()]
    truth = definition(*leaves, p)
    (truth * grad).sum().backward()

    out = cpu.lp_dist(x, w, p)
    grads = cpu.lp_dist_backward(grad, x, w, out, p, True, True)

    assert relative(out, truth.detach()) < of_out
    for result, leaf in zip(grads, leaves, strict=True):
        assert relative_norm(result, leaf.grad) < of_grads + 1e-7 * p


@pytest.mark.parametrize("p", LARGE_EXPONENTS)
@pytest.mark.parametrize("inputs", [1, 2, 17, 784, 6000])
def test_large_powers_are_exact(p, inputs):
    check_both_ways(draw(5, inputs, seed=1), draw(6, inputs, seed=2), p)


@pytest.mark.parametrize("p", LARGE_EXPONENTS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_large_powers_are_exact_at_any_scale(p, scale):
    check_both_ways(draw(5, 100, seed=1) * scale, draw(6, 100, seed=2) * scale, p)


@pytest.mark.parametrize("p", LARGE_EXPONENTS)
@pytest.mark.parametrize("power", [1.0, 0.1, 1e-3, 1e-6, 3e-8])
def test_many_small_powers_add_up(p, power):
    x, w = torch.full((2, 6000), power ** (1 / p)), torch.zeros(3, 6000)
    x[:, 7] = 1.0
    # All errors have the same sign, and in narrow vectors many meet the 1: the worst that can come.
    check_both_ways(x, w + 1e-4 * draw(3, 6000), p, of_out=1.5e-5, of_grads=1e-4)


@pytest.mark.parametrize("p", [1e4, 1e6, 1e12, 1e38])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_enormous_powers_are_those_at_infinity(p, scale):
    x, w, grad = draw(5, 40, seed=1) * scale, draw(6, 40, seed=2) * scale, draw(5, 6, seed=3)
    out = cpu.lp_dist(x, w, p)
    at_infinity = cpu.lp_dist(x, w, math.inf)
    assert relative(out, at_infinity) < 1e-6
    for result, limit in zip(
        cpu.lp_dist_backward(grad, x, w, out, p, True, True),
        cpu.lp_dist_backward(grad, x, w, at_infinity, math.inf, True, True),
        strict=True,
    ):
        assert relative_norm(result, limit) < 1e-5


@given(exponent=st.floats(7, 1e6), ratio=st.floats(0, 1))
def test_the_fitted_power_is_close_to_the_power(exponent, ratio):
    scale, *coefficients = fitted_power(exponent).astype(float)
    power = 2.0 ** (-OCTAVES * ratio)
    u = math.expm1(math.log(power) / exponent) * scale
    fitted = np.polyval([*reversed(coefficients), 1.0], u) ** 2**SQUARINGS
    assert abs(fitted - power) <= 2e-5 * power**0.7
    assert u >= -1 - 1e-6


@both_kernels
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_small_upstream_gradients_survive(kernel, scale):
    x, w, grad = draw(5, 40, seed=1) * scale, draw(7, 40, seed=2) * scale, draw(5, 7, seed=3) * 1e-9
    for p in (8.0, 20.5, 100.5):
        out = kernel.lp_dist(x, w, p)
        small = kernel.lp_dist_backward(grad, x, w, out, p, True, True)
        large = kernel.lp_dist_backward(grad * 1e9, x, w, out, p, True, True)
        for a, b in zip(small, large, strict=True):
            assert relative_norm(a * 1e9, b) < 1e-5


@both_kernels
@every_exponent
def test_distance_zero_has_gradient_zero(kernel, p):
    x = draw(3, 20)
    out = kernel.lp_dist(x, x, float(p))
    assert (out.diagonal() == 0).all()
    only_zero = torch.eye(3)
    for grad in kernel.lp_dist_backward(only_zero, x, x, out, float(p), True, True):
        assert (grad == 0).all()


@both_kernels
@every_exponent
def test_equal_coordinates_have_no_gradient(kernel, p):
    x, w = draw(1, 20, seed=1), draw(1, 20, seed=2)
    x[0, 5:9] = w[0, 5:9]
    out = kernel.lp_dist(x, w, float(p))
    grad_x, grad_w = kernel.lp_dist_backward(torch.ones(1, 1), x, w, out, float(p), True, True)
    assert (grad_x[0, 5:9] == 0).all()
    assert (grad_w[0, 5:9] == 0).all()


@both_kernels
def test_ties_at_infinity_go_to_the_first_coordinate(kernel):
    x, w = torch.zeros(1, 50), torch.ones(1, 50)
    x[0, :19] = 0.5
    x[0, 30] = 2.0
    out = kernel.lp_dist(x, w, math.inf)
    grad_x, grad_w = kernel.lp_dist_backward(torch.ones(1, 1), x, w, out, math.inf, True, True)
    assert grad_x.nonzero().tolist() == [[0, 19]]
    assert grad_x[0, 19] == -1
    assert torch.equal(grad_w, -grad_x)


@both_kernels
@pytest.mark.parametrize("p", [3.0, 8.0, 20.5, 1000.0, math.inf])
def test_gradients_not_needed_are_empty(kernel, p):
    x, w, grad = draw(3, 20, seed=1), draw(4, 20, seed=2), draw(3, 4, seed=3)
    out = kernel.lp_dist(x, w, p)
    full = kernel.lp_dist_backward(grad, x, w, out, p, True, True)
    for need_x, need_w in ((True, False), (False, True)):
        grads = kernel.lp_dist_backward(grad, x, w, out, p, need_x, need_w)
        for result, needed, whole in zip(grads, (need_x, need_w), full, strict=True):
            assert torch.equal(result, whole) if needed else result.shape == (0,)


@both_kernels
@pytest.mark.parametrize("p", [1.0, 3.0, 8.0, 20.5, 100.5, 1000.0, math.inf])
def test_nan_reaches_exactly_the_outputs_it_touches(kernel, p):
    x, w = draw(9, 40, seed=1), draw(6, 40, seed=2)
    x[4, 7], w[2, 39] = math.nan, math.nan
    out = kernel.lp_dist(x, w, p)
    touched = torch.zeros(9, 6, dtype=torch.bool)
    touched[4], touched[:, 2] = True, True
    assert torch.equal(out.isnan(), touched)
    kernel.lp_dist_backward(torch.ones_like(out), x, w, out, p, True, True)  # comes back


@both_kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_match_the_definition(kernel, shape):
    batch, inputs, outputs = shape
    lower, w = draw(batch, inputs, seed=1), draw(outputs, inputs, seed=2)
    upper = lower + draw(batch, inputs, seed=3).abs() * (2 if inputs < 4 else 0.3)
    grad_lower, grad_upper = draw(2, batch, outputs, seed=4)
    leaves = [tensor.double().requires_grad_() for tensor in (lower, upper, w)]
    truth = interval_definition(*leaves)
    ((truth[0] * grad_lower).sum() + (truth[1] * grad_upper).sum()).backward()

    outs = kernel.linf_interval(lower, upper, w)
    grads = kernel.linf_interval_backward(grad_lower, grad_upper, lower, upper, w)

    for out, exact in zip(outs, truth, strict=True):
        assert torch.allclose(out.double(), exact, rtol=1e-6, atol=1e-6)
    for grad, leaf in zip(grads, leaves, strict=True):
        assert (grad - leaf.grad).norm() <= 1e-5 * leaf.grad.norm()


@both_kernels
def test_an_interval_of_one_point_is_the_distance(kernel):
    x, w = draw(9, 40, seed=1), draw(6, 40, seed=2)
    out_lower, out_upper = kernel.linf_interval(x, x, w)
    assert torch.equal(out_lower, kernel.lp_dist(x, w, math.inf))
    assert torch.equal(out_upper, out_lower)


@both_kernels
def test_interval_ties_and_nan(kernel):
    lower, upper, w = torch.zeros(2, 40), torch.ones(2, 40), torch.full((1, 40), 3.0)
    lower[1, 9] = math.nan
    outs = kernel.linf_interval(lower, upper, w)
    assert [out[0].item() for out in outs] == [2, 3]
    assert all(out[1].isnan().all() for out in outs)
    one = torch.ones(2, 1)
    for grad, expected in zip(
        kernel.linf_interval_backward(one, one, lower, upper, w), (-1, -1), strict=False
    ):
        assert grad[0].nonzero().tolist() == [[0]]
        assert grad[0, 0] == expected


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("p", [8.0, 20.5, 300.0, math.inf])
@pytest.mark.parametrize("sizes", [(70, 130, 210), (210, 130, 70)])
def test_results_do_not_depend_on_the_number_of_threads(threads, monkeypatch, p, sizes):
    monkeypatch.setattr("linfkit.kernels.threads.PAIRS_WORTH_A_THREAD", 1)
    batch, inputs, outputs = sizes
    x, w, grad = (
        draw(batch, inputs, seed=1),
        draw(outputs, inputs, seed=2),
        draw(batch, outputs, seed=3),
    )
    results = []
    for count in (1, 2, 5):
        threads(count)
        out = cpu.lp_dist(x, w, p)
        grads = cpu.lp_dist_backward(grad, x, w, out, p, True, True)
        boxes = cpu.linf_interval(x, x + 0.1, w)
        results.append(
            [out, *grads, *boxes, *cpu.linf_interval_backward(grad, grad, x, x + 0.1, w)]
        )
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


# --- lists of the coordinates that count


@pytest.fixture
def listed(monkeypatch):
    """Small calls take the list too; returns the lists that were kept."""
    kept = []
    monkeypatch.setattr(lists, "_kept", {})  # not those of outputs that other tests hold
    monkeypatch.setattr(lists, "_spare", [])
    monkeypatch.setattr(cpu, "PAIRS_WORTH_A_LIST", 0)
    monkeypatch.setattr(cpu, "FEW", 1.0)
    monkeypatch.setattr(cpu, "PACKS", True)
    remember = lists.remember
    monkeypatch.setattr(lists, "remember", lambda *each: (kept.append(each), remember(*each)))
    return kept


wide_registers = pytest.mark.skipif(not cpu.PACKS, reason="lists are for AVX-512")


@wide_registers
@pytest.mark.parametrize("p", [40.5, 100.5, 1000.0, 1e12, math.inf])
@pytest.mark.parametrize("sizes", [(5, 64, 64), (67, 131, 70), (3, 2500, 130)])
def test_lists_give_the_distances_and_gradients(listed, threads, monkeypatch, p, sizes):
    monkeypatch.setattr("linfkit.kernels.threads.PAIRS_WORTH_A_THREAD", 1)
    batch, inputs, outputs = sizes
    x, w, grad = draw(batch, inputs), draw(outputs, inputs, seed=2), draw(batch, outputs, seed=3)
    x[0] = w[3]  # a distance of zero
    x[1, ::2] = 0.5  # ties
    w[0, 7] = 30.0  # an outlier, which makes units large
    dense = cpu.lp_dist(x, w, p)
    of_dense = cpu.lp_dist_backward(grad, x, w, dense, p, True, True)
    results = []
    for count in (1, 3):
        threads(count)
        leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
        out = lp_dist(*leaves, p)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, grad)])
    assert len(listed) == 2
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert torch.allclose(results[0][0], dense, rtol=1e-6 if p < math.inf else 0, atol=0)
    for result, expected in zip(results[0][1:], of_dense, strict=True):
        assert relative_norm(result, expected) < (
            2e-5 + 1e-7 * min(p, 1e3) if p < math.inf else 1e-6
        )


@wide_registers
def test_without_gradients_nothing_is_kept_and_nan_takes_no_list(listed):
    x, w = draw(5, 64), draw(64, 64, seed=2).requires_grad_()
    with torch.no_grad():
        lp_dist(x, w, 100.5)
    assert not listed
    x[2, 3] = math.nan
    assert lp_dist(x, w, 100.5).isnan().nonzero()[:, 0].unique().tolist() == [2]
    assert not listed


@wide_registers
def test_a_list_without_room_leaves_the_gradient_to_all_coordinates(listed, monkeypatch):
    monkeypatch.setattr(lists, "ROOM", 0.0)
    x, w, grad = draw(70, 64), draw(64, 64, seed=2), draw(70, 64, seed=3)
    leaf = w.clone().requires_grad_()
    out = lp_dist(x, leaf, 20.5)
    assert not listed
    (result,) = torch.autograd.grad(out, leaf, grad)
    _, expected = cpu.lp_dist_backward(grad, x, w, out.detach(), 20.5, False, True)
    assert torch.equal(result, expected)


@wide_registers
def test_a_list_lives_as_long_as_its_output(listed):
    x, w, grad = draw(70, 64), draw(64, 64, seed=2).requires_grad_(), draw(70, 64, seed=3)
    first, second = lp_dist(x, w, 40.5), lp_dist(2 * x, w, 40.5)  # two graphs at once
    assert len(lists._kept) == 2
    alone = lp_dist(x, w, 40.5)
    expected = torch.autograd.grad(alone, w, grad, retain_graph=True)[0]
    del second
    assert torch.equal(torch.autograd.grad(first, w, grad)[0], expected)
    assert torch.equal(torch.autograd.grad(alone, w, grad)[0], expected)  # a second time
    del first, alone
    listed.clear()
    cpu.lp_dist(x, w.detach(), 40.5)
    assert not lists._kept


@wide_registers
def test_a_list_s_memory_serves_the_next_and_goes_when_nothing_is_kept(listed):
    x, w, other = draw(70, 64), draw(64, 64, seed=2).requires_grad_(), draw(70, 64, seed=3)
    cpu.lp_dist(x, w.detach(), 40.5)  # keeps none, and gives back what others left
    lp_dist(x, w, 40.5)
    ((_, _, found),) = lists._kept.values()
    first = found.places
    listed.clear()  # the output is gone
    waiting = lp_dist(x, w, 40.5)
    ((_, _, found),) = lists._kept.values()
    assert found.places is first
    expected = torch.autograd.grad(waiting, w, other, retain_graph=True)[0]
    for _ in range(3):
        lp_dist(other, w, 40.5)  # must not write over a list that is waited for
    assert torch.equal(torch.autograd.grad(waiting, w, other)[0], expected)
    del waiting
    listed.clear()
    cpu.lp_dist(x, w.detach(), 40.5)
    assert not lists._kept
    assert not lists._spare


@wide_registers
def test_checkpointing_and_torch_func_take_lists_as_well(listed):
    from torch.utils.checkpoint import checkpoint

    x, w, grad = draw(70, 64), draw(64, 64, seed=2), draw(70, 64, seed=3)

    def total(w):
        return (lp_dist(x, w, 40.5) * grad).sum()

    leaf = w.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf), leaf)
    (again,) = torch.autograd.grad(checkpoint(total, leaf, use_reentrant=False), leaf)
    assert torch.equal(again, expected)
    assert relative_norm(torch.func.grad(total)(w), expected) < 2e-5


def test_several_threads_may_call_at_once(monkeypatch):
    monkeypatch.setattr("linfkit.kernels.threads.PAIRS_WORTH_A_THREAD", 1)
    x, w, grad = draw(40, 50, seed=1), draw(60, 50, seed=2), draw(40, 60, seed=3)

    def both_ways(p: float) -> tuple[Tensor, ...]:
        out = cpu.lp_dist(x, w, p)
        return out, *cpu.lp_dist_backward(grad, x, w, out, p, True, True)

    exponents = [8.0, 20.5, 300.0, math.inf] * 5
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(both_ways, exponents))
    for p, results in zip(exponents, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(results, both_ways(p), strict=True))


def test_the_kernel_follows_dtype_and_environment(monkeypatch):
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    assert kernels.kernel_for(torch.zeros(1)) is cpu
    assert kernels.kernel_for(torch.zeros(1, dtype=torch.float64)) is reference
    monkeypatch.setenv("LINFKIT_KERNELS", "reference")
    assert kernels.kernel_for(torch.zeros(1)) is reference


def test_without_numba_the_reference_serves_with_one_warning(monkeypatch):
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    for module in ("cpu", "compiling"):
        monkeypatch.delitem(sys.modules, f"linfkit.kernels.{module}")
    monkeypatch.delattr(kernels, "cpu")
    monkeypatch.setitem(sys.modules, "numba", None)
    kernels._cpu.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="Numba"):
            assert kernels.kernel_for(torch.zeros(1)) is reference
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kernels.kernel_for(torch.zeros(1)) is reference
    finally:
        kernels._cpu.cache_clear()


def test_a_second_process_compiles_nothing():
    cpu.lp_dist(draw(2, 3), draw(4, 3), 8.0)  # so that the machine code is on disk
    program = (
        "import torch; from linfkit.kernels import cpu; "
        "cpu.lp_dist(torch.ones(2, 3), torch.ones(4, 3), 8.0); "
        "assert cpu._distances.stats.cache_hits and not cpu._distances.stats.cache_misses"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- machine code on disk, which is never needed


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Where machine code is kept, tried in turn."""
    found = [tmp_path / "first", tmp_path / "second"]
    monkeypatch.setattr(compiling, "_folders", lambda: iter(found))
    monkeypatch.setattr(compiling._MachineCode, "fails", False)
    return found


def sevenfold(x):
    return 7 * x


def compiles() -> bool:
    """Whether a new process, which knows only what is on disk, compiles a function."""
    function = compiling.compiled(sevenfold)
    assert function(6) == 42
    return bool(function.stats.cache_misses)


def shorter(content: bytes) -> bytes:
    return content[:-100]


def turned(content: bytes) -> bytes:
    """One bit is another, in the middle of the machine code."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = [shorter, turned, lambda content: b"", lambda content: bytes(len(content))]


@pytest.mark.parametrize("damage", DAMAGE, ids=["cut off", "one bit", "empty", "zeros"])
def test_damaged_machine_code_is_compiled_anew_and_mended(damage, folders):
    assert compiles()
    (file,) = folders[0].iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert compiles()
    assert not compiles()
    assert [*folders[0].iterdir()] == [file]  # and nothing is left beside it


def test_machine_code_of_other_sources_or_another_numba_is_compiled_anew(folders, monkeypatch):
    assert compiles()
    with monkeypatch.context() as other:
        other.setattr(compiling, "_sources", lambda: b"other sources")
        assert compiles()
        other.setattr("numba.__version__", "0.0")
        assert compiles()
    assert compiles()  # the other sources' took its place
    (file, _) = sorted(folders[0].iterdir(), key=lambda file: -file.stat().st_mtime_ns)
    file.write_bytes(compiling._checked(b"what another Numba pickles"))
    assert compiles()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners here")
def test_machine_code_of_another_user_is_not_run(folders, monkeypatch):
    assert compiles()
    if os.geteuid() == 0:  # what is root's is anybody's
        (file,) = folders[0].iterdir()
        os.chown(file, 1234, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert compiles()


def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("in_the_way", [[0], [0, 1]], ids=["one folder", "both"])
def test_a_folder_that_cannot_be_written_costs_one_warning_at_most(in_the_way, folders):
    for index in in_the_way:
        folders[index].touch()  # a file, since root may write into any folder
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [compiles(), compiles()]
    assert found == [True, len(in_the_way) == 2]
    assert len(caught) == len(in_the_way) - 1
    assert all("machine code cannot be kept" in str(warning.message) for warning in caught)


def test_a_full_disk_costs_one_warning(folders, monkeypatch):
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.warns(RuntimeWarning, match="No space left on device.*LINFKIT_CACHE"):
        assert compiles()
    assert compiles()
    assert not any(file for folder in folders for file in folder.iterdir())


def test_machine_code_is_looked_for_where_numba_was_told_to_keep_it(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "asked for"))
    assert next(compiling._folders()).parent == tmp_path / "asked for"


COUNTING = """
import warnings
from linfkit.cli.app import main
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        main()
    finally:
        print(sum("linfkit" in str(each.message) for each in caught), "warnings")
"""


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    """The folder of a package beside whose kernels nothing can be written."""
    folder = tmp_path_factory.mktemp("read-only")
    package = Path(kernels.__file__).parents[1]
    shutil.copytree(package, folder / "linfkit", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "linfkit" / "kernels" / "__pycache__").touch()  # a file, for root may write anywhere
    return folder


@pytest.mark.parametrize(
    ("surroundings", "verdict", "warned"),
    [
        ({"NUMBA_DISABLE_JIT": "1"}, "linfkit works, but slowly", 1),
        ({"NUMBA_CACHE_LOCATOR_CLASSES": "NoSuchLocator"}, "linfkit is ready", 0),
        ({"LINFKIT_CACHE": os.devnull, "NUMBA_CACHE_DIR": os.devnull}, "linfkit is ready", 1),
        ({"LINFKIT_CACHE": "cache", "HOME": os.devnull}, "linfkit is ready", 0),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_the_doctor_answers_in_a_read_only_package(
    surroundings, verdict, warned, read_only, tmp_path
):
    ran = subprocess.run(
        [sys.executable, "-c", COUNTING, "doctor"],
        env=os.environ | {"PYTHONPATH": str(read_only), "NUMBA_CACHE_DIR": ""} | surroundings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith(f"{warned} warnings\n")
    assert verdict in ran.stdout
    kept = [*tmp_path.glob("cache/kernels/*_distances*")]
    assert len(kept) == (surroundings.get("LINFKIT_CACHE") == "cache")


def test_the_reference_bounds_its_intermediate(monkeypatch):
    monkeypatch.setattr(reference, "BYTES_ON_CPU", 1)
    x, w = draw(5, 7, seed=1), draw(3, 7, seed=2)
    assert relative(reference.lp_dist(x, w, 3.0), definition(x, w, 3.0)) < 2e-6
