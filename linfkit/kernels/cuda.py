"""GPU kernels in Triton: float32, any sizes, nothing of size B×O×I in memory.

Every thread keeps squares of the output in registers and walks along the coordinates: at each it
reads a few x and a few w and forms all their pairs, so that nearly every instruction is arithmetic.
For that the matrices come transposed, so that a coordinate's numbers lie side by side, and padded
with zeros, which change no distance, so that nothing is masked. What p is, is an argument; only its
kind is compiled in, so that p may change at every step.

Results are the same every time on one GPU: floats are added in an order that the shapes alone
decide; where threads add to the same number, they add integers. Which tile of the output a program
computes follows from the output's size. Imported under TRITON_INTERPRET=1 the kernels run in
Triton's interpreter, on CPU tensors.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
# (Triton is not everywhere, and has no types.)

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

# Kinds of p; powers of two up to 16 stand for themselves and are computed by repeated squaring.
LARGEST = 0
REAL = -1
SQUARED = (1, 2, 4, 8, 16)

MOST_P = 1e6  # from there on the largest coordinate is the distance, to 1e-5
LEAST_DISTANCE = 2.0**-100  # gradients of smaller ones fade to 0, so that no inverse overflows

STEP = tl.constexpr(8)  # coordinates that are taken at a time
ALIGNED = 16  # rows in memory begin at multiples of so many numbers
SIDE = 128  # of a tile at most: so many numbers may be read beyond the last row


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    """‖x_b − w_o‖_p for every pair of rows: (B, I), (O, I) -> (B, O)."""
    if p == math.inf and (x.requires_grad or w.requires_grad):
        out, block = _farthest_blocks(x, w)
        _remember(out, block)
        return out
    out = _empty(x, len(x), len(w))
    columns, kind = (_columns(x), _columns(w)), kind_of(p)
    arguments: tuple[Tensor | float, ...]
    arguments = *columns, out, *_steps(x, *columns), min(p, MOST_P)
    _run(_distances, tiles_for(kind), out.shape, *arguments, KIND=kind)
    if kind > 1:
        _run(_distances_out_of_range, [SCALED_TILE], out.shape, *arguments, KIND=kind)
    return out


def lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `lp_dist` in x (B, I) and w (O, I), given its output and grad (B, O).

    Those not needed are empty, (0,).
    """
    if p == math.inf:
        block = _recall(out)
        if block is None:
            _, block = _farthest_blocks(x, w)
        scale = _fixed_point(grad)
        sums_x, sums_w = _zero_sums(x, need_x), _zero_sums(w, need_w)
        sums = sums_x, sums_x, sums_w
        _pass_on((x, x, w), out, block, grad, scale, sums, LEAST=False, X=need_x, W=need_w)
        return _floats(sums_x, scale, x), _floats(sums_w, scale, w)
    grad_x, grad_w = x.new_empty(0), w.new_empty(0)
    scale, factor = _slope_factors(grad, out, p)
    same = factor is scale
    if need_x:
        by_column = _columns(scale)
        grad_x = _slopes(x, w, by_column, by_column if same else _columns(factor), p)
    if need_w:
        by_row = _padded(scale)
        grad_w = _slopes(w, x, by_row, by_row if same else _padded(factor), p)
    return grad_x, grad_w


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Range of ‖x − w_o‖_∞ over lower ≤ x ≤ upper: (B, I) twice, (O, I) -> (B, O) twice."""
    least, largest, *_ = _ends(lower, upper, w, keep=False)
    return least, largest


def linf_interval_backward(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `linf_interval` in lower (B, I), upper (B, I) and w (O, I)."""
    least, largest, near, far = _ends(lower, upper, w, keep=True)
    scale = _fixed_point(grad_lower, grad_upper)
    inputs = lower, upper, w
    sums = tuple(_zero_sums(each) for each in inputs)
    _pass_on(inputs, least, near, grad_lower, scale, sums, LEAST=True)
    _pass_on(inputs, largest, far, grad_upper, scale, sums, LEAST=False)
    grad_l, grad_u, grad_w = map(_floats, sums, (scale,) * 3, inputs)
    return grad_l, grad_u, grad_w


def kind_of(p: float) -> int:
    """The kind of p, that kernels are compiled for.

    >>> [kind_of(p) for p in (math.inf, 8.0, 7.3)]
    [0, 8, -1]
    """
    if p == math.inf:
        return LARGEST
    return int(p) if p in SQUARED else REAL


# --- preparing arguments


def _empty(like: Tensor, *size: int, dtype: torch.dtype | None = None) -> Tensor:
    """Memory that kernels fill, on the device of a tensor."""
    return like.new_empty(size, dtype=dtype)


def _whole(count: int, of: int) -> int:
    """The next multiple."""
    return -(-count // of) * of


def _room(like: Tensor, rows: int, columns: int) -> Tensor:
    """Memory for a matrix: its rows aligned, whole steps of them, and what tiles read beyond."""
    height, stride = _whole(rows, STEP.value), _whole(columns, ALIGNED)
    return _empty(like, height * stride + SIDE)[:-SIDE].view(height, stride)


def _padded(matrix: Tensor) -> Tensor:
    """The matrix, with zeros around it, for tiles that read along its rows."""
    rows, columns = matrix.shape
    if rows % STEP.value == 0 and columns % SIDE == 0:
        return matrix
    padded = _room(matrix, rows, columns).zero_()
    padded[:rows, :columns] = matrix
    return padded


def _columns(matrix: Tensor) -> Tensor:
    """The transposed matrix, with zeros around it."""
    rows, columns = matrix.shape
    transposed = _room(matrix, columns, rows)
    height, stride = transposed.shape
    grid = Tile(_SQUARE.value, _SQUARE.value, 4, 1).grid(stride, height)
    with torch.cuda.device_of(matrix):
        _transpose[grid](matrix, transposed, rows, columns, stride, height)
    return transposed


def _steps(x: Tensor, *columns: Tensor) -> tuple[int, ...]:
    """Number of coordinates, and their distance in matrices of columns."""
    return x.shape[1], *(matrix.stride(0) for matrix in columns)


def _farthest_blocks(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The ℓ∞ distances, and where the block of coordinates begins that attains each first."""
    out = _empty(x, len(x), len(w))
    block = _empty(x, *out.shape, dtype=torch.int32)
    columns = _columns(x), _columns(w)
    _run(
        _farthest,
        [*LARGE_TILES, *SMALL_TILES],
        out.shape,
        *columns,
        out,
        block,
        *_steps(x, *columns),
    )
    return out, block


def _ends(lower: Tensor, upper: Tensor, w: Tensor, keep: bool) -> tuple[Tensor, ...]:
    """Least and largest distances, (B, O); if kept, the blocks that attain them first."""
    size = len(lower), len(w)
    ends = _empty(w, *size), _empty(w, *size)
    blocks = [_empty(w, *size, dtype=torch.int32) for _ in range(2)] if keep else ends
    columns = _columns(lower), _columns(upper), _columns(w)
    arguments = *columns, *ends, *blocks, *_steps(w, *columns[1:])
    _run(_interval_ends, SMALL_TILES, ends[0].shape, *arguments, KEEP=keep)
    return *ends, *blocks


def _slope_factors(grad: Tensor, out: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """For each pair the numbers that make a slope of a difference, in `_slope_sums`."""
    inverse = torch.where(out == 0, 0, 1 / out.clamp(min=LEAST_DISTANCE))
    if kind_of(p) in (1, REAL):
        return inverse, grad
    scale = inverse * grad.abs().pow(1 / (p - 1)).copysign(grad)
    return scale, scale


def _slopes(x: Tensor, w: Tensor, scale: Tensor, factor: Tensor, p: float) -> Tensor:
    """The gradient in x; with x and w exchanged, and the factors transposed, that in w.

    Where it is small and the sums are long, they are cut into parts, and the parts added.
    """
    kind, (rows, columns), count = kind_of(p), x.shape, len(w)
    parts = max(
        1, min(count // LEAST_PART, PROGRAMS // math.prod(Tile(32, 32, 1, 1).grid(rows, columns)))
    )
    length = _whole(-(-count // parts), STEP.value)
    parts = -(-count // length)
    w_whole, sums = _padded(w), _empty(x, parts, rows, columns)
    steps = count, length, w_whole.stride(0), scale.stride(0)
    arguments = x, w_whole, scale, factor, sums, *steps, min(p, MOST_P) - 1
    _run(_slope_sums, tiles_for(kind), x.shape, *arguments, parts=parts, KIND=kind)
    return sums[0] if parts == 1 else sums.sum(0)


def _fixed_point(*grads: Tensor) -> Tensor:
    """The power of two that makes integers of slopes, so that no sum of them needs 64 bits."""
    largest = torch.stack([grad.abs().amax() for grad in grads]).amax().double()
    terms = sum(max(grad.shape) for grad in grads)
    return torch.exp2(61 - terms.bit_length() - largest.clamp(min=1e-300).log2().ceil())


def _zero_sums(x: Tensor, needed: bool = True) -> Tensor:
    """Integers to sum slopes in, in the shape of x; none if they are not needed."""
    return _empty(x, *(x.shape if needed else (0,)), dtype=torch.int64).zero_()


def _floats(sums: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """The sums, made of integers by that scale, in the dtype of x."""
    return torch.mul(sums, 1 / scale, out=_empty(x, *sums.shape))


def _pass_on(
    inputs: Sequence[Tensor],
    value: Tensor,
    block: Tensor,
    grad: Tensor,
    scale: Tensor,
    sums: Sequence[Tensor],
    LEAST: bool,
    X: bool = True,
    W: bool = True,
) -> None:
    """Add the slopes of one end of intervals to the sums for lower, upper and w."""
    grid = (triton.cdiv(value.numel(), _PAIRS.value),)
    arguments = *inputs, value, block, grad, scale, *sums, inputs[0].shape[1], *value.shape
    with torch.cuda.device_of(value):
        _first_slopes[grid](*arguments, LEAST=LEAST, X=X, W=W)


# --- what is kept beside an output, until it is gone

_kept: dict[int, tuple[StorageWeakRef, Tensor]] = {}


def _remember(out: Tensor, block: Tensor) -> None:
    for key in [key for key, (storage, _) in list(_kept.items()) if storage.expired()]:
        _kept.pop(key, None)
    storage = StorageWeakRef(out.untyped_storage())  # which keeps its address from being used again
    _kept[storage.cdata] = storage, block


def _recall(out: Tensor) -> Tensor | None:
    _, block = _kept.get(StorageWeakRef(out.untyped_storage()).cdata, (None, None))
    return block if block is not None and block.shape == out.shape else None


# --- running kernels


class Tile(NamedTuple):
    """Rows and columns of the output that one program computes.

    Attributes:
        rows: of the output.
        columns: of the output.
        warps: of 32 threads, that share them.
        stages: steps that copies from memory run ahead.
    """

    rows: int
    columns: int
    warps: int
    stages: int

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Number of such tiles along the rows and the columns of an output."""
        return -(-rows // self.rows), -(-columns // self.columns)


# 64 outputs a thread, where its registers hold few numbers for each
LARGE_TILES = [Tile(64, 128, 4, 3), Tile(128, 128, 8, 3), Tile(64, 64, 2, 4)]
# 32 outputs a thread where they hold more, and fewer for outputs that are small themselves
SMALL_TILES = [
    Tile(64, 128, 8, 3),
    Tile(64, 64, 4, 4),
    Tile(32, 32, 1, 4),
    Tile(32, 16, 1, 4),
    Tile(16, 16, 1, 4),
]
# 16 outputs a thread, which holds two numbers of each through a loop
SCALED_TILE = Tile(64, 64, 8, 4)
PROGRAMS = 2048  # that keep any GPU busy
LEAST_PART = 512  # terms of a sum that are worth a program


def tiles_for(kind: int) -> list[Tile]:
    """Tiles whose numbers fit the registers, for sums of powers of that kind of p."""
    return SMALL_TILES if kind in (1, REAL) else [*LARGE_TILES, *SMALL_TILES]


def quickest(tiles: Sequence[Tile], programs: Sequence[int], processors: int) -> Tile:
    """The tile for which the busiest quarter of a multiprocessor has the least to do.

    Args:
        tiles: to choose from, the first of equals.
        programs: how many each needs.
        processors: multiprocessors of the GPU.

    >>> large, small = Tile(64, 128, 4, 3), Tile(16, 16, 1, 4)
    >>> quickest([large, small], [1, 1], processors=100) is small  # both in one go
    True
    >>> quickest([large, small], [400, 12800], processors=100) is large
    True
    """

    def instructions(tile: Tile, programs: int) -> int:
        warps = -(-(-(-programs // processors) * tile.warps) // 4)
        # to load a coordinate and go on takes a thread as long as some four outputs
        return warps * (tile.rows * tile.columns // (32 * tile.warps) + 4)

    return min(zip(tiles, programs, strict=True), key=lambda each: instructions(*each))[0]


def _run(
    kernel: Any,
    tiles: Sequence[Tile],
    shape: Sequence[int],
    *arguments: Tensor | float,
    parts: int = 1,
    **kind: int,
) -> None:
    """Run a kernel, one program for each tile of an output (B, O) and part of its sums."""
    rows, columns = shape
    device = next(each.device for each in arguments if isinstance(each, Tensor))
    if _INTERPRETED.value:
        tile = Tile(32, 32, 1, 1)
    else:
        programs = [parts * math.prod(tile.grid(rows, columns)) for tile in tiles]
        processors = torch.cuda.get_device_properties(device).multi_processor_count
        tile = quickest(tiles, programs, processors)
    with torch.cuda.device(device if device.type == "cuda" else -1):
        kernel[(*tile.grid(rows, columns), parts)](
            *arguments,
            rows,
            columns,
            **kind,
            BLOCK_B=tile.rows,
            BLOCK_O=tile.columns,
            STAGES=tile.stages,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )


# --- compiled code

_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
_LEAST_SUM = tl.constexpr(2.0**-96)  # a smaller sum of powers may have lost terms to underflow
_LEAST_FLOAT = tl.constexpr(2.0**-126)  # whose inverse is finite
_SQUARE = tl.constexpr(32)
_PAIRS = tl.constexpr(128)

# a size that happens to be 1, or a multiple of 16, is no reason to compile anew
_compiled = triton.jit(do_not_specialize=["B", "O", "count", "length"])


@triton.jit
def _in_squares(block):
    """The block, of which each thread holds squares, as of everything that is computed with it.

    So does Triton lay out what comes of a matrix product: here a product of zeros is added.
    """
    left = tl.zeros((block.shape[0], 16), tl.float32)
    right = tl.zeros((16, block.shape[1]), tl.float32)
    return tl.dot(left, right, acc=block, input_precision="ieee")


@triton.jit
def _rows_and_columns(BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr):
    """The rows and the columns of the output that this program computes.

    Rows, which may be millions, are on the first axis of the grid: the others end at 65,535.
    """
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    return b, tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)


@triton.jit
def _places(b, o, B, O):
    """Offsets of rows b and columns o in a matrix (B, O), and the mask of those inside."""
    return b.to(tl.int64)[:, None] * O + o[None, :], (b < B)[:, None] & (o < O)[None, :]


@triton.jit
def _larger(a, b):
    """The larger of both; NaN where either is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _log2(x):
    """log2|x|, to 2^-22, in one instruction."""
    if _INTERPRETED:
        return tl.log2(tl.abs(x))
    return tl.inline_asm_elementwise(
        "{ .reg .f32 size; abs.f32 size, $1; lg2.approx.ftz.f32 $0, size; }",
        "=f,f", [x], tl.float32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def _exp2(x):
    """2^x to 2^-22 of itself, in one instruction."""
    if _INTERPRETED:
        return tl.exp2(x)
    return tl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1
    )


@triton.jit
def _signed_like(size, t):
    """The size, which is positive, with the sign of t."""
    sign = t.to(tl.int32, bitcast=True) & -0x80000000
    return (size.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@triton.jit
def _power(t, p, KIND: tl.constexpr):
    """|t|^p."""
    if KIND == -1:
        return _exp2(p * _log2(t))
    if KIND == 1:
        return tl.abs(t)
    power = t * t
    if KIND >= 4:
        power = power * power
    if KIND >= 8:
        power = power * power
    if KIND >= 16:
        power = power * power
    return power


@triton.jit
def _root(total, p, KIND: tl.constexpr):
    """total^(1/p)."""
    if KIND == -1:
        return _exp2(_log2(total) / p)
    if KIND >= 2:
        total = tl.sqrt(total)
    if KIND >= 4:
        total = tl.sqrt(total)
    if KIND >= 8:
        total = tl.sqrt(total)
    if KIND >= 16:
        total = tl.sqrt(total)
    return total


@triton.jit
def _odd_power(t, KIND: tl.constexpr):
    """t^(KIND − 1), a multiplication last: adding the result to a sum costs nothing more."""
    if KIND == 2:
        return t
    square = t * t
    if KIND == 4:
        return square * t
    cube, fourth = square * t, square * square
    if KIND == 8:
        return cube * fourth
    return cube * fourth * (fourth * fourth)


@triton.jit
def _largest(x, w, zeros, count, x_stride, w_stride, STAGES: tl.constexpr):
    """max_i |x_i − w_i|, from pointers to the first coordinates."""
    largest = zeros
    for _ in tl.range(0, count, STEP, num_stages=STAGES):
        for i in tl.static_range(STEP):
            t = tl.load(x + i * x_stride)[:, None] - tl.load(w + i * w_stride)[None, :]
            largest = _larger(largest, tl.abs(t))
        x += STEP * x_stride
        w += STEP * w_stride
    return largest


@triton.jit
def _sum(
    x, w, zeros, scale, count, x_stride, w_stride, p,
    KIND: tl.constexpr, SCALED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Σ_i (|x_i − w_i|·scale)^p, from pointers to the first coordinates."""
    IN_PARTS: tl.constexpr = KIND == 1 or KIND == 2  # whose root hides few of the rounding errors
    total = zeros
    for _ in tl.range(0, count, STEP, num_stages=STAGES):
        part = zeros if IN_PARTS else total
        for i in tl.static_range(STEP):
            t = tl.load(x + i * x_stride)[:, None] - tl.load(w + i * w_stride)[None, :]
            if SCALED:
                t *= scale
            part += _power(t, p, KIND)
        total = total + part if IN_PARTS else part
        x += STEP * x_stride
        w += STEP * w_stride
    return total


@triton.jit
def _scaled(x, w, zeros, count, x_stride, w_stride, p, KIND: tl.constexpr, STAGES: tl.constexpr):
    """(Σ_i (s·|x_i − w_i|)^p)^(1/p) / s, with 1/s the largest of the differences."""
    largest = _largest(x, w, zeros, count, x_stride, w_stride, STAGES)
    scale = 1 / _larger(largest, _LEAST_FLOAT)
    total = _sum(x, w, zeros, scale, count, x_stride, w_stride, p, KIND, True, STAGES)
    # below the least float the powers may all be lost
    return _larger(_root(total, p, KIND) / scale, largest)


@_compiled
def _distances(
    xt, wt, out, count, x_stride, w_stride, p, B, O,
    KIND: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """‖x_b − w_o‖_p from columns: xt (count, B), wt (count, O) -> (B, O).

    For powers by squaring the differences are taken as they are; where the sum of powers is then
    out of range, which is rare, the distance is left to the next kernel, as −1.
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    zeros = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    x, w = xt + b, wt + o
    if KIND == 0:
        distance = _largest(x, w, zeros, count, x_stride, w_stride, STAGES)
    elif KIND == -1:
        distance = _scaled(x, w, zeros, count, x_stride, w_stride, p, KIND, STAGES)
    else:
        total = _sum(x, w, zeros, 1.0, count, x_stride, w_stride, p, KIND, False, STAGES)
        distance = _root(total, p, KIND)
        if KIND > 1:
            in_range = (total >= _LEAST_SUM) & (total < float("inf"))
            distance = tl.where(in_range, distance, -1.0)
    places, inside = _places(b, o, B, O)
    tl.store(out + places, distance, mask=inside)


@_compiled
def _distances_out_of_range(
    xt, wt, out, count, x_stride, w_stride, p, B, O,
    KIND: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The distances that `_distances` left as −1, in the tiles that have any."""
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    places, inside = _places(b, o, B, O)
    missing = tl.load(out + places, mask=inside, other=0.0) < 0
    if tl.max(missing.to(tl.int32)) > 0:
        zeros = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
        x, w = xt + b, wt + o
        distance = _scaled(x, w, zeros, count, x_stride, w_stride, p, KIND, STAGES)
        tl.store(out + places, distance, mask=missing)


@_compiled
def _farthest(
    xt, wt, out, block, count, x_stride, w_stride, B, O,
    BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """‖x_b − w_o‖_∞ from columns as in `_distances`, and the block that attains it first.

    A block is STEP coordinates, of which the first is given.
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    largest = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    found = tl.zeros((BLOCK_B, BLOCK_O), tl.int32)
    x, w = xt + b, wt + o
    for start in tl.range(0, count, STEP, num_stages=STAGES):
        before = largest
        for i in tl.static_range(STEP):
            t = tl.load(x + i * x_stride)[:, None] - tl.load(w + i * w_stride)[None, :]
            largest = _larger(largest, tl.abs(t))
        found = tl.where(largest > before, start, found)
        x += STEP * x_stride
        w += STEP * w_stride
    places, inside = _places(b, o, B, O)
    tl.store(out + places, largest, mask=inside)
    tl.store(block + places, found, mask=inside)


@_compiled
def _slope_sums(
    x, w, scale, factor, sums, count, length, stride, factor_stride, power, B, O,
    KIND: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Σ_k of slopes at t = x_bo − w_ko, in parts of `length`: (B, O), (count, O) -> (parts, B, O).

    A slope is (scale_kb·t)^power, and where that is not odd factor_kb·sign(t)·(scale_kb·|t|)^power;
    the factors are (count, B).
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    total = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    row, column = tl.minimum(b, B - 1).to(tl.int64), tl.minimum(o, O - 1)
    own = _in_squares(tl.load(x + row[:, None] * O + column[None, :]))
    part = tl.program_id(2).to(tl.int64)
    first = part * length
    w += first * stride + o
    scale += first * factor_stride + b
    factor += first * factor_stride + b
    for _ in tl.range(0, tl.minimum(length, count - first.to(tl.int32)), STEP, num_stages=STAGES):
        for k in tl.static_range(STEP):
            t = own - tl.load(w + k * stride)[None, :]
            if KIND == 1:
                f = tl.load(factor + k * factor_stride)[:, None]
                total += tl.where(t > 0, f, tl.where(t < 0, -f, 0.0))
            else:
                s = tl.load(scale + k * factor_stride)[:, None]
                if KIND == -1:
                    f = tl.load(factor + k * factor_stride)[:, None]
                    total += f * _signed_like(_exp2(power * _log2(t * s)), t)
                else:
                    total += _odd_power(t * s, KIND)
        w += STEP * stride
        scale += STEP * factor_stride
        factor += STEP * factor_stride
    places, inside = _places(b, o, B, O)
    tl.store(sums + part * B * O + places, total, mask=inside)


@_compiled
def _interval_ends(
    lt, ut, wt, out_lower, out_upper, near, far, count, x_stride, w_stride, B, O,
    KEEP: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Range of ‖x_b − w_o‖_∞ from columns: lt and ut (count, B), wt (count, O) -> (B, O) twice.

    If kept, also the blocks that attain the ends first, as in `_farthest`.
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    least = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    largest = least
    at_least = tl.zeros((BLOCK_B, BLOCK_O), tl.int32)
    at_largest = at_least
    lower, upper, w = lt + b, ut + b, wt + o
    for start in tl.range(0, count, STEP, num_stages=STAGES):
        least_before, largest_before = least, largest
        for i in tl.static_range(STEP):
            weight = tl.load(w + i * w_stride)[None, :]
            low = tl.load(lower + i * x_stride)[:, None] - weight
            high = weight - tl.load(upper + i * x_stride)[:, None]
            least = _larger(_larger(least, low), high)
            largest = _larger(_larger(largest, tl.abs(low)), tl.abs(high))
        if KEEP:
            at_least = tl.where(least > least_before, start, at_least)
            at_largest = tl.where(largest > largest_before, start, at_largest)
        lower += STEP * x_stride
        upper += STEP * x_stride
        w += STEP * w_stride
    places, inside = _places(b, o, B, O)
    tl.store(out_lower + places, least, mask=inside)
    tl.store(out_upper + places, largest, mask=inside)
    if KEEP:
        tl.store(near + places, at_least, mask=inside)
        tl.store(far + places, at_largest, mask=inside)


@triton.jit
def _in_block(matrix, row, i, count, inside):
    """Numbers of a matrix (rows, count) at coordinates i of a row, for each pair; 0 outside."""
    there = inside[:, None] & (i < count)
    return tl.load(matrix + row[:, None] * count + i, mask=there, other=0.0)


@_compiled
def _first_slopes(
    lower, upper, w, value, block, grad, scale, sums_lower, sums_upper, sums_w, count, B, O,
    LEAST: tl.constexpr, X: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Add each pair's slope times grad to the sums, where the block first attains the value.

    The value is the largest of |l_i − w_i| and |h_i − w_i| or, LEAST, of l_i − w_i and w_i − h_i;
    of its two, the first has the slope where both attain it. Sums are of integers, times scale.
    """
    place = tl.program_id(0).to(tl.int64) * _PAIRS + tl.arange(0, _PAIRS)
    b, o = place // O, place % O
    inside = b < B
    value = tl.load(value + place, mask=inside, other=0.0)
    grad = tl.load(grad + place, mask=inside, other=0.0)
    i = tl.load(block + place, mask=inside, other=0)[:, None] + tl.arange(0, STEP)[None, :]
    weight = _in_block(w, o, i, count, inside)
    low = _in_block(lower, b, i, count, inside) - weight
    high = weight - _in_block(upper, b, i, count, inside)
    from_lower = low if LEAST else tl.abs(low)
    from_upper = high if LEAST else tl.abs(high)
    attains = tl.maximum(from_lower, from_upper) == value[:, None]
    first = tl.min(tl.where(attains & (i < count), i, count), axis=1)
    here = i == first[:, None]
    low, high = tl.sum(tl.where(here, low, 0.0), axis=1), tl.sum(tl.where(here, high, 0.0), axis=1)
    if LEAST:
        to_lower = low >= high
        grad = tl.where(value > 0, tl.where(to_lower, grad, -grad), 0.0)
    else:
        to_lower = tl.abs(low) >= tl.abs(high)
        t = tl.where(to_lower, low, -high)
        grad = tl.where(t > 0, grad, tl.where(t < 0, -grad, 0.0))
    amount = (grad.to(tl.float64) * tl.load(scale)).to(tl.int64)
    found = inside & (first < count)
    if X:
        place = b * count + first
        tl.atomic_add(sums_lower + place, amount, mask=found & to_lower)
        tl.atomic_add(sums_upper + place, amount, mask=found & (to_lower == 0))
    if W:
        tl.atomic_add(sums_w + o * count + first, -amount, mask=found)


@triton.jit
def _transpose(matrix, transposed, rows, columns, stride, height):
    """The columns of a matrix (rows, columns) as rows, with zeros around them: (height, stride)."""
    r, c = _rows_and_columns(_SQUARE, _SQUARE)
    places, inside = _places(r, c, rows, columns)
    block = tl.load(matrix + places, mask=inside, other=0.0)
    places, inside = _places(c, r, height, stride)
    tl.store(transposed + places, tl.trans(block), mask=inside)
