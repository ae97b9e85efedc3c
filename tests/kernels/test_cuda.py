"""The GPU kernels: in Triton's interpreter, as machine code, and on a GPU where there is one.

The first two need no GPU. The interpreter takes the kernels' Python on CPU tensors, which shows
that the arithmetic is right; the machine code, of which the inner loop's instructions are counted,
that nothing but arithmetic is there to wait for. Not tested here: speed, which `linfkit bench`
measures, and argument checks (`test_functional`).
"""

from __future__ import annotations

import gc
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from types import SimpleNamespace

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


def slope_tolerance(p: float) -> float:
    """A power by logarithms carries their error p times."""
    return 2e-4 if p == math.inf else max(2e-4, 1e-6 * p)


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
    for p in (8.0, math.inf):
        grads = cuda.lp_dist_backward(torch.ones(3, 4), x, w, touched * 1.0, p, False, True)
        errors[f"not needed {p}"] = [grads[0].numel(), grads[1].numel() - w.numel()]
    for p in EXPONENTS:
        errors[f"tiny {p}"] = tiny_distances(p)
    whole, cuda.LEAST_PART = cuda.LEAST_PART, 16
    for p in (1.0, 2.0, 8.0, 7.3):
        errors[f"long sums {p}"] = distance_errors(*drawn_distances(45, 3, 2), p)
    cuda.LEAST_PART = whole
    errors["kept"] = kept_blocks()
    errors["operations"] = [float(undetermined_operations(p)) for p in (8.0, 7.3, math.inf)]
    return errors


def tiny_distances(p: float) -> list[float]:
    """Error of distances that have no inverse, and how many gradients are no part of grad."""
    from linfkit.kernels import cuda

    x, w, grad = drawn_distances(3, 5, 4)
    x, w = x * 1e-40, w * 1e-40
    out = cuda.lp_dist(x, w, p)
    grads = cuda.lp_dist_backward(grad, x, w, out, p, True, True)
    truth = reference.lp_dist(x.double(), w.double(), p)
    largest = reference.lp_dist(x.double(), w.double(), math.inf)
    off = (out < largest * (1 - 1e-5)) | (out > truth * (1 + 1e-5))
    size = grad.abs().sum()
    return [float(off.sum()), *(float((~(each.abs() <= size)).sum()) for each in grads)]


def kept_blocks() -> list[float]:
    """How gradients at p = ∞ change if their blocks are kept; how many blocks are, and stay."""
    from linfkit.kernels import cuda

    x, w, grad = drawn_distances(35, 17, 5)
    w.requires_grad_()
    outs = [cuda.lp_dist(x.round(), w, math.inf) for _ in range(2)]
    count = len(cuda._kept)
    kept = cuda.lp_dist_backward(grad, x.round(), w, outs[0], math.inf, True, True)
    cuda._kept.clear()
    anew = cuda.lp_dist_backward(grad, x.round(), w, outs[0], math.inf, True, True)
    changes = [(a - b).abs().max().item() for a, b in zip(kept, anew, strict=True)]
    another = [cuda.lp_dist(x, w, math.inf) for _ in range(2)]
    del outs, another
    gc.collect()  # Triton's interpreter holds arguments in a cycle
    last = cuda.lp_dist(x, w, math.inf)
    wrong = int((last != reference.lp_dist(x, w, math.inf)).sum())
    return [*changes, count - 2, len(cuda._kept) - 1, wrong]


def undetermined_operations(p: float) -> int:
    """Calls of PyTorch within a step that wait for the GPU, or whose sums have no fixed order."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from linfkit.kernels import cuda

    class Counting(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = str(function)
            refused = ("scatter", "index", "_local_scalar_dense", "nonzero")
            moves = (kwargs or {}).get("device") is not None and "_to_copy" in name
            self.found += moves or any(word in name for word in refused)
            return function(*args, **(kwargs or {}))

    x, w, grad = drawn_distances(9, 17, 5)
    w.requires_grad_()
    with Counting() as counting, torch.no_grad():
        out = cuda.lp_dist(x, w, p)
        cuda.lp_dist_backward(grad, x, w, out, p, True, True)
        cuda.linf_interval_backward(grad, grad, x, x + 1, w)
    return counting.found


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", [*map(str, SHAPES), "scales"])
def test_distances_and_gradients_match_the_definition(interpreted, shape, p):
    out, *grads = interpreted[f"{shape} {p}"]
    assert out < tolerance(p)
    assert max(grads) < slope_tolerance(p)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_of_equal_coordinates_has_the_gradient(interpreted, shape):
    assert max(interpreted[f"{shape} ties"]) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_match_the_definition(interpreted, shape):
    assert max(interpreted[f"{shape} interval"]) < 1e-6


@pytest.mark.parametrize("p", EXPONENTS)
def test_distance_zero_has_gradient_zero(interpreted, p):
    assert interpreted[f"zero {p}"] == [0, 0, 0]


@pytest.mark.parametrize(
    "case", ["nan 8.0", "nan 7.3", "nan inf", "not needed 8.0", "not needed inf"]
)
def test_nan_stays_in_its_row_and_no_gradient_is_made_in_vain(interpreted, case):
    assert not any(interpreted[case])


@pytest.mark.parametrize("p", EXPONENTS)
def test_distances_without_an_inverse_are_finite_and_have_gradients(interpreted, p):
    assert interpreted[f"tiny {p}"] == [0, 0, 0]


@pytest.mark.parametrize("p", [1.0, 2.0, 8.0, 7.3])
def test_long_sums_are_cut_into_parts(interpreted, p):
    out, *grads = interpreted[f"long sums {p}"]
    assert out < tolerance(p)
    assert max(grads) < 5e-6


def test_blocks_of_the_maximum_are_kept_with_their_output(interpreted):
    assert not any(interpreted["kept"])


def test_no_step_waits_for_the_gpu_or_sums_in_any_order(interpreted):
    assert not any(interpreted["operations"])


# --- launches


class Launches(list):
    """Stands for a kernel, and writes down its grids."""

    def __getitem__(self, grid):
        return lambda *arguments, **settings: self.append((grid, arguments, settings))


@pytest.fixture
def launches(monkeypatch) -> Launches:
    """Launches on a GPU of 132 multiprocessors, of which nothing is computed."""
    cuda, launched = pytest.importorskip("linfkit.kernels.cuda"), Launches()
    kernels_of_it = ("_transpose", "_distances", "_farthest", "_slope_sums", "_first_slopes")
    for name in kernels_of_it:
        monkeypatch.setattr(cuda, name, launched)
    of_device = SimpleNamespace(multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: of_device)
    return launched


@pytest.mark.parametrize("p", [7.3, math.inf])
def test_millions_of_rows_fit_the_grid(launches, p):
    from linfkit.kernels import cuda

    x, w = torch.empty(2_100_000, 1, device="meta"), torch.empty(3, 1, device="meta")
    out = cuda.lp_dist(x, w, p)
    cuda.lp_dist_backward(out, x, w, out, p, True, True)
    grids = [grid for grid, *_ in launches]
    assert max(grid[0] for grid in grids) > 65_535
    assert all(size < 65_536 for grid in grids for size in grid[1:])


def test_matrices_are_padded_to_what_is_aligned_and_no_further():
    cuda = pytest.importorskip("linfkit.kernels.cuda")
    padded = cuda._padded(draw(1003, 27))
    assert padded.shape == (1008, 32)
    assert (
        padded.storage_offset() + padded.numel() + cuda.SIDE <= padded.untyped_storage().size() // 4
    )
    whole = draw(1008, 256)
    assert cuda._padded(whole) is whole


def test_a_convolution_s_gradient_keeps_the_gpu_busy(launches):
    from linfkit.kernels import cuda

    x, w = torch.empty(524_288, 27, device="meta"), torch.empty(64, 27, device="meta")
    out = torch.empty(524_288, 64, device="meta")
    cuda.lp_dist_backward(out, x, w, out, 8.0, False, True)
    *_, (grid, arguments, _) = launches
    assert math.prod(grid) >= 1024
    count, length = arguments[5:7]
    assert (count, grid[2] * length >= count > (grid[2] - 1) * length) == (524_288, True)


def test_what_changes_between_steps_and_sizes_compiles_nothing_anew():
    cuda = pytest.importorskip("linfkit.kernels.cuda")
    for name in {name for name, _ in INSTRUCTIONS}:
        kernel = getattr(cuda, name)
        assert {"count", "B", "O"} <= set(kernel.do_not_specialize)


# --- as machine code

TYPES = {
    **dict.fromkeys(("p", "power"), "fp32"),
    **dict.fromkeys(("count", "length", "B", "O", "rows", "columns", "height"), "i32"),
    **dict.fromkeys(("stride", "x_stride", "w_stride", "factor_stride"), "i32"),
    **dict.fromkeys(("block", "near", "far"), "*i32"),
    **dict.fromkeys(("sums_lower", "sums_upper", "sums_w"), "*i64"),
}

# Arithmetic a pair, and what loads, addresses and the loop may add. A thread's 64 pairs share the
# loads at p = ∞ and 8, its 32 pairs elsewhere.
INSTRUCTIONS = {
    ("_distances", 0): (2, 0.6),  # subtract, maximum of |·|
    ("_distances", 2): (2, 0.6),  # subtract, multiply-add
    ("_distances", 8): (4, 0.6),  # subtract, square, square, multiply-add
    ("_distances", -1): (6, 0.6),  # subtract, scale, log2, times p, exp2, add
    ("_distances_out_of_range", 8): (5, 0.85),  # scaled, too; 16 outputs a thread share loads
    ("_slope_sums", 8): (6, 0.6),  # subtract, scale, ·², ·³, ·⁴, multiply-add
    ("_slope_sums", -1): (7, 1.0),  # as forward, with the sign, and multiply-add
    ("_farthest", None): (2.25, 0.65),  # subtract, maximum of |·|; once a block compare, select
    ("_interval_ends", None): (6, 1.0),  # subtract, 2 maxima; for both corners
}


def compiled(name: str, kind: int | None, tile, capability: int):
    """The kernel for a GPU, as if called with matrices from `_columns`."""
    constants = {"BLOCK_B": tile.rows, "BLOCK_O": tile.columns, "STAGES": tile.stages}
    constants |= {"KEEP": False} if name == "_interval_ends" else {}
    constants |= {} if kind is None else {"KIND": kind}
    return compiled_with(name, constants, capability, num_warps=tile.warps, num_stages=tile.stages)


def compiled_with(name: str, constants: dict, capability: int, **options: int):
    """The kernel for a GPU, called with aligned matrices."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from linfkit.kernels import cuda

    function, types = getattr(cuda, name), dict(TYPES)
    if name == "_first_slopes":
        types["scale"] = "*fp64"
    signature, attributes = {}, {}
    for position, argument in enumerate(function.arg_names):
        signature[argument] = "constexpr" if argument in constants else types.get(argument, "*fp32")
        if signature[argument].startswith("*") or argument.endswith("stride"):
            attributes[(position,)] = [["tt.divisibility", 16]]
    values = {(function.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(function, signature, values, attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


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


def tiles_of(name: str, kind: int | None) -> list:
    """The tiles that a kernel may run with, for large outputs first."""
    from linfkit.kernels import cuda

    if name == "_distances_out_of_range":
        return [cuda.SCALED_TILE]
    if name == "_farthest":
        return [*cuda.LARGE_TILES, *cuda.SMALL_TILES]
    return cuda.SMALL_TILES if kind is None else cuda.tiles_for(kind)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("name", "kind"), INSTRUCTIONS)
def test_inner_loop_is_arithmetic(name, kind, capability):
    cuda = pytest.importorskip("linfkit.kernels.cuda")
    tile = tiles_of(name, kind)[0]
    instructions, loops = disassembled(compiled(name, kind, tile, capability).asm["cubin"])
    pairs = tile.rows * tile.columns // (32 * tile.warps)
    # where there are two loops, the first takes the maximum
    count = len(loops[-1]) / (pairs * cuda.STEP.value)
    arithmetic, rest = INSTRUCTIONS[name, kind]
    print(f"{name} {kind} sm_{capability}: {count:.3f} instructions a pair")
    assert arithmetic <= count <= arithmetic + rest
    assert not any(map(spills, loops))
    assert name == "_farthest" or spills(instructions) == 0  # which spills once, at its end


@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("least", [True, False])
def test_slopes_are_added_as_integers(least, capability):
    pytest.importorskip("triton")
    code = compiled_with("_first_slopes", {"LEAST": least, "X": True, "W": True}, capability)
    added = re.findall(r"(?:atom|red)\.global\S*add\.(\w+)", code.asm["ptx"])
    assert set(added) == {"u64"}
    instructions, _ = disassembled(code.asm["cubin"])
    assert spills(instructions) == 0


@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("name", "kind"), [*INSTRUCTIONS, ("_slope_sums", 1)])
def test_no_tile_spills_in_a_loop(name, kind, capability):
    pytest.importorskip("triton")
    for tile in tiles_of(name, kind):
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
    assert max(grads) < slope_tolerance(p)


@pytest.mark.gpu
@pytest.mark.parametrize("p", EXPONENTS)
def test_no_scale_overflows_or_underflows_on_a_gpu(p):
    pytest.importorskip("triton")
    out, *grads = distance_errors(*of_all_scales("cuda"), p)
    assert out < tolerance(p)
    assert max(grads) < slope_tolerance(p)


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
def test_a_gpu_computes_with_triton_and_passes_its_check(monkeypatch):
    cuda = pytest.importorskip("linfkit.kernels.cuda")
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    chosen = kernels.kernel_for(torch.zeros(1, device="cuda"))
    assert chosen.failed == {}
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
