"""GPU kernels in Triton: float32, any sizes, nothing of size B×O×I in memory.

Every thread keeps squares of the output in registers and walks along the coordinates: at each it
reads a few x and a few w and forms all their pairs, so that nearly every instruction is arithmetic.
For that the matrices come transposed, so that a coordinate's numbers lie side by side, and padded
with zeros, which change no distance, so that nothing is masked. What p is, is an argument; only its
kind is compiled in, so that p may change at every step.

Results are the same every time: floats are added by one thread, in order; where threads add to the
same number, they add integers. Which tile of the output a program computes is tried out, once for
each size class. Imported under TRITON_INTERPRET=1 the kernels run in Triton's interpreter, on CPU
tensors.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
# (Triton is not everywhere, and has no types.)

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Kinds of p; powers of two up to 16 stand for themselves and are computed by repeated squaring.
LARGEST = 0
REAL = -1
SQUARED = (1, 2, 4, 8, 16)

SIDE = 128  # rows and columns are padded to a multiple of this; the sides of tiles divide it
MOST_P = 1e6  # from there on the largest coordinate is the distance, to 1e-5

_COMPILING = "linfkit is compiling its GPU kernels, once for each kind of p and size …"


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    """‖x_b − w_o‖_p for every pair of rows: (B, I), (O, I) -> (B, O)."""
    out = x.new_empty(len(x), len(w))
    columns, kind = (_columns(x), _columns(w)), _kind(p)
    arguments: list[Tensor | float]
    arguments = [*columns, out, *_steps(x, *columns), min(p, MOST_P)]
    _run(_distances, out, *arguments, KIND=kind)
    if kind > 1:
        _run(_distances_out_of_range, out, *arguments, KIND=kind)
    return out


def lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `lp_dist` in x (B, I) and w (O, I), given its output and grad (B, O).

    Those not needed are empty, (0,).
    """
    grad_x, grad_w = x.new_empty(0), w.new_empty(0)
    if p == math.inf:
        at = torch.empty_like(out, dtype=torch.int32)
        columns = _columns(x), _columns(w)
        _run(_first_largest, out, *columns, out, at, *_steps(x, *columns))
        slope = grad * _differences(x, w, at).sign()
        scale = _fixed_point(slope)
        if need_x:
            grad_x = _scattered(slope, at, x, scale)
        if need_w:
            grad_w = _scattered(-slope.t(), at.t(), w, scale)
    else:
        scale, factor = _slope_factors(grad, out, p)
        if need_x:
            grad_x = _slopes(x, w, _columns(scale), _columns(factor), p)
        if need_w:
            grad_w = _slopes(w, x, _padded(scale), _padded(factor), p)
    return grad_x, grad_w


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Range of ‖x − w_o‖_∞ over lower ≤ x ≤ upper: (B, I) twice, (O, I) -> (B, O) twice."""
    out_lower = lower.new_empty(len(lower), len(w))
    out_upper = torch.empty_like(out_lower)
    columns = _columns(lower), _columns(upper), _columns(w)
    _run(_interval_ends, out_lower, *columns, out_lower, out_upper, *_steps(w, *columns[1:]))
    return out_lower, out_upper


def linf_interval_backward(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `linf_interval` in lower (B, I), upper (B, I) and w (O, I)."""
    out_lower, out_upper = linf_interval(lower, upper, w)
    closest = torch.empty_like(out_lower, dtype=torch.int32)
    farthest = torch.empty_like(closest)
    columns = _columns(lower), _columns(upper), _columns(w)
    outs = out_lower, out_upper, closest, farthest
    _run(_first_ends, out_lower, *columns, *outs, *_steps(w, *columns[1:]))

    low, high = _differences(lower, w, closest), _differences(upper, w, closest)
    to_lower, slope = low >= -high, grad_lower * (out_lower > 0)
    least = slope * to_lower, -slope * ~to_lower

    low, high = _differences(lower, w, farthest), _differences(upper, w, farthest)
    to_lower = low.abs() >= high.abs()
    largest = grad_upper * low.sign() * to_lower, grad_upper * high.sign() * ~to_lower

    scale = _fixed_point(*least, *largest)
    grad_l, grad_h = (
        _scattered(torch.cat(slopes, 1), torch.cat((closest, farthest), 1), box, scale)
        for *slopes, box in zip(least, largest, (lower, upper), strict=True)
    )
    slope = torch.cat((least[0] + least[1], largest[0] + largest[1]))
    at = torch.cat((closest, farthest))
    return grad_l, grad_h, _scattered(-slope.t(), at.t(), w, scale)


# --- preparing arguments


def _kind(p: float) -> int:
    if p == math.inf:
        return LARGEST
    return int(p) if p in SQUARED else REAL


def _whole(count: int) -> int:
    """The next multiple of SIDE."""
    return -(-count // SIDE) * SIDE


def _padded(matrix: Tensor) -> Tensor:
    """The matrix with rows and columns of zeros, up to multiples of SIDE."""
    rows, columns = matrix.shape
    margins = (0, _whole(columns) - columns, 0, _whole(rows) - rows)
    return torch.nn.functional.pad(matrix, margins) if any(margins) else matrix


def _columns(matrix: Tensor) -> Tensor:
    """The transposed matrix with rows and columns of zeros, up to multiples of SIDE."""
    rows, columns = matrix.shape
    transposed = matrix.new_empty(_whole(columns), _whole(rows))
    grid = tuple(size // _SQUARE.value for size in transposed.shape)
    with torch.cuda.device_of(matrix):
        _transpose[grid](matrix, transposed, rows, columns, transposed.shape[1])
    return transposed


def _steps(x: Tensor, *columns: Tensor) -> tuple[int, ...]:
    """Number of coordinates, and their distance in matrices of columns."""
    return x.shape[1], *(matrix.stride(0) for matrix in columns)


def _slope_factors(grad: Tensor, out: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """For each pair the numbers that make a slope of a difference, in `_slope_sums`."""
    inverse = torch.where(out == 0, 0, 1 / out)
    if _kind(p) in (1, REAL):
        return inverse, grad
    scale = inverse * grad.abs().pow(1 / (p - 1)).copysign(grad)
    return scale, scale


def _slopes(x: Tensor, w: Tensor, scale: Tensor, factor: Tensor, p: float) -> Tensor:
    """The gradient in x; with x and w exchanged, and the factors transposed, that in w."""
    grad = torch.empty_like(x)
    x_whole, w_whole = _padded(x), _padded(w)
    steps = len(w), w_whole.stride(0), scale.stride(0)
    factors = scale, factor, grad
    power = min(p, MOST_P) - 1
    _run(_slope_sums, grad, x_whole, w_whole, *factors, *steps, power, KIND=_kind(p))
    return grad


def _differences(x: Tensor, w: Tensor, at: Tensor) -> Tensor:
    """x_b − w_o at one coordinate for each pair, (B, O)."""
    at = _inside(at, x)
    return x.gather(1, at) - w.gather(1, at.t()).t()


def _inside(at: Tensor, x: Tensor) -> Tensor:
    """Coordinates of x, for indexing: at distance zero a padded one may be the first found."""
    return at.clamp(0, x.shape[1] - 1).long()


def _fixed_point(*slopes: Tensor) -> Tensor:
    """The power of two that makes integers of slopes, so that no sum of them needs 64 bits."""
    largest = torch.stack([slope.abs().amax() for slope in slopes]).amax().double()
    terms = sum(max(slope.shape) for slope in slopes)
    return torch.exp2(61 - terms.bit_length() - largest.clamp(min=1e-300).log2().ceil())


def _scattered(slope: Tensor, at: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    """Row by row the sums of the slopes that fall on each coordinate, in the shape of x."""
    sums = torch.zeros_like(x, dtype=torch.int64)
    sums.scatter_add_(1, _inside(at, x), (slope.double() * scale).long())
    return torch.mul(sums, 1 / scale, out=torch.empty_like(x))


# --- running kernels

_ran: set[tuple[object, ...]] = set()


def _run(kernel: Any, out: Tensor, *arguments: Tensor | float, **kind: int) -> None:
    """Run a kernel, one program for each tile of out, (B, O)."""
    size_class = sum(min(size - 1, 4095).bit_length() << 4 * n for n, size in enumerate(out.shape))
    with torch.cuda.device_of(out), _notice(kernel, size_class, *kind.values()):
        kernel[_tiled(out)](*arguments, *out.shape, size_class, **kind)


def _tiled(out: Tensor) -> Callable[[dict[str, int]], tuple[int, int]]:
    rows, columns = out.shape
    return lambda sizes: (
        triton.cdiv(rows, sizes["BLOCK_B"]),
        triton.cdiv(columns, sizes["BLOCK_O"]),
    )


@contextmanager
def _notice(*key: object) -> Iterator[None]:
    """Say so when this takes long, the first time."""
    notice = Timer(2.0, print, [_COMPILING], {"file": sys.stderr})
    if key not in _ran:
        notice.start()
    try:
        yield
    finally:
        notice.cancel()
    _ran.add(key)


# --- compiled code

_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
_LEAST_SUM = tl.constexpr(2.0**-96)  # a smaller sum of powers may have lost terms to underflow
_SQUARE = tl.constexpr(32)


def _tile(b: int, o: int, warps: int, stages: int, step: int = 8) -> triton.Config:
    """A tile of (b, o) outputs; coordinates are taken `step` at a time, copied some steps ahead."""
    sizes = {"BLOCK_B": b, "BLOCK_O": o, "STEP": step, "STAGES": stages}
    return triton.Config(sizes, num_warps=warps, num_stages=stages)


# 64 outputs a thread, where its registers hold few numbers for each
LARGE_TILES = [_tile(64, 128, 4, 3), _tile(128, 128, 8, 3), _tile(64, 64, 2, 4)]
# 32 outputs a thread where they hold more, and fewer for outputs that are small themselves
SMALL_TILES = [
    _tile(64, 128, 8, 3),
    _tile(64, 64, 4, 4, step=4),
    _tile(32, 32, 1, 4),
    _tile(32, 16, 1, 4),
    _tile(16, 16, 1, 4),
]
TILES = [*LARGE_TILES, *SMALL_TILES]


def fitting(
    tiles: list[triton.Config], arguments: dict[str, Any], KIND: int = LARGEST, **_: Any
) -> list[triton.Config]:
    """The tiles that are not much larger than the output, and whose numbers fit the registers."""
    return [
        tile
        for tile in tiles
        if (KIND not in (1, REAL) or tile in SMALL_TILES)
        and tile.kwargs["BLOCK_B"] < 2 * max(arguments["B"], 16)
        and tile.kwargs["BLOCK_O"] < 2 * max(arguments["O"], 16)
    ]


def _tuned(tiles: list[triton.Config], *key: str) -> Callable[[Callable[..., None]], Any]:
    """Make a Triton kernel whose tile is chosen by trial, once for each size class."""

    def decorate(function):
        # a size that happens to be 1, or a multiple of 16, is no reason to compile anew
        jitted = triton.jit(do_not_specialize=["B", "O", "count", "size_class"])(function)
        return triton.autotune(
            [_tile(32, 32, 1, 1)] if _INTERPRETED.value else tiles,
            key=["size_class", *key],
            prune_configs_by={"early_config_prune": fitting},
        )(jitted)

    return decorate


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
    """The rows and the columns of the output that this program computes."""
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
def _largest(x, w, zeros, count, x_stride, w_stride, STEP: tl.constexpr, STAGES: tl.constexpr):
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
    KIND: tl.constexpr, SCALED: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr,
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
def _scaled(
    x, w, zeros, count, x_stride, w_stride, p,
    KIND: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """(Σ_i (s·|x_i − w_i|)^p)^(1/p) / s, with 1/s the largest of the differences."""
    largest = _largest(x, w, zeros, count, x_stride, w_stride, STEP, STAGES)
    scale = 1 / tl.where(largest == 0, 1, largest)
    total = _sum(x, w, zeros, scale, count, x_stride, w_stride, p, KIND, True, STEP, STAGES)
    return _root(total, p, KIND) / scale


@_tuned(TILES, "KIND")
def _distances(
    xt, wt, out, count, x_stride, w_stride, p, B, O, size_class,
    KIND: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr,
    STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """‖x_b − w_o‖_p from columns: xt (count, B), wt (count, O) -> (B, O).

    For powers by squaring the differences are taken as they are; where the sum of powers is then
    out of range, which is rare, the distance is left to the next kernel, as −1.
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    zeros = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    x, w = xt + b, wt + o
    if KIND == 0:
        distance = _largest(x, w, zeros, count, x_stride, w_stride, STEP, STAGES)
    elif KIND == -1:
        distance = _scaled(x, w, zeros, count, x_stride, w_stride, p, KIND, STEP, STAGES)
    else:
        total = _sum(x, w, zeros, 1.0, count, x_stride, w_stride, p, KIND, False, STEP, STAGES)
        distance = _root(total, p, KIND)
        if KIND > 1:
            in_range = (total >= _LEAST_SUM) & (total < float("inf"))
            distance = tl.where(in_range, distance, -1.0)
    places, inside = _places(b, o, B, O)
    tl.store(out + places, distance, mask=inside)


@_tuned(SMALL_TILES[1:2], "KIND")
def _distances_out_of_range(
    xt, wt, out, count, x_stride, w_stride, p, B, O, size_class,
    KIND: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr,
    STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The distances that `_distances` left as −1, in the tiles that have any."""
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    places, inside = _places(b, o, B, O)
    missing = tl.load(out + places, mask=inside, other=0.0) < 0
    if tl.max(missing.to(tl.int32)) > 0:
        zeros = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
        x, w = xt + b, wt + o
        distance = _scaled(x, w, zeros, count, x_stride, w_stride, p, KIND, STEP, STAGES)
        tl.store(out + places, distance, mask=missing)


@_tuned(TILES, "KIND")
def _slope_sums(
    x, w, scale, factor, grad, count, stride, factor_stride, power, B, O, size_class,
    KIND: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr,
    STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Σ_k of slopes at t = x_bo − w_ko: x (B, O), w (count, O), factors (count, B) -> (B, O).

    A slope is (scale_kb·t)^power, and where that is not odd factor_kb·sign(t)·(scale_kb·|t|)^power.
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    total = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    own = _in_squares(tl.load(x + b.to(tl.int64)[:, None] * stride + o[None, :]))
    w, scale, factor = w + o, scale + b, factor + b
    for _ in tl.range(0, count, STEP, num_stages=STAGES):
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
    tl.store(grad + places, total, mask=inside)


@_tuned(SMALL_TILES)
def _first_largest(
    xt, wt, out, at, count, x_stride, w_stride, B, O, size_class,
    BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The first i with |x_i − w_i| = out, from columns as in `_distances`; −1 where there is none.

    From the last coordinate back, so that what is found last is the first.
    """
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    places, inside = _places(b, o, B, O)
    largest = _in_squares(tl.load(out + places, mask=inside, other=-1.0))
    found = tl.full((BLOCK_B, BLOCK_O), -1, tl.int32)
    last = (tl.cdiv(count, STEP) - 1) * STEP
    x, w = xt + b + last.to(tl.int64) * x_stride, wt + o + last.to(tl.int64) * w_stride
    for done in tl.range(0, count, STEP, num_stages=STAGES):
        for i in tl.static_range(STEP - 1, -1, -1):
            t = tl.load(x + i * x_stride)[:, None] - tl.load(w + i * w_stride)[None, :]
            found = tl.where(tl.abs(t) == largest, last - done + i, found)
        x -= STEP * x_stride
        w -= STEP * w_stride
    places, inside = _places(b, o, B, O)
    tl.store(at + places, found, mask=inside)


@_tuned(SMALL_TILES)
def _interval_ends(
    lt, ut, wt, out_lower, out_upper, count, x_stride, w_stride, B, O, size_class,
    BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Range of ‖x_b − w_o‖_∞ from columns: lt and ut (count, B), wt (count, O) -> (B, O) twice."""
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    least = _in_squares(tl.zeros((BLOCK_B, BLOCK_O), tl.float32))
    largest = least
    lower, upper, w = lt + b, ut + b, wt + o
    for _ in tl.range(0, count, STEP, num_stages=STAGES):
        for i in tl.static_range(STEP):
            weight = tl.load(w + i * w_stride)[None, :]
            low = tl.load(lower + i * x_stride)[:, None] - weight
            high = weight - tl.load(upper + i * x_stride)[:, None]
            least = _larger(_larger(least, low), high)
            largest = _larger(_larger(largest, tl.abs(low)), tl.abs(high))
        lower += STEP * x_stride
        upper += STEP * x_stride
        w += STEP * w_stride
    places, inside = _places(b, o, B, O)
    tl.store(out_lower + places, least, mask=inside)
    tl.store(out_upper + places, largest, mask=inside)


@_tuned(SMALL_TILES)
def _first_ends(
    lt, ut, wt, out_lower, out_upper, closest, farthest,
    count, x_stride, w_stride, B, O, size_class,
    BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The first coordinates that attain both ends, from the last one back; −1 where none does."""
    b, o = _rows_and_columns(BLOCK_B, BLOCK_O)
    places, inside = _places(b, o, B, O)
    least = _in_squares(tl.load(out_lower + places, mask=inside, other=-1.0))
    largest = _in_squares(tl.load(out_upper + places, mask=inside, other=-1.0))
    near = tl.full((BLOCK_B, BLOCK_O), -1, tl.int32)
    far = near
    last = (tl.cdiv(count, STEP) - 1) * STEP
    lower, upper = (lt + b + last.to(tl.int64) * x_stride, ut + b + last.to(tl.int64) * x_stride)
    w = wt + o + last.to(tl.int64) * w_stride
    for done in tl.range(0, count, STEP, num_stages=STAGES):
        for i in tl.static_range(STEP - 1, -1, -1):
            weight = tl.load(w + i * w_stride)[None, :]
            low = tl.load(lower + i * x_stride)[:, None] - weight
            high = weight - tl.load(upper + i * x_stride)[:, None]
            near = tl.where(tl.maximum(low, high) == least, last - done + i, near)
            far = tl.where(tl.maximum(tl.abs(low), tl.abs(high)) == largest, last - done + i, far)
        lower -= STEP * x_stride
        upper -= STEP * x_stride
        w -= STEP * w_stride
    places, inside = _places(b, o, B, O)
    tl.store(closest + places, near, mask=inside)
    tl.store(farthest + places, far, mask=inside)


@triton.jit
def _transpose(matrix, transposed, rows, columns, stride):
    """The columns of a matrix (rows, columns) as rows, `stride` apart, with zeros around them."""
    c = tl.program_id(0) * _SQUARE + tl.arange(0, _SQUARE)
    r = tl.program_id(1) * _SQUARE + tl.arange(0, _SQUARE)
    inside = (r < rows)[:, None] & (c < columns)[None, :]
    block = tl.load(matrix + r.to(tl.int64)[:, None] * columns + c[None, :], mask=inside, other=0.0)
    tl.store(transposed + c.to(tl.int64)[:, None] * stride + r[None, :], tl.trans(block))
