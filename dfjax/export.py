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
from collections.abc import Mapping

from etils import epath

from dfjax.decide import decision, typicality
from dfjax.inference import bundle
from dfjax.records import InputError
from dfjax.reporting import model_card
from dfjax.runtime import cli, process


def export(folder: str | pathlib.Path, path: str | pathlib.Path) -> tuple[str, int]:
    """Writes the bundle of a run; returns its SHA-256 and its size in bytes.

    Args:
      folder: the workdir; or a bundle, as the folder of the detector that comes with dfjax is one.
      path: of the bundle.

    Raises:
      InputError: there is no such folder, the run is not finished or has no usable threshold, its detector cannot be
        lowered, the bundle is damaged, or the file cannot be written.
    """
    if "\0" in str(path):  # known before the detector is lowered, which takes seconds
        raise InputError(f"--out {str(path)!r} cannot be the name of a file")
    if pathlib.Path(path).is_dir():
        raise InputError(f"--out {path} is a folder; give the file that is to be written, such as detector.zip")
    members = bundle.read(folder).members if bundle.is_bundle(folder) else _lowered(folder)
    return bundle.write(path, members), epath.Path(path).stat().length


def _lowered(folder: str | pathlib.Path) -> Mapping[str, bytes]:
    from dfjax.inference import lowering  # and with it flax, which the detector that comes with dfjax does without

    found, folder = lowering.members(folder), epath.Path(folder)
    if (card := folder / bundle.CARD).exists():
        return {bundle.CARD: card.read_bytes(), **found}
    chosen = decision.parse(found[bundle.DECISION].decode(), bundle.DECISION)
    stored = found.get(typicality.TYPICALITY)
    basis = typicality.parse(stored, str(folder / typicality.TYPICALITY)).basis if stored else None
    return {bundle.CARD: model_card.card(json.loads(found[bundle.ABOUT]), chosen, basis).encode(), **found}


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
    digest, size = export(flags.workdir or bundle.SPEECH, flags.out)
    print(
        f"{flags.out}: {size / 1e6:.1f} MB, for {', '.join(bundle.PLATFORMS)}\nSHA-256 {digest}\n"
        f"Judge files: python -m dfjax.predict --workdir {flags.out} PATH..."
    )


if __name__ == "__main__":
    cli.main(main)
