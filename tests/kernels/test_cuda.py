"""The GPU kernels: in Triton's interpreter, as machine code, and on a GPU where there is one.

The first two need no GPU. The interpreter takes the kernels' Python on CPU tensors, which shows
that the arithmetic is right; the machine code, of which the inner loop's instructions are counted,
that nothing but arithmetic is there to wait for. Not tested here: speed, which `linfkit bench`
measures, and argument checks (`test_functional`).
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile

import pytest
import torch
from torch import Tensor

from linfkit import kernels
from linfkit.kernels import reference

EXPONENTS = (1.0, 2.0, 7.3, 8.0, 100.5, 1000.0, math.inf)
SHAPES = ((1, 3, 37), (35, 17, 5), (3, 1, 2))  # batch, in, out
GPU_SHAPES = ((1, 3, 517), (129, 257, 65), (512, 3072, 10), (10, 5, 4097), (257, 1, 1))


def draw(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def relative(result: Tensor, truth: Tensor) -> float:
    """Largest relative error."""
    return ((result - truth).abs() / truth.abs()).max().item()


def relative_norm(result: Tensor, truth: Tensor) -> float:
    return ((result - truth).norm() / truth.norm().clamp(min=1e-300)).item()


def tolerance(p: float) -> float:
    return 2e-6 if p in (1, 2, 8, 1000, math.inf) else 1e-5


def distance_errors(x: Tensor, w: Tensor, grad: Tensor, p: float) -> list[float]:
    """Errors of the output, relative, and of the gradients in x and w, in norm."""
    from linfkit.kernels import cuda

    out = cuda.lp_dist(x, w, p)
    grads = cuda.lp_dist_backward(grad, x, w, out, p, True, True)
    exact = x.double(), w.double()
    truth = reference.lp_dist(*exact, p)
    truths = reference.lp_dist_backward(grad.double(), *exact, truth, p, True, True)
    return [relative(out, truth), *map(relative_norm, grads, truths)]


def interval_errors(lower: Tensor, upper: Tensor, w: Tensor, grads: list[Tensor]) -> list[float]:
    """Errors of both ends, and of the three gradients, in norm."""
    from linfkit.kernels import cuda

    exact = lower.double(), upper.double(), w.double()
    results = (
        *cuda.linf_interval(lower, upper, w),
        *cuda.linf_interval_backward(*grads, lower, upper, w),
    )
    truths = (
        *reference.linf_interval(*exact),
        *reference.linf_interval_backward(*(grad.double() for grad in grads), *exact),
    )
    return list(map(relative_norm, results, truths))


def drawn_distances(batch: int, inputs: int, outputs: int, device: str = "cpu") -> list[Tensor]:
    sizes = (batch, inputs), (outputs, inputs), (batch, outputs)
    return [draw(*size, seed=seed).to(device) for seed, size in enumerate(sizes)]


def drawn_intervals(batch: int, inputs: int, outputs: int, device: str = "cpu") -> list:
    lower, w, grad = drawn_distances(batch, inputs, outputs, device)
    upper = lower + draw(batch, inputs, seed=3).abs().to(device)
    # a box with corners on the grid has ties
    return [lower.round(), upper.round(), w.round(), [grad, grad.flip(0)]]


def of_all_scales(device: str = "cpu") -> list[Tensor]:
    """Rows from 1e-6 to 1e6 beside each other, and coordinates of mixed sizes within a row."""
    x, w, grad = drawn_distances(13, 20, 13, device)
    for matrix in (x, w):
        matrix *= torch.logspace(-6, 6, 13, device=device)[:, None]
        matrix[:, ::3] *= 1e-3
    return [x, w, grad]


# --- in the interpreter


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[float]]:
    """What `interpret` prints, in a process of its own: Triton reads the variable on import."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def interpret() -> dict[str, list[float]]:
    """Errors of the kernels, by case."""
    from linfkit.kernels import cuda

    errors = {}
    for shape in SHAPES:
        for p in EXPONENTS:
            errors[f"{shape} {p}"] = distance_errors(*drawn_distances(*shape), p)
        x, w, grad = drawn_distances(*shape)
        errors[f"{shape} ties"] = distance_errors(x.round(), w.round() + 0.5, grad, math.inf)
        errors[f"{shape} interval"] = interval_errors(*drawn_intervals(*shape))
    for p in EXPONENTS:
        errors[f"scales {p}"] = distance_errors(*of_all_scales(), p)
        x = draw(3, 5)
        out = cuda.lp_dist(x, x, p)
        grads = cuda.lp_dist_backward(torch.eye(3), x, x, out, p, True, True)
        errors[f"zero {p}"] = [t.abs().max().item() for t in (out.diagonal(), *grads)]
    x, w = draw(3, 5), draw(4, 5, seed=1)
    x[1, 2] = math.nan
    touched = torch.zeros(3, 4, dtype=torch.bool)
    touched[1] = True
    for p in (8.0, 7.3, math.inf):
        errors[f"nan {p}"] = [float((cuda.lp_dist(x, w, p).isnan() != touched).sum())]
    grad_x, grad_w = cuda.lp_dist_backward(torch.ones(3, 4), x, w, touched * 1.0, 8.0, False, True)
    errors["not needed"] = [grad_x.numel(), grad_w.numel() - w.numel()]
    return errors


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", [*map(str, SHAPES), "scales"])
def test_distances_and_gradients_match_the_definition(interpreted, shape, p):
    out, *grads = interpreted[f"{shape} {p}"]
    assert out < tolerance(p)
    assert max(grads) < 2e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_of_equal_coordinates_has_the_gradient(interpreted, shape):
    assert max(interpreted[f"{shape} ties"]) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_match_the_definition(interpreted, shape):
    assert max(interpreted[f"{shape} interval"]) < 1e-6


@pytest.mark.parametrize("p", EXPONENTS)
def test_distance_zero_has_gradient_zero(interpreted, p):
    assert interpreted[f"zero {p}"] == [0, 0, 0]


@pytest.mark.parametrize("case", ["nan 8.0", "nan 7.3", "nan inf", "not needed"])
def test_nan_stays_in_its_row_and_no_gradient_is_made_in_vain(interpreted, case):
    assert not any(interpreted[case])


# --- as machine code

POINTERS_TO_INTEGERS = ("at", "closest", "farthest")
SCALARS = ("p", "power")
SIZES = ("count", "B", "O", "size_class")

# Arithmetic a pair, and what loads, addresses and the loop may add. A thread's 64 pairs share the
# loads at p = ∞ and 8, its 32 pairs elsewhere.
INSTRUCTIONS = {
    ("_distances", 0): (2, 0.6),  # subtract, maximum of |·|
    ("_distances", 2): (2, 0.6),  # subtract, multiply-add
    ("_distances", 8): (4, 0.6),  # subtract, square, square, multiply-add
    ("_distances", -1): (6, 0.6),  # subtract, scale, log2, times p, exp2, add
    ("_distances_out_of_range", 8): (5, 0.6),  # scaled, too
    ("_slope_sums", 8): (6, 0.6),  # subtract, scale, ·², ·³, ·⁴, multiply-add
    ("_slope_sums", -1): (7, 1.0),  # as forward, with the sign, and multiply-add
    ("_first_largest", None): (3, 0.8),  # subtract, compare |·|, select
    ("_interval_ends", None): (6, 1.0),  # subtract, 2 maxima; for both corners
    ("_first_ends", None): (8, 1.2),  # two subtractions; maximum, compare, select; for both ends
}


def compiled(name: str, kind: int | None, tile, capability: int):
    """The kernel for a GPU, as if called with matrices from `_columns`."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from linfkit.kernels import cuda

    function = getattr(cuda, name).fn
    constants = {**tile.kwargs, **({} if kind is None else {"KIND": kind})}
    signature, attributes = {}, {}
    for position, argument in enumerate(function.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in SCALARS:
            signature[argument] = "fp32"
        elif argument in SIZES:
            signature[argument] = "i32"
        else:
            stride = argument.endswith("stride")
            integers = argument in POINTERS_TO_INTEGERS
            signature[argument] = "i32" if stride else "*i32" if integers else "*fp32"
            attributes[(position,)] = [["tt.divisibility", 16]]
    values = {(function.arg_names.index(name),): value for name, value in constants.items()}
    return triton.compile(
        ASTSource(function, signature, values, attributes),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": tile.num_warps, "num_stages": tile.num_stages},
    )


def disassembled(binary: bytes) -> tuple[list[str], list[list[str]]]:
    """The machine instructions, and those of each innermost loop that has more than a few."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [triton.knobs.nvidia.nvdisasm.path, "-c", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions: list[str] = []
    labels = {}
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*);", line):
            instructions.append(instruction[1])
    loops = []
    for last, instruction in enumerate(instructions):
        jump = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", instruction)
        if jump and labels[jump[1]] < last - 40:
            loops.append((labels[jump[1]], last))
    innermost = [
        instructions[first : last + 1]
        for first, last in loops
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in loops)
    ]
    return instructions, innermost


def spills(instructions: list[str]) -> int:
    return sum(bool(re.search(r"\b(STL|LDL)\b", instruction)) for instruction in instructions)


def large_tiles(name: str, kind: int | None) -> list:
    """The tiles tried for large outputs."""
    from linfkit.kernels import cuda

    kinds = {} if kind is None else {"KIND": kind}
    return cuda.fitting(getattr(cuda, name).configs, {"B": 4096, "O": 4096}, **kinds)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("name", "kind"), INSTRUCTIONS)
def test_inner_loop_is_arithmetic(name, kind, capability):
    pytest.importorskip("triton")
    tile = large_tiles(name, kind)[0]
    instructions, loops = disassembled(compiled(name, kind, tile, capability).asm["cubin"])
    pairs = tile.kwargs["BLOCK_B"] * tile.kwargs["BLOCK_O"] // (32 * tile.num_warps)
    # where there are two loops, the first takes the maximum
    count = len(loops[-1]) / (pairs * tile.kwargs["STEP"])
    arithmetic, rest = INSTRUCTIONS[name, kind]
    print(f"{name} {kind} sm_{capability}: {count:.3f} instructions a pair")
    assert arithmetic <= count <= arithmetic + rest
    assert spills(instructions) == 0


@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("name", "kind"), [*INSTRUCTIONS, ("_slope_sums", 1)])
def test_no_tile_spills_in_a_loop(name, kind, capability):
    pytest.importorskip("triton")
    for tile in large_tiles(name, kind):
        _, loops = disassembled(compiled(name, kind, tile, capability).asm["cubin"])
        assert not any(map(spills, loops)), tile


# --- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", GPU_SHAPES)
def test_distances_on_a_gpu(shape, p):
    pytest.importorskip("triton")
    out, *grads = distance_errors(*drawn_distances(*shape, device="cuda"), p)
    assert out < tolerance(p)
    assert max(grads) < 2e-4


@pytest.mark.gpu
@pytest.mark.parametrize("p", EXPONENTS)
def test_no_scale_overflows_or_underflows_on_a_gpu(p):
    pytest.importorskip("triton")
    out, *grads = distance_errors(*of_all_scales("cuda"), p)
    assert out < tolerance(p)
    assert max(grads) < 2e-4


@pytest.mark.gpu
@pytest.mark.parametrize("shape", GPU_SHAPES)
def test_intervals_on_a_gpu(shape):
    pytest.importorskip("triton")
    assert max(interval_errors(*drawn_intervals(*shape, device="cuda"))) < 1e-6


@pytest.mark.gpu
@pytest.mark.parametrize("p", [8.0, 100.5, math.inf])
def test_gradients_are_the_same_every_time_on_a_gpu(p):
    cuda = pytest.importorskip("linfkit.kernels.cuda")
    x, w, grad = drawn_distances(300, 50, 200, "cuda")
    out = cuda.lp_dist(x, w, p)
    first, *others = (cuda.lp_dist_backward(grad, x, w, out, p, True, True) for _ in range(3))
    for other in others:
        assert all(map(torch.equal, first, other))


@pytest.mark.gpu
def test_a_gpu_computes_with_triton_where_asked_to(monkeypatch):
    cuda = pytest.importorskip("linfkit.kernels.cuda")
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    assert kernels.kernel_for(torch.zeros(1, device="cuda")) is reference
    monkeypatch.setenv("LINFKIT_KERNELS", "triton")
    assert kernels.kernel_for(torch.zeros(1, device="cuda")) is cuda
    assert kernels.kernel_for(torch.zeros(1, device="cuda", dtype=torch.float64)) is reference


# --- without Triton


@pytest.mark.filterwarnings("error")
def test_without_triton_the_reference_computes_after_one_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "linfkit.kernels.cuda", raising=False)
    monkeypatch.delattr(kernels, "cuda", raising=False)
    kernels._cuda.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="without Triton"):
            chosen = kernels._cuda()
        assert chosen is kernels._cuda() is reference  # and a second warning would be an error
    finally:
        kernels._cuda.cache_clear()


if __name__ == "__main__":
    print(json.dumps(interpret()))
