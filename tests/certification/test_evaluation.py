"""Tested: what `evaluate` reports and attacks, what records and tables say, which data is refused.
Not tested: the proofs (test_certify.py), the strength of the attack (test_attacks.py)."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import linfkit as lk
from linfkit import PGD, evaluate
from linfkit.certification import evaluation
from linfkit.cli.certify import accuracies_table, explanation, heading
from linfkit.cli.record import Record
from linfkit.course.figures import accuracy_against_eps
from linfkit.nn.checkpoints import save_model
from linfkit.training.saved import DataIdentity, SavedNet

RECIPE = lk.load_recipe("digits-small").replace(width=16, epochs=2, test_images=200)
FEW = PGD(steps=5)
EPS = 0.05


@pytest.fixture(scope="module")
def digits():
    return lk.load_dataset("digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    lk.fit(RECIPE, out=folder, progress=False)
    return folder


@pytest.fixture
def trained(folder):
    return SavedNet.read(folder)


@pytest.fixture
def found(trained, digits):
    return evaluate(trained.model, digits, EPS, FEW, progress=False)


@pytest.fixture
def attacked_images(monkeypatch):
    """The numbers of images that each call of the attack was given."""
    counts, survives_pgd = [], evaluation.survives_pgd

    def watched(model, x, *arguments):
        counts.append(len(x))
        return survives_pgd(model, x, *arguments)

    monkeypatch.setattr(evaluation, "survives_pgd", watched)
    return counts


def too_certain(net):
    """The net, with a proof of its own that claims the whole range for what is read correctly."""

    class TooCertain(type(net)):
        def certified_radius(self, x, labels):
            correct = self(x).argmax(dim=1) == labels
            return torch.where(correct, 1.0, -1.0)

    net.__class__ = TooCertain
    return net


def printed(record, width=120):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(heading(record))
        console.print(accuracies_table(record))
        console.print(explanation(record))
    return capture.get()


class TestEvaluate:
    def test_accuracies_are_those_of_the_certificates(self, trained, found, digits):
        x, y = digits.test_x / 255, digits.test_y
        margin = lk.certify(trained.model, x, y)
        intervals = lk.Certificates(lk.interval_radius(trained.model, x, y))
        assert list(found.proofs) == ["margin", "intervals", "either"]
        assert found.proofs["margin"].accuracy(EPS) == margin.accuracy(EPS)
        assert found.proofs["intervals"].accuracy(EPS) == intervals.accuracy(EPS)
        assert found.certified_accuracy >= max(margin.accuracy(EPS), intervals.accuracy(EPS))
        assert found.clean_accuracy == margin.clean_accuracy
        assert found.images == 360

    @pytest.mark.parametrize("eps", [0.0, 0.01, 0.05, 0.2, 1.0])
    def test_certified_is_at_most_attacked_at_most_clean(self, trained, digits, eps):
        found = evaluate(trained.model, digits, eps, FEW, images=100, progress=False)
        assert found.certified_accuracy <= found.attacked_accuracy <= found.clean_accuracy

    def test_either_proof_is_the_better_one_of_each_image(self, found):
        margin, intervals, either = (proof.radius for proof in found.proofs.values())
        assert torch.equal(either, torch.maximum(margin, intervals))

    def test_only_what_no_proof_settles_is_attacked_and_a_few_more(
        self, trained, digits, attacked_images
    ):
        found = evaluate(trained.model, digits, EPS, FEW, progress=False)
        strongest = found.strongest
        undecided = (strongest.correct & (strongest.radius <= EPS)).sum().item()
        certified = (strongest.radius > EPS).sum().item()
        assert sum(attacked_images) == undecided + min(certified, evaluation.PROBES)
        assert undecided > 0 < certified

    def test_the_attack_is_that_of_survives_pgd(self, trained, digits):
        eps, x, y = 0.15, digits.test_x / 255, digits.test_y
        found = evaluate(trained.model, digits, eps, PGD(steps=20), progress=False)
        alone = lk.survives_pgd(trained.model, x, y, eps, steps=20)
        assert found.attacked_accuracy == pytest.approx(alone.double().mean().item(), abs=0.01)

    def test_restarts_try_other_seeds_on_what_is_left(self, trained, digits, monkeypatch):
        seeds = []

        def breaks_every_second(model, x, labels, eps, steps, seed):
            seeds.append(seed)
            return torch.arange(len(x)) % 2 == 0

        monkeypatch.setattr(evaluation, "survives_pgd", breaks_every_second)
        monkeypatch.setattr(evaluation, "PROBES", 0)
        one = evaluate(trained.model, digits, EPS, PGD(5), progress=False)
        three = evaluate(trained.model, digits, EPS, PGD(5, restarts=3, seed=7), progress=False)
        assert seeds == [0, 7, 8, 9]
        undecided = (one.strongest.correct & (one.strongest.radius <= EPS)).sum().item()
        left = [
            found.survives.sum().item() - 360 * found.certified_accuracy for found in (one, three)
        ]
        assert left == pytest.approx([math.ceil(undecided / 2), math.ceil(undecided / 8)])

    def test_the_first_images_may_be_taken_alone(self, trained, found, digits):
        few = evaluate(trained.model, digits, EPS, images=50, progress=False)
        assert few.images == 50
        torch.testing.assert_close(few.strongest.radius, found.strongest.radius[:50])

    def test_without_an_attack_nothing_is_said_of_one(self, trained, digits):
        found = evaluate(trained.model, digits, EPS, images=50, progress=False)
        assert found.attack is found.survives is found.attacked_accuracy is None

    def test_a_hybrid_is_certified_from_its_features_and_from_the_pixels_on(self, digits):
        net = lk.HybridNet(lk.LpDistNet(64, width=8, depth=2, classes=10), hidden=6)
        found = evaluate(net, digits, 0.001, FEW, images=50, progress=False)
        x, y = digits.test_x[:50] / 255, digits.test_y[:50]
        assert list(found.proofs) == ["features", "intervals", "either"]
        assert torch.equal(found.proofs["features"].radius, lk.certify(net, x, y).radius)
        assert torch.equal(found.proofs["intervals"].radius, lk.interval_radius(net, x, y))

    def test_a_net_whose_forward_is_unknown_has_its_margin_alone(self, digits):
        class OwnForward(lk.LpDistNet):
            def forward(self, x):
                return super().forward(x)

        net = OwnForward(64, width=8, depth=2, classes=10)
        with pytest.warns(UserWarning, match="cannot verify") as warned:
            found = evaluate(net, digits, EPS, images=20, progress=False)
        assert warned[0].filename == __file__
        assert list(found.proofs) == ["margin"]

    def test_a_net_without_parameters_is_refused(self, digits):
        class Frozen(lk.LpDistNet):
            def certified_radius(self, images, labels):
                return torch.zeros(len(images))

        net = Frozen(64, width=8, depth=2, classes=10)
        for layer in net.modules():
            for name, weight in list(layer.named_parameters(recurse=False)):
                delattr(layer, name)
                layer.register_buffer(name, weight.detach())
        with pytest.raises(ValueError, match=r"^model must hold parameters; got none$"):
            evaluate(net, digits, EPS, images=20, progress=False)

    def test_the_spread_is_that_of_so_many_coins(self, found):
        share = found.certified_accuracy
        assert found.spread == pytest.approx(math.sqrt(share * (1 - share) / 360))

    def test_a_broken_proof_is_an_error(self, trained, digits):
        with pytest.raises(RuntimeError, match=r"test image \d+ misclassified .* Please report it"):
            evaluate(too_certain(trained.model), digits, 0.3, PGD(20), images=100, progress=False)

    def test_the_model_is_left_as_it_was(self, trained, digits):
        trained.model.train().p = 8
        evaluate(trained.model, digits, EPS, FEW, images=20, progress=False)
        assert trained.model.training
        assert trained.model.p == 8

    @pytest.mark.parametrize(
        ("changed", "error", "message"),
        [
            ({"data": "digits"}, TypeError, "^data must be a Dataset; got str$"),
            ({"eps": 8}, ValueError, r"eps must be in pixels .*8/255"),
            (
                {"images": 361},
                ValueError,
                "test_images must be at most 360, all there are; got 361",
            ),
            ({"model": lk.LpDistNet(784, 8, 2, 10)}, ValueError, "784 pixels"),
            ({"model": torch.nn.Linear(64, 10)}, ValueError, "ℓp-distance layers"),
        ],
    )
    def test_wrong_arguments_are_named(self, digits, changed, error, message):
        arguments = {"model": lk.LpDistNet(64, 8, 2, 10), "data": digits, "eps": EPS}
        with pytest.raises(error, match=message):
            evaluate(**(arguments | changed), progress=False)

    @pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"seed": -1}])
    def test_an_attack_has_steps_and_starts(self, wrong):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be at least"):
            PGD(**wrong)


class TestTrainedNets:
    def test_a_folder_is_its_averaged_net_with_recipe_and_hash(self, folder, trained):
        file = folder / "ema_model.safetensors"
        assert trained.path == file
        assert trained.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (trained.recipe, trained.name, trained.eps) == (RECIPE, "digits-small", 0.1)

    def test_the_data_is_that_of_the_recipe(self, trained):
        data = trained.load_data()
        assert len(data.test_x) == 200
        assert data.fingerprint == trained.trained_on.fingerprint

    def test_label_noise_makes_no_other_data_of_it(self, tmp_path):
        lk.fit(RECIPE.replace(label_noise=0.2, epochs=1), out=tmp_path, progress=False)
        trained = SavedNet.read(tmp_path)
        assert trained.load_data().fingerprint == trained.trained_on.fingerprint

    def test_other_data_of_the_same_name_is_refused(self, tmp_path, digits):
        lk.fit(RECIPE.replace(epochs=1), digits.subset(400), out=tmp_path, progress=False)
        trained = SavedNet.read(tmp_path)
        with pytest.raises(
            ValueError, match=r"was trained on digits .*--dataset digits"
        ) as refusal:
            trained.load_data()
        assert trained.trained_on.fingerprint[:12] in str(refusal.value)

    def test_a_net_without_a_recipe_needs_data_and_eps(self, tmp_path):
        save_model(tmp_path / "net.safetensors", lk.LpDistNet(64, 8, 2, 10), header={})
        trained = SavedNet.read(tmp_path / "net.safetensors")
        assert (trained.name, trained.trained_on) == ("net.safetensors", None)
        with pytest.raises(
            ValueError, match=r"^dataset must be given, since net\.safetensors names no recipe"
        ):
            trained.load_data()
        with pytest.raises(
            ValueError, match=r"^eps must be given, since net\.safetensors names no recipe"
        ):
            _ = trained.eps

    def test_no_file_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no checkpoint"):
            SavedNet.read(tmp_path)


class TestRecords:
    def test_a_record_is_json_that_reads_back(self, trained, found, digits):
        record = Record.of(trained, digits, found)
        assert Record.model_validate_json(record.model_dump_json()) == record
        told = json.loads(record.model_dump_json())
        assert told["certified"] == {
            name: proof.accuracy(EPS) for name, proof in found.proofs.items()
        }
        assert told["data"]["fingerprint"] == digits.fingerprint
        assert told["attack"] == {"steps": 5, "restarts": 1, "seed": 0}
        assert told == json.loads(
            Record.of(trained, digits, replace(found, attack=PGD(np.int64(5), np.uint8(1))))
            .model_copy(update={"finished": record.finished})
            .model_dump_json()
        )
        assert {"linfkit", "python", "torch"} <= told["versions"].keys()

    def test_the_table_has_the_papers_columns(self, trained, found, digits):
        text = printed(Record.of(trained, digits, found))
        for share in (found.clean_accuracy, found.attacked_accuracy, found.certified_accuracy):
            assert f"{100 * share:.2f}" in text
        for word in ("digits-small", "0.05", "PGD-5", "margin", "intervals", "either"):
            assert word in text

    def test_both_data_sets_are_named_where_they_differ(self, trained, found, digits):
        record = Record.of(trained, digits, found)
        own = Record.of(trained, trained.load_data(), found)
        both = [DataIdentity.of(digits).shown, trained.trained_on.shown]
        assert record.on_other_data
        assert all(shown in printed(record) for shown in both)
        assert not own.on_other_data
        assert "rained on" not in printed(own)

    def test_eps_is_written_as_people_write_it(self, trained, digits):
        found = evaluate(trained.model, digits, 8 / 255, images=20, progress=False)
        text = printed(Record.of(trained, digits, found))
        assert "8/255" in text
        assert "PGD" not in text


class TestFigure:
    def test_lines_are_proofs_and_the_point_the_attack(self, found):
        *lines, point = accuracy_against_eps(found).data
        assert [line.name for line in lines] == [f"certified, {name}" for name in found.proofs]
        assert [line.y[0] for line in lines] == pytest.approx([found.clean_accuracy] * 3, abs=0.01)
        assert (point.x, point.y) == ((EPS,), (found.attacked_accuracy,))

    @pytest.mark.parametrize("eps", [0.0, 1.0])
    def test_the_axis_stays_within_the_range_of_a_pixel(self, trained, digits, eps):
        found = evaluate(trained.model, digits, eps, images=20, progress=False)
        assert max(accuracy_against_eps(found).data[0].x) == eps
