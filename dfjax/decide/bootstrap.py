"""Intervals of any metric by resampling groups. Use them as `dfjax.metrics.bootstrap` and `paired_bootstrap`."""

import math
from collections.abc import Callable

import numpy as np

from dfjax.decide import cuts
from dfjax.decide.cuts import Column


def bootstrap(
    metric: Callable,
    scores: Column,
    labels: Column,
    groups: Column | None = None,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """A metric with its percentile interval over resampled groups (Efron and Tibshirani 1993).

    Args:
      metric: (scores, labels) -> number, or a tuple whose first entry is the number.
      scores: (n,).
      labels: (n,).
      groups: (n,) what is drawn with replacement (speaker, source video); each sample its own if None.
        Windows of one clip are near copies: without groups the interval is too narrow.
      n: replicates; those where the metric is NaN (one class only) are left out.
      seed: of the draws.
      confidence: of the interval.

    Returns:
      (value, low, high); low and high are NaN if no replicate was defined.

    Raises:
      ValueError: labels other than 0 and 1, shapes that differ; or what the metric raises.
    """
    scores, fake = cuts.check(scores, labels)
    values = [_number(metric(scores[i], fake[i])) for i in replicates(len(scores), groups, n, seed)]
    return _number(metric(scores, fake)), *_interval(values, confidence)


def paired_bootstrap(
    metric: Callable,
    scores_a: Column,
    scores_b: Column,
    labels: Column,
    groups: Column | None = None,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """metric(a) - metric(b) on the same samples, with its interval: both see the same draws.

    Args, Returns and Raises are those of `bootstrap`; `scores_a` and `scores_b` are (n,) each, of the same labels.
    """
    (a, fake), (b, _) = cuts.check(scores_a, labels), cuts.check(scores_b, labels)

    def difference(rows):
        return _number(metric(a[rows], fake[rows])) - _number(metric(b[rows], fake[rows]))

    values = [difference(rows) for rows in replicates(len(fake), groups, n, seed)]
    return difference(slice(None)), *_interval(values, confidence)


def _number(value):
    return float(value[0] if isinstance(value, tuple) else value)


def _interval(values, confidence):
    values = np.array(values)[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    with np.errstate(invalid="ignore"):  # between infinities there is no number: the nearer one is taken
        ends = np.quantile(values, tails)
    low, high = np.where(np.isnan(ends), np.quantile(values, tails, method="nearest"), ends)
    return float(low), float(high)


def replicates(size: int, groups: Column | None, n: int, seed: int):
    """Yields `n` arrays of row numbers: all rows of as many groups as there are, drawn with replacement.

    Args:
      size: how many rows there are.
      groups: (size,) the group of each row; each row its own if None.
      n: how many draws.
      seed: of the draws.

    Raises:
      ValueError: `groups` has another length.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        for _ in range(n):
            yield rng.integers(0, size, size)
        return
    if len(groups) != size:
        raise ValueError(f"groups must be one per sample, got {len(groups)} for {size}")
    _, group, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    rows, starts = np.argsort(group, kind="stable"), np.cumsum(counts) - counts
    for _ in range(n):
        drawn = rng.integers(0, len(counts), len(counts))
        lengths = counts[drawn]
        first = np.cumsum(lengths) - lengths
        yield rows[np.repeat(starts[drawn] - first, lengths) + np.arange(lengths.sum())]
