"""Vectors of float32 as wide as the processor's registers, to write LLVM code for Numba's intrinsics as formulas.

A `Floats` or `Ints` stands for a value in the code being generated: arithmetic on it emits instructions. A plain
Python number beside one becomes a constant in every lane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TypeVar

import llvmlite.binding as llvm
from llvmlite import ir


def _lanes() -> int:
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


LANES = _lanes()
FLOAT, INT, BOOL, WORD = ir.FloatType(), ir.IntType(32), ir.IntType(1), ir.IntType(64)
SIGN, MAGNITUDE, EXPONENT, MANTISSA, ONE = 0x80000000, 0x7FFFFFFF, 0x7F800000, 0x007FFFFF, 0x3F800000


@dataclass(frozen=True)
class Ints:
    """LANES integers of 32 bits."""

    builder: ir.IRBuilder
    value: ir.Value

    type = ir.VectorType(INT, LANES)

    def of(self, other: Ints | int) -> ir.Value:
        return other.value if isinstance(other, Ints) else ir.Constant(self.type, [other] * LANES)

    def __add__(self, other: Ints | int) -> Ints:
        return Ints(self.builder, self.builder.add(self.value, self.of(other)))

    def __sub__(self, other: Ints | int) -> Ints:
        return Ints(self.builder, self.builder.sub(self.value, self.of(other)))

    def __and__(self, other: Ints | int) -> Ints:
        return Ints(self.builder, self.builder.and_(self.value, self.of(other)))

    def __or__(self, other: Ints | int) -> Ints:
        return Ints(self.builder, self.builder.or_(self.value, self.of(other)))

    def __lshift__(self, places: int) -> Ints:
        return Ints(self.builder, self.builder.shl(self.value, self.of(places)))

    def __gt__(self, other: Ints | int) -> ir.Value:
        return self.builder.icmp_signed(">", self.value, self.of(other))

    def __lt__(self, other: Ints | int) -> ir.Value:
        return self.builder.icmp_signed("<", self.value, self.of(other))

    def larger(self, other: Ints) -> Ints:
        return Ints(self.builder, self.builder.select(self > other, self.value, other.value))

    def floats(self) -> Floats:
        """The same numbers as floats."""
        return Floats(self.builder, self.builder.sitofp(self.value, Floats.type))

    def as_floats(self) -> Floats:
        """The same bits as floats."""
        return Floats(self.builder, self.builder.bitcast(self.value, Floats.type))


@dataclass(frozen=True)
class Floats:
    """LANES float32."""

    builder: ir.IRBuilder
    value: ir.Value

    type = ir.VectorType(FLOAT, LANES)

    def of(self, other: Floats | float) -> ir.Value:
        return other.value if isinstance(other, Floats) else ir.Constant(self.type, [other] * LANES)

    def __add__(self, other: Floats | float) -> Floats:
        return Floats(self.builder, self.builder.fadd(self.value, self.of(other)))

    def __sub__(self, other: Floats | float) -> Floats:
        return Floats(self.builder, self.builder.fsub(self.value, self.of(other)))

    def __mul__(self, other: Floats | float) -> Floats:
        return Floats(self.builder, self.builder.fmul(self.value, self.of(other)))

    def __truediv__(self, other: Floats | float) -> Floats:
        return Floats(self.builder, self.builder.fdiv(self.value, self.of(other)))

    def __gt__(self, other: Floats | float) -> ir.Value:
        return self.builder.fcmp_ordered(">", self.value, self.of(other))

    def __ge__(self, other: Floats | float) -> ir.Value:
        return self.builder.fcmp_ordered(">=", self.value, self.of(other))

    def __lt__(self, other: Floats | float) -> ir.Value:
        return self.builder.fcmp_ordered("<", self.value, self.of(other))

    def larger(self, other: Floats | float) -> Floats:
        """The larger of both; the other where either is NaN."""
        return Floats(self.builder, self.builder.select(self > other, self.value, self.of(other)))

    def smaller(self, other: Floats | float) -> Floats:
        """The smaller of both; the other where either is NaN."""
        return Floats(self.builder, self.builder.select(self < other, self.value, self.of(other)))

    def where(self, condition: ir.Value, other: Floats | float) -> Floats:
        return Floats(self.builder, self.builder.select(condition, self.value, self.of(other)))

    def times_plus(self, factor: Floats | float, term: Floats | float) -> Floats:
        """self · factor + term, in one operation where the processor has it."""
        return self._call("fmuladd", self.of(factor), self.of(term))

    def sqrt(self) -> Floats:
        return self._call("sqrt")

    def abs(self) -> Floats:
        return (self.bits & MAGNITUDE).as_floats()

    def signed_like(self, other: Floats) -> Floats:
        """Self, which must be positive, with the sign of the other."""
        return (self.bits | other.bits & SIGN).as_floats()

    @cached_property
    def bits(self) -> Ints:
        return Ints(self.builder, self.builder.bitcast(self.value, Ints.type))

    def _call(self, name: str, *others: ir.Value) -> Floats:
        name = f"llvm.{name}.v{LANES}f32"
        module = self.builder.module
        signature = ir.FunctionType(self.type, [self.type] * (1 + len(others)))
        function = module.globals.get(name) or ir.Function(module, signature, name)
        return Floats(self.builder, self.builder.call(function, [self.value, *others]))


Vector = TypeVar("Vector", Ints, Floats)


# --- powers and logarithms: minimax fits, coefficients from the constant term up

# 2^f for |f| ≤ 1/2, log2(1 + u)/u for 0 ≤ u < 1 and for −0.33 ≤ u ≤ 0.001
EXP2 = (1.0, 0.6931469775967345, 0.24022242081729933, 0.05550733745287895, 0.009671512874032865,
        0.0013264727255527576)  # fmt: skip
LOG2 = (1.442667829017209, -0.7205854648698422, 0.47355338321699925, -0.3259018838871038, 0.19429417773828006,
        -0.0795576168503539, 0.01552988228565141)  # fmt: skip
LOG2_BELOW_ONE = (1.4426947602695575, -0.721419191691095, 0.478342879118344, -0.3926938898645847,
                  0.11518194686603334, -0.6326102039195597)  # fmt: skip


def polynomial(x: Floats, coefficients: Sequence[Floats | float]) -> Floats:
    """Horner's rule."""
    last, *others = reversed(coefficients)
    return reduce(lambda sum, coefficient: sum.times_plus(x, coefficient), others, Floats(x.builder, x.of(last)))


def exp2(y: Floats) -> Floats:
    """2^y to 2e-7 of itself, −125 ≤ y < 127; 2^−125 below."""
    y = y.larger(-125.0)
    rounded = y + 1.5 * 2**23  # leaves the nearest integer in the lowest bits
    power = polynomial(y - (rounded - 1.5 * 2**23), EXP2)
    return (power.bits + (rounded.bits << 23)).as_floats()


def split(t: Floats, base: Ints | int = ONE) -> tuple[Floats, Floats]:
    """2^23·e and u of |t| = 2^e·(1 + u)·(the power of two whose bits are `base`), 0 ≤ u < 1."""
    exponent = (t.bits & EXPONENT) - base
    return exponent.floats(), (t.bits & MANTISSA | ONE).as_floats() - 1.0


def log2(t: Floats) -> Floats:
    """log2|t| to 5e-7, for t no smaller than 2^−126."""
    exponent, u = split(t)
    return u.times_plus(polynomial(u, LOG2), exponent * 2.0**-23)


# --- moving vectors


def splat(builder: ir.IRBuilder, scalar: ir.Value) -> Floats:
    """The scalar in every lane."""
    undefined = ir.Constant(Floats.type, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT(0))
    return Floats(builder, builder.shuffle_vector(first, undefined, ir.Constant(Ints.type, [0] * LANES)))


def constant(builder: ir.IRBuilder, number: float) -> Floats:
    return Floats(builder, ir.Constant(Floats.type, [number] * LANES))


def lane_numbers(builder: ir.IRBuilder) -> Ints:
    """0, 1, 2, …"""
    return Ints(builder, ir.Constant(Ints.type, list(range(LANES))))


def gather(builder: ir.IRBuilder, scalars: Sequence[ir.Value]) -> list[Floats]:
    """The scalars as lanes of as few vectors as hold them; lanes left over are 1."""
    vectors = []
    for start in range(0, len(scalars), LANES):
        vector = constant(builder, 1.0).value
        for lane, scalar in enumerate(scalars[start : start + LANES]):
            vector = builder.insert_element(vector, scalar, INT(lane))
        vectors.append(Floats(builder, vector))
    return vectors


def load(builder: ir.IRBuilder, row: ir.Value, index: ir.Value) -> Floats:
    """LANES numbers of a row, from index on."""
    address = builder.bitcast(builder.gep(row, [index]), Floats.type.as_pointer())
    return Floats(builder, builder.load(address, align=4))


def store(vector: Floats, row: ir.Value, index: ir.Value) -> None:
    address = vector.builder.bitcast(vector.builder.gep(row, [index]), Floats.type.as_pointer())
    vector.builder.store(vector.value, address, align=4)


def fold(vectors: Sequence[Vector], combine: Callable[[Vector, Vector], Vector]) -> list[Vector]:
    """Reduces each vector to one lane: lane k of the first result is vector k reduced, and so on."""
    kind, builder = type(vectors[0]), vectors[0].builder
    undefined = kind(builder, ir.Constant(kind.type, ir.Undefined))
    even, odd = (ir.Constant(Ints.type, list(range(start, 2 * LANES, 2))) for start in (0, 1))
    for _ in range(LANES.bit_length() - 1):
        pairs = zip(vectors[::2], [*vectors[1::2], undefined], strict=False)
        vectors = [
            combine(*(kind(builder, builder.shuffle_vector(a.value, b.value, lanes)) for lanes in (even, odd)))
            for a, b in pairs
        ]
    return list(vectors)


def lane_mask(condition: ir.Value, builder: ir.IRBuilder) -> ir.Value:
    """The condition of lane k as bit k of an integer."""
    return builder.bitcast(condition, ir.IntType(LANES))


def any_lane(builder: ir.IRBuilder, conditions: Sequence[ir.Value]) -> ir.Value:
    """Whether any of the conditions holds in any lane."""
    mask = lane_mask(reduce(builder.or_, conditions), builder)
    return builder.icmp_unsigned("!=", mask, mask.type(0))
