"""python -m dfjax.serve."""

from dfjax.runtime import cli
from dfjax.serve import main

if __name__ == "__main__":
    cli.main(main)
