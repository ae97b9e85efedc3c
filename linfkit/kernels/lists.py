"""Distances and gradients from a list of the coordinates that count, which `screening` finds.

A unit of the work is 64 neurons times 64 rows of x, and has its own stretch of the list: for each
pair, one after another, the places and slopes of what counts. Its order is fixed, whoever computes.
"""

# mypy: disable-error-code="call-arg"
# (Numba's types count the typing context among the arguments of an intrinsic.)

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from linfkit.kernels.compiling import compiled
from linfkit.kernels.powers import OCTAVES, Power, fitted_power
from linfkit.kernels.screening import (
    CHUNK,
    NEURONS,
    ROWS,
    SHORT,
    SLACK,
    Rounded,
    chunk_peaks,
    reaching,
    transpose_bits,
)
from linfkit.kernels.threads import run
from linfkit.kernels.tiles import Variable, operands
from linfkit.kernels.vectors import (
    INT,
    LANES,
    WORD,
    Floats,
    Truths,
    constant,
    everywhere,
    exp2,
    fold,
    lane_numbers,
    llvm_function,
    load,
    log2,
    splat,
    store,
    together,
)

UNIT_ROWS = 64  # of x; a multiple of every ROWS
ROOM = 0.14  # of all coordinates: the list's longest
SPARE = 8  # lists whose memory is kept, about the layers of a net


@dataclass(frozen=True)
class Found:
    """The list.

    Attributes:
        places: coordinates, (units, room).
        slopes: ∂out/∂x there, (units, room).
        ends: where a pair's stretch ends within its unit, (B, O).
        full: units whose list had no room, (units,).
    """

    places: Tensor
    slopes: Tensor
    ends: Tensor
    full: Tensor


def distances(
    x: Tensor, w: Tensor, in_units: Rounded, p: float, keep: bool
) -> tuple[Tensor, Found]:
    """‖x_b − w_o‖_p for p > 8, and the list of what counts if it is to be kept."""
    units = len(in_units.panels) * -(-len(x) // UNIT_ROWS)
    room = NEURONS * x.shape[1] + 2 * LANES
    if keep:
        room += (
            int(ROOM * UNIT_ROWS * NEURONS * x.shape[1]) if p < math.inf else UNIT_ROWS * NEURONS
        )
    found = Found(
        *_room(units if keep else torch.get_num_threads(), room),
        torch.empty(len(x), len(w), dtype=torch.int32),
        torch.zeros(units, dtype=torch.bool),
    )
    out = x.new_empty(len(x), len(w))
    infinite = p == math.inf
    shrink = 1 - 2e-7
    least = np.float32(1.0 if infinite else 2.0 ** (-OCTAVES / p) * shrink)
    fit = fitted_power(8.0 if infinite else p)
    settings = (infinite, keep, np.float32(0 if infinite else p), fit)
    sizes = least, np.float32(in_units.unit * shrink)
    run(
        *(_search, len(x) * w.numel(), x, w, in_units.x, in_units.panels, *sizes, *settings),
        *(out, found.places, found.slopes, found.ends, found.full),
    )
    return out, found


def gradient(grad: Tensor, found: Found, rows: Tensor, in_w: bool) -> Tensor:
    """The gradient in the rows of w, or in those of x, given grad (B, O)."""
    result = torch.empty_like(rows)
    of_list = found.places, found.slopes, found.ends
    run(_scatter, 4 * grad.numel() * 32, -grad if in_w else grad, *of_list, in_w, result)
    return result


_kept: dict[int, tuple[StorageWeakRef, float, Found]] = {}
_spare: list[tuple[Tensor, Tensor]] = []  # places and slopes to write over
_tidying = Lock()


def remember(out: Tensor, p: float, found: Found) -> None:
    """Keep the list of an output, until `forget` finds the output gone."""
    storage = StorageWeakRef(out.untyped_storage())  # which keeps its address from being used again
    _kept[storage.cdata] = storage, p, found


def forget(spare: bool) -> None:
    """Drop the lists of outputs that are no more; their memory may be kept for the next ones.

    The system takes as long to hand out fresh memory as it takes to find what goes in.
    """
    with _tidying:
        for key, (storage, _, found) in list(_kept.items()):
            if storage.expired():
                del _kept[key]
                _spare.append((found.places, found.slopes))
        del _spare[: -SPARE if spare else None]


def _room(rows: int, width: int) -> tuple[Tensor, Tensor]:
    with _tidying:
        for index, (places, _) in enumerate(_spare):
            if places.shape == (rows, width):
                return _spare.pop(index)
    return torch.empty(rows, width, dtype=torch.uint16), torch.empty(rows, width)


def recall(out: Tensor, p: float) -> Found | None:
    """The list of an output; None if it was not kept."""
    storage = out.untyped_storage()
    _, its_p, found = _kept.get(StorageWeakRef(storage).cdata, (None, None, None))
    whole = found is not None and out.shape == found.ends.shape and out.storage_offset() == 0
    return found if whole and its_p == p else None


@compiled
def _search(
    x, w, x_units, panels, least, unit, infinite, keep, p, fit,
    out, places, slopes, ends, full, part, parts,
):  # fmt: skip
    batch, outputs, width = len(x), len(w), x.shape[1]
    chunks = width // CHUNK
    words = -(-chunks // 64)
    blocks = -(-batch // UNIT_ROWS)
    peaks = np.empty((ROWS * chunks, NEURONS), np.uint16)
    tops, bounds = np.empty((ROWS, NEURONS), np.uint16), np.empty((ROWS, NEURONS), np.uint16)
    low = np.empty(NEURONS, np.float32)
    hits = np.zeros((words, 64), np.uint64)
    lanes = np.zeros((NEURONS, LANES), np.float32)
    m, scale = np.ones(NEURONS, np.float32), np.ones(NEURONS, np.float32)
    sums = np.ones(NEURONS, np.float32)
    distance, factor = np.empty(NEURONS, np.float32), np.empty(NEURONS, np.float32)
    powers = np.empty(NEURONS * width + 2 * LANES, np.float32)
    first, last = np.zeros(NEURONS, np.int64), np.zeros(NEURONS, np.int64)
    count = len(panels) * blocks
    for u in range(part * count // parts, (part + 1) * count // parts):
        panel, block = u // blocks, u % blocks
        o0 = panel * NEURONS
        live = min(NEURONS, outputs - o0)
        row = u if keep else part
        panel_units, of_unit, values = panels[panel], places[row], slopes[row]
        n = 0
        for b0 in range(block * UNIT_ROWS, min(batch, (block + 1) * UNIT_ROWS), ROWS):
            chunk_peaks(x_units, b0, panel_units, peaks, tops)
            for r in range(min(ROWS, batch - b0)):
                b = b0 + r
                for k in range(NEURONS):
                    size = (np.float32(tops[r, k]) - SLACK) * least
                    low[k] = max(size, np.float32(0)) * unit
                    bounds[r, k] = np.int32(max(size - SLACK, np.float32(0)) + np.float32(0.9999))
                for word in range(words):
                    for c in range(64):
                        at = 64 * word + c
                        hits[word, c] = (
                            reaching(peaks, r * chunks + at, bounds, r)
                            if at < chunks
                            else np.uint64(0)
                        )
                    transpose_bits(hits[word])
                if not keep or full[u]:
                    n = 0
                elif n + NEURONS * width + 2 * LANES > places.shape[1]:
                    full[u] = True
                    n = 0
                start = n
                for k in range(live):
                    first[k] = n
                    for word in range(words):
                        bits = hits[word, k]
                        while bits != np.uint64(0):
                            c = 64 * word + np.int64(trailing_zeros(bits))
                            bits &= bits - np.uint64(1)
                            n = _collect(
                                x, b, w, o0 + k, c * CHUNK, low, k, of_unit, values, n, lanes
                            )
                    last[k] = n
                _largest(lanes, m)
                if infinite:
                    out[b, o0 : o0 + live] = m[:live]
                    if keep:
                        n = start
                        for k in range(live):
                            for j in range(first[k], last[k]):
                                t = values[j]
                                if abs(t) == m[k]:
                                    of_unit[n] = of_unit[j]
                                    values[n] = np.sign(t)
                                    n += 1
                                    break
                            ends[b, o0 + k] = n
                    continue
                _scales(m, scale, fit)
                for k in range(live):
                    _raise(values, first[k], last[k], m, scale, k, powers, start, lanes, fit)
                _sum(lanes, sums)
                _roots(m, sums, p, distance, factor)
                out[b, o0 : o0 + live] = distance[:live]
                if keep:
                    for k in range(live):
                        _slopes(values, first[k], last[k], factor, k, powers, start)
                        ends[b, o0 + k] = last[k]


@compiled
def _scatter(grad, places, slopes, ends, in_w, result, part, parts):
    """Sums of the slopes: by panels of neurons for the rows of w, by blocks for those of x."""
    batch, outputs = grad.shape
    blocks, panels = -(-batch // UNIT_ROWS), -(-outputs // NEURONS)
    count, others, size = (panels, blocks, NEURONS) if in_w else (blocks, panels, UNIT_ROWS)
    for one in range(part * count // parts, (part + 1) * count // parts):
        result[one * size : (one + 1) * size] = 0
        for other in range(others):
            panel, block = (one, other) if in_w else (other, one)
            u, j = panel * blocks + block, 0
            for b in range(block * UNIT_ROWS, min(batch, (block + 1) * UNIT_ROWS)):
                for o in range(panel * NEURONS, min(outputs, (panel + 1) * NEURONS)):
                    g, row = grad[b, o], o if in_w else b
                    end = np.int64(ends[b, o])
                    while j < end:
                        result[row, places[u, j]] += g * slopes[u, j]
                        j += 1


# --- generated code


def _number(builder, matrix, index):
    return splat(builder, builder.load(builder.gep(matrix.data, [index])))


def _below(builder: ir.IRBuilder, count: ir.Value) -> Truths:
    """The first lanes."""
    return splat(builder, builder.sitofp(count, ir.FloatType())) > lane_numbers(builder).floats()


@intrinsic
def _collect(typing, x, b, w, o, start, low, k, places, values, n, lanes):
    """Append the x_bi − w_oi above low[k] in the chunk from start on; returns the new n.

    lanes[k] takes the larger sizes.
    """
    signature = types.int64(x, b, w, o, start, low, k, places, values, n, lanes)

    def generate(context, builder, signature, arguments):
        x, b, w, o, start, low, k, places, values, n, lanes = operands(
            context, builder, signature, arguments
        )
        bound = _number(builder, low, k)
        x_row, w_row = x.row(b), w.row(o)
        lanes_at = builder.mul(k, WORD(LANES))
        top = load(builder, lanes_at, lanes.data)
        shorts = ir.VectorType(SHORT, LANES)
        for step in range(0, CHUNK, LANES):
            at = builder.add(start, WORD(step))
            t = load(builder, at, x_row) - load(builder, at, w_row)
            size = t.abs()
            top = size.larger(top)
            near = size > bound
            mask = near.mask()
            (numbers,) = lane_numbers(builder).values
            ids = builder.add(everywhere(builder, builder.trunc(at, INT)), numbers)
            store(Floats(builder, (_compressed(builder, t.values[0], near),)), n, values.data)
            packed = builder.trunc(_compressed(builder, ids, near), shorts)
            builder.store(
                packed,
                builder.bitcast(builder.gep(places.data, [n]), shorts.as_pointer()),
                align=2,
            )
            n = builder.add(n, builder.zext(builder.ctpop(mask), WORD))
        store(top, lanes_at, lanes.data)
        return n

    return signature, generate


def _compressed(builder, vector, near: Truths):
    kind = "f32" if vector.type == Floats.type else "i32"
    function = llvm_function(
        builder,
        f"experimental.vector.compress.v{LANES}{kind}",
        *(vector.type, vector.type, Truths.type, vector.type),
    )
    (mask,) = near.values
    return builder.call(function, [vector, mask, ir.Constant(vector.type, ir.Undefined)])


def _folding(typing, lanes, result, combine):
    signature = types.void(lanes, result)

    def generate(context, builder, signature, arguments):
        lanes, result = operands(context, builder, signature, arguments)
        with cgutils.for_range(builder, WORD(NEURONS // LANES)) as loop:
            base = builder.mul(loop.index, WORD(LANES * LANES))
            rows = [builder.add(base, WORD(LANES * k)) for k in range(LANES)]
            vectors = together([load(builder, row, lanes.data) for row in rows])
            store(fold(vectors, combine), builder.mul(loop.index, WORD(LANES)), result.data)
            for row in rows:
                store(constant(builder, 0.0), row, lanes.data)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _largest(typing, lanes, result):
    """result[k] = the largest of lanes[k], which becomes 0."""
    return _folding(typing, lanes, result, Floats.larger)


@intrinsic
def _sum(typing, lanes, result):
    """result[k] = the sum of lanes[k], which becomes 0."""
    return _folding(typing, lanes, result, Floats.__add__)


@intrinsic
def _scales(typing, m, scale, fit):
    """The factors that `_raise` multiplies with."""
    signature = types.void(m, scale, fit)

    def generate(context, builder, signature, arguments):
        m, scale, fit = operands(context, builder, signature, arguments)
        power = Power.load(builder, fit.data)
        for k in range(0, NEURONS, LANES):
            store(power.scale_over(load(builder, WORD(k), m.data)), WORD(k), scale.data)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _raise(typing, values, first, last, m, scale, k, powers, start, lanes, fit):
    """powers[first − start:] = (|values|/m)^p of one pair; lanes[k] takes their sum."""
    signature = types.void(values, first, last, m, scale, k, powers, start, lanes, fit)

    def generate(context, builder, signature, arguments):
        values, first, last, m, scale, k, powers, start, lanes, fit = operands(
            context, builder, signature, arguments
        )
        power = Power.load(builder, fit.data)
        largest, factor = _number(builder, m, k), _number(builder, scale, k)
        total = Variable(constant(builder, 0.0))
        total.set(constant(builder, 0.0))
        with cgutils.for_range_slice(builder, first, last, WORD(LANES), WORD) as (at, _):
            u = (load(builder, at, values.data).abs() - largest) * factor
            raised = power.at(u, (u > -1.0) & _below(builder, builder.sub(last, at)))
            total.set(total.get() + raised)
            store(raised, builder.sub(at, start), powers.data)
        store(total.get(), builder.mul(k, WORD(LANES)), lanes.data)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _roots(typing, m, sums, p, distance, factor):
    """Find m·sums^(1/p), and that over sums, a factor of the slopes."""
    signature = types.void(m, sums, p, distance, factor)

    def generate(context, builder, signature, arguments):
        m, sums, p, distance, factor = operands(context, builder, signature, arguments)
        exponent = splat(builder, p)
        for k in range(0, NEURONS, LANES):
            largest, total = (load(builder, WORD(k), each.data) for each in (m, sums))
            total = total.larger(1.0)
            root = (largest * exp2(log2(total) / exponent)).where(largest > 0.0, largest)
            store(root, WORD(k), distance.data)
            store(root / total, WORD(k), factor.data)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _slopes(typing, values, first, last, factor, k, powers, start):
    """Turn a pair's differences into slopes: (|t|/out)^p·out/t."""
    signature = types.void(values, first, last, factor, k, powers, start)

    def generate(context, builder, signature, arguments):
        values, first, last, factor, k, powers, start = operands(
            context, builder, signature, arguments
        )
        of_pair = _number(builder, factor, k)
        with cgutils.for_range_slice(builder, first, last, WORD(LANES), WORD) as (at, _):
            t = load(builder, at, values.data)
            raised = load(builder, builder.sub(at, start), powers.data)
            slope = of_pair / t * raised
            # lanes behind are the next pair's differences
            store(slope.where(_below(builder, builder.sub(last, at)), t), at, values.data)
        return context.get_dummy_value()

    return signature, generate
