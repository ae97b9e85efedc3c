"""The reference's memory: nothing of size B×O×I is formed at once, by topk neither."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from linfkit.kernels import reference

CHUNK = 8 * 16 * 32 * 4  # differences of 8 of 40 inputs from 16 weights of 32 coordinates


class Largest(TorchDispatchMode):
    """The most bytes that one tensor takes, of all that are made."""

    found = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = function(*args, **(kwargs or {}))
        made = [each for each in tree_iter(given) if isinstance(each, torch.Tensor)]
        self.found = max(self.found, *(each.numel() * each.itemsize for each in made), 0)
        return given


@pytest.mark.parametrize("terms", [1, 10])
def test_sorted_distances_take_a_chunk_at_a_time(monkeypatch, terms):
    monkeypatch.setattr(reference, "BYTES_ON_CPU", CHUNK)
    x, w, grad = torch.randn(40, 32), torch.randn(16, 32), torch.randn(40, 16)
    coefficients = [1 / terms] * terms
    with Largest() as largest:
        reference.sorted_dist(x, w, coefficients)
        reference.sorted_interval(x, x + 1, w, coefficients)
        reference.sorted_dist_backward(grad, x, w, coefficients, True, True)
    assert largest.found == CHUNK
