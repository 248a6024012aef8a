"""Verdicts for any media: decode, window or crop as in training, score, probability, verdict at the stored threshold.

python -m dfjax.predict --workdir runs/audio_focal voicemail.mp3 interviews/
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from dfjax import calibration, cli, models, run, scoring, train, tune, workdir
from dfjax.media import MediaError
from dfjax.media import audio as sound
from dfjax.records import SAMPLE_RATE, InputError

BARS = "▁▂▃▄▅▆▇█"


@dataclasses.dataclass(frozen=True)
class Detector:
    """A trained run, ready to judge files."""

    config: Any
    score: Any  # list of examples -> (examples,) float32 logits
    decision: dict
    model: type

    @property
    def threshold(self) -> float:
        """The logit from which on a clip is called fake."""
        return float(self.decision["threshold"])


def load(folder: str | pathlib.Path) -> Detector:
    """The best checkpoint and the decision of a run.

    Raises:
      InputError: the folder holds no finished run.
    """
    config = workdir.read_config(folder)
    decision = tune.read_decision(pathlib.Path(folder) / "decision.json")
    if decision["threshold"] is None:
        raise InputError(
            f"{folder} has no usable threshold ({decision['status']}); tune one: python -m dfjax.tune --workdir {folder}"
        )
    model = models.model_class(config.model.name)
    graphdef, params, model_state, _ = train.restore_model(config, folder)
    scorer, mesh = scoring.make_scorer(graphdef, model.modality), train.make_mesh()

    def score(examples: list[dict]) -> np.ndarray:
        # a small fixed batch: a file has few windows, and every batch is padded to the same shape
        return scoring.score_examples(scorer, params, model_state, examples, batch=8 * mesh.size, mesh=mesh)

    return Detector(config, score, decision, model)


def predict_audio(detector: Detector, path: pathlib.Path) -> dict:
    """Probability, verdict and time line of one file.

    Raises:
      MediaError: the file cannot be judged.
    """
    samples, info = sound.decode(path)
    windows = sound.windows(samples)
    fixed = getattr(detector.model, "samples", None)
    scores = detector.score([scoring.audio_example(window, fixed) for _, window in windows])
    timeline = [
        {"start": round(start / SAMPLE_RATE, 3), "end": round((start + len(window)) / SAMPLE_RATE, 3),
        "score": float(value)} for (start, window), value in zip(windows, scores, strict=True)
    ]  # fmt: skip
    return {**verdict(detector, scores), "seconds": round(info.seconds, 3), "windows": timeline}


def verdict(detector: Detector, scores: np.ndarray) -> dict:
    """What the mean of a clip's scores means at the stored threshold."""
    score = np.float32(np.mean(scores, dtype=np.float64))
    probability = calibration.apply(np.array([score]), detector.decision["calibration"])[0]
    return {
        "score": float(score),
        "threshold": detector.threshold,
        "probability": float(probability),
        "verdict": "fake" if score >= np.float32(detector.threshold) else "real",
    }


def files(paths: list[str]) -> Iterator[pathlib.Path]:
    """The files named, and all below the folders named, sorted; hidden ones left out.

    Raises:
      InputError: a path does not exist.
    """
    for text in paths:
        path = pathlib.Path(text)
        if not path.exists():
            raise InputError(f"{text} does not exist; give media files or folders")
        if path.is_dir():
            yield from sorted(
                found for found in path.rglob("*") if found.is_file() and not found.name.startswith(".")
            )
        else:
            yield path


def bars(values: list[float], low: float, high: float) -> str:
    """A time line in one line of text: one block per window, taller = more likely fake."""
    scale = (np.clip(values, low, high) - low) / (high - low or 1)
    return "".join(BARS[int(value * (len(BARS) - 1))] for value in scale)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m dfjax.predict", description="Verdicts for media files.")
    result.add_argument("paths", nargs="+", metavar="PATH", help="media files or folders")
    result.add_argument("--workdir", required=True, help="a finished run")
    result.add_argument("--json", action="store_true", help="one JSON object per file")
    return result


def main() -> None:
    """Prints one verdict per file; exits 2 when none could be judged."""
    flags = parser().parse_args()
    run.use_all_cores()
    paths = list(files(flags.paths))
    detector = load(flags.workdir)
    judged = 0
    for path in paths:
        try:
            result = predict_audio(detector, path)
            judged += 1
        except MediaError as error:
            result = {"skipped": str(error)}
        if flags.json:
            print(json.dumps({"file": str(path), **result}, allow_nan=False), flush=True)
        elif "skipped" in result:
            print(f"{path}: skipped, {result['skipped']}", file=sys.stderr)
        else:
            line = bars(
                [window["score"] for window in result["windows"]],
                detector.threshold - 4,
                detector.threshold + 4,
            )
            print(f"{result['verdict']:<5}{result['probability']:6.1%} fake  {line}  {path}", flush=True)
    if not judged:
        raise InputError(
            f"none of {len(paths)} files could be judged; expected sound that soundfile or FFmpeg reads"
        )


if __name__ == "__main__":
    cli.main(main)
