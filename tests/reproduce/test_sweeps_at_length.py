"""Tested, at length: that a sweep of a hundred points, on workers, leaves the process that gathers
it small, and every point's record and claims there.
Not tested: how long a point takes; what a notebook itself needs, which is its kernel's memory."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from linfkit.reproduce.results import Results
from tests.helpers import ROOT
from tests.helpers.small_notebooks import write_good_notebook

GIGABYTE = 10**9

SWEEP = """
import sys
from pathlib import Path
from linfkit.reproduce.reproduction import reproduce

folder = Path(sys.argv[1])
points = {"top": [float(top) for top in range(1, 11)], "epochs": list(range(10))}
reproduce("quick", folder / "out", notebooks=folder / "notebooks", sweep=points, workers=2)
print(Path("/proc/self/status").read_text())
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's memory counters")
def test_a_hundred_points_leave_the_main_process_below_a_gigabyte(tmp_path):
    write_good_notebook(tmp_path / "notebooks")
    ran = subprocess.run(
        [sys.executable, "-c", SWEEP, tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    peak = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", ran.stdout)[1])
    print(f"main process: {peak / 1e6:.0f} MB at most")
    assert peak < GIGABYTE
    out = tmp_path / "out"
    assert len(Results.load(out).notebooks) == len(list((out / "records").iterdir())) == 100
    with (out / "sweep.csv").open() as table:
        assert len(list(csv.DictReader(table))) == 100
    # a line a point is all that is said, however long a notebook runs
    assert len(ran.stderr.encode()) < 10**6
