"""First results of GPU kernels: nine entries of the user's own are compared with the reference.

In each process, when an operator computes a kind of p for the first time. A kind that fails here,
or has failed its `self_check`, is left to the reference, and it alone, with one warning.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from linfkit.kernels import reference
from linfkit.kernels.self_check import INTERVALS, REAL, Outcome, kind_of


class Checked:
    """Kernels whose first results of each kind are compared; the reference, where a kind fails.

    Attributes:
        outcome: of the check on this machine.
        failed: error of each kind that is left to the reference.
    """

    def __init__(self, kernels: Any, outcome: Outcome) -> None:
        self.outcome, self.failed = outcome, dict(outcome.failed)
        self._kernels = kernels
        # operators and kinds that were right, and kinds that were warned of
        self._seen: set[tuple[str, str]] = set()

    def lp_dist(self, *arguments: Any) -> Tensor:
        """As in `reference`."""
        return self._computed("lp_dist", kind_of(arguments[-1]), arguments)

    def lp_dist_backward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        """As in `reference`."""
        return self._computed("lp_dist_backward", kind_of(arguments[4]), arguments)

    def linf_interval(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        """As in `reference`."""
        return self._computed("linf_interval", INTERVALS, arguments)

    def linf_interval_backward(self, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        """As in `reference`."""
        return self._computed("linf_interval_backward", INTERVALS, arguments)

    def _computed(self, name: str, kind: str, arguments: tuple[Any, ...]) -> Any:
        if kind in self.failed:
            self._warn(kind)
            return getattr(reference, name)(*arguments)
        compute = getattr(self._kernels, name)
        if (name, kind) in self._seen or _is_capturing():
            return compute(*arguments)
        try:
            results = compute(*arguments)
            right = entries_agree(name, arguments, results)
            fault = None if right else f"{name} differs from the reference's"
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # whatever Triton, its compilers or the driver raise
            fault = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if fault is None:
            self._seen.add((name, kind))
            return results
        self.failed[kind] = fault
        return self._computed(name, kind, arguments)

    def _warn(self, kind: str) -> None:
        if ("warned", kind) not in self._seen:
            self._seen.add(("warned", kind))
            versions = (f"{k} {v}" for k, v in self.outcome.found_with.items() if k != "kernels")
            warnings.warn(
                f"linfkit computes {kind} on the GPU by plain PyTorch, far more slowly: its kernel "
                f"failed its check, {self.failed[kind]} ({', '.join(versions)})",
                RuntimeWarning,
                stacklevel=5,
            )


def _is_capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def entries_agree(name: str, arguments: tuple[Any, ...], results: Any) -> bool:
    """Compare nine entries of each result, corners and middles, with the reference.

    Args:
        name: of the operator.
        arguments: that it was called with.
        results: of that call.
    """
    if name == "lp_dist":
        x, w, p = arguments
        b, o = _few(x), _few(w)
        truth = reference.lp_dist(x[b].double(), w[o].double(), p)
        return _agree(results[b][:, o], truth, truth, p)
    if name == "linf_interval":
        lower, upper, w = arguments
        b, o = _few(lower), _few(w)
        truths = reference.linf_interval(lower[b], upper[b], w[o])
        ends = zip(results, truths, strict=True)
        return all(_agree(end[b][:, o], truth, truth, math.inf) for end, truth in ends)
    if name == "lp_dist_backward":
        grad, x, w, out, p, *_ = arguments
        sides = (results[0], grad, x, w, out), (results[1], grad.t(), w, x, out.t())
        return all(_gradient_agrees(*side, p) for side in sides if side[0].numel())
    grad_lower, grad_upper, lower, upper, w = arguments
    b, o, i = _few(lower), _few(w), _few(w.t())
    some_rows = grad_lower[b], grad_upper[b], lower[b], upper[b], w
    some_neurons = grad_lower[:, o], grad_upper[:, o], lower, upper, w[o]
    *of_box, _ = reference.linf_interval_backward(*some_rows)
    *_, of_w = reference.linf_interval_backward(*some_neurons)
    size = grad_lower.abs() + grad_upper.abs()
    sizes = size[b].sum(1)[:, None], size[b].sum(1)[:, None], size[:, o].sum(0)[:, None]
    return all(
        _agree(result[rows][:, i], truth[:, i], size, math.inf)
        for result, rows, truth, size in zip(
            results, (b, b, o), (*of_box, of_w), sizes, strict=True
        )
    )


def _gradient_agrees(
    result: Tensor, grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float
) -> bool:
    """Compare entries of the gradient in x; with x and w exchanged, of that in w."""
    b, i = _few(x), _few(x.t())
    if p == math.inf:
        truth, _ = reference.lp_dist_backward(grad[b], x[b], w, out[b], p, True, False)
        return _agree(result[b][:, i], truth[:, i], grad[b].abs().sum(1)[:, None], p)
    near = x[b][:, i].double(), w[:, i].double()  # given the distance, coordinates are independent
    terms = grad[b, :, None] * reference.lp_slope(*near, out[b].double(), p)
    return _agree(result[b][:, i], terms.sum(1), terms.abs().sum(1), p)


def _few(matrix: Tensor) -> list[int]:
    """The first row, the middle one and the last."""
    return [0, len(matrix) // 2, len(matrix) - 1]


def _agree(entries: Tensor, truth: Tensor, size: Tensor, p: float) -> bool:
    """True if entries are right but for what float32 loses of terms of that size."""
    bound = 1e-5 if p == math.inf else 1e-4 + 2e-6 * min(p, 1e6) * (kind_of(p) == REAL)
    right = (entries - truth).abs() <= bound * (truth.abs() + size) + 1e-36  # what underflows
    return bool((right | ~(truth + size).isfinite()).all())
