"""Makes of a finished run the folder of a detector that comes with the package: a bundle's members, and its experiment.

python -m dfjax.inference.ship runs/audio_sources dfjax/shipped/speech

The model card, README.md, is written by hand and stays as it lies there; the manifest seals it, so who edits it calls
this again, with the folder as the run. Export with the oldest jax that pyproject allows: newer ones read what it wrote.
"""

import pathlib
import sys

from dfjax.inference import bundle, lowering
from dfjax.records import InputError
from dfjax.runtime import cli, files

CONFIG = "config.json"  # for what judging does without: evaluating on datasets, resampled embeddings


def ship(run: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the bundle of a run's best checkpoint as a folder, and its experiment beside it.

    Args:
      run: the workdir, or a folder that was made of one.
      folder: where they go.

    Raises:
      InputError: the run is not finished or has no usable threshold.
    """
    members, card = lowering.members(run), folder / bundle.CARD
    config = (run / CONFIG).read_bytes()
    bundle.unpack(folder, ({bundle.CARD: card.read_bytes()} if card.exists() else {}) | members)
    files.write(folder / CONFIG, config)


def main() -> None:
    """Two folders, then one call."""
    if len(sys.argv) != 3:
        raise InputError("expected two folders: a finished run, and where its detector goes")
    ship(*map(pathlib.Path, sys.argv[1:]))


if __name__ == "__main__":
    cli.main(main)
