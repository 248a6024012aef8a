"""A detector as one file, to be used without the training folder and without what training needs.

python -m dfjax.export --workdir runs/audio_focal --out detector.zip
python -m dfjax.predict --workdir detector.zip voicemail.mp3

In Python `dfjax.load("detector.zip")`. Without --workdir it is the detector of speech that comes with dfjax. The file
holds StableHLO programs for CPU, CUDA and TPU, weights, decision, calibration, what is typical, a model card and the
SHA-256 of each; it is refused if one of them does not match. Compare the SHA-256 of the file, which is printed, where
it comes from somebody else. JAX reads such programs for half a year of its versions at least; then export again. An
older JAX than the one that exported them need not read them: export with the oldest that is to judge.
"""

import json
import pathlib

import jax
import numpy as np
from etils import epath

import dfjax
from dfjax.decide import typicality
from dfjax.inference import bundle, lowering, scoring, trained, weights
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE, InputError
from dfjax.reporting import model_card
from dfjax.runtime import cli, process
from dfjax.runtime.strict_json import plain


def export(folder: str | pathlib.Path, path: str | pathlib.Path) -> tuple[str, int]:
    """Writes the bundle of a run; returns its SHA-256 and its size in bytes.

    Args:
      folder: the workdir, or the folder of a detector that comes with dfjax.
      path: of the bundle.

    Raises:
      InputError: the run is not finished or has no usable threshold, its detector cannot be lowered, or the file cannot
        be written.
    """
    if "\0" in str(path):  # known before the detector is lowered, which takes seconds
        raise InputError(f"--out {str(path)!r} cannot be the name of a file")
    if pathlib.Path(path).is_dir():
        raise InputError(f"--out {path} is a folder; give the file that is to be written, such as detector.zip")
    run, folder = trained.read(folder), epath.Path(folder)
    network = run.network
    known = folder / typicality.TYPICALITY
    arrays = {
        name: np.asarray(leaf) for name, (_, leaf) in weights.flatten(network.params, network.model_state).items()
    }
    about = {
        "dfjax": dfjax.__version__,
        "jax": jax.__version__,
        "model": run.config.model.name,
        "dataset": run.config.data.dataset,
        "step": network.step,
        "weights": weights.digest(network.params, network.model_state),
        "parameters": sum(x.size for x in jax.tree.leaves(network.params)),
        "input": {"modality": network.takes.modality, "size": network.takes.size, "samples": network.takes.samples},
        "shapes": scoring.shapes(network.takes),
        "media": run.media,
        "sample_rate": SAMPLE_RATE,
        "window": MAX_SAMPLES,
        "platforms": lowering.PLATFORMS,
    }
    basis = typicality.load(known).basis if known.exists() else None
    own_card = folder / bundle.CARD
    members = {
        bundle.CARD: own_card.read_bytes()
        if own_card.exists()
        else model_card.card(about, run.decision, basis).encode(),
        bundle.ABOUT: json.dumps(plain(about), indent=2, allow_nan=False).encode(),
        bundle.DECISION: (folder / bundle.DECISION).read_bytes(),
        bundle.WEIGHTS: bundle.pack(arrays),
    }
    if basis is not None:
        members[typicality.TYPICALITY] = known.read_bytes()
    members |= lowering.programs(
        network.graphdef, network.params, network.model_state, network.takes, embedding=basis is not None
    )
    return bundle.write(path, members), pathlib.Path(path).stat().st_size


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.export", description="A detector as one file.")
    result.add_argument("--workdir", help="a finished run (default: the detector of speech that comes with dfjax)")
    result.add_argument("--out", required=True, metavar="FILE", help="the bundle, such as detector.zip")
    return result


def main() -> None:
    """Exports, says what to do next."""
    flags = parser().parse_args()
    process.check_alone("dfjax.export")
    digest, size = export(flags.workdir or weights.SPEECH, flags.out)
    print(
        f"{flags.out}: {size / 1e6:.1f} MB, for {', '.join(lowering.PLATFORMS)}\nSHA-256 {digest}\n"
        f"Judge files: python -m dfjax.predict --workdir {flags.out} PATH..."
    )


if __name__ == "__main__":
    cli.main(main)
