"""How far a tuned threshold flatters itself: the bootstrap of a whole threshold search.

The value of a criterion at the threshold that maximises it on the same data is too high. Each replicate
searches again and is judged on the original data; the mean loss is the optimism (Efron, "Estimating the
error rate of a prediction rule", 1983; Harrell, Lee & Mark 1996), and the intervals come from the same
replicates.

Scores are sorted once. A replicate only needs new counts for the cells between candidate cuts, which have a
multinomial law: that is the ordinary bootstrap exactly, at the cost of the cells instead of the samples.
"""

import concurrent.futures
import dataclasses
import math

import numpy as np

from dfjax.decide import criteria, cuts, thresholds
from dfjax.decide.cuts import Column


@dataclasses.dataclass(frozen=True)
class Optimism:
    """What the bootstrap says about one threshold search.

    Attributes:
      apparent: the criterion's value at the chosen threshold on the data that chose it.
      corrected: apparent minus optimism, what to expect on new data of the same kind.
      interval: of the corrected value (the replicates' own values, shifted by the optimism). As the value itself it
        ends where the criterion does: there is no recall below 0.
      threshold_interval: of the threshold.
      constrained, constrained_corrected: the same for the quantity under a constraint (precision, recall or
        specificity); None without one. The constraint, too, is met more narrowly on new data.
      replicates: those that were defined.
    """

    apparent: float
    corrected: float
    interval: tuple[float, float]
    threshold_interval: tuple[float, float]
    constrained: float | None
    constrained_corrected: float | None
    replicates: int


def bootstrap(
    scores: Column,
    labels: Column,
    criterion: str,
    *,
    groups: Column | None = None,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    **constraint,
) -> Optimism | None:
    """Searches `n` resampled data sets; None where the criterion is undefined on the data or on all of those.

    Args:
      scores: (n,) as in `thresholds.search`.
      labels: (n,).
      criterion: and its `constraint`.
      groups: (n,) the units drawn with replacement (speaker, source video); each sample its own if None.
      n: replicates.
      seed: of the draws.
      confidence: of the intervals.
      **constraint: the criterion's own numbers.

    Raises:
      InputError, ValueError: as `thresholds.search`; ValueError also for groups of another length.
    """
    search = _Search(scores, labels, criterion, constraint)
    if search.chosen.value is None:
        return None
    draw = search.drawer(groups)

    def run(seed):
        return search.replicate(*draw(np.random.default_rng(seed)))

    seeds = np.random.SeedSequence(seed).spawn(n)
    if len(search.scores) < cuts.THREADED:
        rows = [run(s) for s in seeds]
    else:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(run, seeds))
    found = np.array([row for row in rows if row is not None], np.float64).reshape(-1, 5)
    if not len(found):
        return None
    threshold, own, original, own_held, original_held = found.T
    apparent, optimism = search.chosen.score, float(np.mean(own - original))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(own, tails)
    lowest, highest = np.quantile(threshold, tails, method="nearest")
    held = criteria.held(criterion, search.chosen.tp, search.chosen.fp, *search.totals)
    held_corrected = min(max(held - float(np.mean(own_held - original_held)), 0.0), 1.0)
    return Optimism(
        apparent=apparent,
        corrected=criteria.bounded(criterion, apparent - optimism),
        interval=(
            criteria.bounded(criterion, float(low) - optimism),
            criteria.bounded(criterion, float(high) - optimism),
        ),
        threshold_interval=(float(lowest), float(highest)),
        constrained=None if math.isnan(held) else held,
        constrained_corrected=None if math.isnan(held) else held_corrected,
        replicates=len(found),
    )


class _Search:
    """One search over sorted scores and the means to repeat it on new counts."""

    def __init__(self, scores, labels, criterion, constraint):
        self.scores, self.fake = cuts.check(scores, labels)
        self.criterion, self.constraint = criterion, constraint
        self.chosen = thresholds.search(self.scores, self.fake, criterion, **constraint)
        self.both = cuts.classes(self.scores, self.fake)
        self.cuts = criteria.CRITERIA[criterion].cuts(self.both)
        self.totals = (self.both.positives, self.both.negatives)

    def drawer(self, groups):
        """From a generator to (fakes, reals) per cell; cell i lies between cut i - 1 and cut i."""
        cells = len(self.cuts) + 1
        sizes = [
            np.diff(c, prepend=0, append=t) for c, t in zip((self.cuts.tp, self.cuts.fp), self.totals, strict=True)
        ]
        sizes = np.concatenate(sizes)
        if groups is None:
            return lambda rng: _multinomial(rng, sizes).reshape(2, cells)
        if len(groups) != len(self.scores):
            raise ValueError(f"groups must be one per score, got {len(groups)} for {len(self.scores)}")
        names, group = np.unique(np.asarray(groups), return_inverse=True)
        order = np.lexsort((-self.scores, ~self.fake))  # as the cells: fakes first, from the highest score
        group, filled = group[order], np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[filled]

        def draw(rng):
            times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
            counts = np.zeros(2 * cells, np.int64)
            counts[filled] = np.add.reduceat(times[group], starts)
            return counts.reshape(2, cells)

        return draw

    def replicate(self, fakes, reals):
        """Threshold, value here and on the original, constrained quantity on both; None if undefined."""
        tp, fp, p, n = fakes.cumsum()[:-1], reals.cumsum()[:-1], int(fakes.sum()), int(reals.sum())
        drawn = cuts.Cuts(self.cuts.smallest, tp, fp)
        row, _ = criteria.best_cut(drawn, p, n, self.criterion, self.constraint)
        if row is None:
            return None
        threshold = self.middle(tp + fp, reals, row)
        original = [len(x) - int(np.searchsorted(x, threshold)) for x in (self.both.fake, self.both.real)]
        original += self.totals
        own = int(tp[row]), int(fp[row]), p, n
        values = [criteria.value_of(self.criterion, *c, self.constraint) for c in (own, original)]
        return threshold, *values, *(criteria.held(self.criterion, *c) for c in (own, original))

    def middle(self, predicted, reals, row):
        """The threshold a search of the replicate would return, to the resolution of the cells."""
        row = int(np.searchsorted(predicted, predicted[row]))
        after = int(np.searchsorted(predicted, predicted[row], side="right"))
        at, above = float(self.cuts.smallest[row]), float(self.cuts.smallest[after - 1])
        if math.isnan(at):
            return thresholds.midpoint(self.both.largest(), None, self.scores.dtype)
        side = self.both.real if reals[after] else self.both.fake
        i = np.searchsorted(side, side.dtype.type(above))
        return thresholds.midpoint(float(side[i - 1]) if i else None, at, self.scores.dtype)


def _multinomial(rng, sizes):
    """Counts of sum(sizes) draws over cells, proportional to their sizes.

    Independent Poisson counts are multinomial given their sum; they are drawn a little short of it, and
    single draws fill up the rest. Twice as fast as a chain of binomials.
    """
    total = int(sizes.sum())
    short = max(0.0, 1 - 5 / math.sqrt(total))
    while True:
        counts = rng.poisson(sizes * short)
        missing = total - int(counts.sum())
        if missing >= 0:
            break
    drawn = np.searchsorted(np.cumsum(sizes), rng.integers(0, total, missing), side="right")
    return counts + np.bincount(drawn, minlength=len(sizes))
