"""The range of each property of a detector's training data, and in words what lies outside. NumPy only, never JAX."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Shaped

OUTSIDE = 0.02  # share of held-back records with a property outside its range, at most
TAIL = 0.005  # quantile of the training data where a range begins, and as much before its end
MARGIN = 0.1  # of its length by which a range is widened at both ends, at least

Column = Shaped[np.ndarray, " n"]  # numbers, or text for what has kinds (a codec)


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
TELEPHONE = (3_000.0, 4_200.0)  # Hz, where the bandwidth of a telephone ends


def told(name: str) -> Words:
    """How a property is told; by its name where nothing is known of it."""
    return WORDS.get(name, Words(name.replace("_", " "), digits=2))


@dataclasses.dataclass(frozen=True)
class Range:
    """What a property may be: numbers from `low` to `high`, or one of `kinds`."""

    low: float = -math.inf
    high: float = math.inf
    seen: tuple[float, float] = (-math.inf, math.inf)  # that all but the outermost training records had
    kinds: tuple[str, ...] = ()

    def holds(self, value: float | str) -> bool:
        """Whether a value lies inside; a missing one does."""
        if isinstance(value, str):
            return not (value and self.kinds) or value in self.kinds
        return bool(math.isnan(value) or self.low <= value <= self.high)

    def reason(self, name: str, value: float | str) -> str:
        """Why a value of the property is not typical: it, what it is like, and what training had."""
        words = told(name)
        if isinstance(value, str):
            return f"{words.name} {value}; training had {', '.join(self.kinds)}"
        hint = words.low if value < self.low else words.high
        if name == "bandwidth" and TELEPHONE[0] <= value <= TELEPHONE[1]:
            hint = "as of a telephone"
        figures = [f"{words.factor * each:.{words.digits}f}" for each in (value, *self.seen)]
        seen = figures[1] if figures[1] == figures[2] else f"{figures[1]} to {figures[2]}"
        return f"{words.name} of {figures[0]}{words.unit}{', ' * bool(hint)}{hint}; training had {seen}{words.unit}"


def numeric(column: Column) -> bool:
    """Whether a property is a number, and not one of several kinds."""
    return column.dtype.kind in "fiub"


def fit(name: str, column: Column, every: Shaped[np.ndarray, " m"], margin: float) -> Range:
    """A range that holds that of `column`, the training data, and that of `every` record.

    The first is widened by `margin`, from `margin_of`, the second by MARGIN, both in lengths of the first.
    """
    if not numeric(column):
        return Range(kinds=tuple(sorted(set(every.astype(str).tolist()) - {""})))
    (low, high, length), (lowest, highest, _) = _limits(name, column), _limits(name, every)
    if math.isnan(low):
        return Range()
    low, high = low - margin * length, high + margin * length
    return Range(min(low, lowest - MARGIN * length), max(high, highest + MARGIN * length), (lowest, highest))


def margin_of(outside: Float[np.ndarray, " n"]) -> float:
    """Lengths by which ranges are widened, so that only the share OUTSIDE of records like those held back lies out.

    Args:
      outside: of each record held back, its largest `excess`.
    """
    rank = math.ceil((1 - OUTSIDE) * (len(outside) + 1))  # of few records even the largest is not rare: it counts
    return max(MARGIN, float(np.sort(outside)[min(rank, len(outside)) - 1])) if len(outside) else MARGIN


def excess(name: str, column: Column, values: Shaped[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """How far values lie outside the quantiles of `column`, in lengths of its range.

    It is 0 within, and where a value or the range is missing.
    """
    low, high, length = _limits(name, column)
    values = np.asarray(values, np.float64)
    return np.nan_to_num(np.maximum(np.maximum(values - high, low - values), 0) / length, nan=0.0, posinf=1e9)


def _limits(name: str, column: Column) -> tuple[float, float, float]:
    """Quantiles of a property where its range begins and ends, and the length of its margins; NaN of nothing."""
    values = column[np.isfinite(column)]
    if not len(values):
        return math.nan, math.nan, math.nan
    low, high = np.quantile(values, (TAIL, 1 - TAIL))
    return float(low), float(high), max(float(high - low), told(name).margin / MARGIN, 1e-9)
