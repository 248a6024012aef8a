"""The shortcut audit: how well trivial properties of the files alone separate real from fake.

A detector that does not beat these numbers has learnt how the files were made, not what was faked. Features come from media
headers (`header_features`), from waveforms (`audio_features`) or from encoded pictures (`image_features`); `audit` judges them.
"""

import pathlib
import warnings

import numpy as np
from jaxtyping import Float, Integer, Num, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfjax.records import FAKE, REAL, SAMPLE_RATE

WARN_ABOVE = 0.7  # AUC
SAMPLE = 4_000  # clips; more are subsampled, which leaves the AUC within about 0.01
FOLDS = 5
BINS = 8  # quantile bins per numeric feature, so that a regression sees "1024 wide" and not only "wider"
LEVELS = 16  # most frequent values kept of a text feature; the rest are one value

FRAME = SAMPLE_RATE // 100  # 10 ms
SILENT_BELOW = -40.0  # dB under the loudest frame
BAND_BELOW = -60.0  # dB under the strongest frequency
FLOOR = -100.0  # dB of full scale: below 16-bit resolution, so nothing quieter is told apart
N_FFT = 512  # samples, 31.25 Hz per bin


def audit(
    features: dict[str, Shaped[np.ndarray, " n"]],
    labels: Integer[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    sample: int = SAMPLE,
    seed: int = 0,
) -> dict:
    """How well each feature, and all of them together, tell fake from real.

    A numeric feature is used as it is; its AUC a counts in whichever direction is larger, max(a, 1 - a), and a missing value (NaN)
    is a value of its own below all others, because missing headers are shortcuts too. A text feature (codec) is scored by the fake
    rate of its values, estimated on the other groups. All features together go through an L2 logistic regression on ranks,
    quantile bins and values, fitted without the groups it is scored on (5 folds); the AUC is the mean over folds.

    Args:
      features: name -> one value per clip, numbers or text. Give one row per clip: windows of one clip are not evidence.
      labels: 1 fake, 0 real; other values are ignored.
      groups: what must not straddle folds.
      sample: at most this many clips are used, an equal share of each class where possible.
      seed: of the subsampling and the folds.

    Returns:
      {'clips', 'used', 'real', 'fake', 'groups', 'features': {name: {'auc', 'error', 'missing'}}, 'all': {'auc', 'error'} or None,
      'warnings': [text], 'notes': [text]}. `error` is the standard error of the AUC (over clips; over folds for 'all'). Features
      are ordered by falling AUC. AUCs are None where a class or a second group is absent.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    rows = _subsample(labels, sample, np.random.default_rng(seed))
    y, g = labels[rows] == FAKE, groups[rows]
    result = {
        "clips": int(np.isin(labels, (REAL, FAKE)).sum()), "used": len(rows), "real": int((~y).sum()),
        "fake": int(y.sum()), "groups": len(np.unique(g)), "features": {}, "all": None, "warnings": [], "notes": [],
    }  # fmt: skip
    if len(rows) < result["clips"]:
        result["notes"].append(f"{len(rows)} of {result['clips']} clips were drawn at random")
    if y.all() or not y.any():
        result["notes"].append("one class only: nothing to tell apart")
        return result
    folds = _folds(y, g, seed)
    if not folds:
        result["notes"].append("too few groups per class for cross-validation; single features only")
    columns = {name: np.asarray(values)[rows] for name, values in features.items()}
    singles = {name: _single(column, y, folds) for name, column in columns.items()}
    result["features"] = dict(sorted(singles.items(), key=lambda item: -(item[1]["auc"] or 0)))
    if folds and columns:
        result["all"] = _together(columns, y, folds)
    result["warnings"] = _warnings(result)
    return result


def _subsample(labels, sample: int, rng: np.random.Generator):
    """Row numbers of at most `sample` clips, sorted; the smaller class is kept whole up to half of them."""
    rows = [np.flatnonzero(labels == label) for label in (REAL, FAKE)]
    if len(rows[0]) + len(rows[1]) > sample:
        small = min(len(rows[0]), len(rows[1]), sample // 2)
        keep = [small if len(r) == min(map(len, rows)) else sample - small for r in rows]
        rows = [rng.choice(r, min(k, len(r)), replace=False) for r, k in zip(rows, keep, strict=True)]
    return np.sort(np.concatenate(rows))


def _folds(y, groups, seed: int) -> list:
    """(train rows, test rows) of grouped folds in which both sides have both classes."""
    _, g = np.unique(groups, return_inverse=True)
    count = min(FOLDS, len(np.unique(g[y])), len(np.unique(g[~y])))
    if count < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # sklearn complains of a class with fewer rows than folds; checked below
        folds = list(StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(y, y, g))
    return [(a, b) for a, b in folds if all(y[rows].any() and not y[rows].all() for rows in (a, b))]


def auc(scores: Num[np.ndarray, " n"], y: Shaped[np.ndarray, " n"]) -> float:
    """P(score of a fake > score of a real) + half of the ties, by midranks. NaN ranks lowest."""
    _, inverse, counts = np.unique(
        np.where(np.isnan(scores), -np.inf, scores), return_inverse=True, return_counts=True
    )
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(np.count_nonzero(y))
    return float(
        (ranks[np.asarray(y, bool)].sum() - positives * (positives + 1) / 2)
        / (positives * (len(y) - positives))
    )


def _error(a: float, y) -> float:
    """Standard error of an AUC, Hanley and McNeil (1982), eq. 1; it assumes independent clips."""
    m, n = int(y.sum()), int((~y).sum())
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return float(np.sqrt(max(0.0, a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n)))


def _single(column, y, folds) -> dict:
    """AUC of one feature in its better direction."""
    if column.dtype.kind in "fiub":
        a = auc(column.astype(np.float64), y)
        a, missing = max(a, 1 - a), float(np.mean(np.isnan(column.astype(np.float64))))
    else:
        codes, missing = np.unique(column.astype(str), return_inverse=True)[1], float(np.mean(column == ""))
        a = (
            _mean_auc(lambda train, test: _rates(codes, y, train)[codes[test]], y, folds)[0]
            if folds
            else None
        )
        a = None if a is None else max(a, 0.5)  # its direction is learnt, so below one half is noise
    return {"auc": a, "error": None if a is None else _error(a, y), "missing": missing}


def _rates(codes, y, rows):
    """Fake rate of every code on `rows`, pulled towards the overall rate by one pseudo-clip."""
    n = codes.max() + 1
    fakes = np.bincount(codes[rows], weights=y[rows], minlength=n)
    return (fakes + y[rows].mean()) / (np.bincount(codes[rows], minlength=n) + 1)


def _mean_auc(score, y, folds) -> tuple[float, float]:
    """Mean over folds, and its standard error. Scores of different folds are never ranked against each other."""
    values = np.array([auc(score(train, test), y[test]) for train, test in folds])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _together(columns: dict, y, folds) -> dict:
    """Cross-validated AUC of a logistic regression on all features."""
    x = np.concatenate([_design(column) for column in columns.values()], axis=1)

    def score(train, test):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300)
        )
        return model.fit(x[train], y[train]).decision_function(x[test])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression short of convergence still ranks
        value, error = _mean_auc(score, y, folds)
    return {"auc": value, "error": error}


def _design(column) -> Float[np.ndarray, "n k"]:
    """Columns of the regression for one feature: rank and quantile bins of a number, one-hot values of a text."""
    if column.dtype.kind not in "fiub":
        values, codes, counts = np.unique(column.astype(str), return_inverse=True, return_counts=True)
        kept = np.argsort(-counts, kind="stable")[:LEVELS]
        return (codes[:, None] == kept).astype(np.float64)
    values, codes = np.unique(np.nan_to_num(column.astype(np.float64), nan=-np.inf), return_inverse=True)
    rank = (np.cumsum(np.bincount(codes)) / len(codes))[codes]  # labels play no part, so no fold leaks
    bins = np.minimum((rank * BINS).astype(int), BINS - 1)
    return np.concatenate([rank[:, None], bins[:, None] == np.arange(BINS)], axis=1)


def _warnings(result: dict) -> list[str]:
    texts = [
        f"{name} alone separates real from fake: AUC {row['auc']:.2f} +- {row['error']:.2f}"
        for name, row in result["features"].items()
        if row["auc"] is not None and row["auc"] > WARN_ABOVE
    ]
    if result["all"] and result["all"]["auc"] > WARN_ABOVE:
        texts.insert(
            0,
            f"properties of the files separate real from fake: AUC {result['all']['auc']:.2f} +- "
            f"{result['all']['error']:.2f} without looking at the content; a detector must beat this",
        )
    return texts


# ---- Features ------------------------------------------------------------------------------------------------------------


def audio_features(waveform: Num[np.ndarray, " time"]) -> dict[str, float]:
    """What a waveform shows without its content.

    Args:
      waveform: int16, or float in [-1, 1]; 16 kHz mono.

    Returns:
      duration (s), leading_silence and trailing_silence (s; 10 ms frames 40 dB under the loudest), noise_floor (dB of full scale,
      5th percentile of frame levels), loudness (dB of full scale, root mean square), bandwidth (Hz, highest frequency within
      60 dB of the strongest), clipped (share of samples at the extremes), offset (mean, full scale 1).
    """
    x = np.asarray(waveform)
    x = x.astype(np.float32) / np.float32(32768.0 if x.dtype == np.int16 else 1.0)
    if not len(x):
        names = "leading_silence trailing_silence noise_floor loudness bandwidth clipped offset"
        return {"duration": 0.0} | dict.fromkeys(names.split(), float("nan"))
    frames = np.pad(x, (0, -len(x) % FRAME)).reshape(-1, FRAME)
    power = np.einsum("ft,ft->f", frames, frames) / FRAME
    level = np.maximum(10 * np.log10(power + 1e-12), FLOOR)
    loud = np.flatnonzero(level > max(level.max() + SILENT_BELOW, FLOOR))
    return {
        "duration": len(x) / SAMPLE_RATE,
        "leading_silence": float(loud[0] if len(loud) else len(level)) * FRAME / SAMPLE_RATE,
        "trailing_silence": float(len(level) - 1 - loud[-1] if len(loud) else len(level))
        * FRAME
        / SAMPLE_RATE,
        "noise_floor": float(np.percentile(level, 5)),
        "loudness": float(max(10 * np.log10(np.mean(power) + 1e-12), FLOOR)),
        "bandwidth": _bandwidth(x),
        "clipped": float(np.mean(np.abs(x) >= 0.999)),
        "offset": float(np.mean(x)),
    }


def _bandwidth(x) -> float:
    """Highest frequency (Hz) whose long-term power is within 60 dB of the strongest; the edge of a low-pass or an MP3."""
    frames = np.pad(x, (0, -len(x) % N_FFT)).reshape(-1, N_FFT)
    spectrum = np.fft.rfft(frames * np.hanning(N_FFT).astype(np.float32), axis=1)
    power = np.mean(spectrum.real**2 + spectrum.imag**2, axis=0)
    if power.max() <= 0:
        return float("nan")
    return float(np.flatnonzero(power >= power.max() * 10 ** (BAND_BELOW / 10))[-1]) * SAMPLE_RATE / N_FFT


def image_features(encoded: bytes) -> dict[str, float | str]:
    """What an encoded picture's header shows; pixels are not decoded.

    Returns:
      file_size (bytes), width and height (pixels), bits_per_pixel, quantization (mean of the JPEG luminance table: low is high
      quality; NaN for other formats), codec ('JPEG', 'PNG', ...; '' if unreadable), mode ('RGB', 'L', 'P', ...).
    """
    import io

    from PIL import Image, UnidentifiedImageError

    nothing = {"file_size": float(len(encoded)), "codec": "", "mode": ""}
    numbers = ("width", "height", "bits_per_pixel", "quantization")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            table = getattr(image, "quantization", None) or {}
            return {
                "file_size": float(len(encoded)), "width": float(width), "height": float(height),
                "bits_per_pixel": 8.0 * len(encoded) / max(1, width * height),
                "quantization": float(np.mean(table[0])) if table else float("nan"),
                "codec": image.format or "", "mode": image.mode,
            }  # fmt: skip
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return nothing | dict.fromkeys(numbers, float("nan"))


def header_features(path: str | pathlib.PurePath) -> dict[str, float | str]:
    """What the header of an audio or video file shows: duration (s), file_size (bytes), bit_rate (bit/s), codec, container, and as
    far as there are such streams sample_rate (Hz), channels, width, height (pixels), frame_rate (1/s), pixel_format.

    Missing values are NaN or ''. An unreadable file gives file_size and nothing else.
    """
    import os

    import av

    texts = dict.fromkeys(("codec", "container", "pixel_format"), "")
    numbers = ("duration", "bit_rate", "sample_rate", "channels", "width", "height", "frame_rate")
    result: dict[str, float | str] = {**dict.fromkeys(numbers, float("nan")), **texts}
    try:
        result["file_size"] = float(os.stat(path).st_size)
        with av.open(os.fspath(path), metadata_errors="ignore") as media:
            _read_streams(media, result)
    except (OSError, ValueError, av.FFmpegError):
        result.setdefault("file_size", float("nan"))
    if not np.isnan(result["duration"]) and result["duration"] > 0 and np.isnan(result["bit_rate"]):
        result["bit_rate"] = 8 * result["file_size"] / result["duration"]
    return result


def _read_streams(media, result: dict) -> None:
    result["container"] = media.format.name
    result["duration"] = media.duration / 1e6 if media.duration else float("nan")
    result["bit_rate"] = float(media.bit_rate) if media.bit_rate else float("nan")
    codecs = []
    for stream in media.streams:
        if stream.type == "audio":
            result.update(sample_rate=float(stream.rate or 0), channels=float(stream.channels or 0))
        elif stream.type == "video":
            rate = float(stream.average_rate) if stream.average_rate else float("nan")
            result.update(width=float(stream.width), height=float(stream.height), frame_rate=rate)
            result["pixel_format"] = stream.codec_context.pix_fmt or ""
        if stream.type in ("audio", "video"):
            codecs.append(stream.codec_context.name)
    result["codec"] = "+".join(sorted(codecs))


def table(rows: list[dict[str, float | str]]) -> dict[str, Shaped[np.ndarray, " n"]]:
    """The features of many clips as columns. Constant columns are left out: they separate nothing."""
    columns = {}
    for name in sorted({name for row in rows for name in row}):
        values = [row.get(name) for row in rows]
        text = any(isinstance(value, str) for value in values)
        empty = "" if text else float("nan")
        column = np.array(
            [empty if value is None else value for value in values], dtype=str if text else np.float64
        )
        if len(np.unique(column)) > 1:
            columns[name] = column
    return columns
