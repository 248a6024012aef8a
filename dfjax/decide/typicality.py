"""Knowing what a detector does not know: how typical a file is of what the detector was trained and calibrated on.

A file must pass these tests. Its embedding must lie as near to the training data as embeddings of records do that the
network was not trained on: a conformal p-value (Vovk, Gammerman and Shafer 2005) says which share of those lies at
least as far away. And every property of the file (bandwidth, loudness, picture size, ...) must lie in the range of the
training data; one that does not is named in words. Where codecs were looked for (`decide.traces`), it must not have
their traces either. NumPy only, never JAX.
"""

import dataclasses
import io
import math
import statistics
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, Integer, Shaped

from dfjax.decide.traces import Trace
from dfjax.records import InputError
from dfjax.runtime import files

TYPICALITY = "typicality.npz"  # the file's name
ALPHA = 0.05  # a p-value below it is not typical
OUTSIDE = 0.02  # share of held-back records with a property outside its range, at most
LANDMARKS = 500  # training embeddings that are kept, at most
DIMENSIONS = 32  # principal directions of the embedding that are looked at, at most
NEIGHBOURS = 5  # landmarks whose mean distance counts
FOLDS = 5  # of groups, held back in turn where nothing else is
DISTANCES = 4_000  # that are kept for p-values, at most
TAIL = 0.005  # quantile of the training data where a range begins, and as much before its end
MARGIN = 0.1  # of its length by which a range is widened at both ends, at least

Column = Shaped[np.ndarray, " n"]  # numbers, or text for what has kinds (a codec)
Records = tuple[Float[np.ndarray, "held dim"], Mapping[str, Shaped[np.ndarray, " held"]]]


@dataclasses.dataclass(frozen=True)
class Words:
    """How a property is told."""

    name: str
    unit: str = ""  # with its space, where it has one
    factor: float = 1.0  # from the property's own unit
    digits: int = 1
    margin: float = 0.0  # in the property's own unit, by which a range is widened at least
    low: str = ""  # what a value below the range is like
    high: str = ""  # and above


WORDS = {
    "bandwidth": Words("bandwidth", " kHz", 1e-3, 1, 300.0),
    "loudness": Words("loudness", " dB of full scale", digits=0, margin=3.0, low="nearly silent"),
    "noise_floor": Words("noise floor", " dB of full scale", digits=0, margin=3.0),
    "level_range": Words("range of levels", " dB", digits=0, margin=1.0, low="a level that hardly varies"),
    "crest": Words("peaks over the mean level", " dB", margin=1.0),
    "clipped": Words("clipped samples", " %", 100.0, 2, 0.001),
    "silence": Words("silence", " % of the time", 100.0, 0, 0.02),
    "bass": Words("share below 300 Hz", " dB", digits=0, margin=2.0),
    "treble": Words("share above 4 kHz", " dB", digits=0, margin=2.0),
    "flatness": Words("spectral flatness", " dB", digits=0, margin=1.0, low="as of tones", high="as of noise"),
    "change": Words("change of the spectrum from moment to moment", digits=2, margin=0.05),
    "rhythm": Words("modulation at the rhythm of syllables", " %", 100.0, 0, 0.05),
    "voiced": Words("voiced share", " %", 100.0, 0, 0.05, low="no voice", high="a pitch without a pause"),
    "pitch_spread": Words("spread of the pitch", " semitones", margin=0.5),
    "size": Words("picture or face", " pixels", digits=0, margin=32.0),
    "quantization": Words("JPEG quantization", digits=0, margin=1.0, high="strongly compressed"),
    "blockiness": Words("blockiness", digits=2, margin=0.05, high="strongly compressed"),
    "sharpness": Words(
        "fine detail", " dB", digits=0, margin=1.5, low="blurred or scaled up", high="sharpened or noisy"
    ),
    "falloff": Words("fall of the detail", " dB per octave", margin=0.5),
    "grain": Words("grain", " grey levels", margin=0.2),
    "colour": Words("colourfulness", " %", 100.0, 0, 0.1),
    "brightness": Words("brightness", " %", 100.0, 0, 0.1),
    "contrast": Words("contrast", " %", 100.0, 0, 0.05),
}
CODECS = {"mp3": "MP3", "aac": "AAC", "opus": "Opus"}  # how those that leave traces are told
TELEPHONE = (3_000.0, 4_200.0)  # Hz, where the bandwidth of a telephone ends


@dataclasses.dataclass(frozen=True)
class Space:
    """Distance from training embeddings: the mean over the nearest landmarks, in whitened principal directions."""

    centre: Float[np.ndarray, " dim"]
    axes: Float[np.ndarray, "dim k"]
    landmarks: Float[np.ndarray, "m k"]

    def distances(self, embeddings: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " n"]:
        """How far off each embedding lies. 1 is the median between landmarks, so that several spaces compare."""
        return _nearest((np.asarray(embeddings, np.float64) - self.centre) @ self.axes, self.landmarks, NEIGHBOURS)


def _nearest(x, landmarks, count):
    """Mean distance to the `count` nearest landmarks."""
    count, found = min(count, len(landmarks)), [np.zeros(0)]
    for start in range(0, len(x), 256):  # a block of rows times landmarks fits the cache
        rows = x[start : start + 256]
        squares = (rows**2).sum(axis=1)[:, None] + (landmarks**2).sum(axis=1) - 2 * rows @ landmarks.T
        nearest = np.partition(squares, count - 1, axis=1)[:, :count]
        found.append(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))
    return np.concatenate(found)


def space(embeddings: Float[np.ndarray, "n dim"], domains: Column, *, seed: int = 0) -> Space:
    """The space of a network's training embeddings, its landmarks drawn evenly over domains.

    Raises:
      InputError: there are fewer than two embeddings, or some are not finite.
    """
    x = np.asarray(embeddings, np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        raise InputError(f"typicality needs two or more finite embeddings; got {len(x)}")
    centre = x.mean(axis=0)
    variance, directions = np.linalg.eigh((x - centre).T @ (x - centre) / (len(x) - 1))
    variance, directions = variance[::-1][:DIMENSIONS], directions[:, ::-1][:, :DIMENSIONS]
    kept = variance > 1e-8 * variance[0]
    kept[0] = True  # equal embeddings span nothing: one direction stays, in which all that differs is far away
    axes = directions[:, kept] / np.sqrt(np.maximum(variance[kept], 1e-18))
    landmarks = (x[evenly(domains, LANDMARKS, seed)] - centre) @ axes
    count = min(NEIGHBOURS + 1, len(landmarks))  # a landmark's nearest one is itself, at no distance
    unit = np.median(_nearest(landmarks, landmarks, count)) * count / (count - 1)
    unit = unit if unit > 1e-6 else 1.0
    return Space(*(np.asarray(part, np.float32) for part in (centre, axes / unit, landmarks / unit)))


def evenly(domains: Column, count: int, seed: int = 0) -> Integer[np.ndarray, " k"]:
    """Sorted rows, at most `count`, from every domain as many as from the others or all that it has."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(domains))
    index = np.unique(domains[order], return_inverse=True)[1]
    turn = np.empty(len(order), int)  # how many of its domain came before each
    for domain in range(index.max(initial=-1) + 1):
        rows = np.flatnonzero(index == domain)
        turn[rows] = np.arange(len(rows))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


@dataclasses.dataclass(frozen=True)
class Range:
    """What a property may be: numbers from `low` to `high`, or one of `kinds`."""

    low: float = -math.inf
    high: float = math.inf
    seen: tuple[float, float] = (-math.inf, math.inf)  # that all but the outermost training records had
    kinds: tuple[str, ...] = ()


def _limits(column: Column, words: Words) -> tuple[float, float, float]:
    """Quantiles of a property where its range begins and ends, and the length of its margins; NaN of nothing."""
    values = column[np.isfinite(column)]
    if not len(values):
        return math.nan, math.nan, math.nan
    low, high = np.quantile(values, (TAIL, 1 - TAIL))
    return float(low), float(high), max(float(high - low), words.margin / MARGIN, 1e-9)


def _excess(limits: tuple[float, float, float], column: Column) -> Float[np.ndarray, " n"]:
    """How far outside the quantiles, in lengths of the range; 0 within, and where a value or the range is missing."""
    low, high, length = limits
    values = np.asarray(column, np.float64)
    return np.nan_to_num(np.maximum(np.maximum(values - high, low - values), 0) / length, nan=0.0, posinf=1e9)


@dataclasses.dataclass(frozen=True)
class Typicality:
    """What is typical of a detector's training data; `judge` compares a file with it."""

    space: Space
    held: Float[np.ndarray, " c"]  # distances of records that the network was not trained on, rising
    weights: Float[np.ndarray, " c"]  # of these; their sum is their number
    ranges: dict[str, Range]
    basis: str  # what was held back, in words
    alpha: float = ALPHA
    traces: Mapping[str, Trace] = dataclasses.field(default_factory=dict)  # of codecs, by their names

    def p_value(self, embedding: Float[np.ndarray, " dim"]) -> float:
        """Share of held-back records as far from the training data or farther, the new one among them.

        Where those held back weigh alike, it is uniform on (0, 1], or larger, for a record like them.

        Where they are of left-out domains, each of which weighs alike, it is the chance that a record of one of these
        domains lies as far away. That is no promise for a domain that is not among them: to call at most the share
        `alpha` of new domains untypical takes at least 1 / alpha - 1 left-out ones.
        """
        return float(self.p_values(np.asarray(embedding)[None])[0])

    def p_values(self, embeddings: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " n"]:
        """`p_value` of each."""
        beyond = np.concatenate([np.cumsum(self.weights[::-1])[::-1], [0.0]])
        distances = self.space.distances(embeddings).astype(np.float32)
        return (beyond[np.searchsorted(self.held, distances, side="left")] + 1) / (len(self.held) + 1)

    def judge(self, embedding: Float[np.ndarray, " dim"], properties: Mapping[str, Any]) -> dict[str, Any]:
        """Whether a file is typical, and why not.

        Args:
          embedding: the detector's, of the file.
          properties: its properties; names that training did not have are not looked at, nor are NaN.

        Returns:
          `p_value`, `typical`, and `reasons`, in words: empty if typical.
        """
        p = self.p_value(embedding)
        reasons = []
        for name, limits in self.ranges.items():
            value = properties.get(name)
            if value is not None and not _within(limits, value):
                reasons.append(_reason(name, limits, value))
        for name, trace in self.traces.items():
            if trace.noticed(np.asarray(embedding)[None])[0]:
                codec = CODECS.get(name, name)
                reasons.append(f"traces of {codec} at a low bit rate, where the detector is often wrong")
        if p < self.alpha:
            reasons.append(f"unlike the training data to the detector: {100 * p:.1f} % of {self.basis} lie as far off")
        return {"p_value": p, "typical": not reasons, "reasons": reasons}

    def atypical(
        self, embeddings: Float[np.ndarray, "n dim"], properties: Mapping[str, Column]
    ) -> Bool[np.ndarray, " n"]:
        """Whether each of many records is not typical; as `judge`, without words."""
        found = self.p_values(embeddings) < self.alpha
        for name, limits in self.ranges.items():
            if name in properties:
                found |= [not _within(limits, value) for value in properties[name].tolist()]
        for trace in self.traces.values():
            found |= trace.noticed(embeddings)
        return found

    def save(self, path: epath.PathLike) -> None:
        """Writes the file, as a whole: arrays without pickles."""
        arrays: dict[str, Any] = {field.name: getattr(self.space, field.name) for field in dataclasses.fields(Space)}
        arrays |= {"held": self.held, "weights": self.weights, "basis": self.basis, "alpha": self.alpha}
        for name, limits in self.ranges.items():
            arrays[f"range.{name}"] = np.array([limits.low, limits.high, *limits.seen])
            if limits.kinds:
                arrays[f"kinds.{name}"] = np.array(limits.kinds)
        for name, trace in self.traces.items():
            arrays[f"trace.{name}"] = np.append(trace.weights, np.float32(trace.cut))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        files.write(path, buffer.getvalue())


def whole(embeddings: Float[np.ndarray, "n dim"], found: Mapping[str, Float[np.ndarray, " n"]]) -> tuple:
    """A clip of its windows or frames: the mean embedding (dim,), and name -> median of what is not NaN.

    The median, because a file is what most of it is: a passage of music in a conversation makes no music of it.
    """
    middle = {
        name: statistics.median(v) if (v := [x for x in column.tolist() if math.isfinite(x)]) else math.nan
        for name, column in found.items()
    }
    return embeddings.mean(axis=0), middle


def load(path: epath.PathLike) -> Typicality:
    """What `Typicality.save` wrote.

    Raises:
      InputError: the file cannot be read, or is another one.
    """
    try:
        return parse(epath.Path(path).read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def parse(content: bytes, path: str = TYPICALITY) -> Typicality:
    """What `Typicality.save` wrote, of its bytes; `path` is where they are from, for the message.

    Raises:
      InputError: the bytes are of something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = dict(stored)
        ranges = {}
        for key in arrays:
            if key.startswith("range."):
                name = key.removeprefix("range.")
                low, high, *seen = arrays[key].tolist()
                ranges[name] = Range(
                    low, high, (seen[0], seen[1]), tuple(arrays.get(f"kinds.{name}", np.array([])).tolist())
                )
        return Typicality(
            Space(arrays["centre"], arrays["axes"], arrays["landmarks"]),
            arrays["held"],
            arrays["weights"],
            ranges,
            str(arrays["basis"]),
            float(arrays["alpha"]),
            {
                key.removeprefix("trace."): Trace(arrays[key][:-1], float(arrays[key][-1]))
                for key in arrays
                if key.startswith("trace.")
            },
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} holds no typicality ({str(error) or type(error).__name__}); run again without it"
        ) from error


def fit(
    embeddings: Float[np.ndarray, "n dim"],
    properties: Mapping[str, Column],
    domains: Column,
    *,
    groups: Column | None = None,
    held_back: Records | None = None,
    alpha: float = ALPHA,
    seed: int = 0,
) -> Typicality:
    """What is typical of the training data.

    Args:
      embeddings: of clips (the mean over windows or frames) of the training data.
      properties: of the same clips, name -> (n,); numbers, NaN where there is none, or text.
      domains: of the same clips.
      groups: of the same clips: what is held back together where `held_back` is not given; each clip is one by default.
      held_back: embeddings and properties of clips that the network was not trained on, of the domains that it was
        trained on: a validation split.
      alpha: p-values below it are not typical.
      seed: of landmarks and folds.

    Raises:
      InputError: fewer than two clips, or embeddings that are not finite.
    """
    embeddings, domains = np.asarray(embeddings), np.asarray(domains)
    properties = {name: np.asarray(column) for name, column in properties.items()}
    of_all = space(embeddings, domains, seed=seed)
    numbers = {name: column for name, column in properties.items() if column.dtype.kind in "fiub"}
    if held_back is not None:
        kept, basis = [(np.ones(len(embeddings), bool), held_back)], "records held back"
    else:
        groups = np.arange(len(domains)) if groups is None else np.asarray(groups)
        kept, basis = list(_folds(embeddings, numbers, groups, seed)), "records held back in turn"
    distances, outside = [], []
    for rows, (others, columns) in kept:
        part = of_all if rows.all() else space(embeddings[rows], domains[rows], seed=seed)
        distances.append(part.distances(others))
        parts = [
            _excess(_limits(numbers[name][rows], told(name)), columns[name]) for name in numbers if name in columns
        ]
        outside.append(np.max(parts, axis=0) if parts else np.zeros(len(others)))
    held = np.concatenate(distances)
    thinned = np.random.default_rng(seed).permutation(len(held))[:DISTANCES]
    order = thinned[np.argsort(held[thinned], kind="stable")]
    margin = _margin(np.concatenate(outside))
    known: Mapping[str, np.ndarray] = {} if held_back is None else held_back[1]  # what these have is typical as well
    ranges = {
        name: _range(column, np.concatenate([column, np.asarray(known.get(name, column[:0]))]), told(name), margin)
        for name, column in properties.items()
    }
    return Typicality(of_all, held[order].astype(np.float32), np.ones(len(order), np.float32), ranges, basis, alpha)


def _folds(embeddings, numbers, groups, seed) -> Iterator[tuple[np.ndarray, Records]]:
    """(rows that stay, records held back) of each of FOLDS parts of the groups."""
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < FOLDS:  # too few to do without some
        yield np.ones(len(groups), bool), (embeddings, numbers)
        return
    fold = np.random.default_rng(seed).permutation(len(names))[index] % FOLDS
    for k in np.unique(fold):
        out = fold == k
        if (~out).sum() >= 2:
            yield ~out, (embeddings[out], {name: column[out] for name, column in numbers.items()})


def _margin(outside: Float[np.ndarray, " n"]) -> float:
    """Lengths by which ranges are widened, so that only the share OUTSIDE of records like those held back lies out."""
    rank = math.ceil((1 - OUTSIDE) * (len(outside) + 1))  # of few records even the largest is not rare: it counts
    return max(MARGIN, float(np.sort(outside)[min(rank, len(outside)) - 1])) if len(outside) else MARGIN


def _range(column, every, words, margin) -> Range:
    """A range that holds that of `column`, the training data, and that of `every` record.

    The first is widened by `margin`, the second by MARGIN, both in lengths of the first.
    """
    if column.dtype.kind not in "fiub":
        return Range(kinds=tuple(sorted(set(every.astype(str).tolist()) - {""})))
    (low, high, length), (lowest, highest, _) = _limits(column, words), _limits(every, words)
    if math.isnan(low):
        return Range()
    low, high = low - margin * length, high + margin * length
    return Range(min(low, lowest - MARGIN * length), max(high, highest + MARGIN * length), (lowest, highest))


def _within(limits: Range, value: float | str) -> bool:
    if isinstance(value, str):
        return not (value and limits.kinds) or value in limits.kinds
    return bool(math.isnan(value) or limits.low <= value <= limits.high)


def told(name: str) -> Words:
    """How a property is told; by its name where nothing is known of it."""
    return WORDS.get(name, Words(name.replace("_", " "), digits=2))


def _reason(name: str, limits: Range, value: float | str) -> str:
    """Why a value is not typical: it, what it is like, and what training had."""
    if isinstance(value, str):
        return f"{told(name).name} {value}; training had {', '.join(limits.kinds)}"
    words = told(name)
    hint = words.low if value < limits.low else words.high
    if name == "bandwidth" and TELEPHONE[0] <= value <= TELEPHONE[1]:
        hint = "as of a telephone"
    figures = [f"{words.factor * each:.{words.digits}f}" for each in (value, *limits.seen)]
    seen = figures[1] if figures[1] == figures[2] else f"{figures[1]} to {figures[2]}"
    return f"{words.name} of {figures[0]}{words.unit}{', ' * bool(hint)}{hint}; training had {seen}{words.unit}"
