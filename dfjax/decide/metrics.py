"""Metrics of binary detectors in NumPy. Scores are logits, higher = more likely fake; labels 1 fake, 0 real.

`scores` and `labels` are columns (n,), arrays or sequences. Scores that are NaN, labels other than 0 and 1, and columns
of different lengths raise ValueError. A metric that one class alone cannot define is NaN.

The ASVspoof challenges score the other way round (higher = bona fide): the functions that follow their definitions
convert the sign and say so.

Sources of the ASVspoof metrics: Kinnunen et al., "t-DCF" (2018) and "Tandem assessment of spoofing
countermeasures and automatic speaker verification" (2020); the ASVspoof 5 evaluation plan (2024).
"""

import math

import numpy as np
from jaxtyping import Float, Int

from dfjax.decide import cuts
from dfjax.decide.bootstrap import bootstrap as bootstrap
from dfjax.decide.bootstrap import paired_bootstrap as paired_bootstrap
from dfjax.decide.cuts import Column, Number

# priors and costs common to all ASVspoof editions
P_SPOOF, P_TARGET, P_NONTARGET = 0.05, 0.95 * 0.99, 0.95 * 0.01
COST_MISS, COST_FALSE_ALARM = 1, 10


def det_curve(
    scores: Column, labels: Column
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Error rates after each trial, as ASVspoof defines them: one point per trial, ties bona fide first.

    In the official sign, scores ascend; the first point rejects nothing, at the smallest score minus 0.001.

    Returns:
      (rate of reals called fake, rate of fakes called real, threshold), each (n + 1,). Thresholds are in our
      sign: at a point that ends a tie, fake iff score >= threshold.

    Raises:
      ValueError: a class is missing, or a score is NaN.
    """
    fakes, reals = _sorted(scores, labels)
    if not (len(fakes) and len(reals)):
        raise ValueError(f"a DET curve needs both classes, got {len(fakes)} fakes and {len(reals)} reals")
    bona_fide, spoof = -reals[::-1], -fakes[::-1]
    is_bona_fide = np.zeros(len(bona_fide) + len(spoof) + 1, np.int64)
    is_bona_fide[1 + np.arange(len(bona_fide)) + np.searchsorted(spoof, bona_fide)] = 1
    rejected_bona_fide = np.cumsum(is_bona_fide)
    accepted_spoof = len(spoof) - (np.arange(len(is_bona_fide)) - rejected_bona_fide)
    values = np.sort(np.concatenate([bona_fide, spoof]), kind="stable")
    thresholds = np.concatenate([values[:1] - values.dtype.type(0.001), values])
    return rejected_bona_fide / len(bona_fide), accepted_spoof / len(spoof), -thresholds


def _sorted(scores, labels):
    both = cuts.classes(scores, labels)
    return both.fake, both.real


def eer(scores: Column, labels: Column) -> tuple[float, float]:
    """Equal error rate, as ASVspoof 2019, 2021 and 5 define it: no interpolation.

    Returns:
      (rate, threshold): the mean of the two error rates at the first point of `det_curve` where they differ
      least, and its threshold in our sign. (nan, nan) without both classes.
    """
    fakes, reals = _sorted(scores, labels)
    if not (len(fakes) and len(reals)):
        return math.nan, math.nan
    miss, false_alarm, thresholds = det_curve(scores, labels)
    best = np.argmin(np.abs(miss - false_alarm))
    return float((miss[best] + false_alarm[best]) / 2), float(thresholds[best])


def min_tdcf(
    scores: Column,
    labels: Column,
    asv_target: Float[np.ndarray, " targets"],
    asv_nontarget: Float[np.ndarray, " nontargets"],
    asv_spoof: Float[np.ndarray, " spoofs"],
    version: str = "2019",
) -> float:
    """Minimum normalised tandem detection cost (t-DCF) of this detector in front of a speaker verification system.

    That system runs at the threshold where it errs as often on targets as on impostors.

    Args:
      scores: (n,) of the detector, our sign.
      labels: (n,).
      asv_target: scores of the verification system, higher = same speaker, of genuine targets.
      asv_nontarget: its scores of impostors.
      asv_spoof: its scores of fakes of a target.
      version: '2019' (ASVspoof 2019, "v1"; Kinnunen et al. 2018) or '2021' (revised, Kinnunen et al. 2020: a perfect
        detector does not reach 0). The two are not comparable.

    Returns:
      From 0 to 1; 1 is worth no more than calling all alike. NaN without both classes, or without verification scores
      of any kind; of '2019' also where verification accepts no fake, so that nothing is left to be detected.

    Raises:
      ValueError: an unknown version, a NaN score, or verification scores that are no better than chance.
    """
    if version not in ("2019", "2021"):
        raise ValueError(f"Unknown t-DCF version {version!r}; expected one of ['2019', '2021']")
    if any(np.isnan(x).any() for x in (asv_target, asv_nontarget, asv_spoof)):
        raise ValueError("speaker verification scores contain NaN; t-DCF is undefined")
    both = all(map(len, _sorted(scores, labels)))
    if not (both and len(asv_target) and len(asv_nontarget) and len(asv_spoof)):
        return math.nan
    trials = np.concatenate([asv_target, asv_nontarget])
    impostor = np.repeat([0, 1], [len(asv_target), len(asv_nontarget)])
    threshold = -eer(-trials, impostor)[1]  # the point of equal error, in the sign of the ASV scores
    miss_asv = float(np.mean(asv_target < threshold))
    accept_nontarget = float(np.mean(asv_nontarget >= threshold))
    accept_spoof = 1 - float(np.mean(asv_spoof < threshold))
    if version == "2019":
        c0 = 0.0
        c1 = P_TARGET * (COST_MISS - COST_MISS * miss_asv) - P_NONTARGET * COST_FALSE_ALARM * accept_nontarget
        floor = 0.0
    else:
        c0 = P_TARGET * COST_MISS * miss_asv + P_NONTARGET * COST_FALSE_ALARM * accept_nontarget
        c1 = P_TARGET * COST_MISS - c0
        floor = c0
    c2 = P_SPOOF * COST_FALSE_ALARM * accept_spoof
    if c1 < 0 or c2 < 0:
        raise ValueError("the speaker verification scores are no better than chance; t-DCF is undefined")
    worst = floor + min(c1, c2)  # of calling all alike
    if not worst:
        return math.nan
    miss, false_alarm, _ = det_curve(scores, labels)
    return float(np.min(c0 + c1 * miss + c2 * false_alarm) / worst)


def min_dcf(
    scores: Column,
    labels: Column,
    *,
    p_spoof: Number = P_SPOOF,
    cost_miss: Number = COST_MISS,
    cost_false_alarm: Number = COST_FALSE_ALARM,
) -> float:
    """Minimum normalised detection cost, ASVspoof 5 track 1. A miss is a real called fake.

    Args:
      scores: (n,).
      labels: (n,).
      p_spoof: share of fakes to be expected.
      cost_miss: of a real called fake.
      cost_false_alarm: of a fake called real.

    Returns:
      From 0 to 1; 1 is worth no more than calling all alike. NaN without both classes.
    """
    if not all(map(len, _sorted(scores, labels))):
        return math.nan
    miss, false_alarm, _ = det_curve(scores, labels)
    a, b = cost_miss * (1 - p_spoof), cost_false_alarm * p_spoof
    return float(np.min(a * miss + b * false_alarm) / min(a, b))


def act_dcf(
    scores: Column,
    labels: Column,
    *,
    p_spoof: Number = P_SPOOF,
    cost_miss: Number = COST_MISS,
    cost_false_alarm: Number = COST_FALSE_ALARM,
) -> float:
    """The cost of `min_dcf` (ASVspoof 5) at the Bayes threshold instead of the best one; it can exceed 1.

    It takes the same, but scores must be natural-log likelihood ratios, fake over real.
    """
    fakes, reals = _sorted(scores, labels)
    if not (len(fakes) and len(reals)):
        return math.nan
    a, b = cost_miss * (1 - p_spoof), cost_false_alarm * p_spoof
    threshold = -math.log(a / b)  # of bona fide over spoof
    miss, false_alarm = np.mean(-reals < threshold), np.mean(-fakes >= threshold)
    return float((a * miss + b * false_alarm) / min(a, b))


def cllr(scores: Column, labels: Column) -> float:
    """Cost in bits of natural-log likelihood ratios, fake over real: 0 is perfect, 1 no information.

    ASVspoof 5, after Bruemmer and du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    fakes, reals = (x.astype(np.float64) for x in _sorted(scores, labels))
    if not (len(fakes) and len(reals)):
        return math.nan
    return float((np.logaddexp(0, reals).mean() + np.logaddexp(0, -fakes).mean()) / 2 / math.log(2))


def roc_auc(scores: Column, labels: Column) -> float:
    """Probability that a fake scores above a real, ties half: exact counts, one division."""
    fakes, reals = _sorted(scores, labels)
    if not (len(fakes) and len(reals)):
        return math.nan
    few, many = sorted((fakes, reals), key=len)  # look up the few among the many
    twice = int(np.searchsorted(many, few).sum()) + int(np.searchsorted(many, few, side="right").sum())
    pairs = 2 * len(fakes) * len(reals)
    return (twice if few is fakes else pairs - twice) / pairs


def average_precision(scores: Column, labels: Column) -> float:
    """Sum over the distinct scores of precision times the step in recall, without interpolation; NaN without fakes."""
    fakes, reals = _sorted(scores, labels)
    if not len(fakes):
        return math.nan
    first = np.flatnonzero(np.concatenate([[True], fakes[1:] != fakes[:-1]]))  # of each tie, ascending
    tp = len(fakes) - first
    fp = len(reals) - np.searchsorted(reals, fakes[first])
    step = tp - np.append(tp[1:], 0)
    return float(np.sum(step * (tp / (tp + fp))) / len(fakes))


def roc_curve(
    scores: Column, labels: Column
) -> tuple[Float[np.ndarray, " cuts"], Float[np.ndarray, " cuts"], Float[np.ndarray, " cuts"]]:
    """(false positive rate, recall, threshold) of every cut; the first threshold, infinity, predicts none.

    No point is dropped: optima under a constraint may lie on collinear ones. A rate of a missing class is NaN.
    """
    both = cuts.classes(scores, labels)
    every = cuts.every(both)
    thresholds = np.where(np.isnan(every.smallest), np.inf, every.smallest)
    with np.errstate(invalid="ignore"):
        return every.fp / np.float64(both.negatives), every.tp / np.float64(both.positives), thresholds


def precision_recall_curve(
    scores: Column, labels: Column
) -> tuple[Float[np.ndarray, " cuts"], Float[np.ndarray, " cuts"], Float[np.ndarray, " cuts"]]:
    """(precision, recall, threshold) of every cut that predicts a fake, from the highest threshold down."""
    both = cuts.classes(scores, labels)
    every = cuts.every(both)
    some = every.tp + every.fp > 0
    tp, fp = every.tp[some], every.fp[some]
    with np.errstate(invalid="ignore"):
        return tp / (tp + fp), tp / np.float64(both.positives), every.smallest[some]


def at_threshold(scores: Column, labels: Column, threshold: Number) -> dict[str, int | float]:
    """Counts and rates of `fake iff score >= threshold`; a rate of nothing is NaN.

    Returns:
      tp, fp, fn, tn, accuracy, precision, recall, f1 (of the fakes), fpr (reals called fake), specificity,
      balanced_accuracy.

    Raises:
      ValueError: a score or the threshold is NaN, labels other than 0 and 1, shapes that differ.
    """
    scores, fake = cuts.check(scores, labels)
    if np.isnan(scores).any() or np.isnan(threshold):
        raise ValueError("NaN among the scores or as the threshold; the comparison means nothing")
    predicted = scores >= scores.dtype.type(threshold)
    tp, fp = int(np.count_nonzero(predicted & fake)), int(np.count_nonzero(predicted & ~fake))
    p = int(np.count_nonzero(fake))
    n = len(fake) - p
    recall, specificity = _rate(tp, p), _rate(n - fp, n)
    return {
        "tp": tp,
        "fp": fp,
        "fn": p - tp,
        "tn": n - fp,
        "accuracy": _rate(tp + n - fp, p + n),
        "precision": _rate(tp, tp + fp),
        "recall": recall,
        "f1": _rate(2 * tp, tp + fp + p) if p else math.nan,
        "fpr": _rate(fp, n),
        "specificity": specificity,
        "balanced_accuracy": (recall + specificity) / 2,
    }


def _rate(part, whole):
    return part / whole if whole else math.nan


def accuracy(scores: Column, labels: Column, threshold: Number = 0.0) -> float:
    """Share of right predictions at a threshold, a logit (default: probability 0.5); see `at_threshold`."""
    return at_threshold(scores, labels, threshold)["accuracy"]


def balanced_accuracy(scores: Column, labels: Column, threshold: Number = 0.0) -> float:
    """Mean of recall and specificity at a threshold, see `at_threshold`; NaN without both classes."""
    return at_threshold(scores, labels, threshold)["balanced_accuracy"]


def precision(scores: Column, labels: Column, threshold: Number = 0.0) -> float:
    """Share of fakes among those called fake at a threshold, see `at_threshold`; NaN where none is called fake."""
    return at_threshold(scores, labels, threshold)["precision"]


def recall(scores: Column, labels: Column, threshold: Number = 0.0) -> float:
    """Share of the fakes that are called fake at a threshold, see `at_threshold`; NaN without fakes."""
    return at_threshold(scores, labels, threshold)["recall"]


def f1(scores: Column, labels: Column, threshold: Number = 0.0) -> float:
    """2 tp / (2 tp + fp + fn) at a threshold, see `at_threshold`; 0 where no fake is found, NaN where there is none."""
    return at_threshold(scores, labels, threshold)["f1"]


def probabilities(scores: Column) -> Float[np.ndarray, " n"]:
    """The sigmoid in float64, without overflow: P(fake) if the scores are calibrated logits. NaN raises ValueError."""
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1, small) / (1 + small)


def log_loss(scores: Column, labels: Column) -> float:
    """Mean cross-entropy of the logits in nats; infinite where an infinite logit is wrong. NaN raises ValueError."""
    scores, fake = cuts.check(scores, labels)
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    return float(np.logaddexp(0, np.where(fake, -1.0, 1.0) * scores).mean()) if len(scores) else math.nan


def brier(scores: Column, labels: Column) -> float:
    """Mean squared difference of sigmoid(score) and label (Brier 1950): 0 is perfect. NaN raises ValueError."""
    _, fake = cuts.check(scores, labels)
    return float(np.mean((probabilities(scores) - fake) ** 2)) if len(fake) else math.nan


def reliability_curve(
    scores: Column, labels: Column, bins: int = 15
) -> tuple[Float[np.ndarray, " filled"], Float[np.ndarray, " filled"], Int[np.ndarray, " filled"]]:
    """(mean probability, share of fakes, count) of every bin that is not empty; `bins` of equal width in P(fake)."""
    _, fake = cuts.check(scores, labels)
    p = probabilities(scores)
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    filled = count > 0
    mean, share = (np.bincount(bin_of, w, minlength=bins)[filled] / count[filled] for w in (p, fake))
    return mean, share, count[filled]


def expected_calibration_error(scores: Column, labels: Column, bins: int = 15) -> float:
    """Mean over samples of |mean probability - share of fakes| of their bin, see `reliability_curve`.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    mean, share, count = reliability_curve(scores, labels, bins)
    return float(np.sum(np.abs(mean - share) * count) / count.sum()) if len(count) else math.nan


def by_method(
    scores: Column, labels: Column, methods: Column, threshold: Number = 0.0
) -> list[dict[str, str | int | float]]:
    """Each generator's fakes against all reals.

    Args:
      scores: (n,).
      labels: (n,).
      methods: (n,) names of generators; those of reals are not looked at.
      threshold: fake iff score >= threshold.

    Returns:
      A row per method, sorted by name: method, fakes, reals, eer, auc, caught (fakes with score >=
        threshold), recall.

    Raises:
      ValueError: as `at_threshold`; or methods of another length.
    """
    scores, fake = cuts.check(scores, labels)
    methods = np.asarray(methods)
    if methods.shape != scores.shape:
        raise ValueError(f"methods must be one per score, got {methods.shape} for {scores.shape}")
    rows = []
    for name in np.unique(methods[fake]):
        mine = ~fake | (methods == name)
        s, y = scores[mine], fake[mine]
        counts = at_threshold(s, y, threshold)
        rows.append(
            {
                "method": str(name),
                "fakes": counts["tp"] + counts["fn"],
                "reals": counts["fp"] + counts["tn"],
                "eer": eer(s, y)[0],
                "auc": roc_auc(s, y),
                "caught": counts["tp"],
                "recall": counts["recall"],
            }
        )
    return rows
