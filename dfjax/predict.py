"""Verdicts for any media: decode, window or crop as in training, score, probability, verdict at the stored threshold.

python -m dfjax.predict voicemail.mp3
python -m dfjax.predict --workdir runs/audio_focal voicemail.mp3 interviews/
python -m dfjax.predict --workdir runs/image_focal --heatmap maps --timeline plots portrait.jpg interview.mp4

A file unlike what the run was trained on is `uncertain`, with the reasons, and the exit status is 3 then.

The run decides what files are taken for: a detector of voices hears them, one of faces looks at them, an audio-visual
one does both and prints the logits of picture and sound by themselves, too.
"""

import argparse
import io
import json
import pathlib
import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dfjax.data.resident import decode_image
from dfjax.inference import heatmap
from dfjax.inference.detector import UNCERTAIN, Detector, load
from dfjax.media import images
from dfjax.records import InputError
from dfjax.reporting import figures
from dfjax.runtime import cli, process

UNSURE = 3  # exit status where a verdict is uncertain
BARS = "▁▂▃▄▅▆▇█"
WANTED = {
    "audio": "sound that soundfile or FFmpeg reads",
    "image": "pictures or videos with a face",
    "av": "videos with a face and sound",
}


def heat_png(detector: Detector, path: pathlib.Path, result: dict) -> bytes:
    """The most suspicious face of a file beside the same face under the heat map, as PNG."""
    worst = int(np.argmax([frame["score"] for frame in result["frames"]]))
    face = decode_image(detector.cut_out(path)["records"][worst]["image"], detector.model.size)
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


def files(paths: list[str]) -> Iterator[pathlib.Path]:
    """The files named, and all below the folders named, sorted, without hidden ones.

    Raises:
      InputError: a path does not exist.
    """
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


def line(result: dict) -> str:
    """A verdict on one line: probability, time line, spread, the logits of parts, the file, why it is uncertain."""
    shown = bars(scores_of(result), result["threshold"] - 4, result["threshold"] + 4)
    shown += "" if result["spread"] is None else f"  ±{result['spread']:.1f}"
    shown += "".join(f"  {part} {logit:+.1f}" for part, logit in result.get("parts", {}).items())
    reasons = "".join(f"  ({reason})" for reason in result["reasons"])
    return f"{result['verdict']:<9}{result['probability']:6.1%} fake  {shown}  {result['file']}{reasons}"


def _write_picture(folder: str | pathlib.Path, suffix: str, path: pathlib.Path, png: bytes) -> None:
    name = "_".join(part for part in path.parts if part not in ("/", ".", ".."))
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    pathlib.Path(folder, f"{name}.{suffix}.png").write_bytes(png)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m dfjax.predict",
        description="Verdicts for media files: fake, real, or uncertain with the reasons.",
        epilog="Exit status: 0 if every file judged got a verdict, 3 if some are uncertain, 2 after a mistake or if no "
        "file could be judged, 130 after Ctrl-C. Files that cannot be read are named and change nothing of it.",
    )
    result.add_argument("paths", nargs="+", metavar="PATH", help="media files or folders")
    result.add_argument("--workdir", help="a finished run (default: the detector of speech that comes with dfjax)")
    result.add_argument("--heatmap", metavar="DIR", help="write where each file's most suspicious face looks fake")
    result.add_argument("--timeline", metavar="DIR", help="write a plot of score over time per file")
    result.add_argument(
        "--overlap", type=float, default=0.0, help="share that the windows of a recording have in common"
    )
    result.add_argument("--face_model", help="YuNet .onnx file, if the training faces were found by it")
    result.add_argument("--json", action="store_true", help="one JSON object per file")
    return result


def main() -> None:
    """Prints one verdict per file; exits 3 when some are uncertain, 2 when none could be judged."""
    flags = parser().parse_args()
    process.check_alone("dfjax.predict")
    process.use_all_cores()
    if not 0 <= flags.overlap <= 0.9:
        raise InputError(f"--overlap {flags.overlap}: expected a share from 0 to 0.9")
    paths = list(files(flags.paths))
    detector = load(flags.workdir, flags.face_model)
    if flags.heatmap and detector.model.modality == "audio":
        raise InputError("--heatmap is for detectors of faces; --timeline shows where in a recording the score is high")
    judged, uncertain = 0, False
    for path, result in zip(paths, detector.many(paths, overlap=flags.overlap), strict=True):
        if "skipped" not in result:
            judged += 1
            uncertain |= result["verdict"] == UNCERTAIN
            if flags.heatmap:
                _write_picture(flags.heatmap, "heatmap", path, heat_png(detector, path, result))
            if flags.timeline:
                _write_picture(flags.timeline, "timeline", path, timeline_png(result))
        if flags.json:
            print(json.dumps(result, allow_nan=False), flush=True)
        elif "skipped" in result:
            print(f"{path}: skipped, {result['skipped']}", file=sys.stderr)
        else:
            print(line(result), flush=True)
    if not judged:
        raise InputError(f"none of {len(paths)} files could be judged; expected {WANTED[detector.model.modality]}")
    if uncertain:
        sys.exit(UNSURE)


if __name__ == "__main__":
    cli.main(main)
