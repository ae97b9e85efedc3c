"""Inner loops of the CPU kernels, generated as LLVM code, for all pairs of a few rows of x and w.

A tile keeps one vector of partial results for each pair in registers while it walks once along the
rows, so that every vector loaded serves several pairs. The numbers of rows and columns are
constants of the generated code; matrices are C-contiguous, at least LANES wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from linfkit.kernels.powers import Power
from linfkit.kernels.vectors import (
    BOOL,
    EXPONENT,
    FLOAT,
    LANES,
    LOG2,
    MAGNITUDE,
    WORD,
    Floats,
    Ints,
    Numbers,
    Vectors,
    constant,
    exp2,
    fold,
    gather,
    lane_numbers,
    load,
    load_everywhere,
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
EIGHTH = 1  # p = 8: by squaring, without a scale; the few sums out of range are left to LOGARITHM
LOGARITHM = 2  # any p: exp2(p·log2|t|) at every coordinate
POLYNOMIAL = 3  # p > 8: as `powers` does, at every coordinate
NEAR = 4  # large p: the same, but past vectors where every coordinate is far below the largest


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

    def reduce(
        self,
        start: Numbers,
        add: Callable[..., Numbers],
        combine: Callable[[Numbers, Numbers], Numbers],
        *of_pairs: Vectors,
    ) -> Numbers:
        """One lane for each pair, of results that begin as `start` and are combined in the end.

        At each vector of a row a pair's result becomes add(result, x − w, …), with the pair's own
        of each of `of_pairs` behind.
        """
        results = self.variables(start)

        def step(index: ir.Value, new: Callable[[Floats], Floats]) -> None:
            differences = self.differences(index, new)
            for result, t, *others in zip(results, differences, *of_pairs, strict=True):
                result.set(add(result.get(), t, *others))

        along(self.width, self.builder, step)
        return fold_all(results, combine)

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
def distance_tile(typing, rows, columns, kind, x, b, w, o, out, p, fit):
    """out[b:b+rows, o:o+columns] = ‖x_b − w_o‖_p, the powers found as `kind` says.

    fit is that of `fitted_power` at p, where the kind uses it.
    """
    signature = types.void(rows, columns, kind, x, b, w, o, out, p, fit)

    def generate(context, builder, signature, arguments):
        _, _, kind, x, b, w, o, out, p, fit = operands(context, builder, signature, arguments)
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
        with builder.if_then(builder.or_(is_kind(LOGARITHM), builder.load(doubtful))):
            _logarithm(tile, exponent)
        with builder.if_then(is_kind(POLYNOMIAL)):
            _polynomial(tile, exponent, Power.load(builder, fit.data))
        with builder.if_then(is_kind(NEAR)), cgutils.for_range(builder, WORD(height)) as loop:
            b = builder.add(b, loop.index)
            row = Tile(builder, x.rows(b, 1), tile.w, x.width, out.rows(b, 1), o)
            _near(row, exponent, Power.load(builder, fit.data))
        return context.get_dummy_value()

    return signature, generate


def _largest(tile: Tile) -> None:
    # As integers, the bits of positive floats are ordered as the floats are, with NaN above all.
    def add(largest: Ints, t: Floats) -> Ints:
        return largest.larger(t.bits() & MAGNITUDE)

    largest = tile.reduce(constant(tile.builder, 0.0).bits(), add, Ints.larger)
    tile.write(largest.as_floats())


def _eighth(tile: Tile) -> ir.Value:
    """Returns whether a sum came near the limits of floats."""

    def add(total: Floats, t: Floats) -> Floats:
        square = t * t
        fourth = square * square
        return fourth.times_plus(fourth, total)

    totals = tile.reduce(constant(tile.builder, 0.0), add, Floats.__add__)
    tile.write(totals.sqrt().sqrt().sqrt())
    pairs = gather(tile.builder, [FLOAT(0.0)] * len(tile.x) * len(tile.w)) < 1.0
    return (((totals < 2.0**-96) | (totals > 2.0**120)) & pairs).any()


def _logarithm(tile: Tile, p: Floats) -> None:
    """From the largest difference m in `out`: m·(Σ (|t|/m)^p)^(1/p)."""
    scalars = tile.read()
    largest = gather(tile.builder, scalars)
    shifts = _lanes_everywhere(_log2_of_mantissa(largest) * p * -1.0, len(scalars))
    scales = splat(tile.builder, *scalars).bits() & EXPONENT
    coefficients = [p * coefficient for coefficient in LOG2]

    def add(total: Floats, t: Floats, scale: Ints, shift: Floats) -> Floats:
        octaves, u = split(t, scale)
        power = u.times_plus(polynomial(u, coefficients), octaves.times_plus(p * 2.0**-23, shift))
        return total + exp2(power)

    sums = tile.reduce(constant(tile.builder, 0.0), add, Floats.__add__, scales, shifts)
    _write_roots(tile, largest, sums, p)


def _polynomial(tile: Tile, p: Floats, power: Power) -> None:
    """From the largest difference m in `out`: m·(Σ (|t|/m)^p)^(1/p)."""
    scalars = tile.read()
    largest = gather(tile.builder, scalars)
    scales = _lanes_everywhere(power.scale_over(largest), len(scalars))

    def add(total: Floats, t: Floats, scale: Floats) -> Floats:
        u = t.abs().times_plus(scale, power.scale * -1.0)
        return total + power.at(u, u > -1.0)

    sums = tile.reduce(constant(tile.builder, 0.0), add, Floats.__add__, scales)
    _write_roots(tile, largest, sums, p)


def _near(tile: Tile, p: Floats, power: Power) -> None:
    """Variant in which vectors of coordinates with no |t| near m cost a comparison."""
    scalars = tile.read()
    largest = gather(tile.builder, scalars)
    all_of, scales, bounds = (
        _lanes_everywhere(vectors, len(scalars))
        for vectors in (largest, power.scale_over(largest), largest * power.floor())
    )
    sums = Variable(constant(tile.builder, 0.0, len(scalars)))

    def step(index, new):
        size = together(list(tile.differences(index, new))).abs()
        near = size > bounds
        with tile.builder.if_then(near.any(), likely=False):
            sums.set(sums.get() + power.at((size - all_of) * scales, near))

    along(tile.width, tile.builder, step)
    _write_roots(tile, largest, fold(sums.get(), Floats.__add__), p)


def _lanes_everywhere(vectors: Floats, count: int) -> Floats:
    """A vector for each of the first lanes."""
    return splat(vectors.builder, *scatter(vectors)[:count])


def _write_roots(tile: Tile, largest: Floats, sums: Floats, p: Floats) -> None:
    distance = largest * exp2(log2(sums) / p)
    tile.write(distance.where(largest > 0.0, largest))  # 0 and NaN stay


def _log2_of_mantissa(t: Floats) -> Floats:
    """log2 of |t| over the power of two below it."""
    _, u = split(t)
    return u * polynomial(u, LOG2)


# --- gradients of the distances


@intrinsic
def slope_factors(typing, kind, grad, out, factors, index, p, fit):
    """Prepare, from index on, what `slope_tile` needs beside grad and out; all are (1, B·O)."""
    signature = types.void(kind, grad, out, factors, index, p, fit)

    def generate(context, builder, signature, arguments):
        kind, grad, out, factors, index, p, fit = operands(context, builder, signature, arguments)
        upstream, distance = load(builder, index, grad.data), load(builder, index, out.data)

        def keep(factor: Floats) -> None:
            store(factor, index, factors.data)

        with builder.if_then(builder.icmp_signed("==", kind, WORD(EIGHTH))):
            # (factor·t)^7 = grad·(t/out)^7
            root = exp2(log2(upstream) * (1 / 7)).signed_like(upstream)
            nonzero = (upstream.abs() > 0.0) & (distance > 0.0)
            keep((root / distance).where(nonzero, 0.0))
        with builder.if_then(builder.icmp_signed("==", kind, WORD(LOGARITHM))):
            # exp2((p − 1)·log2(|t|/2^e) + factor) = (|t|/out)^(p−1), 2^e below out
            keep(_log2_of_mantissa(distance) * (constant(builder, 1.0) - splat(builder, p)))
        with builder.if_then(builder.icmp_signed(">=", kind, WORD(POLYNOMIAL))):
            keep(Power.load(builder, fit.data).scale_over(distance))
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def slope_tile(typing, rows, kind, x, b, w, grad, out, factors, grad_x, grad_w, p, fit):
    """Gradients of the pairs of x[b:b+rows] with all of w: sets grad_x[b:b+rows], adds to grad_w.

    x, grad_x (B, LANES) and w, grad_w (O, LANES) hold LANES coordinates of each row; grad, out and
    factors are (B, O); fit is that of `fitted_power` at p − 1, where the kind uses it.
    """
    signature = types.void(rows, kind, x, b, w, grad, out, factors, grad_x, grad_w, p, fit)

    def generate(context, builder, signature, arguments):
        _, kind, x, b, w, *of_pairs, grad_x, grad_w, p, fit = operands(
            context, builder, signature, arguments
        )
        for one, lockstep, slopes in (
            (EIGHTH, 8, lambda: _eighth_slopes),
            (LOGARITHM, 8, lambda: _logarithm_slopes(splat(builder, p) - 1.0)),
            (POLYNOMIAL, 8, lambda: _polynomial_slopes(Power.load(builder, fit.data))),
            (NEAR, 4, lambda: _near_slopes(Power.load(builder, fit.data))),
        ):
            count = min(lockstep, rows.literal_value)
            firsts = [builder.add(b, WORD(k)) for k in range(0, rows.literal_value, count)]
            with builder.if_then(builder.icmp_signed("==", kind, WORD(one))):
                add_slopes = slopes()
                x_vectors = [load(builder, WORD(0), *x.rows(first, count)) for first in firsts]
                x_sums = [Variable(constant(builder, 0.0, count)) for _ in firsts]
                pair_rows = [[matrix.rows(first, count) for matrix in of_pairs] for first in firsts]
                with cgutils.for_range(builder, of_pairs[0].width) as loop:
                    w_row, w_sum_row = w.row(loop.index), grad_w.row(loop.index)
                    for x_vector, x_sum, of_group in zip(x_vectors, x_sums, pair_rows, strict=True):
                        t = x_vector - load(builder, WORD(0), w_row)
                        upstream, distance, factor = (
                            load_everywhere(builder, loop.index, *each) for each in of_group
                        )
                        add_slopes(t, upstream, distance, factor, partial(_add, x_sum, w_sum_row))
                for first, x_sum in zip(firsts, x_sums, strict=True):
                    store(x_sum.get(), WORD(0), *grad_x.rows(first, count))
        return context.get_dummy_value()

    return signature, generate


def _add(x_sum: Variable[Floats], w_sum_row: ir.Value, power: Floats, factor: Floats) -> None:
    """Add power · factor to the gradients in x, and take it from that in w."""
    x_sum.set(power.times_plus(factor, x_sum.get()))
    w_sum = load(power.builder, WORD(0), w_sum_row)
    store(w_sum - power.dot(factor), WORD(0), w_sum_row)


def _eighth_slopes(t, grad, out, factor, add):
    t = t * factor
    square = t * t
    add(t * square, square * square)


def _logarithm_slopes(exponent: Floats):
    coefficients = [exponent * coefficient for coefficient in LOG2]
    scale = exponent * 2.0**-23

    def add_slopes(t, grad, out, factor, add):
        octaves, u = split(t, out.bits() & EXPONENT)
        power = u.times_plus(polynomial(u, coefficients), octaves.times_plus(scale, factor))
        add(exp2(power).where(t.abs() > 0.0, 0.0).signed_like(t), grad)

    return add_slopes


def _polynomial_slopes(power: Power):
    def add_slopes(t, grad, out, factor, add):
        u = t.abs().times_plus(factor, power.scale * -1.0)
        add(power.at(u, u > -1.0).signed_like(t), grad)

    return add_slopes


def _near_slopes(power: Power):
    floor = power.floor()

    def add_slopes(t, grad, out, factor, add):
        size = t.abs()
        near = size > out * floor
        with t.builder.if_then(near.any(), likely=False):
            add(power.at((size - out) * factor, near).signed_like(t), grad)

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
