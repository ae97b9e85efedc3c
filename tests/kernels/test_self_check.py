"""The self-check of the GPU kernels, without a GPU: what it finds wrong, and what then computes.

Kernels are stood for by the reference, or by it with one fault; the GPU by its name; the processes
that check it by a line of Python. That the kernels themselves pass the check is tested in Triton's
interpreter, on one small case of each kind. Not tested: a GPU (`test_cuda`, `pytest -m gpu`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from linfkit import kernels
from linfkit.cli import doctor
from linfkit.cli.app import app
from linfkit.kernels import first_results, reference, self_check
from linfkit.kernels.first_results import Checked
from linfkit.kernels.self_check import KINDS, Outcome, error_of, outcome

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SMALL = ((1, 3, 2), (3, 5, 4))
OPERATORS = ("lp_dist", "lp_dist_backward", "linf_interval", "linf_interval_backward")
RIGHT = Outcome(found_with={"GPU": "a GPU", "Triton": "3.7.1"}, failed={})


def draw(*sizes, seed=0):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def kernels_with(**faulty):
    """The reference, with some operators replaced."""
    return SimpleNamespace(**{name: getattr(reference, name) for name in OPERATORS} | faulty)


# --- small cases


@pytest.fixture
def checked_kernels(monkeypatch):
    """The module of kernels, that computes by the reference in memory of its own."""
    cuda = pytest.importorskip("linfkit.kernels.cuda")

    def into_its_memory(result):
        memory = cuda._empty(result, *result.shape)
        return memory.copy_(result)

    def lp_dist(x, w, p):
        return into_its_memory(reference.lp_dist(x, w, p))

    monkeypatch.setattr(cuda, "lp_dist", lp_dist)
    for name in OPERATORS[1:]:
        monkeypatch.setattr(cuda, name, getattr(reference, name))
    return cuda


@pytest.mark.parametrize("kind", KINDS)
def test_right_kernels_pass(checked_kernels, kind):
    assert error_of(kind, CPU, SMALL) is None


def test_the_kernels_pass_in_triton_s_interpreter():
    pytest.importorskip("triton")
    code = (
        "import json, torch; from linfkit.kernels.self_check import error_of\n"
        "kinds = ['p=∞', 'p=8', 'real p', 'intervals']\n"
        "errors = {kind: error_of(kind, torch.device('cpu'), [(3, 5, 4)]) for kind in kinds}\n"
        "print(json.dumps(errors))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == dict.fromkeys(["p=∞", "p=8", "real p", "intervals"])


def wrong_by_a_little(cuda):
    whole = cuda.lp_dist
    return lambda x, w, p: whole(x, w, p) * (1 + 2e-5)


def writes_before_its_memory(cuda):
    def lp_dist(x, w, p):
        out = cuda._empty(x, len(x), len(w)).copy_(reference.lp_dist(x, w, p))
        torch.as_strided(out, (1,), (1,), out.storage_offset() - 1).fill_(0)
        return out

    return lp_dist


def leaves_some_out(cuda):
    def lp_dist(x, w, p):
        out = cuda._empty(x, len(x), len(w))
        out[1:] = reference.lp_dist(x, w, p)[1:]
        return out

    return lp_dist


def differs_each_time(cuda):
    calls = []

    def lp_dist(x, w, p):
        calls.append(1)
        return reference.lp_dist(x, w, p) * (1 + 1e-6 * len(calls))

    return lp_dist


def spreads_nan(cuda):
    def lp_dist(x, w, p):
        out = reference.lp_dist(x, w, p)
        return torch.full_like(out, math.nan) if out.isnan().any() else out

    return lp_dist


def does_not_compile(cuda):
    def lp_dist(x, w, p):
        raise RuntimeError("ptxas died\nat length")

    return lp_dist


def has_no_memory(cuda):
    def lp_dist(x, w, p):
        raise torch.cuda.OutOfMemoryError("2 GiB")

    return lp_dist


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (wrong_by_a_little, "1 × 3 × 2, p=8: the error of distances is 2.0e-05, and 4.0e-06"),
        (writes_before_its_memory, "1 × 3 × 2, p=8: something was written outside an output"),
        (leaves_some_out, "1 × 3 × 2, p=8: distances are NaN at the wrong places"),
        (differs_each_time, "1 × 3 × 2, p=8: distances of two runs differ"),
        (spreads_nan, "a row with NaN, p=8: distances are NaN at the wrong places"),
        (does_not_compile, "RuntimeError: ptxas died"),
        (has_no_memory, self_check.OUT_OF_MEMORY),
    ],
)
def test_wrong_kernels_are_found(checked_kernels, monkeypatch, fault, said):
    monkeypatch.setattr(checked_kernels, "lp_dist", fault(checked_kernels))
    assert error_of("p=8", CPU, SMALL).startswith(said)


def test_wrong_gradients_are_found(checked_kernels, monkeypatch):
    def last_of_equals(grad, x, w, out, p, need_x, need_w):
        flipped = reference.lp_dist_backward(grad, x.flip(1), w.flip(1), out, p, need_x, need_w)
        return tuple(each.flip(1) for each in flipped)

    monkeypatch.setattr(checked_kernels, "lp_dist_backward", last_of_equals)
    assert error_of("p=∞", CPU, SMALL).startswith("1 × 3 × 2 with ties, p=inf: the error of grad")
    assert error_of("p=8", CPU, SMALL) is None


# --- once a machine


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a GPU: what its children do, as Python, and the kinds each was to check."""
    pytest.importorskip("triton")
    found = SimpleNamespace(
        name="a GPU",
        capability=(9, 0),
        children=[],
        says=f"import json; print(json.dumps(dict.fromkeys({list(KINDS)})))",
    )
    run = subprocess.run

    def counted(command, **settings):
        found.children.append([word for word in command if word in KINDS])
        return run(command, **settings)

    def properties(device):
        return SimpleNamespace(
            name=found.name, major=found.capability[0], minor=found.capability[1]
        )

    monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: found.capability)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(self_check, "_checking", lambda device: ["-c", found.says])
    monkeypatch.setattr(subprocess, "run", counted)
    kernels._checked.cache_clear()
    kernels._none.cache_clear()
    yield found
    kernels._checked.cache_clear()
    kernels._none.cache_clear()


def cached(tmp_path):
    return list((tmp_path / "cache").rglob("*.json"))


def test_a_machine_is_checked_once_and_says_so(machine, tmp_path, capfd):
    first = outcome(GPU)
    assert first.failed == {}
    assert capfd.readouterr().err.count("checks its GPU kernels") == 1
    assert outcome(GPU) == first
    assert machine.children == [list(KINDS)]
    assert len(cached(tmp_path)) == 1
    assert not capfd.readouterr().err


def test_another_gpu_and_a_wish_are_reasons_to_check_anew(machine, tmp_path):
    outcome(GPU)
    machine.name = "another GPU"
    outcome(GPU)
    assert len(cached(tmp_path)) == 2
    outcome(GPU, again=True)
    assert len(machine.children) == 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"failed": {}}', b"\xff"])
def test_a_damaged_outcome_is_made_anew(machine, tmp_path, content):
    first = outcome(GPU)
    (path,) = cached(tmp_path)
    path.write_bytes(content)
    assert outcome(GPU).found_with == first.found_with
    assert len(machine.children) == 2
    assert Outcome.model_validate_json(path.read_bytes()).failed == {}


def test_a_child_that_aborts_fails_the_kind_it_was_at_alone(machine):
    machine.says = (
        "import sys, json, os\n"
        "for kind in sys.argv[1:]:\n"
        "    if kind == 'p=8': os.abort()\n"
        "    print(json.dumps({kind: None}), flush=True)"
    )
    failed = outcome(GPU).failed
    assert list(failed) == ["p=8"]
    assert "ended with -6" in failed["p=8"]
    first, second = machine.children
    assert first == list(KINDS)
    assert second == list(KINDS)[list(KINDS).index("p=8") + 1 :]


def test_a_check_without_end_fails_what_is_left_and_is_remembered(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(self_check, "SECONDS", 0.0)  # a child has a second at least
    machine.says = (
        "import threading, json; print(json.dumps({'p=∞': None}), flush=True)\n"
        "threading.Event().wait()"
    )
    failed = outcome(GPU).failed
    assert list(failed) == list(KINDS)[1:]
    assert all("took more than" in error for error in failed.values())
    assert outcome(GPU).failed == failed
    assert len(machine.children) == 1


def test_out_of_memory_is_tried_again(machine, tmp_path):
    errors = dict.fromkeys(KINDS) | {"p=8": self_check.OUT_OF_MEMORY}
    machine.says = f"import json; print(json.dumps({errors}))"
    assert list(outcome(GPU).failed) == ["p=8"]
    assert not cached(tmp_path)


def test_two_at_once_check_once(machine):
    found = []
    threads = [threading.Thread(target=lambda: found.append(outcome(GPU))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(machine.children) == 1


def test_a_cache_that_cannot_be_written_is_done_without(machine, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "file"))
    assert outcome(GPU).failed == {}
    assert len(machine.children) == 1


# --- in each process


def calls(p=8.0):
    """Each operator, with arguments."""
    x, w, grad = draw(7, 5), draw(4, 5, seed=1), draw(7, 4, seed=2)
    out = reference.lp_dist(x, w, p)
    return {
        "lp_dist": (x, w, p),
        "lp_dist_backward": (grad, x, w, out, p, True, True),
        "linf_interval": (x, x + 1, w),
        "linf_interval_backward": (grad, grad.flip(0), x, x + 1, w),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("p", [1.0, 2.0, 7.3, 8.0, 1000.0, math.inf])
@pytest.mark.parametrize("name", OPERATORS)
def test_results_that_are_right_are_taken_and_compared_once(monkeypatch, name, p):
    compared, compare = [], first_results.entries_agree
    monkeypatch.setattr(
        first_results, "entries_agree", lambda *each: compared.append(1) or compare(*each)
    )
    checked = Checked(kernels_with(), RIGHT)
    for _ in range(2):
        found = getattr(checked, name)(*calls(p)[name])
        truth = getattr(reference, name)(*calls(p)[name])
        assert all(map(torch.equal, found, truth))
    assert len(compared) == 1


@pytest.mark.parametrize("p", [1.0, 7.3, 8.0, math.inf])
@pytest.mark.parametrize("name", OPERATORS)
def test_results_that_are_wrong_are_computed_by_the_reference_after_one_warning(name, p):
    def doubled(*arguments):
        found = getattr(reference, name)(*arguments)
        return (
            2 * found
            if isinstance(found, torch.Tensor)
            else (found[0], *(2 * t for t in found[1:]))
        )

    checked = Checked(kernels_with(**{name: doubled}), RIGHT)
    arguments = calls(p)[name]
    with pytest.warns(RuntimeWarning, match=rf"{name} differs.*a GPU.*Triton 3\.7\.1") as warned:
        found = [getattr(checked, name)(*arguments) for _ in range(2)]
    assert len(warned) == 1
    truth = getattr(reference, name)(*arguments)
    assert all(all(map(torch.equal, each, truth)) for each in found)
    assert len(checked.failed) == 1


def test_a_kind_falls_back_alone():
    x, w, _ = calls()["lp_dist"]
    checked = Checked(kernels_with(lp_dist=lambda x, w, p: torch.zeros(7, 4) + p), RIGHT)
    checked._seen.add(("lp_dist", "p=2"))
    with pytest.warns(RuntimeWarning, match="p=8"):
        checked.lp_dist(x, w, 8.0)
    assert list(checked.failed) == ["p=8"]
    assert (checked.lp_dist(x, w, 2.0) == 2).all()


def test_a_kind_that_failed_on_this_machine_is_not_computed(monkeypatch):
    def never(*arguments):
        raise AssertionError

    failed = RIGHT.model_copy(update={"failed": {"p=8": "the error is large"}})
    checked = Checked(kernels_with(lp_dist=never), failed)
    with pytest.warns(RuntimeWarning, match=r"p=8.*the error is large"):
        found = checked.lp_dist(*calls()["lp_dist"])
    assert torch.equal(found, reference.lp_dist(*calls()["lp_dist"]))


def test_an_error_of_the_kernel_is_one_of_its_kind_and_full_memory_is_not():
    def raising(error):
        def lp_dist(*arguments):
            raise error

        return Checked(kernels_with(lp_dist=lp_dist), RIGHT)

    with pytest.warns(RuntimeWarning, match="RuntimeError: no ptxas"):
        raising(RuntimeError("no ptxas")).lp_dist(*calls()["lp_dist"])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        raising(torch.cuda.OutOfMemoryError()).lp_dist(*calls()["lp_dist"])


def test_nothing_is_compared_while_a_graph_is_captured(monkeypatch):
    monkeypatch.setattr(first_results, "_is_capturing", lambda: True)
    checked = Checked(kernels_with(lp_dist=lambda x, w, p: torch.zeros(7, 4)), RIGHT)
    assert not checked.lp_dist(*calls()["lp_dist"]).any()
    monkeypatch.setattr(first_results, "_is_capturing", lambda: False)
    with pytest.warns(RuntimeWarning, match="differs"):
        assert checked.lp_dist(*calls()["lp_dist"]).all()


def test_numbers_that_are_not_finite_are_no_fault():
    x, w, p = calls()["lp_dist"]
    x[0, 0], w[-1, -1] = math.nan, math.inf
    checked = Checked(kernels_with(), RIGHT)
    checked.lp_dist(x, w, p)
    assert not checked.failed


# --- who computes


def on_gpu(dtype=torch.float32):
    return SimpleNamespace(dtype=dtype, device=GPU)


def test_triton_is_the_default_on_a_gpu_and_checked(machine):
    chosen = kernels.kernel_for(on_gpu())
    assert isinstance(chosen, Checked)
    assert chosen is kernels.kernel_for(on_gpu())
    assert len(machine.children) == 1
    assert kernels.kernel_for(on_gpu(torch.float64)) is reference


def test_the_environment_skips_the_check_or_forces_the_reference(machine, monkeypatch):
    from linfkit.kernels import cuda

    monkeypatch.setenv("LINFKIT_KERNELS", "triton")
    assert kernels.kernel_for(on_gpu()) is cuda
    monkeypatch.setenv("LINFKIT_KERNELS", "reference")
    assert kernels.kernel_for(on_gpu()) is kernels.kernel_for(torch.zeros(1)) is reference
    monkeypatch.setenv("LINFKIT_KERNELS", "trition")
    with pytest.raises(ValueError, match=r"LINFKIT_KERNELS must be .*triton; got 'trition'"):
        kernels.kernel_for(torch.zeros(1))
    assert not machine.children


@pytest.mark.filterwarnings("error")
def test_older_and_other_gpus_have_the_reference_said_once(machine):
    machine.capability = (7, 0)
    with pytest.warns(RuntimeWarning, match=r"capability 7\.5, and it is of capability 7\.0"):
        assert kernels.kernel_for(on_gpu()) is reference
    mps = SimpleNamespace(dtype=torch.float32, device=torch.device("mps"))
    with pytest.warns(RuntimeWarning, match="it is of mps"):
        assert kernels.kernel_for(mps) is reference
    assert kernels.kernel_for(mps) is kernels.kernel_for(on_gpu()) is reference
    assert not machine.children


# --- who says so


@pytest.fixture
def gpu_at_hand(machine, monkeypatch):
    """The machine, where tensors "on the GPU" are on the CPU and say that they are on the GPU."""
    kernel_for = kernels.kernel_for

    def of_device(tensor):
        return kernel_for(on_gpu() if tensor.device.type == "meta" else tensor)

    zeros = torch.zeros
    monkeypatch.setattr(kernels, "kernel_for", of_device)
    monkeypatch.setattr(
        torch,
        "zeros",
        lambda *size, device=None, **other: zeros(
            *size,
            device="meta" if torch.device(device or "cpu").type == "cuda" else device,
            **other,
        ),
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a GPU")
    return machine


def test_the_doctor_names_what_computes_and_when_it_was_checked(gpu_at_hand):
    errors = dict.fromkeys(KINDS) | {"p=8": "it is off"}
    gpu_at_hand.says = f"import json; print(json.dumps({errors}))"
    found = doctor.in_words(doctor.findings())["kernels"]
    today = outcome(GPU).checked
    assert found.startswith(("Numba on the CPU; Triton", "plain PyTorch on the CPU; Triton"))
    assert "plain PyTorch for p=8 (it is off)" in found
    assert f"checked {today:%d %B %Y}" in found


def test_the_doctor_checks_again_where_asked_to(gpu_at_hand):
    kernels.description("cuda")
    assert len(gpu_at_hand.children) == 1
    ran = CliRunner().invoke(app, ["doctor", "--check"])
    assert ran.exit_code == 0, ran.output
    assert len(gpu_at_hand.children) == 2
    assert "Triton, checked" in ran.output


def test_the_doctor_has_nothing_to_check_without_a_gpu():
    ran = CliRunner().invoke(app, ["doctor", "--check"])
    assert ran.exit_code == 2
    assert "--check must have a CUDA device to check; there is none" in " ".join(
        ran.output.replace("│", " ").split()
    )


@pytest.mark.parametrize(
    ("choice", "said"), [("triton", "Triton, unchecked"), ("reference", "plain PyTorch")]
)
def test_what_the_environment_chose_is_named(gpu_at_hand, monkeypatch, choice, said):
    monkeypatch.setenv("LINFKIT_KERNELS", choice)
    assert kernels.description("cuda") == said
