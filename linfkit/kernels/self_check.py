"""Self-check of the GPU kernels: each kind is compared with the reference before it is trusted.

Once a machine, a child process computes small cases of every kind (an illegal address would end the
parent's CUDA context). The outcome is kept in the cache for as long as kernels, GPU, driver, Triton
and PyTorch are the same. `first_results` goes by it, in each process.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from linfkit._util.environment import now, source_hash
from linfkit._util.files import cache_folder, folder_lock, write_atomically
from linfkit._util.progress import note
from linfkit.kernels import reference

INTERVALS, REAL = "intervals", "real p"
#: Exponents that stand for each kind of p; None for intervals.
KINDS: dict[str, tuple[float | None, ...]] = {
    "p=∞": (math.inf,),
    **{f"p={p}": (float(p),) for p in (1, 2, 4, 8, 16)},
    REAL: (7.3, 100.5, 1000.0),
    INTERVALS: (None,),
}
SHAPES = ((1, 3, 37), (35, 17, 5), (129, 257, 65), (257, 1, 1))  # B, I, O
SECONDS = 180.0  # for all kinds together
GUARD = 512  # bytes around an output that must stay as they are
OUT_OF_MEMORY = "out of memory"


class Outcome(BaseModel):
    """Outcome of the check on one machine.

    Attributes:
        checked: when.
        found_with: GPU, capability, versions and the kernels' hash.
        failed: error of each kind that is left to the reference.
    """

    checked: datetime = Field(default_factory=now)
    found_with: dict[str, str]
    failed: dict[str, str]


def kind_of(p: float) -> str:
    """The kind of p that is checked, and may fail, by itself.

    >>> [kind_of(p) for p in (math.inf, 8, 7.3)]
    ['p=∞', 'p=8', 'real p']
    """
    return next((kind for kind, exponents in KINDS.items() if exponents == (p,)), REAL)


def outcome(device: torch.device, again: bool = False) -> Outcome:
    """The check's outcome on a GPU: from the cache, or made now in a child process.

    Args:
        device: a CUDA device.
        again: check even if the cache holds an outcome.
    """
    made_with = found_with(device)
    key = sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / "gpu-kernels"
    with ExitStack() as held:
        with suppress(OSError):  # of a cache that cannot be written
            held.enter_context(folder_lock(folder, wait=True, otherwise=""))
        path = folder / f"{key}.json"
        if not again and (kept := _read(path, made_with)):
            return kept
        found = Outcome(found_with=made_with, failed=_checked_in_children(device))
        if OUT_OF_MEMORY not in found.failed.values():  # that may pass
            with suppress(OSError):
                write_atomically(path, found.model_dump_json(indent=1).encode())
        return found


def found_with(device: torch.device) -> dict[str, str]:
    """Everything that decides if the kernels compute what they should."""
    import triton

    properties = torch.cuda.get_device_properties(device)
    return {
        "GPU": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "Triton": triton.__version__,
        "PyTorch": torch.__version__,
        "kernels": source_hash("kernels/cuda.py", "kernels/reference.py", "kernels/self_check.py"),
    }


def _driver() -> str:
    with suppress(OSError):
        return Path("/proc/driver/nvidia/version").read_text().partition("\n")[0]
    return str(torch.version.cuda)


def _read(path: Path, made_with: dict[str, str]) -> Outcome | None:
    with suppress(OSError, ValidationError):
        kept = Outcome.model_validate_json(path.read_bytes())
        if kept.found_with == made_with:
            return kept
    return None


def _checked_in_children(device: torch.device) -> dict[str, str]:
    """Errors of all kinds; a child that dies fails the kind it was at, and another goes on."""
    note("linfkit checks its GPU kernels, once on this machine: up to three minutes …")
    errors: dict[str, str | None] = {}
    until = time.monotonic() + SECONDS
    while left := [kind for kind in KINDS if kind not in errors]:  # those after one that aborts
        command = [sys.executable, *_checking(device), *left]
        settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        try:
            child = subprocess.run(command, timeout=max(1.0, until - time.monotonic()), **settings)
            said, fault = child.stdout, f"the process that checked it ended with {child.returncode}"
        except subprocess.TimeoutExpired as error:
            said, fault = error.stdout or b"", f"the check took more than {SECONDS:.0f} s"
        for line in said.decode(errors="replace").splitlines():
            with suppress(ValueError):
                errors |= json.loads(line)
        unfinished = [kind for kind in left if kind not in errors]
        timed_out = time.monotonic() >= until
        errors |= dict.fromkeys(unfinished if timed_out else unfinished[:1], fault)
    return {kind: error for kind, error in errors.items() if error}


def _checking(device: torch.device) -> list[str]:
    """Python's arguments to start a child."""
    code = f"from {__name__} import check; import sys; check(*sys.argv[1:])"
    return ["-c", code, str(device)]


def check(device: str, *kinds: str) -> None:
    """Check kinds one after the other, and print a line of JSON for each: its error, or null."""
    torch.use_deterministic_algorithms(True)
    for kind in kinds:
        print(json.dumps({kind: error_of(kind, torch.device(device))}), flush=True)


def error_of(
    kind: str, device: torch.device, shapes: Sequence[tuple[int, int, int]] = SHAPES
) -> str | None:
    """The first thing that a kind computes wrongly, on small cases; None if all is right.

    Args:
        kind: one of `KINDS`.
        device: a CUDA device; the CPU, where Triton is its interpreter.
        shapes: B, I and O of the cases.
    """
    try:
        for p in KINDS[kind]:
            for case, inputs in _cases(shapes, device, p):
                if fault := _fault(inputs, p):
                    return f"{case}{'' if p is None else f', p={p:g}'}: {fault}"
    except torch.cuda.OutOfMemoryError:
        return OUT_OF_MEMORY
    except Exception as error:  # whatever Triton, its compilers or the driver raise
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None


def _cases(
    shapes: Sequence[tuple[int, int, int]], device: torch.device, p: float | None
) -> Iterator[tuple[str, list[Tensor]]]:
    """Arguments of the operator, and the gradients of its outputs."""
    generator = torch.Generator().manual_seed(0)

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator).to(device)

    for b, i, o in shapes:
        x, w, grads = normal(b, i), normal(o, i), [normal(b, o) for _ in range(1 + (p is None))]
        operands = [x, w] if p is not None else [x, x + normal(b, i).abs(), w]
        yield f"{b} × {i} × {o}", [*operands, *grads]
        yield f"{b} × {i} × {o} with ties", [*(each.round() for each in operands), *grads]
        for scale in (1e-6, 1e6):
            yield f"{b} × {i} × {o}, scale {scale:g}", [*(scale * t for t in operands), *grads]
    yield "distance zero", [*map(torch.ones_like, operands), *grads]
    broken = [each.clone() for each in operands[:-1]]
    for each in broken:
        each[0, 0] = math.nan
    yield "a row with NaN", [*broken, w, *grads]


def _fault(inputs: list[Tensor], p: float | None) -> str | None:
    """The first thing wrong with one case."""
    from linfkit.kernels import cuda

    guards: list[Tensor] = []
    with _put_into(cuda, _empty=partial(_guarded, guards), quickest=lambda tiles, *_: tiles[0]):
        outputs = _outputs(cuda, inputs, p)
        others = [_outputs(cuda, inputs, p)]
        if inputs[0].is_cuda:
            stream = torch.cuda.Stream(inputs[0].device)
            stream.wait_stream(torch.cuda.current_stream(inputs[0].device))
            with torch.cuda.stream(stream):
                others.append(_outputs(cuda, inputs, p))
            stream.synchronize()
    if not all(bool((guard == 255).all()) for guard in guards):
        return "something was written outside an output"
    for name, output in outputs.items():
        if not all(
            torch.equal(output.view(torch.int32), o[name].view(torch.int32)) for o in others
        ):
            return f"{name} of two runs differ"
    exact = p in (math.inf, None)  # differences are rounded, and may be equal by that
    truths = _outputs(reference, inputs if exact else [each.double() for each in inputs], p)
    with_nan = any(bool(each.isnan().any()) for each in inputs)
    for name, truth in truths.items():
        output, bound = outputs[name].to(truth), _allowed(name, p)
        if name in VALUES:
            if not torch.equal(output.isnan(), truth.isnan()):
                return f"{name} are NaN at the wrong places"
            off = ((output - truth).abs() / truth.abs().clamp(min=1e-30)).nan_to_num().max()
        elif with_nan:
            continue  # gradients of NaN may be anything
        else:
            off = (output - truth).norm() / truth.norm().clamp(min=1e-30)
        if not off <= bound:
            return f"the error of {name} is {off.item():.1e}, and {bound:.1e} is allowed"
    return None


@contextmanager
def _put_into(module: ModuleType, **parts: Any) -> Iterator[None]:
    """Exchange parts of a module within the block."""
    before = {name: getattr(module, name) for name in parts}
    vars(module).update(parts)
    try:
        yield
    finally:
        vars(module).update(before)


VALUES = ("distances", "lower ends", "upper ends")


def _outputs(kernels: Any, inputs: list[Tensor], p: float | None) -> dict[str, Tensor]:
    """Values and gradients, by name."""
    if p is None:
        *box_and_w, grad_lower, grad_upper = inputs
        values = kernels.linf_interval(*box_and_w)
        grads = kernels.linf_interval_backward(grad_lower, grad_upper, *box_and_w)
        names = [*VALUES[1:], "gradients in lower", "gradients in upper", "gradients in w"]
        return dict(zip(names, (*values, *grads), strict=True))
    x, w, grad = inputs
    out = kernels.lp_dist(x, w, p)
    grad_x, grad_w = kernels.lp_dist_backward(grad, x, w, out, p, True, True)
    return {"distances": out, "gradients in x": grad_x, "gradients in w": grad_w}


def _allowed(name: str, p: float | None) -> float:
    """Relative error that float32 excuses: of values each, of gradients in norm."""
    if p in (math.inf, None):
        return 0.0 if name in VALUES else 2e-6
    assert p is not None
    if name in VALUES:
        return 1e-5 if kind_of(p) == REAL else 4e-6
    return 1e-5 + 1e-6 * p * (kind_of(p) == REAL)


def _guarded(
    guards: list[Tensor], like: Tensor, *size: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Memory full of NaN, or of −1, between guards."""
    dtype = dtype or like.dtype
    count = math.prod(size) * dtype.itemsize
    whole = torch.full((count + 2 * GUARD,), 255, dtype=torch.uint8, device=like.device)
    guards += [whole[:GUARD], whole[GUARD + count :]]
    return whole[GUARD : GUARD + count].view(dtype).view(size)
