"""Operating points with a guarantee, and the band in which a detector should not decide.

A threshold at an order statistic of one class's scores bounds the error rate on new clips of that class at a
stated confidence, whatever the distribution: the number of scores beyond the true quantile is binomial. This
is the tolerance limit of Wilks (1941). Clips of one group (a speaker, a video) are not independent: where there are
such, groups are counted instead, each by the share of its clips that is wrong, with the bound of Bentkus (2004). No
threshold may have been tuned on them.
"""

import bisect
import dataclasses
import fractions
import itertools
import math
import operator

import numpy as np

from dfjax.decide import cuts, thresholds
from dfjax.decide.cuts import Column, Number
from dfjax.records import FAKE, REAL, InputError


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A threshold with a guarantee, or what is missing for one.

    Attributes:
      threshold: with its counts on the data; None if there are too few clips.
      statement: one line for people.
      clips: those of the class that counts: fakes for a recall, reals for a false positive rate; groups of them where
        clips are not independent.
      needed: the fewest of them for which any threshold can be certified.
    """

    threshold: thresholds.Threshold | None
    statement: str
    clips: int
    needed: int


def certify(
    scores: Column,
    labels: Column,
    *,
    min_recall: Number | None = None,
    max_fpr: Number | None = None,
    confidence: Number = 0.95,
    groups: Column | None = None,
) -> Certificate:
    """The threshold that keeps recall >= min_recall, or FPR <= max_fpr, on new clips, with confidence.

    Args:
      scores: (n,) one per clip.
      labels: (n,).
      min_recall: the recall to be promised, for which the highest threshold is found; give this or `max_fpr`.
      max_fpr: the false positive rate to be promised, for which the lowest threshold is found.
      confidence: probability, over validation sets, that the promise holds.
      groups: (n,) what each clip belongs to, where clips of one group are alike; None where all are independent. The
        rate is then that of a new group on the mean.

    Raises:
      InputError: not exactly one of the two, or a number outside (0, 1).
      ValueError: NaN scores, labels other than 0 and 1.
    """
    name, wanted = ("recall", min_recall) if max_fpr is None else ("FPR", max_fpr)
    if wanted is None or not (min_recall is None or max_fpr is None):
        raise InputError(f"certify takes one of min_recall and max_fpr, got {min_recall} and {max_fpr}")
    if not (0 < wanted < 1 and 0 < confidence < 1):
        raise InputError(f"{name} and confidence must lie between 0 and 1, got {wanted} and {confidence}")
    both = cuts.classes(scores, labels)
    ours = both.fake if max_fpr is None else -both.real[::-1]  # errors lie at the low end
    tail = 1 - fractions.Fraction(str(wanted)) if max_fpr is None else fractions.Fraction(str(wanted))
    own = np.asarray(labels) == (FAKE if max_fpr is None else REAL)
    of = np.arange(len(ours)) if groups is None else np.asarray(groups)[own]
    count, level, what = len(np.unique(of)), 1 - confidence, "clips"
    if count == len(ours):
        allowed = _errors_allowed(count, float(tail), float(confidence))
    else:
        rising = np.argsort(np.asarray(scores)[own] * (1 if max_fpr is None else -1))
        allowed = _errors_allowed_in_groups(ours, of[rising], float(tail), float(level))
        level, what = level / math.e, "groups of clips"
    needed = math.ceil(math.log(level) / math.log1p(-tail))
    promise = f"{name} {'>=' if max_fpr is None else '<='} {wanted} with {100 * confidence:g} % confidence"
    if allowed is None:
        kind, more = ("fake" if max_fpr is None else "real"), needed - count
        things = what.replace("clips", f"{kind} clips")
        statement = f"{promise} needs {more} more {things}: {needed} at least, {count} given"
        return Certificate(None, statement, count, needed)
    edge = ours[allowed]
    value = edge if max_fpr is None else np.nextafter(-edge, edge.dtype.type(np.inf))
    if not np.isfinite(value):
        return Certificate(None, f"{promise} cannot be met: its threshold is infinite", count, needed)
    constraint = {"confidence": confidence, name.lower(): wanted}
    threshold = at_value(both, value, f"certified_{name.lower()}", constraint)
    return Certificate(threshold, f"{promise}, if {what} are independent", count, needed)


def _errors_allowed(count, tail, confidence):
    """The greatest k with P(Binomial(count, tail) <= k) <= 1 - confidence, or None."""
    from scipy import special  # 0.1 s, wanted by few runs

    low, high = -1, count  # invariant: low is allowed, high is not
    while high - low > 1:
        middle = (low + high) // 2
        if special.bdtr(middle, count, tail) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return None if low < 0 else low


def rate_bound(wrong: Column, groups: Column, level: float) -> float:
    """Upper confidence bound of an error rate: that of clips, or of groups where some have several clips.

    Args:
      wrong: (n,) whether each clip is called wrong.
      groups: (n,) what each belongs to; of one of several clips their share that is wrong counts (Bentkus 2004: the
        binomial bound at `level` / e).
      level: probability with which the rate may lie above.
    """
    from scipy import special  # 0.1 s, wanted by few runs

    group = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(group)
    shares = np.bincount(group, wrong) / sizes
    hits, n = math.ceil(float(shares.sum()) - 1e-9), len(sizes)
    if hits >= n:
        return 1.0
    return float(special.bdtri(hits, n, level if n == len(group) else level / math.e))


def _errors_allowed_in_groups(rising, groups, tail, level):
    """The last position below which all may be wrong with `rate_bound` at most `tail`, or None."""
    starts = np.flatnonzero(np.r_[True, rising[1:] != rising[:-1]]) if len(rising) else []
    low, high = -1, len(starts)  # invariant: low is allowed, high is not
    while high - low > 1:
        middle = (low + high) // 2
        wrong = np.arange(len(rising)) < starts[middle]
        low, high = (middle, high) if rate_bound(wrong, groups, level) <= tail else (low, middle)
    return None if low < 0 else int(starts[low])


def at_value(both, value, criterion, constraint):
    """A given threshold with its counts on the data.

    Args:
      both: `cuts.Classes` of the scores.
      value: the threshold, a logit.
      criterion: the name of how it was found.
      constraint: that criterion's numbers; its `recall` or `fpr` becomes the `score`, 0 without them.
    """
    tp, fp = (len(x) - int(np.searchsorted(x, value)) for x in (both.fake, both.real))
    above = [x[-k] for x, k in ((both.fake, tp), (both.real, fp)) if k]
    return thresholds.Threshold(
        value=float(value) + 0.0,
        status="ok",
        score=float(constraint.get("recall", constraint.get("fpr", 0))),
        interval=(both.largest_below(value), float(min(above)) + 0.0 if above else None),
        tp=tp,
        fp=fp,
        fn=len(both.fake) - tp,
        tn=len(both.real) - fp,
        criterion=criterion,
        constraint=constraint,
        dtype=both.fake.dtype.name,
    )


def band(
    scores: Column,
    labels: Column,
    *,
    max_fpr: Number,
    max_fnr: Number,
    weights: Column | None = None,
    around: Number | None = None,
) -> tuple[thresholds.Threshold, thresholds.Threshold]:
    """Two thresholds with an undecided band between: real below the first, fake from the second on.

    Args:
      scores: (n,).
      labels: (n,).
      max_fpr: greatest share of reals called fake on these data.
      max_fnr: greatest share of fakes called real.
      weights: (n,) of each in these shares, exact numbers as `thresholds.search` takes them; None for all alike.
      around: a threshold that lies in the band, or at one of its ends; None for no matter where.

    Returns:
      (real_below, fake_from): the narrowest such band; twice the same threshold where one meets both bounds.

    Raises:
      InputError: a class is missing, or a bound lies outside [0, 1].
    """
    if not (0 <= max_fpr <= 1 and 0 <= max_fnr <= 1):
        raise InputError(f"max_fpr and max_fnr must lie in [0, 1], got {max_fpr} and {max_fnr}")
    fake_from = thresholds.search(scores, labels, "recall_at_fpr", weights=weights, max_fpr=max_fpr)
    if fake_from.status == "undefined":
        raise InputError("an undecided band needs both fakes and reals; one class is missing")
    both = cuts.classes(scores, labels)
    most = fractions.Fraction(str(max_fnr))
    if weights is None:
        allowed = math.floor(most * len(both.fake))
    else:  # fakes below it weigh at most their share
        rows = np.flatnonzero(np.asarray(labels) == FAKE)
        rising = rows[np.argsort(np.asarray(scores)[rows], kind="stable")]
        below = list(itertools.accumulate(np.asarray(weights)[rising].tolist()))  # of fractions, no work for NumPy
        allowed = bisect.bisect_right(below, most * below[-1])
    value = both.fake[min(allowed, len(both.fake) - 1)]
    real_below = at_value(both, value, "recall_at_fnr", {"max_fnr": max_fnr})
    if around is not None:
        given = at_value(both, around, "around", {})
        value_of = operator.attrgetter("value")
        return min(real_below, given, key=value_of), max(fake_from, given, key=value_of)
    return (fake_from, fake_from) if real_below.value >= fake_from.value else (real_below, fake_from)
