"""Scores sorted once, and the exact counts of every cut that a threshold can make through them.

A cut is the prediction `fake iff score >= threshold`; scores that compare equal are never parted. Counts are
integers: int64 without weights, and with weights the exact integers of which every weight is a multiple
(Python integers where int64 is too small), so that no comparison of cuts ever rounds.

Under a criterion that rises with true and falls with false positives only the cuts at a fake's score, and
the one that predicts none, can be best; and of the fakes with no real between them only the lowest.
"""

import concurrent.futures
import dataclasses
import fractions
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Shaped

Number = int | float | np.number
Column = Shaped[np.ndarray, " n"] | Sequence
THREADED = 1 << 17  # scores; below this a thread costs more than it saves
BINS = 1 << 14
NAN = "scores contain NaN; a threshold or metric over them means nothing"


@dataclasses.dataclass(frozen=True)
class Classes:
    """Scores of each class, ascending, with the weight of everything below each of them.

    Attributes:
      fake, real: sorted scores of one dtype, without samples of zero weight.
      fake_weight, real_weight: cumulative integer weights, one longer than the scores; None for unit weights.
      unit: what one integer of weight stands for.
      absent: (fakes, reals) left out because no best cut lies near them.
      absent_above: a function of scores to the numbers of absent (fakes, reals) above them.
    """

    fake: np.ndarray
    real: np.ndarray
    fake_weight: np.ndarray | None = None
    real_weight: np.ndarray | None = None
    unit: fractions.Fraction = fractions.Fraction(1)
    absent: tuple[int, int] = (0, 0)
    absent_above: Callable | None = None

    @property
    def positives(self) -> int:
        """Total weight of the fakes, in units."""
        return self.absent[0] + (len(self.fake) if self.fake_weight is None else int(self.fake_weight[-1]))

    @property
    def negatives(self) -> int:
        """Total weight of the reals, in units."""
        return self.absent[1] + (len(self.real) if self.real_weight is None else int(self.real_weight[-1]))

    def largest_below(self, value) -> float | None:
        """The largest score of either class that is less than `value`."""
        below = [x[i - 1] for x in (self.fake, self.real) if (i := np.searchsorted(x, value))]
        return float(max(below)) + 0.0 if below else None

    def largest(self) -> float:
        """The largest score of all, of which there must be one."""
        return max(float(x[-1]) for x in (self.fake, self.real) if len(x))


@dataclasses.dataclass(frozen=True)
class Cuts:
    """Cuts from the highest to the lowest: the first predicts the fewest fakes.

    Attributes:
      smallest: the smallest score predicted fake; NaN for the cut that predicts none.
      tp, fp: weight of fakes and of reals predicted fake, in units of `Classes.unit`.
    """

    smallest: np.ndarray
    tp: np.ndarray
    fp: np.ndarray

    def __len__(self):
        return len(self.tp)


def check(scores: Column, labels: Column) -> tuple[np.ndarray, np.ndarray]:
    """(n,) scores as floats, and (n,) labels as a mask of the fakes.

    Raises:
      ValueError: not one axis, other lengths, a label that is neither 0 nor 1. (NaN scores pass: sorting finds them.)
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels must be one-axis arrays of one length, got {scores.shape}, {labels.shape}")
    if scores.dtype not in (np.float16, np.float32, np.float64):
        scores = scores.astype(np.float64)
    fake = labels if labels.dtype == bool else labels == 1
    if labels.dtype != bool and np.count_nonzero(labels) != np.count_nonzero(fake):
        others = sorted(set(np.unique(labels).tolist()) - {0, 1})[:5]
        raise ValueError(f"labels must be 1 (fake) or 0 (real), got {others}")
    return scores, fake


def classes(scores: Column, labels: Column, weights: Column | None = None) -> Classes:
    """Sorts the scores of each class once.

    Args:
      scores: (n,) any finite or infinite numbers.
      labels: (n,) 1 fake, 0 real.
      weights: (n,) non-negative numbers or fractions; zero is as if the sample were absent.

    Raises:
      ValueError: a NaN score, a label other than 0 and 1, a negative or infinite weight, shapes that differ.
    """
    scores, fake = check(scores, labels)
    if weights is not None:
        return _weighted(scores, fake, weights)
    fakes, reals = _sorted_by_class(scores, fake)
    for x in (fakes, reals):
        if len(x) and np.isnan(x[-1]):  # NaN sorts last
            raise ValueError(NAN)
    return Classes(fakes, reals)


def near_optima(scores: Column, labels: Column, promising: Callable) -> Classes:
    """The scores around the best cuts, sorted; the others are only counted.

    Counts in bins of equal width tell for each bin the most fakes and the fewest reals that a cut inside it
    can have. Bins where even that is worse than a cut between bins hold no optimum under a criterion that
    rises with tp and falls with fp. What is left is a small part, so that no full sort is needed.

    Args:
      scores: (n,) as in `classes`.
      labels: (n,).
      promising: (edges, hopes, fakes, reals) -> mask of bins, see `criteria.promising`.

    Raises:
      ValueError: as `classes`.
    """
    scores, fake = check(scores, labels)
    bin_of = _binning(scores) if len(scores) >= THREADED else None
    if bin_of is None:
        return classes(scores, fake)
    bins = bin_of(scores)
    counts = np.bincount(bins + BINS * fake, minlength=2 * BINS).reshape(2, BINS)  # reals, fakes
    down_to = _from_above(counts)
    beyond = down_to - counts
    none = np.empty(0, scores.dtype)
    edges, hopes = Cuts(none, down_to[1], down_to[0]), Cuts(none, down_to[1], beyond[0])
    keep = promising(edges, hopes, int(down_to[1, 0]), int(down_to[0, 0]))
    filled = np.flatnonzero(counts.any(0))
    keep[filled[-1]] = True  # holds the largest score
    below = np.maximum(np.flatnonzero(keep[filled]) - 1, 0)
    keep[filled[below]] = True  # holds the largest score below the lowest cut of a bin
    rows = keep[bins]
    fakes, reals = _sorted_by_class(scores[rows], fake[rows])
    absent_beyond = beyond - (_from_above(counts * keep) - counts * keep)

    def absent_above(values):
        bins = bin_of(values)
        return absent_beyond[1, bins], absent_beyond[0, bins]

    absent = counts[1, ~keep].sum(), counts[0, ~keep].sum()
    return Classes(fakes, reals, absent=(int(absent[0]), int(absent[1])), absent_above=absent_above)


def _from_above(counts):
    return counts[:, ::-1].cumsum(1)[:, ::-1]


def _binning(scores):
    """A function from scores to bins that never falls as scores rise; None where equal widths fail."""
    if np.isnan(scores.min()):
        raise ValueError(NAN)
    with np.errstate(all="ignore"):
        some = scores[:: max(1, len(scores) // 8192)].astype(np.float32)
        some = some[np.isfinite(some)]
        low, scale = (some.min(), (BINS - 2) / np.ptp(some)) if len(some) else (np.float32(0), np.float32(0))
        if not (np.isfinite(scale) and scale > 0):
            return None

    def bin_of(values):
        with np.errstate(over="ignore"):
            place = values.astype(np.float32)
            place -= low
            place *= np.float32(scale)
            place += 1  # what lies below the lowest of some goes to the first bin
        return np.clip(place, 0, BINS - 1, out=place).astype(np.int64)

    return bin_of


def _sorted_by_class(scores, fake):
    """Two sorted arrays: each half is picked and sorted in its own thread, then merged."""
    if len(scores) < THREADED:
        return np.sort(scores[fake]), np.sort(scores[~fake])
    half = len(scores) // 2
    pieces = [(scores[i], mask[i]) for mask in (fake, ~fake) for i in (slice(half), slice(half, None))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        low_fake, high_fake, low_real, high_real = pool.map(lambda piece: np.sort(piece[0][piece[1]]), pieces)
        # a stable sort of two sorted runs is one merge
        merge = lambda runs: np.sort(np.concatenate(runs), kind="stable")  # noqa: E731
        fakes, reals = pool.map(merge, [(low_fake, high_fake), (low_real, high_real)])
    return fakes, reals


def _weighted(scores, fake, weights):
    """Classes with cumulative integer weights."""
    if np.isnan(scores).any():
        raise ValueError(NAN)
    weights, unit = integer_weights(weights)
    if weights.shape != scores.shape:
        raise ValueError(f"weights must be one per score, got {weights.shape} for {scores.shape}")
    sorted_, below = [], []
    for mask in (fake, ~fake):
        mask = mask & (weights != 0)
        order = np.argsort(scores[mask], kind="stable")
        sorted_.append(scores[mask][order])
        below.append(np.concatenate([weights[:0], [0], np.cumsum(weights[mask][order])]).astype(weights.dtype))
    return Classes(*sorted_, *below, unit)


def integer_weights(weights: Column) -> tuple[np.ndarray, fractions.Fraction]:
    """(n,) integers and a unit with weights == integers * unit exactly.

    Raises:
      ValueError: a weight is negative, infinite or NaN.
    """
    weights = np.asarray(weights)
    if weights.dtype.kind in "fiub":
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("weights must be finite and not negative")
        if (weights == np.floor(weights)).all() and weights.sum(dtype=np.float64) < 2**53:
            return weights.astype(np.int64), fractions.Fraction(1)
        kinds, kind = np.unique(weights, return_inverse=True)
        exact = [fractions.Fraction(w) for w in kinds.tolist()]
    else:  # clips share few objects; to tell which is faster than to compare what they are worth
        listed = weights.tolist()
        place = {key: k for k, key in enumerate(dict.fromkeys(map(id, listed)))}
        kind = np.array([place[id(w)] for w in listed], np.int64)
        exact = [fractions.Fraction(w) for w in {id(w): w for w in listed}.values()]
    if any(w < 0 for w in exact):
        raise ValueError("weights must be finite and not negative")
    denominator = math.lcm(*{w.denominator for w in exact})
    integers = [w.numerator * (denominator // w.denominator) for w in exact]
    common = math.gcd(*integers) or 1
    integers = [w // common for w in integers]
    total = sum(w * n for w, n in zip(integers, np.bincount(kind, minlength=len(integers)).tolist(), strict=True))
    dtype = np.int64 if total < 2**62 else object
    return np.array(integers, dtype)[kind], fractions.Fraction(common, denominator)


def monotone(both: Classes) -> Cuts:
    """The cuts among which every criterion that rises with tp and falls with fp has its best."""
    below = np.searchsorted(both.real, both.fake)  # reals under each fake
    if both.absent_above is not None:
        below -= both.absent_above(both.fake)[1]  # up to a constant
    lowest = np.ones(len(both.fake), bool)
    np.not_equal(below[1:], below[:-1], out=lowest[1:])  # false inside a tie and inside a run without a real
    values = both.fake[lowest][::-1]
    return _with_none(both, values, *_counts_at(both, values))


def every(both: Classes) -> Cuts:
    """Every cut there is."""
    values = np.sort(np.concatenate([both.fake, both.real]), kind="stable")
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    values = values[first][::-1]
    return _with_none(both, values, *_counts_at(both, values))


def _counts_at(both, values):
    counts = []
    for scores, weight in ((both.fake, both.fake_weight), (both.real, both.real_weight)):
        below = np.searchsorted(scores, values)
        counts.append(len(scores) - below if weight is None else weight[-1] - weight[below])
    if both.absent_above is not None:
        counts = [count + absent for count, absent in zip(counts, both.absent_above(values), strict=True)]
    return counts


def _with_none(both, values, tp, fp):
    """Puts the cut with the fewest predicted fakes first: none; or, under +inf scores, those alone."""
    if not len(both.fake) + len(both.real):
        return Cuts(values, tp, fp)
    if both.largest() != np.inf:
        top, counts = np.nan, (0, 0)
    elif len(values) and values[0] == np.inf:
        return Cuts(values, tp, fp)
    else:
        top, counts = np.inf, [c[0] for c in _counts_at(both, np.array([np.inf], both.fake.dtype))]
    first = np.array([top], both.fake.dtype)
    return Cuts(
        np.concatenate([first, values]),
        np.concatenate([np.array([counts[0]], tp.dtype), tp]),
        np.concatenate([np.array([counts[1]], fp.dtype), fp]),
    )
