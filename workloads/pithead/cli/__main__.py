"""`python -m pithead.cli`: the command where no script is installed."""

from pithead.cli import main

if __name__ == "__main__":
    main()
