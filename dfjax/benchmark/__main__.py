"""`python -m dfjax.benchmark`; see `command`."""

from dfjax.benchmark import main
from dfjax.runtime import cli

if __name__ == "__main__":
    cli.main(main)
