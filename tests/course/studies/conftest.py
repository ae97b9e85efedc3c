"""What a module of these tests studies: the nets of its `TINY` recipe, one from each seed."""

import pytest

import linfkit as lk


@pytest.fixture(scope="module")
def digits():
    return lk.load_dataset("digits").subset(train_images=200, test_images=60)


@pytest.fixture(scope="module")
def runs(request, digits):
    recipe = request.module.TINY
    return lk.fit_all([(recipe, seed) for seed in recipe.seeds], data=digits)
