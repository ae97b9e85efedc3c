"""A GPU that is none: a device of PyTorch's own kind for devices made in Python, for tests.

A tensor "on" it wraps one of the CPU, which computes. As on a GPU, it cannot be mixed with tensors
of the CPU (but for single numbers), nor indexed by them, nor drawn by the CPU's generators, nor be
made a NumPy array. What `linfkit` computes there goes through its kernels for the CPU.

Importing this registers the device "pretend" with PyTorch, for the process; it can be used within
`pretending` alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_iter, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"


class _Hook(torch._C._acc.PrivateUse1Hooks):
    """What PyTorch asks of a device that its core knows of."""

    there = False

    def is_available(self):
        return _Hook.there

    def is_built(self):
        return True

    def has_primary_context(self, index):
        return _Hook.there


class _Module:
    """What PyTorch asks of a device's module, as it does of torch.cuda."""

    is_available = is_initialized = staticmethod(lambda: _Hook.there)
    device_count = staticmethod(lambda: int(_Hook.there))
    current_device = staticmethod(lambda: 0)
    manual_seed_all = staticmethod(lambda seed: None)
    _is_in_bad_fork = staticmethod(lambda: False)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16, torch.bfloat16])


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module(), hook=_Hook())
DEVICE = torch.device(NAME, 0)

#: Types of numbers that the device lacks; MPS has no float64.
LACKING: set[torch.dtype] = set()


class _OnDevice(torch.Tensor):
    """A tensor on the device; `held` is the tensor of the CPU that stands for it."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        if held.dtype in LACKING:
            raise TypeError(f"{NAME} does not support {held.dtype}")
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _computed(function, args, kwargs or {})

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, other):
        torch.Tensor.data.__set__(self, other)
        self.held = other.held

    # three that PyTorch refuses to subclasses, and grants to tensors of a GPU
    def tolist(self):
        return self.held.tolist()

    def __format__(self, spec):
        return format(self.held if self.dim() else self.held.item(), spec)

    def __repr__(self, **_):
        return f"{self.held!r} on {DEVICE}"


class Call(NamedTuple):
    """A call of PyTorch's: what was called, and if the CPU waits for the device by it."""

    function: torch._ops.OpOverload
    waits: bool


_RECORDS: list[list[Call]] = []


def _sees(function, args) -> bool:
    """True if the function gives the CPU a value, or a tensor whose size depends on values."""
    if function is torch.ops.aten.index.Tensor:
        return any(each is not None and each.dtype == torch.bool for each in args[1])
    seeing = torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape
    return any(tag in function.tags for tag in seeing)


@contextmanager
def recorded() -> Iterator[list[Call]]:
    """Within the block, write down every call on the device."""
    calls = []
    _RECORDS.append(calls)
    try:
        yield calls
    finally:
        _RECORDS.remove(calls)


def _computed(function, args, kwargs):
    """What the function gives, computed on the CPU, on the device where a GPU's would be there."""
    tensors = [leaf for leaf in tree_iter((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, _OnDevice)]
    copying = function is torch.ops.aten.copy_.default
    moving = function is torch.ops.aten._to_copy.default
    if not (copying or moving):
        if any(tensor.dim() for tensor in tensors if not isinstance(tensor, _OnDevice)):
            raise RuntimeError(f"{function}: tensors on {DEVICE} and on the CPU are mixed")
        if any(isinstance(leaf, torch.Generator) for leaf in tree_iter((args, kwargs))):
            raise RuntimeError(f"{function}: a generator of the CPU draws on {DEVICE}")
    there = isinstance(args[0], _OnDevice) if copying else bool(ours)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == NAME
        kwargs = kwargs | {"device": torch.device("cpu")}
    for calls in _RECORDS:
        calls.append(Call(function, waits=bool(ours) and (not there or _sees(function, args))))
    args, kwargs = tree_map_only(_OnDevice, lambda tensor: tensor.held, (args, kwargs))
    given = function(*args, **kwargs)
    if not there:
        return given
    ours = {id(tensor.held): tensor for tensor in ours}  # what is changed in place stays itself
    return tree_map_only(
        torch.Tensor, lambda t: ours[id(t)] if id(t) in ours else _OnDevice(t), given
    )


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return _OnDevice(torch.empty(size, dtype=dtype))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return _OnDevice(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    getattr(target, "held", target).copy_(getattr(source, "held", source))
    return target


_library = torch.library.Library("aten", "IMPL")
for _name, _made in [
    ("empty.memory_format", _empty),
    ("empty_strided", _empty_strided),
    ("_copy_from", _copy_from),
]:
    _library.impl(_name, _made, "PrivateUse1")


@contextmanager
def pretending() -> Iterator[None]:
    """Within the block, PyTorch finds the device; outside, it says that there is none."""
    _Hook.there = True
    try:
        yield
    finally:
        _Hook.there = False


@contextmanager
def without(dtype: torch.dtype) -> Iterator[None]:
    """Within the block, the device lacks that type of numbers."""
    LACKING.add(dtype)
    try:
        yield
    finally:
        LACKING.discard(dtype)
