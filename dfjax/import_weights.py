"""Published weights as a finished run: predict, evaluate and tune take its folder like any other.

python -m dfjax.import_weights --model aasist --weights AASIST.pth --workdir runs/aasist
python -m dfjax.predict --workdir runs/aasist voicemail.mp3

Until it is tuned the threshold is 0, where the published logits of fake and real are equal:

python -m dfjax.evaluate --workdir runs/aasist --datasets folder_audio/NAME --split validation
python -m dfjax.tune --workdir runs/aasist --dataset folder_audio/NAME --criterion f1

A released file holds no training data, so what is typical of them is not known and no verdict is `uncertain` for it.
"""

import hashlib
import pathlib

import numpy as np
from etils import epath

from dfjax.decide import calibration
from dfjax.decide.decision import write_decision
from dfjax.records import InputError
from dfjax.runtime import cli

DETECTORS = {  # published head and all -> the arguments that build a loaded model anew
    "aasist": lambda model: {"variant": model.variant},
    "lcnn": lambda model: {},
    "rawnet2": lambda model: {},
}
TRAINED_ON = "asvspoof2019_la"  # all three
BATCH = 8  # clips scored at once: 64,600 samples fill a CPU's caches many times over
STEP = 0  # of the only checkpoint


def import_weights(name: str, path: epath.PathLike, folder: epath.PathLike) -> None:
    """Leaves config, checkpoint, environment and an untuned decision in a new folder, or in that of a killed call.

    Args:
      name: a key of DETECTORS.
      path: the released file.
      folder: the workdir, new, empty or half made.

    Raises:
      InputError: an unknown name, weights that do not fit, or a folder that holds something.
    """
    import ml_collections  # of the extra `train`, as are those below: --help does without

    from dfjax import models
    from dfjax.models import functional
    from dfjax.runtime import checkpoint, workdir

    if name not in DETECTORS:
        heads = "" if name not in models.PUBLISHED else "; its weights have no head that knows fakes from reals"
        raise InputError(f"Unknown detector {name!r}; expected one of {sorted(DETECTORS)}{heads}")
    folder = epath.Path(folder)
    stopped = (folder / "config.json").exists() and not (folder / "decision.json").exists()  # which comes last
    if (
        folder.exists()
        and not stopped
        and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir()))
    ):
        raise InputError(f"--workdir {folder} is not empty; give a new or empty folder")
    model = models.load_published(name, path)
    config = ml_collections.ConfigDict(
        {
            "seed": 0,
            "data": {"dataset": TRAINED_ON, "config_name": ""},
            "model": {"name": name, "kwargs": DETECTORS[name](model)},
            "loss": {"name": "binary_cross_entropy", "kwargs": {}},  # a logit, as far as the head is concerned
            "optim": {"ema": 0.0},
            "train": {"batch": BATCH},
        }
    )
    _, params, model_state = functional.split(model)
    state = checkpoint.State(np.int32(STEP), params, model_state, None, None)
    with workdir.lock(folder):
        workdir.claim(folder, config)
        if stopped:
            (folder / "checkpoints").rmtree(missing_ok=True)
        released = {
            "file": pathlib.Path(path).name,
            "sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
        }
        workdir.write_json(folder / "environment.json", workdir.environment({"weights": released}))
        with checkpoint.manager(folder) as checkpoints:
            checkpoint.save(checkpoints, state, {"average_precision": None})
        write_decision(folder / "decision.json", untuned())


def untuned() -> dict:
    """The decision before any: fake from even odds on, the logit taken as it is."""
    return {
        "threshold": 0.0,
        "status": "untuned",
        "criterion": "even odds",
        "dataset": None,
        "split": None,
        "step": STEP,
        "calibration": calibration.IDENTITY | {"prior": None, "deploy_prior": None},
    }


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.import_weights", description="Make a workdir of published weights.")
    result.add_argument("--model", required=True, help=f"one of {', '.join(DETECTORS)}")
    result.add_argument("--weights", required=True, help="the released file, such as AASIST.pth")
    result.add_argument("--workdir", required=True, help="where the run goes; a new folder")
    return result


def main() -> None:
    """Imports and says what to do next."""
    flags = parser().parse_args()
    import_weights(flags.model, flags.weights, flags.workdir)
    print(
        f"{flags.model} in {flags.workdir}, threshold 0 (even odds).\n"
        f"Judge files:   python -m dfjax.predict --workdir {flags.workdir} PATH...\n"
        f"Tune on yours: python -m dfjax.evaluate --workdir {flags.workdir} --datasets NAME --split validation\n"
        f"               python -m dfjax.tune --workdir {flags.workdir} --dataset NAME\n"
        "It says fake or real, never uncertain: what its training data were like is not in the weights."
    )


if __name__ == "__main__":
    cli.main(main)
