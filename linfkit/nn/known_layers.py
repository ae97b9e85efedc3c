"""Detect modules whose methods were overridden or hooked."""

from __future__ import annotations

import sys
from functools import partialmethod
from types import FunctionType
from typing import Any, TypeGuard, TypeVar

from torch import nn
from torch.nn.modules import module as of_all_modules
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

Kind = TypeVar("Kind", bound=nn.Module)

#: Kinds of definitions that a class can compute with: anything but plain values.
DEFINITIONS = (FunctionType, classmethod, partialmethod, property, staticmethod)

#: Definitions that compute nothing once a module is made.
DESCRIBING = {"architecture", "extra_repr", "reset_parameters", "roundings"}

#: Names by which a module of any class is called.
CALLING = {"__call__", "_call_impl", "_wrapped_call_impl", "forward"}

#: Wrappers that compute what the net in their `module` computes; torch.compile makes others.
WRAPPERS = (AveragedModel, DataParallel, DistributedDataParallel)


def is_plain(module: nn.Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """True if a module computes what that class does: by its definitions, and without a hook.

    Of the methods with double underscores only ``__call__`` counts: a class may do what it likes
    when it is made, shown or copied.

    >>> class Steeper(nn.Sequential):
    ...     def forward(self, x):
    ...         return 2 * super().forward(x)
    >>> is_plain(nn.Sequential(), nn.Sequential), is_plain(Steeper(), nn.Sequential)
    (True, False)
    """
    if not isinstance(module, kind) or has_hooks(module):
        return False
    bases = [base for base in kind.__mro__ if base not in nn.Module.__mro__]
    defined = {
        name
        for base in bases
        for name, value in vars(base).items()
        if isinstance(value, DEFINITIONS) and not name.startswith("__")
    }
    computing = defined - DESCRIBING | CALLING
    places = [module, *(base for base in type(module).__mro__ if base not in kind.__mro__)]
    return all(computing.isdisjoint(vars(place)) for place in places)


def has_hooks(module: nn.Module) -> bool:
    """True if a module has a forward hook, which can change its inputs or outputs.

    >>> layer = nn.ReLU()
    >>> hook = layer.register_forward_hook(lambda layer, inputs, output: 2 * output)
    >>> has_hooks(layer), hook.remove(), has_hooks(layer)
    (True, None, False)
    """
    of_all = (of_all_modules._global_forward_hooks, of_all_modules._global_forward_pre_hooks)
    return any((module._forward_hooks, module._forward_pre_hooks, *of_all))


def unwrapped(model: nn.Module) -> nn.Module:
    """Unwrap a net from ``torch.compile``, ``DataParallel`` or ``AveragedModel``.

    A wrapper with a hook or overridden methods stays: it may compute something else.

    >>> net = nn.Linear(2, 3)
    >>> unwrapped(DataParallel(AveragedModel(net))), unwrapped(net) is net
    (Linear(in_features=2, out_features=3, bias=True), True)
    """
    while True:
        if any(is_plain(model, kind) for kind in WRAPPERS):
            model = model.get_submodule("module")
        elif _is_compiled(model):
            model = model.get_submodule("_orig_mod")
        else:
            return model


def _is_compiled(model: nn.Module) -> bool:
    """True if ``torch.compile`` made the module, and nothing was changed since."""
    # imported by torch.compile at first use, which takes seconds
    dynamo: Any = sys.modules.get("torch._dynamo.eval_frame")
    if dynamo is None or type(model) is not dynamo.OptimizedModule or has_hooks(model):
        return False
    net = model.get_submodule("_orig_mod")
    compiled: Any = getattr(model.forward, "_torchdynamo_orig_callable", None)
    return compiled == net.__call__ or getattr(compiled, "__wrapped__", None) is net
