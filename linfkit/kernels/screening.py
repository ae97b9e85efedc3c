"""Screening: which coordinates can count for a distance, found in integers of 16 bits.

x and w are rounded to whole units of 1/32766 of their range, so that a difference moves by a unit
at most. Neurons lie side by side in a vector, 64 of them, and each number of x is compared with all
of them: three instructions for twice as many differences as floats take, and the maximum of each
chunk of coordinates comes for nothing. Where a chunk's maximum, plus what rounding may have hidden,
is too small beside the largest of all, none of its coordinates is looked at again.
"""

# mypy: disable-error-code="call-arg"
# (Numba's types count the typing context among the arguments of an intrinsic.)

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from torch import Tensor

from linfkit.kernels.compiling import compiled
from linfkit.kernels.threads import run
from linfkit.kernels.tiles import Matrix, operands
from linfkit.kernels.vectors import BOOL, INT, LANES, WORD, everywhere, llvm_function

NEURONS = 64  # side by side
CHUNK = 32  # coordinates with one maximum
ROWS = max(1, LANES // 4)  # of x at once: as many as registers hold sums for
UNITS = 32766.0  # of the range: differences, rounding included, fit into 16 bits
SLACK = np.float32(1.25)  # units by which rounding moves a difference, and rounding of the rounding
LEAST_UNIT = 2.0**-100  # below, products with it might underflow
WORK_OF_ROUNDING = 8  # differences that take as long as rounding a number

SHORT = ir.IntType(16)
SHORTS = ir.VectorType(SHORT, NEURONS)


@dataclass(frozen=True)
class Rounded:
    """Inputs and weights in whole units.

    Attributes:
        x: (B, I), in rows of zeros behind that make B a multiple of ROWS.
        panels: weights transposed, (O / 64, I, 64); likewise with neurons of zeros behind.
        unit: what a unit stands for.
    """

    x: Tensor
    panels: Tensor
    unit: float


def rounded(x: Tensor, w: Tensor) -> Rounded | None:
    """Round x (B, I) and w (O, I), I a multiple of CHUNK.

    Returns:
        None where units cannot hold them: NaN, ∞, all equal, or a range near the limits of floats.
    """
    arrays = [matrix.detach().numpy() for matrix in (x, w)]  # PyTorch's threads spin when done
    ends = [float(each) for array in arrays for each in (array.min(), array.max())]
    low, high = min(ends), max(ends)
    unit = (high - low) / UNITS
    if not (math.isfinite(sum(ends)) and LEAST_UNIT < unit < 1 / LEAST_UNIT):
        return None
    width = x.shape[1]
    rows, panels = -(-len(x) // ROWS) * ROWS, -(-len(w) // NEURONS)
    scale = np.float32((high + low) / 2), np.float32(1 / unit)
    x_units = torch.empty(rows, width, dtype=torch.int16)
    w_units = torch.empty(panels * NEURONS, width, dtype=torch.int16)
    transposed = torch.empty(panels, width, NEURONS, dtype=torch.int16)
    for matrix, result in ((x, x_units), (w, w_units)):
        run(_round, WORK_OF_ROUNDING * result.numel(), matrix, *scale, result)
    run(_transpose, WORK_OF_ROUNDING * w.numel(), w_units, transposed)
    return Rounded(x_units, transposed, unit)


@compiled
def _round(matrix, centre, per_unit, result, part, parts):
    rows = len(result)
    for row in range(part * rows // parts, (part + 1) * rows // parts):
        if row < len(matrix):
            for i in range(matrix.shape[1]):
                result[row, i] = np.int32(np.rint((matrix[row, i] - centre) * per_unit))
        else:
            result[row] = 0


@compiled
def _transpose(matrix, panels, part, parts):
    blocks = matrix.shape[1] // CHUNK
    for block in range(part * blocks // parts, (part + 1) * blocks // parts):
        for panel in range(len(panels)):
            transpose_block(matrix, panel * NEURONS, block * CHUNK, panels[panel])


@intrinsic
def transpose_block(typing, matrix, row, column, panel):
    """panel[column + i, k] = matrix[row + k, column + i], i < CHUNK, k < NEURONS.

    Shuffled like cards, log2 CHUNK times: each time two halves of the rows are interleaved.
    """
    signature = types.void(matrix, row, column, panel)

    def generate(context, builder, signature, arguments):
        matrix, row, column, panel = operands(context, builder, signature, arguments)
        block = ir.VectorType(SHORT, CHUNK)
        order = [k // 2 + k % 2 * CHUNK for k in range(2 * CHUNK)]
        halves = [
            ir.Constant(ir.VectorType(INT, CHUNK), each) for each in (order[:CHUNK], order[CHUNK:])
        ]

        def address(of: Matrix, row: ir.Value, column: ir.Value) -> ir.Value:
            return builder.bitcast(builder.gep(of.row(row), [column]), block.as_pointer())

        for start in range(0, NEURONS, CHUNK):
            rows = [builder.add(row, WORD(start + k)) for k in range(CHUNK)]
            vectors = [builder.load(address(matrix, each, column), align=2) for each in rows]
            for _ in range(CHUNK.bit_length() - 1):
                pairs = zip(vectors[: CHUNK // 2], vectors[CHUNK // 2 :], strict=True)
                vectors = [builder.shuffle_vector(*pair, half) for pair in pairs for half in halves]
            for i, vector in enumerate(vectors):
                at = builder.add(column, WORD(i))
                builder.store(vector, address(panel, at, WORD(start)), align=2)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def chunk_peaks(typing, x, b, panel, peaks, tops):
    """Maxima of |x_b+r − w_o| over chunks of coordinates, and over all, for ROWS rows of x.

    x (B, I) and panel (I, 64) are in units; peaks is (ROWS · chunks, 64), tops (ROWS, 64).
    """
    signature = types.void(x, b, panel, peaks, tops)

    def generate(context, builder, signature, arguments):
        x, b, panel, peaks, tops = operands(context, builder, signature, arguments)
        zero = ir.Constant(SHORTS, [0] * NEURONS)
        x_rows = x.rows(b, ROWS)
        chunks = builder.udiv(x.width, WORD(CHUNK))
        of_all = [cgutils.alloca_once(builder, SHORTS) for _ in x_rows]
        of_chunk = [cgutils.alloca_once(builder, SHORTS) for _ in x_rows]
        for slot in of_all:
            builder.store(zero, slot)
        with cgutils.for_range(builder, chunks) as chunk:
            for slot in of_chunk:
                builder.store(zero, slot)
            first = builder.mul(chunk.index, WORD(CHUNK))
            with cgutils.for_range(builder, WORD(CHUNK)) as step:
                i = builder.add(first, step.index)
                w = _load(panel, i)
                for row, slot in zip(x_rows, of_chunk, strict=True):
                    number = everywhere(builder, builder.load(builder.gep(row, [i])), NEURONS)
                    size = _call(builder, "abs", builder.sub(number, w), BOOL(1))
                    builder.store(_call(builder, "umax", builder.load(slot), size), slot)
            for r, (chunk_slot, slot) in enumerate(zip(of_chunk, of_all, strict=True)):
                peak = builder.load(chunk_slot)
                _store(peak, peaks, builder.add(builder.mul(WORD(r), chunks), chunk.index))
                builder.store(_call(builder, "umax", builder.load(slot), peak), slot)
        for r, slot in enumerate(of_all):
            _store(builder.load(slot), tops, WORD(r))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def reaching(typing, peaks, row, bounds, bounds_row):
    """Bit k set where peaks[row, k] ≥ bounds[bounds_row, k]."""
    signature = types.uint64(peaks, row, bounds, bounds_row)

    def generate(context, builder, signature, arguments):
        peaks, row, bounds, bounds_row = operands(context, builder, signature, arguments)
        reach = builder.icmp_unsigned(">=", _load(peaks, row), _load(bounds, bounds_row))
        return builder.bitcast(reach, WORD)

    return signature, generate


@compiled
def transpose_bits(words):
    """Bit c of words[k] becomes bit k of words[c], for 64 words, by exchanging ever smaller blocks.

    The well-known way: first the 32 × 32 quarters off the diagonal, then 16 × 16 in each.
    """
    ones = np.uint64(0xFFFFFFFF)
    size = 32
    while size:
        shift = np.uint64(size)
        for start in range(0, 64, 2 * size):
            for k in range(start, start + size):
                differ = ((words[k] >> shift) ^ words[k + size]) & ones
                words[k + size] ^= differ
                words[k] ^= differ << shift
        size //= 2
        ones ^= ones << np.uint64(size)


def _load(matrix: Matrix, row: ir.Value) -> ir.Value:
    """A row of 64 short integers."""
    address = matrix.builder.bitcast(matrix.row(row), SHORTS.as_pointer())
    return matrix.builder.load(address, align=2)


def _store(value: ir.Value, matrix: Matrix, row: ir.Value) -> None:
    address = matrix.builder.bitcast(matrix.row(row), SHORTS.as_pointer())
    matrix.builder.store(value, address, align=2)


def _call(builder: ir.IRBuilder, name: str, *values: ir.Value) -> ir.Value:
    """One of LLVM's functions of short integers."""
    types = [value.type for value in values]
    function = llvm_function(builder, f"{name}.v{NEURONS}i16", SHORTS, *types)
    return builder.call(function, values)
