"""`python -m localset` and the `localset` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from localset.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
