"""`python -m localset` and the `localset` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if "get" in sys.argv:
        from localset.cli import quick

        code = quick.get(sys.argv[1:])
        if code is not None:
            sys.exit(code)
    from localset.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
