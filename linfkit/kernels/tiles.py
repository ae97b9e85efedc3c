"""Inner loops of the CPU kernels, generated as LLVM code: each covers all pairs of a few rows of x and of w.

A tile keeps one vector of partial results for each pair in registers while it walks once along the rows, so that
every vector loaded serves several pairs. The numbers of rows and columns are constants of the generated code; matrices
are C-contiguous, at least LANES wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from linfkit.kernels.vectors import (
    BOOL,
    EXPONENT,
    FLOAT,
    INT,
    LANES,
    LOG2,
    LOG2_BELOW_ONE,
    MAGNITUDE,
    WORD,
    Floats,
    Ints,
    Vector,
    any_lane,
    constant,
    exp2,
    fold,
    gather,
    lane_mask,
    lane_numbers,
    load,
    log2,
    polynomial,
    splat,
    split,
    store,
)

# How the p-th powers are found:
LARGEST = 0  # p = ∞: not at all, the largest difference is kept
EIGHTH = 1  # p = 8: by squaring, without a scale; the few sums that leave the range of floats are done again by EVERY
EVERY = 2  # any p: exp2(p·log2|t|) at every coordinate
NEAR = 3  # large p: the same at the coordinates near the largest, which alone count

NEAR_OCTAVES = 27.0  # NEAR leaves out terms below 2^−27 of the largest


@dataclass(frozen=True)
class Matrix:
    """A matrix seen from generated code; a row is a pointer to its first number."""

    builder: ir.IRBuilder
    data: ir.Value
    width: ir.Value

    def row(self, index: ir.Value) -> ir.Value:
        return self.builder.gep(self.data, [self.builder.mul(index, self.width)])

    def rows(self, first: ir.Value, count: int) -> list[ir.Value]:
        return [self.row(self.builder.add(first, WORD(k))) for k in range(count)]


class Registers:
    """Vectors that change as the generated loop runs."""

    def __init__(self, count: int, start: Vector) -> None:
        self._builder, self._kind = start.builder, type(start)
        self._slots = [cgutils.alloca_once_value(start.builder, start.value) for _ in range(count)]

    def __getitem__(self, index: int) -> Vector:
        return self._kind(self._builder, self._builder.load(self._slots[index]))

    def __setitem__(self, index: int, vector: Vector) -> None:
        self._builder.store(vector.value, self._slots[index])

    def fold(self, combine: Callable[[Vector, Vector], Vector]) -> list[Vector]:
        return fold([self[k] for k in range(len(self._slots))], combine)


def operands(context, builder: ir.IRBuilder, signature, arguments) -> Iterator[ir.Value | Matrix]:
    """The arguments of an intrinsic, arrays as Matrix."""
    for kind, argument in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, argument)
            yield Matrix(builder, array.data, cgutils.unpack_tuple(builder, array.shape)[-1])
        else:
            yield argument


def along(width: ir.Value, builder: ir.IRBuilder, step: Callable[[ir.Value, Callable[[Floats], Floats]], None]) -> None:
    """Runs step(index, new) for every vector of a row.

    The last vector may overlap the one before it: new(t) is t with 0 in the lanes seen before.
    """
    lanes = WORD(LANES)
    with cgutils.for_range(builder, builder.udiv(width, lanes)) as loop:
        step(builder.mul(loop.index, lanes), lambda t: t)
    rest = builder.urem(width, lanes)
    with builder.if_then(builder.icmp_unsigned("!=", rest, WORD(0)), likely=False):
        seen = splat(builder, builder.uitofp(builder.sub(lanes, rest), FLOAT))
        unseen = lane_numbers(builder).floats() >= seen
        step(builder.sub(width, lanes), lambda t: t.where(unseen, 0.0))


# --- distances


@dataclass(frozen=True)
class Tile:
    """The pairs of some rows of x and w, in row-major order, and where their results go."""

    builder: ir.IRBuilder
    x: list[ir.Value]
    w: list[ir.Value]
    width: ir.Value
    out: list[ir.Value]
    column: ir.Value

    def __len__(self) -> int:
        return len(self.x) * len(self.w)

    def differences(self, index: ir.Value, new: Callable[[Floats], Floats]) -> Iterator[tuple[int, Floats]]:
        """Every pair's number with a vector of its x − w."""
        w = [load(self.builder, row, index) for row in self.w]
        for r, row in enumerate(self.x):
            x = load(self.builder, row, index)
            for c, other in enumerate(w):
                yield r * len(w) + c, new(x - other)

    def write(self, results: list[Floats]) -> None:
        for pair, address in enumerate(self._addresses()):
            lane = self.builder.extract_element(results[pair // LANES].value, INT(pair % LANES))
            self.builder.store(lane, address)

    def read(self) -> list[ir.Value]:
        return [self.builder.load(address) for address in self._addresses()]

    def _addresses(self) -> Iterator[ir.Value]:
        for row in self.out:
            for c in range(len(self.w)):
                yield self.builder.gep(row, [self.builder.add(self.column, WORD(c))])


@intrinsic(prefer_literal=True)
def distance_tile(typing, rows, columns, kind, x, b, w, o, out, p):
    """out[b:b+rows, o:o+columns] = ‖x_b − w_o‖_p, the powers found as `kind` says."""
    signature = types.void(rows, columns, kind, x, b, w, o, out, p)

    def generate(context, builder, signature, arguments):
        _, _, kind, x, b, w, o, out, p = operands(context, builder, signature, arguments)
        height, breadth = rows.literal_value, columns.literal_value
        tile = Tile(builder, x.rows(b, height), w.rows(o, breadth), x.width, out.rows(b, height), o)
        exponent = splat(builder, p)

        def is_kind(one: int) -> ir.Value:
            return builder.icmp_signed("==", kind, WORD(one))

        doubtful = cgutils.alloca_once_value(builder, BOOL(0))
        with builder.if_then(is_kind(EIGHTH)):
            builder.store(_eighth(tile), doubtful)
        with builder.if_then(builder.or_(builder.not_(is_kind(EIGHTH)), builder.load(doubtful))):
            _largest(tile)
        with builder.if_then(builder.or_(is_kind(EVERY), builder.load(doubtful))):
            _every(tile, exponent)
        with builder.if_then(is_kind(NEAR)), cgutils.for_range(builder, WORD(height)) as loop:
            b = builder.add(b, loop.index)
            _near(Tile(builder, x.rows(b, 1), tile.w, x.width, out.rows(b, 1), o), exponent)
        return context.get_dummy_value()

    return signature, generate


def _largest(tile: Tile) -> None:
    # As integers, the bits of positive floats are ordered as the floats are, with NaN above all.
    largest = Registers(len(tile), constant(tile.builder, 0.0).bits)

    def step(index, new):
        for pair, t in tile.differences(index, new):
            largest[pair] = largest[pair].larger(t.bits & MAGNITUDE)

    along(tile.width, tile.builder, step)
    tile.write([result.as_floats() for result in largest.fold(Ints.larger)])


def _eighth(tile: Tile) -> ir.Value:
    """Returns whether a sum came near the limits of floats."""
    sums = Registers(len(tile), constant(tile.builder, 0.0))

    def step(index, new):
        for pair, t in tile.differences(index, new):
            square = t * t
            fourth = square * square
            sums[pair] = fourth.times_plus(fourth, sums[pair])

    along(tile.width, tile.builder, step)
    totals = sums.fold(Floats.__add__)
    tile.write([total.sqrt().sqrt().sqrt() for total in totals])
    limits = []
    for start, total in zip(range(0, len(tile), LANES), totals, strict=True):
        outside = tile.builder.or_(total < 2.0**-96, total > 2.0**120)
        limits.append(tile.builder.and_(outside, lane_numbers(tile.builder) < len(tile) - start))
    return any_lane(tile.builder, limits)


def _every(tile: Tile, p: Floats) -> None:
    """From the largest difference m in `out`: 2^e·(Σ (|t|/2^e)^p)^(1/p) with 2^e the power of two below m."""
    scalars = tile.read()
    scales = [splat(tile.builder, scalar).bits & EXPONENT for scalar in scalars]
    coefficients = [p * coefficient for coefficient in LOG2]
    sums = Registers(len(tile), constant(tile.builder, 0.0))

    def step(index, new):
        for pair, t in tile.differences(index, new):
            octaves, u = split(t, scales[pair])
            power = u.times_plus(polynomial(u, coefficients), octaves * (p * 2.0**-23))
            sums[pair] = sums[pair] + exp2(power)

    along(tile.width, tile.builder, step)
    results = []
    for total, largest in zip(sums.fold(Floats.__add__), gather(tile.builder, scalars), strict=True):
        distance = exp2(log2(total) / p) * (largest.bits & EXPONENT).as_floats()
        results.append(distance.where(largest > 0.0, largest))  # 0 and NaN stay
    tile.write(results)


def _near(tile: Tile, p: Floats) -> None:
    """From the largest difference m in `out`: m·(Σ (|t|/m)^p)^(1/p), passing over vectors with no |t| near m."""
    scalars = tile.read()
    largest = [splat(tile.builder, scalar) for scalar in scalars]
    inverse = [constant(tile.builder, 1.0) / each for each in largest]
    reach = exp2(constant(tile.builder, -NEAR_OCTAVES) / p)
    bounds = [each * reach for each in largest]
    sums = Registers(len(tile), constant(tile.builder, 0.0))

    def step(index, new):
        sizes = [t.abs() for _, t in tile.differences(index, new)]
        near = [size > bound for size, bound in zip(sizes, bounds, strict=True)]
        with tile.builder.if_then(any_lane(tile.builder, near), likely=False):
            for pair, size in enumerate(sizes):
                power = _power_below_one((size - largest[pair]) * inverse[pair], p)
                sums[pair] = sums[pair] + power.where(near[pair], 0.0)

    along(tile.width, tile.builder, step)
    results = []
    for total, m in zip(sums.fold(Floats.__add__), gather(tile.builder, scalars), strict=True):
        results.append((m * exp2(log2(total) / p)).where(m > 0.0, m))
    tile.write(results)


def _power_below_one(u: Floats, p: Floats) -> Floats:
    """(1 + u)^p for u ≤ 0, exact to the rounding of u; nearly 0 where u is below −0.33."""
    return exp2(u * p * polynomial(u, LOG2_BELOW_ONE))


# --- gradients of the distances


@intrinsic
def slope_factors(typing, kind, grad, out, factors, index, p):
    """A vector of what `slope_tile` needs of each pair beside grad and out, all (1, B·O), from index on."""
    signature = types.void(kind, grad, out, factors, index, p)

    def generate(context, builder, signature, arguments):
        kind, grad, out, factors, index, p = operands(context, builder, signature, arguments)
        upstream, distance = load(builder, grad.data, index), load(builder, out.data, index)
        with builder.if_else(builder.icmp_signed("==", kind, WORD(EIGHTH))) as (eighth, other):
            with eighth:  # (factor·t)^7 = grad·(t/out)^7
                root = exp2(log2(upstream) * (1 / 7)).signed_like(upstream)
                nonzero = builder.and_(upstream.abs() > 0.0, distance > 0.0)
                store((root / distance).where(nonzero, 0.0), factors.data, index)
            with other:  # exp2((p − 1)·log2|t| − factor) = (|t|/out)^(p−1)
                store(log2(distance) * (splat(builder, p) - 1.0), factors.data, index)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def slope_tile(typing, rows, kind, x, b, w, grad, out, factors, grad_x, grad_w, p):
    """Gradients of the pairs of x[b:b+rows] with all of w: grad_x[b:b+rows] = their sum, grad_w += theirs.

    x, grad_x (B, LANES) and w, grad_w (O, LANES) hold LANES coordinates of each row; grad, out, factors are (B, O).
    """
    signature = types.void(rows, kind, x, b, w, grad, out, factors, grad_x, grad_w, p)

    def generate(context, builder, signature, arguments):
        _, kind, x, b, w, *pairs, grad_x, grad_w, p = operands(context, builder, signature, arguments)
        count, start = rows.literal_value, WORD(0)
        exponent = splat(builder, p) - 1.0
        x_vectors = [load(builder, row, start) for row in x.rows(b, count)]
        pair_rows = [matrix.rows(b, count) for matrix in pairs]

        for one, slopes in ((EIGHTH, _eighth_slopes), (EVERY, _every_slopes), (NEAR, _near_slopes)):
            with builder.if_then(builder.icmp_signed("==", kind, WORD(one))):
                add_slope = slopes(builder, exponent)
                x_sums = Registers(count, constant(builder, 0.0))
                with cgutils.for_range(builder, pairs[0].width) as loop:
                    w_row, grad_w_row = w.row(loop.index), grad_w.row(loop.index)
                    w_vector, w_sum = load(builder, w_row, start), Registers(1, load(builder, grad_w_row, start))
                    for r in range(count):

                        def add(slope: Floats, r: int = r, w_sum: Registers = w_sum) -> None:
                            x_sums[r] = x_sums[r] + slope  # noqa: B023
                            w_sum[0] = w_sum[0] - slope

                        of_pair = [splat(builder, builder.load(builder.gep(row[r], [loop.index]))) for row in pair_rows]
                        add_slope(x_vectors[r] - w_vector, *of_pair, add)
                    store(w_sum[0], grad_w_row, start)
                for r, row in enumerate(grad_x.rows(b, count)):
                    store(x_sums[r], row, start)
        return context.get_dummy_value()

    return signature, generate


def _eighth_slopes(builder, exponent):
    def add_slope(t, grad, out, factor, add):
        t = t * factor
        square = t * t
        add((t * square) * (square * square))

    return add_slope


def _every_slopes(builder, exponent):
    coefficients = [exponent * coefficient for coefficient in LOG2]
    scale = exponent * 2.0**-23

    def add_slope(t, grad, out, factor, add):
        octaves, u = split(t)
        power = u.times_plus(polynomial(u, coefficients), octaves * scale - factor)
        add(exp2(power).where(t.abs() > 0.0, 0.0).signed_like(t) * grad)

    return add_slope


def _near_slopes(builder, exponent):
    reach = exp2(constant(builder, -NEAR_OCTAVES) / exponent)

    def add_slope(t, grad, out, factor, add):
        size = t.abs()
        with builder.if_then(any_lane(builder, [size > out * reach]), likely=False):
            add(_power_below_one((size - out) / out, exponent).signed_like(t) * grad)

    return add_slope


# --- intervals


@intrinsic(prefer_literal=True)
def interval_tile(typing, rows, columns, lower, upper, b, w, o, out_lower, out_upper):
    """out_lower, out_upper [b:b+rows, o:o+columns] = least and largest ‖x − w_o‖_∞ over lower_b ≤ x ≤ upper_b."""
    signature = types.void(rows, columns, lower, upper, b, w, o, out_lower, out_upper)

    def generate(context, builder, signature, arguments):
        _, _, lower, upper, b, w, o, out_lower, out_upper = operands(context, builder, signature, arguments)
        height, breadth = rows.literal_value, columns.literal_value
        from_lower, from_upper = (
            Tile(builder, matrix.rows(b, height), w.rows(o, breadth), w.width, out.rows(b, height), o)
            for matrix, out in ((lower, out_lower), (upper, out_upper))
        )
        zero = constant(builder, 0.0)
        above, below = Registers(len(from_lower), zero), Registers(len(from_lower), zero)
        farthest = Registers(len(from_lower), zero.bits)

        def step(index, new):
            ends = zip(from_lower.differences(index, new), from_upper.differences(index, new), strict=True)
            for (pair, low), (_, high) in ends:
                above[pair] = low.larger(above[pair])
                below[pair] = high.smaller(below[pair])
                farthest[pair] = farthest[pair].larger(low.bits & MAGNITUDE).larger(high.bits & MAGNITUDE)

        along(w.width, builder, step)
        largest = [result.as_floats() for result in farthest.fold(Ints.larger)]
        least = [
            high.larger(zero - low).where(size >= 0.0, size)  # NaN where the largest is
            for high, low, size in zip(above.fold(Floats.larger), below.fold(Floats.smaller), largest, strict=True)
        ]
        from_lower.write(least)
        from_upper.write(largest)
        return context.get_dummy_value()

    return signature, generate


# --- where a maximum sits


@intrinsic
def first_size(typing, x, b, w, o, bound):
    """The first i with |x_bi − w_oi| ≥ bound, or −1."""
    return _first(typing, (x,), b, w, o, bound, lambda w, x: (x - w).abs())


@intrinsic
def first_farthest(typing, lower, upper, b, w, o, bound):
    """The first i with max(|l_bi − w_oi|, |h_bi − w_oi|) ≥ bound, or −1."""
    return _first(typing, (lower, upper), b, w, o, bound, lambda w, l, h: (l - w).abs().larger((h - w).abs()))


@intrinsic
def first_closest(typing, lower, upper, b, w, o, bound):
    """The first i with max(l_bi − w_oi, w_oi − h_bi) ≥ bound, or −1."""
    return _first(typing, (lower, upper), b, w, o, bound, lambda w, l, h: (l - w).larger(w - h))


def _first(typing, of_input, b, w, o, bound, value: Callable[..., Floats]):
    signature = types.intp(*of_input, b, w, o, bound)

    def generate(context, builder, signature, arguments):
        *inputs, b, w, o, bound = operands(context, builder, signature, arguments)
        rows = [w.row(o), *(matrix.row(b) for matrix in inputs)]
        bound = splat(builder, bound)
        found = cgutils.alloca_once_value(builder, WORD(-1))
        last = builder.sub(w.width, WORD(LANES))
        with cgutils.for_range(builder, builder.udiv(builder.add(w.width, WORD(LANES - 1)), WORD(LANES))) as loop:
            index = builder.mul(loop.index, WORD(LANES))
            index = builder.select(builder.icmp_signed("<", index, last), index, last)
            mask = lane_mask(value(*(load(builder, row, index) for row in rows)) >= bound, builder)
            with builder.if_then(builder.icmp_unsigned("!=", mask, mask.type(0)), likely=False):
                lane = builder.zext(builder.cttz(mask, BOOL(1)), WORD)
                builder.store(builder.add(index, lane), found)
                loop.do_break()
        return builder.load(found)

    return signature, generate
