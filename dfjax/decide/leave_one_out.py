"""A threshold searched without each domain in turn, and judged on that domain. NumPy only."""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from dfjax.decide import criteria, domains, operating_points, redrawn, score_file, thresholds
from dfjax.decide.cuts import Number
from dfjax.decide.score_file import Scores


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """What a threshold search is worth on a domain that took no part in it.

    Attributes:
      thresholds: domain -> the threshold that the other domains choose; None where they choose none.
      corrected: the criterion's value when each domain is judged at that threshold, every domain weighing alike.
      interval: 95 %, of a bootstrap of domains and, in each, of groups of clips; the thresholds stay.
      replicates: those that were defined.
      unit: what was redrawn, in words.
      constrained_corrected: as `corrected`, of the quantity under a constraint (precision, recall or specificity); None
        without one.
    """

    thresholds: dict[str, float | None]
    corrected: float
    interval: tuple[float, float]
    replicates: int
    unit: str
    constrained_corrected: float | None


def judge(
    scores: Scores, criterion: str, *, n: int = domains.REPLICATES, seed: int = 0, **constraint: Number
) -> LeaveOneOut | None:
    """Searches the threshold without each domain in turn and judges that domain at it.

    This is what replaces the bootstrap of `optimism` where domains differ: the luck of a threshold lies in the
    domains that chose it, and only a domain that did not choose shows it.

    Args:
      scores: one row per clip, with domains.
      criterion: a key of `thresholds.CRITERIA`.
      n: replicates of the bootstrap.
      seed: of the bootstrap.
      **constraint: the criterion's numbers.

    Returns:
      None where fewer than two domains can be judged so, or the criterion is undefined.
    """
    found: dict[str, float | None] = {}
    tables, drawn = [], []
    for k, (name, own) in enumerate(domains.each(scores)):
        others = score_file.select(scores, np.flatnonzero(scores.domain != name))
        chosen = None
        if len(others):
            weights = domains.equal_weights(others)
            chosen = thresholds.search(others.score, others.label, criterion, weights=weights, **constraint).value
        found[name] = chosen
        if chosen is None:
            continue
        table = operating_points.confusion(own, chosen)
        tables.append(table.sum(0))
        if not domains.of_methods(scores):
            drawn.append(operating_points.draws(table, operating_points.units(own)[0], n=n, seed=seed + k))
    if len(tables) < 2:
        return None
    corrected = _weighed(np.array(tables)[None], len(scores), criterion, constraint)[0]
    if math.isnan(corrected):
        return None
    rng, count = np.random.default_rng(seed), len(tables)
    who, which = rng.integers(0, count, (n, count)), rng.integers(0, n, (n, count))
    if domains.of_methods(scores):  # a draw of their real clips is the same for all
        drawn, which = _drawn_together(scores, found, n, rng), np.arange(n)[:, None]
    values = _weighed(np.array(drawn)[who, which], len(scores), criterion, constraint)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    within = f"and, within them, {domains.redrawn_in_words(scores)}"
    if domains.of_methods(scores):
        within = f"and {domains.shared_units(scores)[2]}"
    unit = f"{count} {domains.noun(scores, count)} {within}"
    _, (recalls, alarms) = _rates(np.array(tables)[None])
    held = criteria.held(criterion, float(recalls[0]), float(alarms[0]), 1.0, 1.0)
    interval = float(low), float(high)
    return LeaveOneOut(found, corrected, interval, len(values), unit, None if math.isnan(held) else held)


def _drawn_together(scores, chosen, n, rng):
    """Counts (domains, n, 4) of tp, fp, fn and tn of each domain with a threshold in `chosen`, in the same draws."""
    units, strata, _ = domains.shared_units(scores)
    parts = [(np.flatnonzero(scores.domain == name), at) for name, at in chosen.items() if at is not None]
    tables = [operating_points.confusion(score_file.select(scores, rows), at) for rows, at in parts]
    found = np.empty((len(parts), n + 1, 4), np.int64)
    for draws, copies in redrawn.draws(len(scores), units, n, rng, strata):
        for k, ((rows, _), table) in enumerate(zip(parts, tables, strict=True)):
            found[k, draws] = copies[:, rows] @ table
    return found[:, 1:]


def _rates(counts):
    """Of draws of domains (draws, domains, 4: tp, fp, fn, tn): which have both classes, and their mean rates.

    Returns:
      (draws,) mask; recall and false positive rate of those, each the mean over the domains that have one.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore"):
        recall, alarm = tp / (tp + fn), fp / (fp + tn)
    has = np.isfinite(recall), np.isfinite(alarm)
    both = has[0].any(1) & has[1].any(1)
    means = [np.where(h, r, 0)[both].sum(1) / h[both].sum(1) for h, r in zip(has, (recall, alarm), strict=True)]
    return both, means


def _weighed(counts, clips, criterion, constraint):
    """The criterion of draws of domains, as `_rates` takes them, with `domains.equal_weights`; NaN if undefined."""
    both, means = _rates(counts)
    values = np.full(len(both), np.nan)
    whole, unit = 1 << 40, Fraction(clips, 2 << 40)  # rates to 1e-12
    values[both] = [
        criteria.value_of(criterion, round(whole * t), round(whole * f), whole, whole, constraint, unit)
        for t, f in zip(*(mean.tolist() for mean in means), strict=True)
    ]
    return values
