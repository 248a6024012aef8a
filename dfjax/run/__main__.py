"""python -m dfjax.run."""

from dfjax.run import main
from dfjax.runtime import cli

if __name__ == "__main__":
    cli.main(main)
