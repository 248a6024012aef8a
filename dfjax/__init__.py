"""dfjax: deepfake detection in JAX, from raw media to a calibrated verdict.

    detector = dfjax.load()                   # the detector of speech that comes with dfjax; or load("runs/mine")
    detector("voicemail.mp3")["verdict"]      # 'fake', 'real' or 'uncertain'
    for found in detector.many(["a.wav", "b.wav"]):
        print(found["file"], found["verdict"], found["probability"])
    here = detector.with_known_real(["real1.wav", "real2.wav"])  # of that speaker or line: the threshold moves there

Names are imported on first use, so `import dfjax` costs nothing: `load` and `Detector`; the modules `thresholds`,
`metrics`, `calibration` and `score_file`, which need no JAX; `losses`; and `models`, which takes the extra `train`.
"""

import importlib
import importlib.util
import sys

__version__ = "0.1.0"

__all__ = ["Detector", "calibration", "load", "losses", "metrics", "models", "score_file", "thresholds"]

_OBJECTS = {"Detector": "dfjax.inference.detector", "load": "dfjax.inference"}
_MODULES = {
    "calibration": "dfjax.decide.calibration",
    "losses": "dfjax.training.losses",
    "metrics": "dfjax.decide.metrics",
    "models": "dfjax.models",
    "score_file": "dfjax.decide.score_file",
    "thresholds": "dfjax.decide.thresholds",
}


def __getattr__(name: str):
    if name in _MODULES:
        try:
            return importlib.import_module(_MODULES[name])
        except ModuleNotFoundError as error:
            from dfjax.runtime import cli

            needs = f"dfjax.{name} needs {error.name}, which is not installed; {cli.installing(error.name or '')}"
            raise ModuleNotFoundError(needs, name=error.name) from error
    if name in _OBJECTS:
        return getattr(importlib.import_module(_OBJECTS[name]), name)
    raise AttributeError(f"module 'dfjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What can be had here: `help` and completion ask for each of these names."""
    lacking = set() if importlib.util.find_spec("flax") else {"models"}
    return sorted({*globals(), *_MODULES, *_OBJECTS} - lacking)


if sys.argv[:1] == ["-m"]:  # so it is while `python -m dfjax.COMMAND` looks for the command, whose imports come next
    from dfjax.runtime import cli

    cli.end_without_modules()
