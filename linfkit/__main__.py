"""`python -m linfkit`: the command line without the script."""

from linfkit.cli.app import main

if __name__ == "__main__":
    main()
