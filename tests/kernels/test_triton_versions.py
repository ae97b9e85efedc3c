"""The GPU kernels' machine code under every Triton at hand: what an instruction more would cost.

The installed Triton, and those in the folders that LINFKIT_TRITONS names, which
`pip install --no-deps --target FOLDER triton==3.4.0` fills; separated as in PATH. No GPU is needed.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.kernels.test_cuda import INSTRUCTIONS, compiled, disassembled, spills, tiles_of

FOLDERS = ["", *filter(None, os.environ.get("LINFKIT_TRITONS", "").split(os.pathsep))]
CAPABILITIES = (80, 90, 100)

#: Instructions a pair, at most: of the distances at p=∞ with the block kept, and at p=8.
BARS = {("_farthest", None): 2.9, ("_distances", 8): 4.4}


def machine_code() -> dict:
    """Version of Triton; instructions a pair and spills in loops, by kernel, kind and GPU."""
    import triton

    from linfkit.kernels import cuda

    found = {"triton": triton.__version__}
    for name, kind in INSTRUCTIONS:
        tile = tiles_of(name, kind)[0]
        pairs = tile.rows * tile.columns // (32 * tile.warps) * cuda.STEP.value
        for capability in CAPABILITIES:
            _, loops = disassembled(compiled(name, kind, tile, capability).asm["cubin"])
            found[f"{name} {kind} sm_{capability}"] = [len(loops[-1]) / pairs, *map(spills, loops)]
    return found


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder or "installed")
def code(request):
    pytest.importorskip("triton")
    paths = os.pathsep.join(filter(None, [request.param, str(ROOT)]))
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.test_triton_versions"],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    print(json.dumps(found, indent=1))
    return found


@pytest.mark.long
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("kernel", "most"), BARS.items(), ids=lambda value: str(value))
def test_instructions_a_pair(code, kernel, most, capability):
    name, kind = kernel
    count, *_ = code[f"{name} {kind} sm_{capability}"]
    assert count <= most


@pytest.mark.long
def test_nothing_spills_in_a_loop(code):
    spilled = {kernel: each[1:] for kernel, each in code.items() if kernel != "triton"}
    assert {kernel: each for kernel, each in spilled.items() if any(each)} == {}


if __name__ == "__main__":
    print(json.dumps(machine_code()))
