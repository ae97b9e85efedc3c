"""The same result everywhere: in another process, on two threads, with the reference kernels.

Of small nets every day: what must be equal bit for bit, and how many digits else. In the long form
notebooks are run anew, and every claim compared. That one seed gives one run, and that the kernels
agree with each other, is tested in `training/test_fit` and `kernels/test_cpu`. Not tested: other
processors, and GPUs.
"""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch

import linfkit as lk
from tests.helpers import ROOT

#: Wide enough, in large enough batches, for PyTorch to share work among threads.
WIDE = lk.load_recipe("digits-small").replace(width=128, batch_size=512, epochs=2)
SMALL = lk.load_recipe("digits-small").replace(width=12, train_images=320, epochs=3, batch_size=32)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def fit(recipe, out):
    return lk.fit(recipe, out=out, device="cpu", progress=False)


def digest(run):
    """SHA-256 of everything that a run leaves but its seconds."""
    rows = [{name: row[name] for name in row if name != "seconds"} for row in run.history]
    text = hashlib.sha256(f"{rows} {run.results}".encode())
    for net in (run.model, run.ema_model):
        for name, tensor in net.state_dict().items():
            text.update(name.encode() + tensor.numpy().tobytes())
    return text.hexdigest()


# --- every day


def test_another_process_trains_the_very_same_net(threads, tmp_path):
    threads(1)
    program = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1); "
        "from tests.robustness.test_same_everywhere import SMALL, digest, fit; "
        "print(digest(fit(SMALL, Path(sys.argv[1]))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},  # another order of every set
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == digest(fit(SMALL, tmp_path / "here"))


def test_two_threads_train_the_very_net_of_one(threads, monkeypatch, tmp_path):
    monkeypatch.setattr("linfkit.kernels.threads.PAIRS_WORTH_A_THREAD", 1)
    digests = []
    for count in (1, 2):
        threads(count)
        digests.append(digest(fit(WIDE, tmp_path / str(count))))
    assert digests[0] == digests[1]


# Of losses, for there the last digits stay the last. Single weights may differ by a whole step of
# training: where hardly any gradient arrives, Adam goes by its sign.
def test_with_the_reference_kernels_losses_differ_in_the_last_digits(monkeypatch, tmp_path):
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    ours = fit(SMALL, tmp_path / "numba")
    monkeypatch.setenv("LINFKIT_KERNELS", "reference")
    reference = fit(SMALL, tmp_path / "reference")
    assert digest(reference) != digest(ours)  # the variable was heard
    assert reference.column("loss") == pytest.approx(ours.column("loss"), rel=1e-5)
    two_images = 2 / len(lk.load_dataset("digits").test_x)
    assert reference.results == pytest.approx(ours.results, abs=two_images)


# --- at length

NOTEBOOKS = "00,05"  # of the largest batches, and of the claims that rounding moves most


def claims(out, **environment):
    """What the notebooks claim, by its name, when they run on one worker that trains its own nets.

    The command's exit code also tells of claims that do not hold, which is not what is asked here.
    """
    words = f"reproduce --profile quick --only {NOTEBOOKS} --workers 1 --out".split()
    subprocess.run(
        [sys.executable, "-m", "linfkit", *words, str(out)],
        env=os.environ | {"LINFKIT_CACHE": str(out / "cache")} | environment,
        capture_output=True,
        check=False,
    )
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert {notebook["status"] for notebook in results["notebooks"]} == {"ok"}
    return {f"{claim['notebook']}: {claim['id']}": claim for claim in results["claims"]}


@pytest.fixture(scope="module")
def on_one_thread(tmp_path_factory):
    return claims(tmp_path_factory.mktemp("one"), OMP_NUM_THREADS="1", LINFKIT_KERNELS="")


@pytest.mark.long
def test_on_two_threads_every_claim_has_the_same_value(on_one_thread, tmp_path):
    two = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}  # on a busy machine too
    assert claims(tmp_path, **two, LINFKIT_KERNELS="") == on_one_thread


@pytest.mark.long
def test_with_the_reference_kernels_every_claim_has_the_same_verdict(on_one_thread, tmp_path):
    reference = claims(tmp_path, OMP_NUM_THREADS="1", LINFKIT_KERNELS="reference")
    for name, claim in on_one_thread.items():
        values = f"{claim['value']:.4g} and {reference[name]['value']:.4g}"
        print(f"{name}: {values} where {claim['needed']} is needed")
    assert verdicts(reference) == verdicts(on_one_thread)


def verdicts(claims):
    return {name: claim["holds"] for name, claim in claims.items()}
