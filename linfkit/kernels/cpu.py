"""Multi-threaded CPU kernels in Numba, float32."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from linfkit.kernels.reference import linf_interval, linf_interval_backward  # noqa: F401


@njit(parallel=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, cache=True)
def _forward(x, w, p, out):
    B, I = x.shape
    O = w.shape[0]
    for b in prange(B):
        for o in range(O):
            m = np.float32(0)
            for i in range(I):
                t = abs(x[b, i] - w[o, i])
                m = t if t > m else m
            if m > 0 and p != math.inf:
                s = np.float32(0)
                inv = np.float32(1) / m
                if p == 8:
                    for i in range(I):
                        t = (x[b, i] - w[o, i]) * inv
                        t = t * t
                        t = t * t
                        s += t * t
                else:
                    cut = m * np.float32(1e-10 ** (1 / p))
                    for i in range(I):
                        t = abs(x[b, i] - w[o, i])
                        if t > cut:
                            s += (t * inv) ** np.float32(p)
                m = m * s ** np.float32(1 / p)
            out[b, o] = m


@njit(parallel=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, cache=True)
def _backward(grad, x, w, out, p, grad_x, sign):
    B, I = x.shape
    O = w.shape[0]
    q = np.float32(p - 1)
    for b in prange(B):
        for i in range(I):
            grad_x[b, i] = 0
        for o in range(O):
            n = grad[b, o] if sign else grad[o, b]
            m = out[b, o] if sign else out[o, b]
            if m == 0:
                continue
            if p == math.inf:
                for i in range(I):
                    t = x[b, i] - w[o, i]
                    if abs(t) >= m:
                        grad_x[b, i] += n if t > 0 else -n
                        break
                continue
            inv = np.float32(1) / m
            if p == 8:
                for i in range(I):
                    t = (x[b, i] - w[o, i]) * inv
                    t2 = t * t
                    grad_x[b, i] += n * (t * t2 * t2 * t2)
            else:
                cut = m * np.float32(1e-10 ** (1 / p))
                for i in range(I):
                    t = x[b, i] - w[o, i]
                    if abs(t) > cut:
                        r = (abs(t) * inv) ** q
                        grad_x[b, i] += n * (r if t > 0 else -r)


def _follow_torch() -> None:
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    _follow_torch()
    out = x.new_empty(len(x), len(w))
    _forward(x.detach().numpy(), w.detach().numpy(), float(p), out.numpy())
    return out


def lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    _follow_torch()
    grad_x = torch.empty_like(x) if need_x else x.new_empty(0)
    grad_w = torch.empty_like(w) if need_w else w.new_empty(0)
    g, a, b, n = (v.detach().numpy() for v in (grad, x, w, out))
    if need_x:
        _backward(g, a, b, n, float(p), grad_x.numpy(), True)
    if need_w:
        _backward(g, b, a, n, float(p), grad_w.numpy(), False)
    return grad_x, grad_w
