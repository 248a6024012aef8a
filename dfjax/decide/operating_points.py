"""What a threshold does to clips, and how well scores rank them, with bootstrap intervals. NumPy only.

A metric at a fixed threshold depends on four counts alone, so the bootstrap draws multinomially over the
distinct rows of counts that its units have: the ordinary bootstrap, without touching the clips again.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from dfjax.decide import redrawn
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE

NAMES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
RANKING = ("auc", "average_precision", "eer")
DRAWN = 20_000_000  # clips redrawn in all; beyond 20,000 clips there are fewer than 1,000 replicates
MIN_GROUPS = 10  # redrawing fewer groups says little; clips are redrawn instead, and the report says so


def confusion(scores: Scores, threshold: float) -> Integer[np.ndarray, "n 4"]:
    """Per clip a row of zeros and a one: true positive, false positive, false negative, true negative."""
    called, fake = scores.score >= threshold, scores.label == FAKE
    cells = called & fake, called & ~fake, ~called & fake, ~called & ~fake
    return np.stack(cells, axis=1).astype(np.int64)


def metrics(counts: Integer[np.ndarray, "n 4"]) -> dict[str, Float[np.ndarray, " n"]]:
    """The metrics NAMES of rows of tp, fp, fn and tn; NaN where undefined."""
    tp, fp, fn, tn = np.asarray(counts, np.float64).T
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = tp / (tp + fn)
        return {
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
            "balanced_accuracy": (recall + tn / (fp + tn)) / 2,
            "precision": tp / (tp + fp),
            "recall": recall,
            "f1": np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan),
        }


def replicates(clips: int) -> int:
    """How often to redraw: 1,000 times, less where clips are so many that intervals are narrow anyway."""
    return max(100, min(1_000, DRAWN // clips))


def units(scores: Scores) -> tuple[np.ndarray | None, str]:
    """What a bootstrap redraws: (clips,) the group of each, or None for the clips themselves; and both in words."""
    groups = len(np.unique(scores.group))
    if groups == len(scores):
        return None, f"{len(scores):,} clips"
    if groups < MIN_GROUPS:
        few = f"their {groups} groups are too few to redraw, so the intervals are too narrow"
        return None, f"{len(scores):,} clips ({few})"
    return scores.group, f"{groups:,} groups of clips"


def draws(
    table: Integer[np.ndarray, "n k"], groups: np.ndarray | None, *, n: int, seed: int
) -> Integer[np.ndarray, "r k"]:
    """Column sums of `n` bootstrap replicates, one a row.

    Args:
      table: (rows, k) counts.
      groups: (rows,) what is drawn with replacement; each row its own if None.
      n: replicates.
      seed: of the draws.
    """
    if groups is not None:
        index = np.unique(groups, return_inverse=True)[1]
        sums = np.zeros((index.max() + 1, table.shape[1]), np.int64)
        np.add.at(sums, index, table)
        table = sums
    cells, copies = np.unique(table, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    return np.stack([rng.multinomial(len(table), copies / len(table)) @ cells for _ in range(n)])


def points(
    scores: Scores, thresholds: Sequence[float], groups: np.ndarray | None = None, *, n: int = 1_000, seed: int = 0
) -> tuple[list[dict], list[dict]]:
    """Counts and metrics at each threshold, and the change of each metric from the first to every later one.

    All thresholds see the same replicates, so the interval of a change is that of a paired comparison. Of a metric that
    is 0 or 1 the interval is that of `at_an_end`.

    Args:
      scores: one row per clip.
      thresholds: fake iff score >= threshold.
      groups: what is redrawn, see `units`; None for clips.
      n: replicates of the bootstrap.
      seed: of the bootstrap.

    Returns:
      [{threshold, tp, fp, fn, tn, accuracy: {value, low, high}, ...}], [{accuracy: {value, low, high}, ...}].
    """
    table = np.concatenate([confusion(scores, t) for t in thresholds], axis=1)
    total = table.sum(0)
    rows = np.concatenate([total[None], draws(table, groups, n=n, seed=seed)])  # the truth, its replicates
    values = [metrics(rows[:, 4 * k : 4 * k + 4]) for k in range(len(thresholds))]
    rests = [resting_on(scores, t, groups) for t in thresholds]
    sides = [
        {"threshold": float(t)}
        | dict(zip(("tp", "fp", "fn", "tn"), total[4 * k : 4 * k + 4].tolist(), strict=True))
        | {name: at_an_end(interval(values[k][name]), of) for name, of in rests[k].items()}
        for k, t in enumerate(thresholds)
    ]
    changes = [{name: interval(value[name] - values[0][name]) for name in NAMES} for value in values[1:]]
    return sides, changes


def resting_on(scores: Scores, threshold: float, groups: np.ndarray | None) -> dict[str, int]:
    """Metric of NAMES -> how many units, groups or clips, its value rests on at a threshold, see `at_an_end`."""
    fake, called = scores.label == FAKE, scores.score >= threshold
    found = dict.fromkeys(NAMES, fewest(fake, groups))
    found |= {"accuracy": _number(np.ones_like(fake), groups), "recall": _number(fake, groups)}
    return found | {"precision": _number(called, groups)}


def ranking(
    scores: Scores, groups: np.ndarray | None = None, *, n: int = 1_000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """AUC, average precision and EER, which no threshold changes, with 95 % intervals.

    Args:
      scores: one row per clip.
      groups: what is redrawn, see `units`; None for clips.
      n: replicates of the bootstrap.
      seed: of the bootstrap.

    Returns:
      {name: {value, low, high}}; NaN where undefined. Where the ranking is perfect the interval is that of `at_an_end`.
    """
    clips, fake, found = len(scores), scores.label == FAKE, []
    unit = np.arange(clips) if groups is None else np.unique(groups, return_inverse=True)[1]
    count, rng = 1 + unit.max(), np.random.default_rng(seed)
    redraws = (np.bincount(rng.integers(0, count, count), minlength=count)[unit] for _ in range(n))
    copies = itertools.chain([np.ones(clips, np.int64)], redraws)  # of each clip, a row per replicate
    while some := list(itertools.islice(copies, max(1, redrawn.CELLS // clips))):
        found.append(redrawn.ranking(scores.score, fake, np.stack(some)))
    few = fewest(fake, groups)
    return {name: at_an_end(interval(np.concatenate([each[name] for each in found])), few) for name in RANKING}


def fewest(fake: Bool[np.ndarray, " clips"], groups: np.ndarray | None) -> int:
    """How many units, groups or clips, the class has that has fewer of them; where there is only one, that one."""
    return min(filter(None, (_number(fake, groups), _number(~fake, groups))), default=0)


def _number(of: Bool[np.ndarray, " clips"], groups: np.ndarray | None) -> int:
    return int(of.sum()) if groups is None else len(np.unique(groups[of]))


def at_an_end(found: dict[str, float], units: int) -> dict[str, float]:
    """A bootstrap interval; of a share of 0 or 1, whose replicates are all the same, Wilson's of so many units.

    A mean of numbers between 0 and 1, as AUC is one over fakes and over reals, is no less certain than a share.
    """
    if units and found["value"] in (0, 1) and found["low"] == found["high"] == found["value"]:
        low_high = wilson(int(found["value"]) * units, units)
        return found | {end: float(low_high[end] or 0.0) for end in ("low", "high")}
    return found


def interval(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    """{value, low, high}: the first value, and the 95 % percentiles of those of the others that are finite.

    The others are its replicates; without a finite one low and high are NaN.
    """
    spread = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(spread, (0.025, 0.975)) if len(spread) else (np.nan, np.nan)
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def share(
    hit: Bool[np.ndarray, " clips"], groups: np.ndarray | None, *, n: int = 1_000, seed: int = 0
) -> dict[str, float | None]:
    """The share of clips that are hit as {value, low, high}, its 95 % interval.

    Over clips it is Wilson's; over groups of clips a bootstrap's, and where all are hit or none Wilson's of groups.

    Args:
      hit: which of the clips are, one row per clip.
      groups: (clips,) what is redrawn, see `units`; None for clips.
      n: replicates of the bootstrap.
      seed: of the bootstrap.
    """
    if groups is None or not len(hit):
        return wilson(int(hit.sum()), len(hit))
    if hit.all() or not hit.any():  # a bootstrap would see no spread
        count = len(np.unique(groups))
        return wilson(count * bool(hit.all()), count)
    table = np.stack([hit, np.ones(len(hit))], 1).astype(np.int64)
    sums = np.concatenate([table.sum(0)[None], draws(table, groups, n=n, seed=seed)])
    return dict(interval(sums[:, 0] / sums[:, 1]))


def wilson(hits: int, n: int) -> dict[str, float | None]:
    """The share hits / n as {value, low, high}, its 95 % score interval (Wilson 1927) honest also at 0 and at n.

    All are None for n = 0.
    """
    if not n:
        return {"value": None, "low": None, "high": None}
    z2, share = 1.959964**2, hits / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = float(np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))) / (1 + z2 / n)
    # at an end exactly that: rounded, the interval might leave out the share itself
    low, high = centre - reach if hits else 0.0, centre + reach if hits < n else 1.0
    return {"value": share, "low": max(0.0, low), "high": min(1.0, high)}
