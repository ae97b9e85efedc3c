"""Tested: held-out training images are not trained on, the history follows them, the best epoch is
theirs. Not here: that this chooses better nets."""

import pytest
import torch

import linfkit as lk
from linfkit.certification.certify import check_for_proofs
from linfkit.certification.intervals import certified_within
from linfkit.training import loop
from linfkit.training.fit import apply_recipe

DIGITS = lk.load_dataset("digits")
TINY = lk.load_recipe("digits-small").replace(
    train_images=200, test_images=40, width=12, depth=2, epochs=4, batch_size=50, lr=0.3
)
HOLDING_OUT = TINY.replace(validation_share=0.25)
BEST = HOLDING_OUT.replace(best_epoch=True)


def fit(recipe, data=DIGITS, **arguments):
    return lk.fit(recipe, data=data, device="cpu", progress=False, **arguments)


def with_other_labels(first, last):
    """Digits whose labels from first up to last are another class's."""
    labels = DIGITS.train_y.clone()
    labels[first:last] = (labels[first:last] + 1) % 10
    tensors = DIGITS.train_x, labels, DIGITS.test_x, DIGITS.test_y
    return lk.Dataset.from_arrays(*tensors, classes=DIGITS.classes)


def certified_share(net, images, labels):
    checked = check_for_proofs(net)
    found = lk.certify(net, images, labels)
    return certified_within(checked, images, labels, TINY.eps, found).float().mean().item()


def test_images_held_out_are_not_trained_on_and_the_history_is_of_them():
    run, other = fit(HOLDING_OUT), fit(HOLDING_OUT, with_other_labels(150, 200))
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], tensor), name
    assert run.results == other.results  # of the test images
    assert run.column("certified") != other.column("certified")
    held_out = DIGITS.train_x[150:200] / 255, DIGITS.train_y[150:200]
    assert run.history[-1]["certified"] == pytest.approx(certified_share(run.model, *held_out))


def test_without_them_the_history_is_of_test_images():
    run = fit(TINY)
    test = DIGITS.test_x[:40] / 255, DIGITS.test_y[:40]
    assert run.history[-1]["certified"] == pytest.approx(certified_share(run.model, *test))


def test_labels_of_images_held_out_are_never_drawn_anew():
    noisy = apply_recipe(DIGITS, HOLDING_OUT.replace(label_noise=1.0))
    assert torch.equal(noisy.train_y[150:], DIGITS.train_y[150:200])
    assert not torch.equal(noisy.train_y[:150], DIGITS.train_y[:150])


def test_the_best_epoch_s_weights_are_kept():
    run = fit(BEST)
    held_out = DIGITS.train_x[150:200] / 255, DIGITS.train_y[150:200]
    for net, column in ((run.model, "certified"), (run.ema_model, "ema_certified")):
        shares = run.column(column)
        assert certified_share(net, *held_out) == pytest.approx(max(shares))
    assert max(run.column("certified")) > run.history[-1]["certified"]  # so it is not the last


@pytest.mark.parametrize("step", [5, 9, 12])
def test_a_run_that_was_stopped_keeps_the_same_epoch(step, tmp_path, monkeypatch):
    whole, calls = fit(BEST), []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == step:
            raise MemoryError
        return set_p(*arguments)

    set_p = loop.set_p
    with monkeypatch.context() as patched:
        patched.setattr(loop, "set_p", stopping)
        with pytest.raises(MemoryError):
            fit(BEST, out=tmp_path, checkpoint_every=0)
    resumed = fit(BEST, out=tmp_path)
    for net, other in ((whole.model, resumed.model), (whole.ema_model, resumed.ema_model)):
        for name, tensor in net.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor), name


def test_a_best_epoch_needs_images_to_choose_by():
    with pytest.raises(ValueError, match="validation_share must be above 0"):
        TINY.replace(best_epoch=True)
