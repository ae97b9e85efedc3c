"""What the machine itself can do on as many threads as PyTorch uses: multiply-adds, and reading."""

# mypy: disable-error-code="call-arg"
# (Numba's types count the typing context among the arguments of an intrinsic.)

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic
from torch import Tensor

from linfkit.kernels.threads import in_parallel
from linfkit.kernels.tiles import Variable
from linfkit.kernels.vectors import FLOAT, LANES, constant, scatter, splat

# Sums that grow side by side, so that none waits for itself: processors finish up to four vectors
# a cycle, each four cycles after it began. All of them must fit in registers, of which there are
# 32 with AVX-512 and on Arm, and 16 on other processors.
CHAINS = 24 if LANES == 16 or platform.machine().lower() in ("aarch64", "arm64") else 12
ROUNDS = 2**21  # about a hundredth of a second


@dataclass(frozen=True)
class Loop:
    """A loop that does nothing but one kind of work.

    Attributes:
        call: runs it on all threads.
        work: operations or bytes of one call.
    """

    call: Callable[[], object]
    work: int


def arithmetic_loop(rounds: int = ROUNDS) -> Loop:
    """Multiply-adds between registers; a multiply-add on one lane is one operation.

    >>> loop = arithmetic_loop(rounds=8)
    >>> loop.call()
    >>> loop.work == 8 * CHAINS * LANES * torch.get_num_threads()
    True
    """
    threads = torch.get_num_threads()
    _multiply_adds(np.float32(0.5), 1)
    return Loop(
        lambda: in_parallel(
            lambda part, parts: _multiply_adds(np.float32(0.5), rounds), threads, 1
        ),
        rounds * CHAINS * LANES * threads,
    )


def reading_loop(w: Tensor) -> Loop:
    """Reading a matrix once, from whichever cache or memory it is in.

    >>> loop = reading_loop(torch.ones(4, 4))
    >>> loop.call()
    >>> loop.work
    64
    """
    numbers = w.detach().numpy().ravel()
    _sum(numbers[:1])  # compiles
    return Loop(
        lambda: _on_all_threads(lambda part, parts: _sum(np.array_split(numbers, parts)[part])),
        numbers.nbytes,
    )


def _on_all_threads(task: Callable[[int, int], object]) -> None:
    in_parallel(task, work=torch.get_num_threads(), worth_a_thread=1)


@njit(nogil=True, fastmath=True)  # fastmath lets the sum be taken in vectors
def _sum(numbers):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for index in range(len(numbers)):
        total += numbers[index]
    return total


@njit(nogil=True)
def _multiply_adds(factor, rounds):  # type: ignore[no-untyped-def]
    return _chains(factor, rounds)


@intrinsic
def _chains(typing: Any, factor: Any, rounds: Any) -> tuple[Any, Callable[..., ir.Value]]:
    """CHAINS vectors, each replaced `rounds` times by itself · factor + factor; their sum.

    The factor is an argument, and every lane of every vector goes into the result: nothing can be
    left out or computed beforehand.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        factor, rounds = arguments
        factors = splat(builder, factor)
        chains = Variable(constant(builder, 1.0, CHAINS))
        with cgutils.for_range(builder, rounds):
            chains.set(chains.get().times_plus(factors, factors))
        return reduce(builder.fadd, scatter(chains.get().total()), FLOAT(0.0))

    return types.float32(factor, types.intp), generate
