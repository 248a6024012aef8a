"""python -m dfjax.evaluate."""

from dfjax.evaluate import main
from dfjax.runtime import cli

if __name__ == "__main__":
    cli.main(main)
