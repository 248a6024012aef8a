"""What is drawn of one file: score over time, spectrogram, and where in a face a fake is seen."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int16, UInt8
from matplotlib.figure import Figure

from dfjax.inference.detector import Detector
from dfjax.inference.verdict import along, scores_of
from dfjax.media import MediaError, evidence, images
from dfjax.records import SAMPLE_RATE
from dfjax.reporting import figures

COLUMNS = 1600  # of a spectrogram
N_FFT = 512  # samples, 32 ms
RANGE_DB = 80  # of a spectrogram, below its loudest point
OPACITY = 0.5  # of a coloured heat map where it is 1


def _plot_scores(axes, result: Mapping[str, Any]) -> None:
    axes.plot(*along(result), "o-", color=figures.INK, markersize=4)
    if len(faces := result.get("frames", ())) > len(along(result)[0]):  # several in a frame
        other = [face["seconds"] for face in faces], [face["score"] for face in faces]
        axes.plot(*other, "o", color=figures.INK, alpha=0.3, markersize=4, label="other faces of the frame")
    for window in result.get("windows", ()):
        axes.hlines(window["score"], window["start"], window["end"], color=figures.INK)
    axes.axhline(result["threshold"], color=figures.TUNED_COLOUR, label="threshold")
    axes.set(xlabel="seconds", ylabel="score (logit)")
    axes.legend(loc="best")


def timeline_figure(result: Mapping[str, Any]) -> Figure:
    """Score over time with the threshold."""
    figure = Figure(figsize=figures.WIDE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{result['verdict']}, {result['probability']:.1%} fake")
    _plot_scores(axes, result)
    return figure


def timeline_png(result: Mapping[str, Any]) -> bytes:
    """Score over time with the threshold, as PNG."""
    return figures.png(lambda: timeline_figure(result))


def sound_figure(samples: Int16[np.ndarray, " samples"], result: Mapping[str, Any]) -> Figure:
    """The spectrogram over the scores; of windows those at or above the threshold are hatched and framed."""
    figure = Figure(figsize=(figures.WIDE[0], 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    seconds = max(len(samples) / SAMPLE_RATE, *along(result)[0], 0)
    words = {
        "origin": "lower",
        "aspect": "auto",
        "cmap": "magma",
        "extent": (0, len(samples) / SAMPLE_RATE, 0, SAMPLE_RATE / 2000),
    }
    above.imshow(spectrogram(samples), **words)
    above.set(ylabel="kHz")
    above.grid(False)
    for window in result.get("windows", ()):
        if window["score"] >= np.float32(result["threshold"]):
            frame = {"facecolor": "none", "edgecolor": figures.FAKE_COLOUR, "hatch": "//", "linewidth": 1.5}
            below.axvspan(window["start"], window["end"], alpha=0.5, **frame)
            above.axvspan(window["start"], window["end"], **frame | {"hatch": None})
    _plot_scores(below, result)
    below.set(xlim=(0, seconds))
    return figure


def spectrogram(samples: Int16[np.ndarray, " samples"]) -> Float[np.ndarray, "bins columns"]:
    """Power in dB, 0 at the loudest point and nowhere below -RANGE_DB, of up to COLUMNS frames evenly spread."""
    x = np.pad(samples.astype(np.float32), (N_FFT // 2, N_FFT // 2))
    starts = np.linspace(0, len(samples), min(COLUMNS, 1 + len(samples) // 64)).astype(int)
    starts = np.minimum(starts, len(x) - N_FFT)
    frames = x[starts[:, None] + np.arange(N_FFT)] * np.hanning(N_FFT).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    decibel = 10 * np.log10(power / power.max() + 1e-12) if power.max() > 0 else np.full(power.shape, -120.0)
    return np.maximum(decibel, -RANGE_DB).T.astype(np.float32)


def overlay(
    image: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The image under the coloured map, as bytes to be written as a picture; cold regions are untouched.

    Args:
      image: RGB.
      heat: the map, in [0, 1].
    """
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    alpha = OPACITY * np.asarray(heat)[..., None]
    return np.round((1 - alpha) * image + alpha * colours).astype(np.uint8)


def face_png(detector: Detector, face: UInt8[np.ndarray, "size size 3"]) -> bytes:
    """A face as the detector sees it beside itself under the heat map, as PNG."""
    heat = np.asarray(detector.heat(face[None].astype(np.float32) / 255))[0]
    return images.encode(np.concatenate([face, overlay(face, heat)], axis=1), "png")


def heat_png(detector: Detector, path: str | pathlib.Path, result: Mapping[str, Any]) -> bytes:
    """`face_png` of the most suspicious face of the file at `path`, judged as `result`.

    Raises:
      MediaError: the file cannot be decoded any more, or is another by now.
      OSError: nor be read.
    """
    seen = evidence.of_file(path, *detector.media, size=detector.model.size)
    check_same([part["frame"] for part in seen.parts], [frame["frame"] for frame in result["frames"]])
    return face_png(detector, seen.examples[int(np.argmax(scores_of(result)))]["image"])


def check_same(found: object, judged: object) -> None:
    """Raises MediaError unless what was found in the file again is what was found when it was judged."""
    if found != judged:
        raise MediaError("it is another file than the one that was judged")
