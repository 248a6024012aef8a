"""Makes of a finished run the folder of a detector that comes with the package: plain files, nothing to execute.

python -m dfjax.inference.ship runs/audio_sources dfjax/shipped/speech
"""

import pathlib
import shutil
import sys

from dfjax.decide import typicality
from dfjax.inference import trained, weights
from dfjax.records import InputError
from dfjax.runtime import cli


def ship(run: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies the best checkpoint of a run as plain arrays, its experiment, decision and typicality.

    Raises:
      InputError: the run is not finished.
    """
    network = trained.restore(run)
    folder.mkdir(parents=True, exist_ok=True)
    weights.save(folder, network.params, network.model_state)
    for name in ("config.json", "decision.json", typicality.TYPICALITY):
        shutil.copyfile(run / name, folder / name)


def main() -> None:
    """Two folders, then one call."""
    if len(sys.argv) != 3:
        raise InputError("expected two folders: a finished run, and where its detector goes")
    ship(*map(pathlib.Path, sys.argv[1:]))


if __name__ == "__main__":
    cli.main(main)
