"""`python -m linfkit.course.measured DATASET`: compute the table's rows of a data set anew."""

import sys

from linfkit.course.measured import BASES, FILE, measure


def main() -> None:
    """Train what the table holds of the named data set, and write the table."""
    if len(sys.argv) != 2 or sys.argv[1] not in BASES:
        sys.exit(f"usage: python -m linfkit.course.measured {{{','.join(BASES)}}}")
    measure(sys.argv[1])
    print(f"{FILE} is written")


if __name__ == "__main__":
    main()
