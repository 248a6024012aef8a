"""Bootstrap draws as copies of each clip, and the ranking metrics of many draws from one sort. NumPy only."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

CELLS = 4_000_000  # replicates times clips held at a time


def draws(
    clips: int, groups: np.ndarray | None, replicates: int, rng: np.random.Generator, strata: np.ndarray | None = None
) -> Iterator[tuple[slice, Int[np.ndarray, "draws clips"]]]:
    """Yields (rows of the result, copies of each clip): every clip once, then bootstrap draws.

    Args:
      clips: how many there are.
      groups: (clips,) what is drawn with replacement; each clip its own if None.
      replicates: how many draws, in pieces of at most CELLS numbers.
      rng: of the draws.
      strata: (clips,) as many groups are drawn from each stratum as it has; None is one stratum.
    """
    yield slice(0, 1), np.ones((1, clips), np.int64)
    names = np.arange(clips) if groups is None else groups
    parts = [np.arange(clips)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    members = [np.unique(names[part], return_inverse=True)[1] for part in parts]
    step = max(1, CELLS // clips)
    for start in range(0, replicates, step):
        copies = np.empty((min(step, replicates - start), clips), np.int64)
        for part, index in zip(parts, members, strict=True):
            units = int(index.max()) + 1
            copies[:, part] = rng.multinomial(units, np.full(units, 1 / units), len(copies))[:, index]
        yield slice(start + 1, start + 1 + len(copies)), copies


def ranking(
    score: Float[np.ndarray, " clips"], fake: Bool[np.ndarray, " clips"], copies: Int[np.ndarray, "draws clips"]
) -> dict[str, Float[np.ndarray, " draws"]]:
    """`average_precision`, `auc` and `eer` of each draw as `metrics` has them, from one sort; NaN without both classes.

    Args:
      score: of each clip.
      fake: whether it is.
      copies: how often each clip is in each draw.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(score[order][1:] != score[order][:-1], True)  # cuts lie between distinct scores only
    tp = np.cumsum(copies[:, order] * fake[order], 1)[:, last]
    fp = np.cumsum(copies[:, order] * ~fake[order], 1)[:, last]
    p, n = tp[:, -1:], fp[:, -1:]
    steps = np.diff(tp, axis=1, prepend=0), np.diff(fp, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(tp + fp > 0, tp / (tp + fp), 0.0)
        # twice the area: each step of fp at the mean of tp before and after it
        area = (steps[1] * (2 * tp - steps[0])).sum(1) / (2 * p * n)[:, 0]
        rate = _eer(tp, fp, p, n)
        average_precision = (steps[0] * precision).sum(1) / p[:, 0]
    undefined = (p == 0)[:, 0] | (n == 0)[:, 0]
    found = {"average_precision": average_precision, "auc": area, "eer": rate}
    return {name: np.where(undefined, np.nan, value) for name, value in found.items()}


def _eer(tp, fp, p, n) -> Float[np.ndarray, " draws"]:
    """Mean error where miss and false alarm differ least, going trial by trial."""
    # their difference only rises: the least lies where it changes sign, between two cuts or one further up
    crossing = np.count_nonzero(fp * p < (p - tp) * n, axis=1)
    cut = np.clip(crossing[:, None] + (-1, 0), 0, tp.shape[1] - 1)
    after = [np.take_along_axis(count, cut, 1) for count in (tp, fp)]
    before = [np.where(cut > 0, np.take_along_axis(count, np.maximum(cut - 1, 0), 1), 0) for count in (tp, fp)]
    # while reals of a tie are rejected the misses stand still, then the other way round
    alarms = [np.clip((p - before[0]) * n // p + k, before[1], after[1]) / n for k in (0, 1)]
    misses = [(p - np.clip((n - after[1]) * p // n + k, before[0], after[0])) / p for k in (0, 1)]
    points = [((p - before[0]) / p, alarm) for alarm in alarms] + [(miss, after[1] / n) for miss in misses]
    pairs = np.stack([np.stack(point, -1) for point in points], 2).reshape(len(tp), -1, 2)
    # of the two trials between which it changes sign both may lie as near: rounding decides, as in `metrics.eer`
    best = np.argmin(np.abs(pairs[..., 0] - pairs[..., 1]), 1)
    return np.take_along_axis(pairs.mean(-1), best[:, None], 1)[:, 0]


def over_seeds(
    values: Float[np.ndarray, "seeds draws names"], drawn: Integer[np.ndarray, "replicates seeds"]
) -> Float[np.ndarray, "draws names"]:
    """Means over seeds: of all for the sample itself, of the seeds redrawn for each replicate."""
    replicates = np.arange(len(drawn))[:, None]
    return np.concatenate([values[:, 0].mean(0)[None], values[drawn, replicates + 1].mean(1)])
