"""The CPU kernels as machine code for 64-bit ARM, compiled here and read, not run.

A child process generates them for vectors of four numbers, which is what processors without AVX
get, and gives LLVM's code; that is compiled for ARM without a feature beyond NEON.
"""

import os
import re
import subprocess
import sys
from collections import Counter

import llvmlite.binding as llvm
import pytest

from tests.helpers import ROOT

TRIPLE = "aarch64-unknown-linux-gnu"

GENERATE = """
import llvmlite.binding as llvm
llvm.get_host_cpu_features = llvm.FeatureMap  # no feature at all
import torch
from numba.core.caching import NullCache
from linfkit.kernels import compiling
compiling._MachineCode = lambda function: NullCache()  # kept code has no LLVM code beside it
from linfkit.kernels import cpu, vectors
assert vectors.LANES == 4
cpu.lp_dist(torch.ones(1, 4), torch.ones(1, 4), 8)
(code,) = cpu._distances.inspect_llvm().values()
print(code)
"""


@pytest.fixture(scope="module")
def assembly():
    """The kernel of distances, for every p, as lines of ARM's assembly."""
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    code = subprocess.run(
        [sys.executable, "-c", GENERATE],
        env=os.environ | generic | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # Numba's counter of references, in x86 instructions, is no part of the kernel
    code = re.sub(
        r"^define [^\n]*@NRT_decref\(.*?^}",
        "declare void @NRT_decref(ptr)",
        code,
        flags=re.S | re.M,
    )
    module = llvm.parse_assembly(re.sub(r"^target .*$", "", code, flags=re.MULTILINE))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(
        cpu="generic", opt=3, codemodel="default"
    )
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    module.verify()
    return machine.emit_assembly(module).splitlines()


@pytest.fixture(scope="module")
def innermost(assembly):
    """The loops without another one inside, each as its instructions."""
    labels, loops = {}, []
    for number, line in enumerate(assembly):
        if label := re.match(r"(\.LBB\w+):", line):
            labels[label[1]] = number
        elif (jump := re.search(r"(\.LBB\w+)$", line)) and jump[1] in labels:
            loops.append(range(labels[jump[1]], number + 1))
    inner = [
        loop
        for loop in loops
        if not any(loop != other and set(other) <= set(loop) for other in loops)
    ]
    instructions = [[assembly[number].strip() for number in loop] for loop in inner]
    return [[line for line in loop if not line.startswith(".")] for loop in instructions]


def on_four_numbers(loop):
    """How often each of NEON's operations on four numbers stands in a loop."""
    return Counter(line.split()[0] for line in loop if ".4s" in line)


@pytest.mark.parametrize(
    "operations",
    [{"fabd": 16, "smax": 16}, {"fsub": 16, "fmul": 32, "fmla": 16}],
    ids=["p=inf", "p=8"],
)
def test_sixteen_pairs_are_found_by_four_numbers_at_a_time(innermost, operations):
    assert operations in [dict(on_four_numbers(loop)) for loop in innermost]


def test_at_infinity_all_stays_in_registers(innermost):
    (loop,) = [loop for loop in innermost if on_four_numbers(loop)["smax"] == 16]
    assert not [line for line in loop if re.search(r"\bsp\b", line)]
    assert len(loop) <= 48  # 32 operations, 8 loads, and what counts and jumps


def test_no_walk_along_rows_goes_number_by_number(innermost):
    walks = [loop for loop in innermost if {"fabd", "fsub"} & on_four_numbers(loop).keys()]
    assert len(walks) >= 8  # tiles of several shapes, for each way to find powers
    one_by_one = r"\s*f(abd|sub|mul|madd|add)\s+s\d"
    assert not [line for loop in walks for line in loop if re.match(one_by_one, line)]
