"""Inner loops of the CPU kernels, generated as LLVM code, for all pairs of a few rows of x and w.

A tile keeps one vector of partial results for each pair in registers while it walks once along the
rows, so that every vector loaded serves several pairs. The numbers of rows and columns are
constants of the generated code; matrices are C-contiguous, at least LANES wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from linfkit.kernels.vectors import (
    BOOL,
    EXPONENT,
    FLOAT,
    LANES,
    LOG2,
    LOG2_BELOW_ONE,
    MAGNITUDE,
    WORD,
    Floats,
    Ints,
    Numbers,
    constant,
    exp2,
    fold,
    gather,
    lane_numbers,
    load,
    log2,
    polynomial,
    scatter,
    splat,
    split,
    store,
    together,
)

# How the p-th powers are found:
LARGEST = 0  # p = ∞: not at all, the largest difference is kept
EIGHTH = 1  # p = 8: by squaring, without a scale; the few sums out of range are left to EVERY
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
        """The row at an index."""
        return self.builder.gep(self.data, [self.builder.mul(index, self.width)])

    def rows(self, first: ir.Value, count: int) -> list[ir.Value]:
        """Consecutive rows."""
        return [self.row(self.builder.add(first, WORD(k))) for k in range(count)]


class Variable(Generic[Numbers]):
    """Vectors that change as the generated loop runs."""

    def __init__(self, start: Numbers) -> None:
        self._kind: type[Numbers] = type(start)
        self._builder = start.builder
        self._slots = [cgutils.alloca_once_value(start.builder, value) for value in start.values]

    def get(self) -> Numbers:
        """Read them."""
        return self._kind(self._builder, tuple(self._builder.load(slot) for slot in self._slots))

    def set(self, vectors: Numbers) -> None:
        """Overwrite them."""
        for value, slot in zip(vectors.values, self._slots, strict=True):
            self._builder.store(value, slot)


def fold_all(
    variables: list[Variable[Numbers]], combine: Callable[[Numbers, Numbers], Numbers]
) -> Numbers:
    """One lane for each variable."""
    return fold(together([variable.get() for variable in variables]), combine)


def operands(context, builder: ir.IRBuilder, signature, arguments) -> Iterator[ir.Value | Matrix]:
    """The arguments of an intrinsic, arrays as Matrix."""
    for kind, argument in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, argument)
            yield Matrix(builder, array.data, cgutils.unpack_tuple(builder, array.shape)[-1])
        else:
            yield argument


def along(
    width: ir.Value,
    builder: ir.IRBuilder,
    step: Callable[[ir.Value, Callable[[Floats], Floats]], None],
) -> None:
    """Run step(index, new) for every vector of a row.

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

    def variables(self, start: Numbers) -> list[Variable[Numbers]]:
        """One for each pair."""
        return [Variable(start) for _ in self.x for _ in self.w]

    def differences(self, index: ir.Value, new: Callable[[Floats], Floats]) -> Iterator[Floats]:
        """For each pair its x − w."""
        w = [load(self.builder, index, row) for row in self.w]
        for row in self.x:
            x = load(self.builder, index, row)
            yield from (new(x - other) for other in w)

    def write(self, results: Floats) -> None:
        """Store the lanes of results as the pairs' outputs."""
        for address, lane in zip(self._addresses(), scatter(results), strict=False):
            self.builder.store(lane, address)

    def read(self) -> list[ir.Value]:
        """The pairs' outputs, as they are now."""
        return [self.builder.load(address) for address in self._addresses()]

    def _addresses(self) -> list[ir.Value]:
        columns = [self.builder.add(self.column, WORD(c)) for c in range(len(self.w))]
        return [self.builder.gep(row, [column]) for row in self.out for column in columns]


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
    largest = tile.variables(constant(tile.builder, 0.0).bits())

    def step(index, new):
        for so_far, t in zip(largest, tile.differences(index, new), strict=True):
            so_far.set(so_far.get().larger(t.bits() & MAGNITUDE))

    along(tile.width, tile.builder, step)
    tile.write(fold_all(largest, Ints.larger).as_floats())


def _eighth(tile: Tile) -> ir.Value:
    """Returns whether a sum came near the limits of floats."""
    sums = tile.variables(constant(tile.builder, 0.0))

    def step(index, new):
        for sum, t in zip(sums, tile.differences(index, new), strict=True):
            square = t * t
            fourth = square * square
            sum.set(fourth.times_plus(fourth, sum.get()))

    along(tile.width, tile.builder, step)
    totals = fold_all(sums, Floats.__add__)
    tile.write(totals.sqrt().sqrt().sqrt())
    pairs = gather(tile.builder, [FLOAT(0.0)] * len(tile.x) * len(tile.w)) < 1.0
    return (((totals < 2.0**-96) | (totals > 2.0**120)) & pairs).any()


def _every(tile: Tile, p: Floats) -> None:
    """From the largest difference m in `out`: m·(Σ (|t|/m)^p)^(1/p)."""
    scalars = tile.read()
    largest = gather(tile.builder, scalars)
    shifts = [splat(tile.builder, lane) for lane in scatter(_log2_of_mantissa(largest) * p * -1.0)]
    scales = [splat(tile.builder, scalar).bits() & EXPONENT for scalar in scalars]
    coefficients = [p * coefficient for coefficient in LOG2]
    sums = tile.variables(constant(tile.builder, 0.0))

    def step(index, new):
        for sum, t, scale, shift in zip(
            sums, tile.differences(index, new), scales, shifts, strict=False
        ):
            octaves, u = split(t, scale)
            power = u.times_plus(
                polynomial(u, coefficients), octaves.times_plus(p * 2.0**-23, shift)
            )
            sum.set(sum.get() + exp2(power))

    along(tile.width, tile.builder, step)
    distance = largest * exp2(log2(fold_all(sums, Floats.__add__)) / p)
    tile.write(distance.where(largest > 0.0, largest))  # 0 and NaN stay


def _near(tile: Tile, p: Floats) -> None:
    """From the largest difference m in `out`: m·(Σ (|t|/m)^p)^(1/p) over the |t| near m.

    A vector of coordinates with no such |t| costs a comparison.
    """
    scalars = tile.read()
    reach = exp2(constant(tile.builder, -NEAR_OCTAVES) / p)
    largest = gather(tile.builder, scalars)
    all_of, inverse, bound = (
        splat(tile.builder, *scatter(vectors)[: len(scalars)])
        for vectors in (largest, constant(tile.builder, 1.0) / largest, largest * reach)
    )
    sums = Variable(constant(tile.builder, 0.0, len(scalars)))

    def step(index, new):
        t = together(list(tile.differences(index, new)))
        near = t.abs() > bound
        with tile.builder.if_then(near.any(), likely=False):
            power = _power_below_one((t.abs() - all_of) * inverse, p)
            sums.set(sums.get() + power.where(near, 0.0))

    along(tile.width, tile.builder, step)
    distance = largest * exp2(log2(fold(sums.get(), Floats.__add__)) / p)
    tile.write(distance.where(largest > 0.0, largest))


def _log2_of_mantissa(t: Floats) -> Floats:
    """log2 of |t| over the power of two below it."""
    _, u = split(t)
    return u * polynomial(u, LOG2)


def _power_below_one(u: Floats, p: Floats) -> Floats:
    """(1 + u)^p for u ≤ 0, exact to the rounding of u; nearly 0 where u is below −0.33."""
    return exp2(u * p * polynomial(u, LOG2_BELOW_ONE))


# --- gradients of the distances


@intrinsic
def slope_factors(typing, kind, grad, out, factors, index, p):
    """Prepare, from index on, what `slope_tile` needs beside grad and out; all are (1, B·O)."""
    signature = types.void(kind, grad, out, factors, index, p)

    def generate(context, builder, signature, arguments):
        kind, grad, out, factors, index, p = operands(context, builder, signature, arguments)
        upstream, distance = load(builder, index, grad.data), load(builder, index, out.data)
        with builder.if_else(builder.icmp_signed("==", kind, WORD(EIGHTH))) as (eighth, other):
            with eighth:  # (factor·t)^7 = grad·(t/out)^7
                root = exp2(log2(upstream) * (1 / 7)).signed_like(upstream)
                nonzero = (upstream.abs() > 0.0) & (distance > 0.0)
                store((root / distance).where(nonzero, 0.0), index, factors.data)
            with other:  # exp2((p − 1)·log2(|t|/2^e) + factor) = (|t|/out)^(p−1), 2^e below out
                store(
                    _log2_of_mantissa(distance) * (constant(builder, 1.0) - splat(builder, p)),
                    index,
                    factors.data,
                )
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def slope_tile(typing, rows, kind, x, b, w, grad, out, factors, grad_x, grad_w, p):
    """Gradients of the pairs of x[b:b+rows] with all of w: sets grad_x[b:b+rows], adds to grad_w.

    x, grad_x (B, LANES) and w, grad_w (O, LANES) hold LANES coordinates of each row; grad, out and
    factors are (B, O).
    """
    signature = types.void(rows, kind, x, b, w, grad, out, factors, grad_x, grad_w, p)

    def generate(context, builder, signature, arguments):
        _, kind, x, b, w, *of_pairs, grad_x, grad_w, p = operands(
            context, builder, signature, arguments
        )
        start, exponent = WORD(0), splat(builder, p) - 1.0
        for one, lockstep, slopes in (
            (EIGHTH, 8, _eighth_slopes),
            (EVERY, 8, _every_slopes),
            (NEAR, 4, _near_slopes),
        ):
            count = min(lockstep, rows.literal_value)
            firsts = [builder.add(b, WORD(k)) for k in range(0, rows.literal_value, count)]
            with builder.if_then(builder.icmp_signed("==", kind, WORD(one))):
                add_slopes = slopes(exponent)
                x_vectors = [load(builder, start, *x.rows(first, count)) for first in firsts]
                x_sums = [Variable(constant(builder, 0.0, count)) for _ in firsts]
                pair_rows = [[matrix.rows(first, count) for matrix in of_pairs] for first in firsts]
                with cgutils.for_range(builder, of_pairs[0].width) as loop:
                    w_row, w_sum_row = w.row(loop.index), grad_w.row(loop.index)
                    for group in range(len(firsts)):

                        def add(
                            slopes: Floats,
                            x_sum: Variable[Floats] = x_sums[group],
                            row: ir.Value = w_sum_row,
                        ) -> None:
                            x_sum.set(x_sum.get() + slopes)
                            store(load(builder, start, row) - slopes.total(), start, row)

                        t = x_vectors[group] - load(builder, start, w_row)
                        pairs = (
                            splat(
                                builder,
                                *(
                                    builder.load(builder.gep(row, [loop.index]))
                                    for row in rows_of_one
                                ),
                            )
                            for rows_of_one in pair_rows[group]
                        )
                        add_slopes(t, *pairs, add)
                for first, x_sum in zip(firsts, x_sums, strict=True):
                    store(x_sum.get(), start, *grad_x.rows(first, count))
        return context.get_dummy_value()

    return signature, generate


def _eighth_slopes(exponent: Floats):
    def add_slopes(t, grad, out, factor, add):
        t = t * factor
        square = t * t
        add((t * square) * (square * square))

    return add_slopes


def _every_slopes(exponent: Floats):
    coefficients = [exponent * coefficient for coefficient in LOG2]
    scale = exponent * 2.0**-23

    def add_slopes(t, grad, out, factor, add):
        octaves, u = split(t, out.bits() & EXPONENT)
        power = u.times_plus(polynomial(u, coefficients), octaves.times_plus(scale, factor))
        add(exp2(power).where(t.abs() > 0.0, 0.0).signed_like(t) * grad)

    return add_slopes


def _near_slopes(exponent: Floats):
    reach = exp2(constant(exponent.builder, -NEAR_OCTAVES) / exponent)

    def add_slopes(t, grad, out, factor, add):
        size = t.abs()
        near = size > out * reach
        with t.builder.if_then(near.any(), likely=False):
            power = _power_below_one((size - out) / out, exponent).signed_like(t)
            add((power * grad).where(near, 0.0))

    return add_slopes


# --- intervals


@intrinsic(prefer_literal=True)
def interval_tile(typing, rows, columns, lower, upper, b, w, o, out_lower, out_upper):
    """Both out[b:b+rows, o:o+columns] = the range of ‖x − w_o‖_∞ over lower_b ≤ x ≤ upper_b."""
    signature = types.void(rows, columns, lower, upper, b, w, o, out_lower, out_upper)

    def generate(context, builder, signature, arguments):
        _, _, lower, upper, b, w, o, out_lower, out_upper = operands(
            context, builder, signature, arguments
        )
        height, breadth = rows.literal_value, columns.literal_value
        from_lower, from_upper = (
            Tile(
                builder, matrix.rows(b, height), w.rows(o, breadth), w.width, out.rows(b, height), o
            )
            for matrix, out in ((lower, out_lower), (upper, out_upper))
        )
        zero = constant(builder, 0.0)
        above, below = from_lower.variables(zero), from_lower.variables(zero)
        farthest = from_lower.variables(zero.bits())

        def step(index, new):
            ends = zip(
                from_lower.differences(index, new), from_upper.differences(index, new), strict=True
            )
            for pair, (low, high) in enumerate(ends):
                above[pair].set(low.larger(above[pair].get()))
                below[pair].set(high.smaller(below[pair].get()))
                farther = (low.bits() & MAGNITUDE).larger(high.bits() & MAGNITUDE)
                farthest[pair].set(farthest[pair].get().larger(farther))

        along(w.width, builder, step)
        largest = fold_all(farthest, Ints.larger).as_floats()
        least = fold_all(above, Floats.larger).larger(zero - fold_all(below, Floats.smaller))
        from_lower.write(least.where(largest >= 0.0, largest))  # NaN where the largest is
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
    return _first(
        typing, (lower, upper), b, w, o, bound, lambda w, l, h: (l - w).abs().larger((h - w).abs())
    )


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
        with cgutils.for_range(
            builder, builder.udiv(builder.add(w.width, WORD(LANES - 1)), WORD(LANES))
        ) as loop:
            index = builder.mul(loop.index, WORD(LANES))
            index = builder.select(builder.icmp_signed("<", index, last), index, last)
            mask = (value(*(load(builder, index, row) for row in rows)) >= bound).mask()
            with builder.if_then(builder.icmp_unsigned("!=", mask, mask.type(0)), likely=False):
                lane = builder.zext(builder.cttz(mask, BOOL(1)), WORD)
                builder.store(builder.add(index, lane), found)
                loop.do_break()
        return builder.load(found)

    return signature, generate
