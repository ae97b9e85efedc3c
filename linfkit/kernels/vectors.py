"""Vectors as wide as the processor's registers, to write LLVM code for Numba as formulas.

`Floats`, `Ints` and `Truths` stand for values in the code being generated: arithmetic on them emits
instructions. A plain number beside one becomes a constant in every lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import ClassVar, Self, TypeVar

import llvmlite.binding as llvm
from llvmlite import ir


def _lanes() -> int:
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


LANES = _lanes()
FLOAT, INT, BOOL, WORD = ir.FloatType(), ir.IntType(32), ir.IntType(1), ir.IntType(64)
SIGN, MAGNITUDE = 0x80000000, 0x7FFFFFFF
EXPONENT, MANTISSA, ONE = 0x7F800000, 0x007FFFFF, 0x3F800000

Kind = TypeVar("Kind", bound="Vectors")


@dataclass(frozen=True)
class Vectors:
    """One or several vectors in lockstep; beside several, a single one serves them all.

    Lockstep puts independent instructions next to each other, where the processor can overlap them.
    """

    builder: ir.IRBuilder
    values: tuple[ir.Value, ...]

    type: ClassVar[ir.VectorType]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Self]:
        return (type(self)(self.builder, (value,)) for value in self.values)

    def _each(
        self, kind: Callable[..., Kind], emit: Callable[..., ir.Value], *others: Vectors | float
    ) -> Kind:
        """The instruction for every vector, which makes vectors of a kind."""
        operands = (self, *others)
        count = max(len(operand) for operand in operands if isinstance(operand, Vectors))
        columns = [self._repeated(operand, count) for operand in operands]
        return kind(self.builder, tuple(emit(*values) for values in zip(*columns, strict=True)))

    def _repeated(self, operand: Vectors | float, count: int) -> tuple[ir.Value, ...]:
        if not isinstance(operand, Vectors):
            return (ir.Constant(self.type, [operand] * LANES),) * count
        return operand.values * (count // len(operand))


class Ints(Vectors):
    """LANES integers of 32 bits."""

    type = ir.VectorType(INT, LANES)

    def __add__(self, other: Ints | int) -> Ints:
        return self._each(Ints, self.builder.add, other)

    def __sub__(self, other: Ints | int) -> Ints:
        return self._each(Ints, self.builder.sub, other)

    def __and__(self, other: Ints | int) -> Ints:
        return self._each(Ints, self.builder.and_, other)

    def __or__(self, other: Ints | int) -> Ints:
        return self._each(Ints, self.builder.or_, other)

    def __lshift__(self, places: int) -> Ints:
        return self._each(Ints, self.builder.shl, places)

    def __gt__(self, other: Ints | int) -> Truths:
        return self._each(Truths, partial(self.builder.icmp_signed, ">"), other)

    def larger(self, other: Ints) -> Ints:
        """The larger of both."""
        return (self > other)._each(Ints, self.builder.select, self, other)

    def floats(self) -> Floats:
        """Convert the numbers to floats."""
        return self._each(Floats, lambda value: self.builder.sitofp(value, Floats.type))

    def as_floats(self) -> Floats:
        """Reinterpret the bits as floats."""
        return self._each(Floats, lambda value: self.builder.bitcast(value, Floats.type))


class Floats(Vectors):
    """LANES float32."""

    type = ir.VectorType(FLOAT, LANES)

    def __add__(self, other: Floats | float) -> Floats:
        return self._each(Floats, self.builder.fadd, other)

    def __sub__(self, other: Floats | float) -> Floats:
        return self._each(Floats, self.builder.fsub, other)

    def __mul__(self, other: Floats | float) -> Floats:
        return self._each(Floats, self.builder.fmul, other)

    def __truediv__(self, other: Floats | float) -> Floats:
        return self._each(Floats, self.builder.fdiv, other)

    def __lt__(self, other: Floats | float) -> Truths:
        return self._each(Truths, partial(self.builder.fcmp_ordered, "<"), other)

    def __gt__(self, other: Floats | float) -> Truths:
        return self._each(Truths, partial(self.builder.fcmp_ordered, ">"), other)

    def __ge__(self, other: Floats | float) -> Truths:
        return self._each(Truths, partial(self.builder.fcmp_ordered, ">="), other)

    def larger(self, other: Floats | float) -> Floats:
        """The larger of both; the other where either is NaN."""
        return self.where(self > other, other)

    def smaller(self, other: Floats | float) -> Floats:
        """The smaller of both; the other where either is NaN."""
        return self.where(self < other, other)

    def where(self, condition: Truths, other: Floats | float) -> Floats:
        """Self where the condition holds, the other elsewhere."""
        select = self.builder.select
        return self._each(
            Floats, lambda mine, truth, its: select(truth, mine, its), condition, other
        )

    def times_plus(self, factor: Floats | float, term: Floats | float) -> Floats:
        """Self · factor + term, in one operation where the processor has it."""
        return self._call("fmuladd", factor, term)

    def sqrt(self) -> Floats:
        """The square root."""
        return self._call("sqrt")

    def abs(self) -> Floats:
        """The absolute value."""
        return (self.bits() & MAGNITUDE).as_floats()

    def signed_like(self, other: Floats) -> Floats:
        """Self, which must be positive, with the sign of the other."""
        return (self.bits() | other.bits() & SIGN).as_floats()

    def bits(self) -> Ints:
        """Reinterpret the bits as integers."""
        return self._each(Ints, lambda value: self.builder.bitcast(value, Ints.type))

    def dot(self, other: Floats) -> Floats:
        """The sum of the products of all vectors with the other's, as one."""
        (first, its_first), *others = zip(self, other, strict=True)
        return reduce(
            lambda sum, factors: factors[0].times_plus(factors[1], sum), others, first * its_first
        )

    def _call(self, name: str, *others: Floats | float) -> Floats:
        types = [self.type] * (1 + len(others))
        function = llvm_function(self.builder, f"{name}.v{LANES}f32", self.type, *types)
        return self._each(Floats, lambda *values: self.builder.call(function, values), *others)


class Truths(Vectors):
    """LANES truth values."""

    type = ir.VectorType(BOOL, LANES)

    def __or__(self, other: Truths) -> Truths:
        return self._each(Truths, self.builder.or_, other)

    def __and__(self, other: Truths) -> Truths:
        return self._each(Truths, self.builder.and_, other)

    def mask(self) -> ir.Value:
        """Bit k of an integer set where lane k of any of the vectors is true."""
        return self.builder.bitcast(reduce(self.builder.or_, self.values), ir.IntType(LANES))

    def any(self) -> ir.Value:
        """True if any lane of any of the vectors is true."""
        mask = self.mask()
        return self.builder.icmp_unsigned("!=", mask, mask.type(0))


Numbers = TypeVar("Numbers", Ints, Floats)


# --- powers and logarithms: minimax fits, coefficients from the constant term up

# 2^f for |f| ≤ 1/2, log2(1 + u)/u for 0 ≤ u < 1
EXP2 = (
    *(1.0, 0.6931469775967345, 0.24022242081729933, 0.05550733745287895),
    *(0.009671512874032865, 0.0013264727255527576),
)
LOG2 = (
    *(1.442667829017209, -0.7205854648698422, 0.47355338321699925, -0.3259018838871038),
    *(0.19429417773828006, -0.0795576168503539, 0.01552988228565141),
)


def polynomial(x: Floats, coefficients: Sequence[Floats | float]) -> Floats:
    """Horner's rule."""
    last, before, *others = reversed(coefficients)
    return reduce(
        lambda sum, coefficient: sum.times_plus(x, coefficient), others, x.times_plus(last, before)
    )


def exp2(y: Floats) -> Floats:
    """2^y to 2e-7 of itself, −80 ≤ y < 127; 2^−80 below."""
    y = y.larger(-80.0)  # far from subnormal numbers, which are slow
    rounded = y + 1.5 * 2**23  # leaves the nearest integer in the lowest bits
    power = polynomial(y - (rounded - 1.5 * 2**23), EXP2)
    return (power.bits() + (rounded.bits() << 23)).as_floats()


def split(t: Floats, base: Ints | int = ONE) -> tuple[Floats, Floats]:
    """2^23·e and u of |t| = 2^e·(1 + u)·(the power of two whose bits are `base`), 0 ≤ u < 1."""
    exponent = (t.bits() & EXPONENT) - base
    return exponent.floats(), (t.bits() & MANTISSA | ONE).as_floats() - 1.0


def log2(t: Floats) -> Floats:
    """log2|t| to 5e-7, for t no smaller than 2^−126."""
    exponent, u = split(t)
    return u.times_plus(polynomial(u, LOG2), exponent * 2.0**-23)


# --- moving vectors


def constant(builder: ir.IRBuilder, number: float, count: int = 1) -> Floats:
    """Vectors with a number in every lane."""
    return Floats(builder, (ir.Constant(Floats.type, [number] * LANES),) * count)


def lane_numbers(builder: ir.IRBuilder) -> Ints:
    """0, 1, 2 and so on."""
    return Ints(builder, (ir.Constant(Ints.type, list(range(LANES))),))


def splat(builder: ir.IRBuilder, *scalars: ir.Value) -> Floats:
    """Vectors with a scalar in every lane each."""
    return Floats(builder, tuple(everywhere(builder, scalar) for scalar in scalars))


def everywhere(builder: ir.IRBuilder, scalar: ir.Value, count: int = LANES) -> ir.Value:
    """A vector of LLVM's with a scalar, of any type, in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT(0))
    lanes = ir.Constant(ir.VectorType(INT, count), [0] * count)
    return builder.shuffle_vector(first, undefined, lanes)


def llvm_function(
    builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Type
) -> ir.Function:
    """A function that LLVM itself has, declared once a module."""
    name, module = f"llvm.{name}", builder.module
    signature = ir.FunctionType(result, arguments)
    return module.globals.get(name) or ir.Function(module, signature, name)


def gather(builder: ir.IRBuilder, scalars: Sequence[ir.Value]) -> Floats:
    """The scalars as lanes of as few vectors as hold them; lanes left over are 1."""
    vectors = []
    for start in range(0, len(scalars), LANES):
        vector = ir.Constant(Floats.type, [1.0] * LANES)
        for lane, scalar in enumerate(scalars[start : start + LANES]):
            vector = builder.insert_element(vector, scalar, INT(lane))
        vectors.append(vector)
    return Floats(builder, tuple(vectors))


def scatter(vectors: Floats) -> list[ir.Value]:
    """The lanes of the vectors, one vector after another."""
    return [
        vectors.builder.extract_element(vector, INT(lane))
        for vector in vectors.values
        for lane in range(LANES)
    ]


def together(vectors: Sequence[Numbers]) -> Numbers:
    """The vectors in lockstep."""
    first = vectors[0]
    return type(first)(first.builder, tuple(value for vector in vectors for value in vector.values))


def load(builder: ir.IRBuilder, index: ir.Value, *rows: ir.Value) -> Floats:
    """LANES numbers of each row, from index on."""
    addresses = [
        builder.bitcast(builder.gep(row, [index]), Floats.type.as_pointer()) for row in rows
    ]
    return Floats(builder, tuple(builder.load(address, align=4) for address in addresses))


def load_everywhere(builder: ir.IRBuilder, index: ir.Value, *rows: ir.Value) -> Floats:
    """The number at an index of each row, in every lane."""
    return splat(builder, *(builder.load(builder.gep(row, [index])) for row in rows))


def store(vectors: Floats, index: ir.Value, *rows: ir.Value) -> None:
    """One vector to each row, from index on."""
    builder = vectors.builder
    for value, row in zip(vectors.values, rows, strict=True):
        builder.store(
            value, builder.bitcast(builder.gep(row, [index]), Floats.type.as_pointer()), align=4
        )


def fold(vectors: Numbers, combine: Callable[[Numbers, Numbers], Numbers]) -> Numbers:
    """Reduce each vector to one lane, vector k to the k-th lane counted through the results."""
    builder = vectors.builder
    undefined = ir.Constant(vectors.type, ir.Undefined)
    halves = [ir.Constant(Ints.type, list(range(start, 2 * LANES, 2))) for start in (0, 1)]
    for _ in range(LANES.bit_length() - 1):
        pairs = list(zip(vectors.values[::2], [*vectors.values[1::2], undefined], strict=False))
        even, odd = (
            type(vectors)(builder, tuple(builder.shuffle_vector(a, b, half) for a, b in pairs))
            for half in halves
        )
        vectors = combine(even, odd)
    return vectors
