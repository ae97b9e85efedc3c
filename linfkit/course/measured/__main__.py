"""`python -m linfkit.course.measured WHAT`: compute a table anew."""

import sys

from linfkit.course.measured import BASES, FILE, measure, observatory


def main() -> None:
    """Train what a table holds, of a data set's ablations or of the observatory, and write it."""
    choices = [*BASES, "observatory"]
    if len(sys.argv) != 2 or sys.argv[1] not in choices:
        sys.exit(f"usage: python -m linfkit.course.measured {{{','.join(choices)}}}")
    if sys.argv[1] == "observatory":
        observatory.measure()
        print(f"{observatory.FILE} is written")
    else:
        measure(sys.argv[1])
        print(f"{FILE} is written")


if __name__ == "__main__":
    main()
