"""How fast the distance operators are on this machine, beside what one would write without them.

Everything is measured in one process, in turn, A B A B …, and told as medians; every contender's
results are compared with the reference before its time counts.
"""

from linfkit.bench.cases import FULL, QUICK, Case
from linfkit.bench.measuring import run
from linfkit.bench.results import Results, Row, Timing

__all__ = ["FULL", "QUICK", "Case", "Results", "Row", "Timing", "run"]
