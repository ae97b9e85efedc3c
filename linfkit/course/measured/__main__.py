"""`python -m linfkit.course.measured WHAT`: compute a table anew."""

import sys

from linfkit.course.measured import BASES, FILE, measure, observatory, plane


def main() -> None:
    """Train what a file holds, of a data set's ablations or watched nets, and write it."""
    watched = {"observatory": observatory, "plane": plane}
    choices = [*BASES, *watched]
    if len(sys.argv) != 2 or sys.argv[1] not in choices:
        sys.exit(f"usage: python -m linfkit.course.measured {{{','.join(choices)}}}")
    if sys.argv[1] in watched:
        watched[sys.argv[1]].measure()
        print(f"{watched[sys.argv[1]].FILE} is written")
    else:
        measure(sys.argv[1])
        print(f"{FILE} is written")


if __name__ == "__main__":
    main()
