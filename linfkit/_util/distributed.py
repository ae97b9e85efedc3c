"""Several processes that train one net: torchrun starts them, each takes its share of a batch.

In one process alone, all of this is the identity, or does nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def join(device: torch.device) -> None:
    """Let the processes that torchrun started know of each other, until they end.

    A GPU for each is chosen by torchrun's LOCAL_RANK: "cuda" is that one from then on. GPUs talk
    through NCCL, CPUs through Gloo. A group of processes that is there already is taken as it is;
    it must have Gloo too. A process that torchrun did not start stays alone.

    >>> join(torch.device("cpu"))
    >>> rank(), processes()
    (0, 1)
    """
    if not distributed.is_torchelastic_launched() or distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Gloo beside NCCL, for what the CPUs have to agree on while the GPUs are busy
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    # not when training ends: what exchanges its gradients may outlive it, and must not the group
    atexit.register(distributed.destroy_process_group)


def processes() -> int:
    """Number of processes that train the net."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """True in the process that writes and shows, before the others have joined too."""
    if distributed.is_torchelastic_launched():
        return os.environ["RANK"] == "0"
    return rank() == 0


# --- data


def local_slice(count: int) -> slice:
    """This process's part of `count` rows; no two parts differ by more than one row.

    >>> local_slice(5)
    slice(0, 5, None)
    """
    return slice(count * rank() // processes(), count * (rank() + 1) // processes())


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of what all processes have in `x`, the same in each; differentiable.

    The gradient of what is summed is the sum of the gradients that all processes have of the sum.

    >>> all_reduce_sum(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return x if processes() == 1 else _Sum.apply(x)


def mean_over_processes(mean: Tensor, rows: int) -> Tensor:
    """The mean over the rows of all processes, from each one's own mean; differentiable.

    Σ_r n_r·mean_r / Σ_r n_r, where process r has n_r rows.

    Args:
        mean: over this process's rows, of any shape, floating point.
        rows: how many they are.

    >>> mean_over_processes(torch.tensor([1.0, 2.0]), rows=8)
    tensor([1., 2.])
    """
    if processes() == 1:
        return mean
    sums = all_reduce_sum(torch.cat([rows * mean.flatten(), mean.new_tensor([rows])]))
    return (sums[:-1] / sums[-1]).view_as(mean)


def exchanging_gradients(module: nn.Module) -> nn.Module:
    """The module, so that after ``backward`` each gradient is the mean of that of all processes.

    They are exchanged while those of the layers before are still being computed. All that happens
    to the parameters between two steps has to be one call of what is returned. Parameters that the
    first call leaves without a gradient must stay so.

    >>> module = nn.Linear(2, 3)
    >>> exchanging_gradients(module) is module
    True
    """
    if processes() == 1:
        return module
    return DistributedDataParallel(module, static_graph=True)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


# --- agreement


def any_rank(condition: bool) -> bool:
    """True if the condition holds in any process; all of them have to ask.

    >>> any_rank(False)
    False
    """
    if processes() == 1:
        return condition
    count = torch.tensor(int(condition))  # on the CPU: nobody waits for a GPU
    distributed.all_reduce(count)
    return bool(count)


def on_rank_zero(act: Callable[[], object]) -> None:
    """Let the first process act; the others go on when it is done."""
    if is_first():
        act()
    any_rank(False)


@contextmanager
def entered_on_rank_zero(context: AbstractContextManager[Any]) -> Iterator[None]:
    """Within the block, the first process is in the context; the others go on when it is."""
    with context if is_first() else nullcontext():
        any_rank(False)
        yield
