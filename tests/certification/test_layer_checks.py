"""Tested: each layer's constant against what is measured, which nets are refused, and why.
Not tested: how often layers round (test_rounding.py), certificates (test_certify.py)."""

import math
from functools import partialmethod

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.swa_utils import AveragedModel

import linfkit as lk
from linfkit.certification.attacks import smallest_perturbation
from linfkit.certification.exact import exact_radius
from linfkit.certification.intervals import interval_radius
from linfkit.certification.layer_checks import roundings_of
from linfkit.nn.hybrid import IntervalMLP, ScaledLinear
from linfkit.nn.known_layers import unwrapped

INF = math.inf


def distances(classes=3):
    return lk.LpDistNet(16, width=8, depth=2, classes=classes)


def hybrid():
    return lk.HybridNet(distances(), hidden=6)


class Residual(nn.Module):
    """Adds its input to what its layer gives, and is twice as steep."""

    def __init__(self):
        super().__init__()
        self.layer = lk.LpDist(16, 16)

    def forward(self, x):
        return x + self.layer(x)


class Doubled(lk.LpDist):
    """Twice a distance."""

    def forward(self, x):
        return 2 * super().forward(x)


class Steeper(lk.LpDistNet):
    """Twice a net."""

    def forward(self, x):
        return 2 * super().forward(x)


class Rectified(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x):
        return super().forward(x).relu()


class Standardised(nn.Conv2d):
    """A convolution by other weights than it holds, as weight standardisation has it."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std(), self.bias)


class Ten(nn.BatchNorm2d):
    """Ten times a batch norm."""

    def forward(self, x):
        return 10 * super().forward(x)


class Drawn(nn.Linear):
    """A linear layer whose weights are drawn in another way."""

    def reset_parameters(self):
        nn.init.constant_(self.weight, 0.5)
        nn.init.zeros_(self.bias)


class Brighter(lk.LpDistNet):
    """A net that takes its images ten times as bright."""

    def normalise(self, x):
        return super().normalise(10 * x)


class Weighed(lk.Ensemble):
    """Members whose logits are multiplied before their mean is taken."""

    def logits(self, x):
        return 10 * super().logits(x)


class Called(lk.LpDistNet):
    """A net that does more when it is called."""

    def __call__(self, x):
        return 10 * super().__call__(x)


class Rotated(nn.Module):
    """A layer of a reader's own, which states that it rounds nothing."""

    roundings = 0

    def forward(self, x):
        return x.roll(1, dims=1)


def measured(layer, *shape):
    x = torch.rand(20, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return lk.lipschitz_estimate(layer.double().eval(), x).max().item()


def filled(layer, value):
    nn.init.constant_(layer.weight, value)
    return layer


def batch_norm():
    layer = nn.BatchNorm2d(2)
    nn.init.constant_(layer.weight, -3.0)
    layer.running_var.copy_(torch.tensor([4.0, 0.25]))
    return layer


# --- constants


@pytest.mark.parametrize(
    ("layer", "shape", "constant"),
    [
        (lk.LpDist(4, 3, bias=True), (4,), 1),
        (lk.LpDistConv2d(2, 3, kernel_size=2), (2, 3, 3), 1),
        (lk.MeanShift(4), (4,), 1),
        (nn.MaxPool2d(2), (2, 4, 4), 1),
        (nn.ReLU(), (4,), 1),
        (nn.Tanh(), (4,), 1),
        (nn.Flatten(), (2, 4), 1),
        (nn.Unflatten(1, (2, 2)), (4,), 1),
        (nn.Dropout(0.5), (4,), 1),
        (nn.AvgPool2d(2), (2, 4, 4), 1),
        (nn.AvgPool2d((2, 3), stride=1, padding=1), (2, 4, 4), 1),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), (2, 4, 4), 1),
        (nn.AvgPool2d(3, stride=2, ceil_mode=True), (2, 4, 4), 1),
        (nn.AvgPool2d((3,), stride=1), (2, 4, 4), 1),
        (nn.AvgPool2d(2, divisor_override=8), (2, 4, 4), 0.5),
        (nn.AvgPool2d(3, stride=1, divisor_override=-4), (2, 4, 4), 2.25),
        (nn.AvgPool2d(3, stride=1, divisor_override=4), (2, 4, 4), 2.25),
        (filled(nn.Linear(4, 3), -0.5), (4,), 2),
        (filled(ScaledLinear(4, 3), -0.5), (4,), 1),
        (filled(nn.Conv2d(2, 4, 2), -0.5), (2, 3, 3), 4),
        (filled(nn.Conv2d(2, 4, 2, groups=2), -0.5), (2, 3, 3), 2),
        (filled(nn.ConvTranspose2d(2, 1, 2, stride=1), 0.5), (2, 3, 3), 4),
        (batch_norm(), (2, 3, 3), 6),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_the_constant_is_what_is_measured_of_the_layer_and_no_less(layer, shape, constant):
    (row,) = lk.check_lipschitz(layer.eval())
    assert (row.name, row.layer) == ("", type(layer).__name__)
    assert row.constant == pytest.approx(constant, rel=1e-4)
    assert measured(layer, *shape) <= row.constant * (1 + 1e-4)
    assert measured(layer, *shape) > 0.4 * row.constant


@pytest.mark.parametrize("layer", [Rectified(4, 3), Standardised(1, 3, 2), Ten(2)])
def test_nothing_is_known_of_a_layer_that_does_more_than_multiply(layer):
    assert lk.check_lipschitz(layer.eval())[0].constant == INF


def test_what_a_layer_s_weights_are_drawn_from_is_its_own_affair():
    assert lk.check_lipschitz(Drawn(4, 3))[0].constant == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [nn.Linear, ScaledLinear])
def test_a_constant_stands_however_large_the_bias_and_coarse_the_type(kind, dtype):
    layer = filled(kind(784, 10), 0.01)
    nn.init.constant_(layer.bias, 1e4)
    layer = layer.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        (row,) = lk.check_lipschitz(layer)
    used = layer.scaled_weight if kind is ScaledLinear else layer.weight
    assert row.constant == used.double().abs().sum(dim=1).max().item() > 0


def test_every_layer_is_named_as_the_model_names_it():
    net = nn.Sequential(nn.Flatten(), lk.Ensemble([distances(), AveragedModel(distances())]))
    rows = lk.check_lipschitz(net)
    modules = dict(net.named_modules())
    assert [row.name for row in rows] == [
        "0",
        *(f"1.models.0.layers.{place}" for place in range(3)),
        *(f"1.models.1.module.layers.{place}" for place in range(3)),
    ]
    assert all(row.layer == type(modules[row.name]).__name__ for row in rows)
    assert all(row.sound and row.constant == 1 for row in rows)


@pytest.mark.parametrize("net", [lk.LpDistLeNet((1, 28, 28), hidden=8), lk.LpDistNet(4, 8, 3, 2)])
@pytest.mark.parametrize("p", [8, INF])
def test_linfkit_s_own_nets_are_sound_whatever_their_p_and_mode(net, p):
    net.train().p = p
    assert all(row.sound for row in lk.check_lipschitz(net))
    assert net.training


def test_what_a_hybrid_holds_is_told_though_its_proof_is_its_own():
    rows = {row.name: row for row in lk.check_lipschitz(hybrid())}
    assert rows["layers.0"].constant == 1
    assert rows["mlp.hidden"].layer == "ScaledLinear"
    assert rows[""].constant == INF


# --- what certify refuses


def at_the_end(layer):
    return nn.Sequential(distances(), layer)


def in_front(layer):
    return nn.Sequential(layer, distances())


def hooked(net, name=""):
    """The net, one of whose modules is given ten times what comes in."""
    module = net.get_submodule(name)
    module.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],))
    return net


def listened(net):
    net.register_forward_hook(lambda module, inputs, output: 10 * output)
    return net


def in_another_unit(scale):
    net = distances()
    net.scale.fill_(scale)
    return net


def hybrid_of(*first):
    """A hybrid whose features come from layers that somebody has put before its own."""
    net = distances()
    net.layers = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), *first, nn.Flatten(), *net.layers)
    return lk.HybridNet(net, hidden=6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            at_the_end(filled(nn.Linear(3, 3), 1.0)),
            r"its layer '1', a Linear, multiplies by its weights, and is up to 3 times as steep, "
            r"so that half the margin is no radius$",
        ),
        (
            at_the_end(filled(nn.Linear(3, 3), 0.1)),
            r"its layer '1', a Linear, multiplies by its weights, in sums whose rounding is not",
        ),
        (
            in_front(nn.Sequential(nn.AvgPool2d(3, 1, padding=1, divisor_override=4))),
            r"its layer '0.0', a AvgPool2d, sums a window, and is up to 2\.25 times as steep",
        ),
        (in_front(nn.Dropout(0.1)), r"its layer '0', a Dropout, is active: .* model.eval\(\)"),
        (in_front(nn.BatchNorm2d(1)), r"its layer '0', a BatchNorm2d, multiplies by its weights"),
        (in_front(nn.Upsample(4)), r"its layer '0', a Upsample, is not known to lengthen nothing"),
        (
            nn.Sequential(nn.Flatten(), Residual(), distances()),
            r"its layer '1', a Residual, has a forward of its own, which can add",
        ),
        (
            nn.Sequential(nn.Flatten(), Doubled(16, 3)),
            r"its layer '1', a Doubled, is not known to lengthen nothing",
        ),
        (
            nn.Sequential(lk.VotingEnsemble([distances()], logit_scale=1.0)),
            r"its layer '0', a VotingEnsemble, gives mean probabilities, .* certify the Ensemble",
        ),
        (
            lk.VotingEnsemble([distances()], logit_scale=1.0),
            r"a VotingEnsemble gives mean probabilities, .* half their difference is no radius",
        ),
        (lk.Ensemble([hybrid()]), r"its layer 'models.0.mlp.hidden', a ScaledLinear, multiplies"),
        (hooked(distances(), "layers.0"), r"its layer 'layers.0', a LpDist, has a hook, which can"),
        (hooked(distances(), "layers"), r"its layer 'layers', a Sequential, has a hook"),
        (listened(distances()), r"a LpDistNet has a hook, .* so that .*: remove the hook"),
        (hooked(lk.Ensemble([distances()]), "models.0"), r"its layer 'models.0', a LpDistNet, has"),
        (
            in_front(nn.Unflatten(0, (2, 2))),
            r"its layer '0', a Unflatten, may mix the samples of a",
        ),
        (in_front(nn.Flatten(-3)), r"its layer '0', a Flatten, may mix the samples of a batch"),
        (nn.Sequential(Brighter(16, 8, 2, 3)), r"its layer '0', a Brighter, has a forward of its"),
        (nn.Sequential(Weighed([distances()])), r"its layer '0', a Weighed, has a forward of its"),
        (nn.Sequential(Called(16, 8, 2, 3)), r"its layer '0', a Called, has a forward of its own"),
        (
            hybrid_of(nn.AvgPool2d(3, 1, padding=1, divisor_override=4)),
            r"its layer '1', a AvgPool2d, sums a window, and is up to 2\.25 times as steep",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_would_make_the_number_meaningless_is_named(model, message):
    x = torch.rand(4, 1, 4, 4)
    lipschitz = "model must give logits that are 1-Lipschitz"
    with pytest.raises(ValueError, match=f"^{lipschitz}; {message}"):
        lk.certify(model, x, torch.zeros(4).long())


@pytest.mark.parametrize("scale", [-1.0, 0.0, INF, math.nan])
@pytest.mark.parametrize("of", [lambda net: net, nn.Sequential, lambda net: lk.Ensemble([net])])
def test_a_scale_that_is_no_unit_is_refused(scale, of):
    with pytest.raises(
        ValueError, match=r"^model must have a scale that is a positive number; its scale is -?\w"
    ):
        lk.certify(of(in_another_unit(scale)), torch.rand(4, 16), torch.zeros(4).long())


@pytest.mark.parametrize(
    "model", [Brighter(16, 8, 2, 3), Weighed([distances()]), Called(16, 8, 2, 3)]
)
def test_a_method_of_ones_own_is_a_forward_of_ones_own(model):
    with pytest.warns(UserWarning, match="cannot verify"):
        certificates = lk.certify(model, torch.rand(4, 16), torch.zeros(4).long())
    assert certificates.rounding is None


class SteeperLinear(ScaledLinear):
    def forward(self, x):
        return 50 * super().forward(x)


class Doubling(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class Surer(IntervalMLP):
    def worst_logits(self, u, labels, radius):
        return super().worst_logits(u, labels, radius) - 1


class Turned(lk.HybridEnsemble):
    def forward(self, x):
        return -super().forward(x)


def with_part(name, part):
    net = hybrid()
    net.set_submodule(name, part)
    return net


@pytest.mark.parametrize(
    "model",
    [
        hooked(hybrid()),
        listened(hybrid()),
        hooked(hybrid(), "mlp.last"),
        with_part("mlp.hidden", SteeperLinear(8, 6)),
        with_part("mlp.last", SteeperLinear(6, 3)),
        with_part("mlp", Surer(8, 6, 3)),
        with_part("layers", Doubling(*hybrid().layers)),
        listened(lk.HybridEnsemble([hybrid()])),
        Turned([hybrid()]),
        lk.HybridEnsemble([listened(hybrid())]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_hybrid_that_is_not_as_it_was_made_is_refused(model):
    with pytest.raises(
        ValueError, match=r"^model must be a plain Hybrid\w+; got one with a hook, overridden"
    ):
        lk.certify(model, torch.rand(4, 16), torch.zeros(4).long())


def test_a_hook_of_all_modules_is_seen():
    hook = register_module_forward_hook(lambda module, inputs, output: 10 * output)
    try:
        with pytest.raises(ValueError, match=r"a LpDist, has a hook"):
            lk.certify(distances(), torch.rand(4, 16), torch.zeros(4).long())
    finally:
        hook.remove()


def test_a_net_that_does_not_leave_training_is_refused():
    class Restless(lk.MeanShift):
        def train(self, mode=True):
            return super().train()

    net = nn.Sequential(lk.LpDist(16, 3), Restless(3))
    told = r"^model must go into evaluation mode; its train\(\) keeps it in training$"
    with pytest.raises(ValueError, match=told):
        lk.certify(net, torch.rand(4, 16), torch.zeros(4).long())


# --- what a class computes with


class Core(nn.Module):
    roundings = 0

    def forward(self, x):
        return self.helped(x)

    @staticmethod
    def helped(x):
        return x


class OtherHelp(Core):
    @staticmethod
    def helped(x):
        return 10 * x


class Between(Core):
    def forward(self, x):
        return 10 * super().forward(x)


class Above(Core):
    roundings = 0

    def forward(self, x):
        return super().forward(x)


class Mixed(Above, Between):
    """Above's super() is Between."""


class Fixed(lk.LpDist):
    p = 8.0


class CalledElsewhere(nn.Identity):
    def _call_impl(self, x):
        return 10 * x


class Partly(nn.Module):
    roundings = 0

    def times(self, x, factor):
        return factor * x

    forward = partialmethod(times, factor=1)


class Fewer(nn.Identity):
    roundings = -5


def patched(name):
    layer = Core()
    setattr(layer, name, lambda x: 10 * x)
    return layer


@pytest.mark.parametrize(
    ("layer", "known"),
    [
        (Core(), True),
        (Above(), True),
        (Partly(), True),
        (OtherHelp(), False),
        (Between(), False),
        (Mixed(), False),
        (Fixed(2, 3), False),
        (CalledElsewhere(), False),
        (Fewer(), False),
        (nn.Flatten(0), False),
        (patched("forward"), False),
        (patched("helped"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_layer_is_known_where_nothing_that_it_computes_with_is_another(layer, known):
    assert (roundings_of(layer) is not None) is known


def test_what_only_shows_a_layer_changes_nothing():
    class Shown(lk.LpDist):
        def extra_repr(self):
            return "of mine"

    net = nn.Sequential(nn.Flatten(), Shown(16, 3))
    assert lk.certify(net, torch.rand(4, 1, 4, 4), torch.zeros(4).long()).rounding is not None


# --- the plain net that some proofs are of


def edited(change):
    net = distances()
    change(net)
    return net


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (edited(lambda net: net.layers.insert(2, nn.ReLU())), r"'layers.2', a ReLU, is not"),
        (edited(lambda net: net.layers.insert(0, lk.MeanShift(16))), r"'layers.0', a MeanShift"),
        (edited(lambda net: net.layers.append(lk.SortDist(3, 3, 0.0))), r"'layers.3', a SortDist"),
        (edited(lambda net: hooked(net, "layers.1")), r"'layers.1', a MeanShift, is not"),
        (
            edited(lambda net: hooked(net, "layers")),
            r"^model must be a plain LpDistNet; got one with a hook, overridden methods",
        ),
        (
            edited(listened),
            r"^model must be a plain LpDistNet; got one with a hook, overridden methods",
        ),
        (
            Steeper(16, 8, 2, 3),
            r"^model must be a plain LpDistNet; got one with a hook, overridden",
        ),
        (in_another_unit(-1.0), r"^model must have a scale that is a positive number"),
    ],
)
def test_layer_by_layer_only_the_plain_net_is_solved(model, message):
    with pytest.raises(ValueError, match=message):
        exact_radius(model.eval(), torch.rand(16), 0)


@pytest.mark.parametrize(
    "model",
    [
        in_front(nn.Dropout(0.1)).eval(),
        in_front(nn.Dropout(0.0)),
        in_front(nn.AvgPool2d(3, stride=1, padding=1)),
        nn.Sequential(nn.Flatten(), Rotated(), distances()),
        AveragedModel(distances()),
    ],
    ids=["dropout at rest", "dropout of nothing", "a mean", "a stated layer", "a moving average"],
)
def test_what_is_1_lipschitz_is_certified(model):
    x = torch.rand(50, 1, 4, 4)
    labels = torch.zeros(50).long()
    certificates = lk.certify(model, x, labels)
    with torch.no_grad():
        half_margin = lk.certified_radius(model.eval()(x), labels)
    torch.testing.assert_close(certificates.radius, half_margin, rtol=0, atol=3e-5)


@pytest.fixture
def alone(tmp_path):
    """A group of processes for this one alone, as DistributedDataParallel wants one."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "AveragedModel": AveragedModel,
    "one in another": lambda net: torch.compile(
        nn.DataParallel(AveragedModel(net)), backend="eager"
    ),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("held", [lambda net: net, nn.Sequential, lambda net: lk.Ensemble([net])])
@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_is_certified_as_the_net_that_it_wraps(wrapped, held):
    net, x, labels = distances(), torch.rand(4, 16), torch.zeros(4).long()
    wanted = lk.certify(held(net), x, labels)
    found = lk.certify(held(wrapped(net)), x, labels)
    assert torch.equal(found.radius, wanted.radius)
    assert torch.equal(found.rounding, wanted.rounding)
    assert all(row.sound for row in lk.check_lipschitz(held(wrapped(net))))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_of_a_wrapper_every_proof_is_that_of_the_net(wrapped):
    net, x, labels = distances().eval(), torch.rand(4, 16), torch.zeros(4).long()
    assert torch.equal(interval_radius(wrapped(net), x, labels), interval_radius(net, x, labels))
    assert exact_radius(wrapped(net), x[0], 0).lower == exact_radius(net, x[0], 0).lower
    assert lk.lipschitz_by_layer(wrapped(net).eval(), x) == lk.lipschitz_by_layer(net, x)
    assert lk.lipschitz_bound(wrapped(net)) == 1
    of_hybrid = hybrid()
    wanted = lk.certify(of_hybrid, x, labels).radius
    assert torch.equal(lk.certify(wrapped(of_hybrid), x, labels).radius, wanted)
    found = smallest_perturbation(wrapped(net), x, labels, steps=5)
    assert torch.equal(found, smallest_perturbation(net, x, labels, steps=5))


def listened_to(wrapper):
    wrapper.register_forward_hook(lambda module, inputs, output: 2 * output)
    return wrapper


def another_forward(wrapper):
    net = unwrapped(wrapper)
    wrapper.forward = lambda x: 2 * net(x)
    return wrapper


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("changed", [listened_to, another_forward])
@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.filterwarnings("ignore:cannot verify")
def test_a_wrapper_that_computes_something_else_is_not_the_net(wrapped, changed):
    x, labels = torch.rand(4, 16), torch.zeros(4).long()
    wrapper = changed(wrapped(distances().eval()))
    assert unwrapped(wrapper) is wrapper
    assert not lk.check_lipschitz(wrapper)[-1].sound
    with pytest.raises(TypeError, match=r"^model must be an LpDistNet"):
        exact_radius(wrapper, x[0], 0)
    with pytest.raises(ValueError, match=r"^model must (be made of|give logits)"):
        interval_radius(wrapper, x, labels)
    with pytest.raises(ValueError, match=r"^model must give logits that are 1-Lipschitz"):
        lk.certify(nn.Sequential(wrapper), x, labels)
    with pytest.raises(ValueError, match=r"^model must give logits that are 1-Lipschitz"):
        lk.certify(changed(wrapped(hybrid())), x, labels)
    if changed is another_forward:  # which cannot be verified, so rounding is left out
        assert lk.certify(wrapper, x, labels).rounding is None
        return
    with pytest.raises(ValueError, match="has a hook"):
        lk.certify(wrapper, x, labels)


def test_a_forward_of_ones_own_is_taken_at_its_word_with_a_warning():
    model, x, labels = Steeper(16, 8, 2, 3).eval(), torch.rand(4, 16), torch.zeros(4).long()
    warned = (
        r"^cannot verify Steeper\.forward\(\); assuming that it only composes its layers, so that "
        r"its logits are 1-Lipschitz; rounding is not counted\. nn\.Sequential or a method "
        "certified_radius would make this certain$"
    )
    with pytest.warns(UserWarning, match=warned) as warnings:
        certificates = lk.certify(model, x, labels)
    assert warnings[0].filename == __file__
    with torch.no_grad():
        assert torch.equal(certificates.radius, lk.certified_radius(model(x), labels))
    assert certificates.rounding is None


def test_a_model_with_a_proof_of_its_own_is_taken_at_its_word():
    class Proved(Residual):
        def certified_radius(self, x, labels):
            return lk.certified_radius(self(x), labels) / 2

    model, x, labels = Proved(), torch.rand(4, 16), torch.zeros(4).long()
    with torch.no_grad():
        assert torch.equal(lk.certify(model, x, labels).radius, model.certified_radius(x, labels))


def test_a_proof_of_radius_0_is_of_a_prediction_that_is_right():
    class Unproved(Residual):
        def certified_radius(self, x, labels):
            return torch.zeros(len(x))

    certificates = lk.certify(Unproved(), torch.rand(4, 16), torch.zeros(4).long())
    assert (certificates.clean_accuracy, certificates.accuracy(0)) == (1, 0)
