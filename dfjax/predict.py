"""Verdicts for any media: decode, window or crop as in training, score, probability, verdict at the stored threshold.

python -m dfjax.predict --workdir runs/audio_focal voicemail.mp3 interviews/
python -m dfjax.predict --workdir runs/image_focal --heatmap maps --timeline plots portrait.jpg interview.mp4

The run decides what files are taken for: a detector of voices hears them, one of faces looks at them, an audio-visual
one does both and prints the logits of picture and sound by themselves, too.
"""

import argparse
import dataclasses
import functools
import io
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from etils import epath
from matplotlib.figure import Figure

from data_builders import decoding
from dfjax import models, run, tune
from dfjax.data.resident import decode_image
from dfjax.decide import calibration, clip_score
from dfjax.inference import heatmap, scoring
from dfjax.media import MediaError, images
from dfjax.media import audio as sound
from dfjax.records import PARTS, SAMPLE_RATE, InputError
from dfjax.reporting import figures
from dfjax.runtime import cli, process, workdir
from dfjax.training import train, train_step

BARS = "▁▂▃▄▅▆▇█"
WANTED = {
    "audio": "sound that soundfile or FFmpeg reads",
    "image": "pictures or videos with a face",
    "av": "videos with a face and sound",
}


@dataclasses.dataclass(frozen=True)
class Detector:
    """A trained run, ready to judge files."""

    config: Any
    score: Any  # list of examples -> (examples,) float32 logits
    decision: dict
    model: models.Input
    heat: Callable  # (1, size, size, 3) in [0, 1] -> (1, size, size) heat map
    media: tuple[str, dict]  # how faces were cut out when the training data were prepared
    parts: Any = None  # as `score`, (examples, 2) logits of picture and sound; of audio-visual detectors

    @property
    def threshold(self) -> float:
        """The logit from which on a clip is called fake."""
        return float(self.decision["threshold"])


def load(folder: str | pathlib.Path, face_model: str | None = None) -> Detector:
    """The best checkpoint and the decision of a run.

    Args:
      folder: the workdir.
      face_model: YuNet's ONNX file, for a run whose training faces were found by it.

    Raises:
      InputError: the folder holds no finished run, or the face model is missing.
    """
    config = workdir.read_config(folder)
    decision = tune.read_decision(epath.Path(folder) / "decision.json")
    if decision["threshold"] is None:
        raise InputError(
            f"{folder} has no usable threshold ({decision['status']}); tune one: python -m dfjax.tune --workdir "
            f"{folder}"
        )
    model = models.input_of(config.model.name, config.model.kwargs)
    media = ("audio", {}) if model.modality == "audio" else _media(folder, face_model)
    graphdef, params, model_state, _ = train.restore_model(config, folder)
    mesh = train.make_mesh()

    def score(scorer: Callable, examples: list[dict]) -> np.ndarray:
        # a small fixed batch: a file has few windows, and every batch is padded to the same shape
        return scoring.score_examples(scorer, params, model_state, examples, batch=8 * mesh.size, mesh=mesh)

    @jax.jit
    def heat(params, model_state, x):
        whole = train_step.evaluation_model(graphdef, params, model_state)
        return heatmap.heat_map(whole.picture if model.modality == "av" else whole, x)

    whole = functools.partial(score, scoring.make_scorer(graphdef, model.modality))
    parts = functools.partial(score, scoring.make_part_scorer(graphdef)) if model.modality == "av" else None
    heat = functools.partial(heat, params, model_state)
    return Detector(config, whole, decision, model, heat, media, parts)


def _media(folder: str | pathlib.Path, face_model: str | None) -> tuple[str, dict]:
    """Modality and crop options of the run's prepared data, as `data_builders.decoding` takes them."""
    facts = json.loads((epath.Path(folder) / "environment.json").read_text())["dataset"]
    options = facts["crops"] or {}
    if options.get("detector") == "yunet" and face_model is None:
        raise InputError("the faces of this run's data were found by YuNet; give its .onnx file as --face_model")
    return facts["modality"], options | {"face_model": face_model}


def predict(detector: Detector, path: pathlib.Path, overlap: float = 0.0) -> dict:
    """Probability, verdict and time line of one file; `overlap` is the share that a recording's windows have in common.

    Raises:
      MediaError: the file cannot be judged.
    """
    if detector.model.modality == "audio":
        return predict_audio(detector, path, overlap)
    return predict_faces(detector, path)


def predict_audio(detector: Detector, path: pathlib.Path, overlap: float = 0.0) -> dict:
    """As `predict`, of sound. Without overlap the windows are those of the records that the threshold was chosen on."""
    samples, info = sound.decode(path)
    windows = sound.windows(samples, overlap)
    fixed = getattr(detector.model, "samples", None)
    scores = detector.score([scoring.audio_example(window, fixed) for _, window in windows])
    timeline = [
        {"start": round(start / SAMPLE_RATE, 3), "end": round((start + len(window)) / SAMPLE_RATE, 3),
        "score": float(value)} for (start, window), value in zip(windows, scores, strict=True)
    ]  # fmt: skip
    decided = verdict(detector, scores, np.arange(len(scores)))
    return {**decided, "seconds": round(info.seconds, 3), "windows": timeline}


def predict_faces(detector: Detector, path: pathlib.Path) -> dict:
    """Probability, verdict and time line of one picture or video, cut out exactly as the training data were.

    Raises:
      MediaError: the file cannot be judged, or shows no face.
    """
    found = cut_out(detector, path)
    examples = [scoring.example(part, detector.model) for part in found["records"]]
    scores = detector.score(examples)
    timeline = [
        {"frame": int(part["frame"]), "seconds": round(float(part.get("seconds", 0.0)), 3),
        "score": float(value)} for part, value in zip(found["records"], scores, strict=True)
    ]  # fmt: skip
    frames = np.array([part["frame"] for part in timeline])
    decided = verdict(detector, scores, np.unique(frames, return_inverse=True)[1])
    if detector.parts is not None:
        means = detector.parts(examples).mean(axis=0).tolist()
        decided["parts"] = dict(zip(PARTS, means, strict=True))
    return {**decided, "frames": timeline, "frames_without_face": found.get("faceless", 0)}


def cut_out(detector: Detector, path: pathlib.Path) -> dict:
    """The picture, or the face crops, as `data_builders.decoding.decode_item` returns them."""
    modality, options = detector.media
    return decoding.decode_item(path, modality, options)


def heat_png(detector: Detector, path: pathlib.Path, result: dict) -> bytes:
    """The most suspicious face of a file beside the same face under the heat map, as PNG."""
    worst = int(np.argmax([frame["score"] for frame in result["frames"]]))
    face = decode_image(cut_out(detector, path)["records"][worst]["image"], detector.model.size)
    heat = np.asarray(detector.heat(face[None].astype(np.float32) / 255))[0]
    return images.encode(np.concatenate([face, heatmap.overlay(face, heat)], axis=1), "png")


def timeline_png(result: dict) -> bytes:
    """Score over time with the threshold, as PNG."""
    if "windows" in result:
        seconds = [0.5 * (window["start"] + window["end"]) for window in result["windows"]]
    else:
        seconds = [frame["seconds"] for frame in result["frames"]]
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=figures.WIDE, layout="constrained")
        axes = figure.subplots()
        axes.plot(seconds, scores_of(result), "o-", color=figures.INK, markersize=4)
        axes.axhline(result["threshold"], color=figures.TUNED_COLOUR, label="threshold")
        axes.set_title(f"{result['verdict']}, {result['probability']:.1%} fake")
        axes.set(xlabel="seconds", ylabel="score (logit)")
        axes.legend(loc="best")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=figures.DPI, metadata={"Software": None})
    return buffer.getvalue()


def scores_of(result: dict) -> list[float]:
    """The scores along the time line."""
    return [part["score"] for part in result.get("windows") or result["frames"]]


def verdict(detector: Detector, scores: np.ndarray, frames: np.ndarray) -> dict:
    """What a clip's scores, of the frames (or windows) of these numbers, mean at the stored threshold.

    How sure that is shows in `spread`, the standard deviation from frame to frame (None of one), and `above`, the
    share of frames that would be called fake by themselves. Frames of a clip resemble each other, so no error of
    the mean is made of the spread.
    """
    rule = detector.decision.get("clip_score", "mean")
    score = clip_score.clip_scores(scores, frames, np.zeros_like(frames), rule)[0]
    each = clip_score.clip_scores(scores, frames, frames)  # every frame by itself
    probability = calibration.apply(np.array([score]), detector.decision["calibration"])[0]
    return {
        "score": float(score),
        "threshold": detector.threshold,
        "probability": float(probability),
        "verdict": "fake" if score >= np.float32(detector.threshold) else "real",
        "spread": float(each.std(ddof=1)) if len(each) > 1 else None,
        "above": float((each >= np.float32(detector.threshold)).mean()),
    }


def files(paths: list[str]) -> Iterator[pathlib.Path]:
    """The files named, and all below the folders named, sorted; hidden ones left out. InputError where a path is none."""
    for text in paths:
        path = pathlib.Path(text)
        if not path.exists():
            raise InputError(f"{text} does not exist; give media files or folders")
        if path.is_dir():
            yield from sorted(found for found in path.rglob("*") if found.is_file() and not found.name.startswith("."))
        else:
            yield path


def bars(values: list[float], low: float, high: float) -> str:
    """A time line in one line of text: one block per window, taller = more likely fake."""
    scale = (np.clip(values, low, high) - low) / (high - low or 1)
    return "".join(BARS[int(value * (len(BARS) - 1))] for value in scale)


def _write_picture(folder: str | pathlib.Path, suffix: str, path: pathlib.Path, png: bytes) -> None:
    name = "_".join(part for part in path.parts if part not in ("/", ".", ".."))
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    pathlib.Path(folder, f"{name}.{suffix}.png").write_bytes(png)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m dfjax.predict", description="Verdicts for media files.")
    result.add_argument("paths", nargs="+", metavar="PATH", help="media files or folders")
    result.add_argument("--workdir", required=True, help="a finished run")
    result.add_argument("--heatmap", metavar="DIR", help="write where each file's most suspicious face looks fake")
    result.add_argument("--timeline", metavar="DIR", help="write a plot of score over time per file")
    result.add_argument(
        "--overlap", type=float, default=0.0, help="share that the windows of a recording have in common"
    )
    result.add_argument("--face_model", help="YuNet .onnx file, if the training faces were found by it")
    result.add_argument("--json", action="store_true", help="one JSON object per file")
    return result


def main() -> None:
    """Prints one verdict per file; exits 2 when none could be judged."""
    flags = parser().parse_args()
    process.alone("dfjax.predict")
    run.use_all_cores()
    if not 0 <= flags.overlap <= 0.9:
        raise InputError(f"--overlap {flags.overlap}: expected a share from 0 to 0.9")
    paths = list(files(flags.paths))
    detector = load(flags.workdir, flags.face_model)
    if flags.heatmap and detector.model.modality == "audio":
        raise InputError("--heatmap is for detectors of faces; --timeline shows where in a recording the score is high")
    judged = 0
    for path in paths:
        try:
            result = predict(detector, path, flags.overlap)
            judged += 1
        except MediaError as error:
            result = {"skipped": str(error)}
        if "skipped" not in result:
            if flags.heatmap:
                _write_picture(flags.heatmap, "heatmap", path, heat_png(detector, path, result))
            if flags.timeline:
                _write_picture(flags.timeline, "timeline", path, timeline_png(result))
        if flags.json:
            print(json.dumps({"file": str(path), **result}, allow_nan=False), flush=True)
        elif "skipped" in result:
            print(f"{path}: skipped, {result['skipped']}", file=sys.stderr)
        else:
            line = bars(scores_of(result), detector.threshold - 4, detector.threshold + 4)
            line += "" if result["spread"] is None else f"  ±{result['spread']:.1f}"
            line += "".join(f"  {part} {logit:+.1f}" for part, logit in result.get("parts", {}).items())
            print(f"{result['verdict']:<5}{result['probability']:6.1%} fake  {line}  {path}", flush=True)
    if not judged:
        raise InputError(f"none of {len(paths)} files could be judged; expected {WANTED[detector.model.modality]}")


if __name__ == "__main__":
    cli.main(main)
