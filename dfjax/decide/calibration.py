"""Scores to probabilities: slope and intercept on held-out data, and the step to another share of fakes.

A temperature alone cannot undo a shift of the prior; a slope and an intercept can (Platt 1999). Both are
fitted by Newton's method to smoothed targets, so that separable classes leave them finite. The corrections
that training made to the log-odds (see `dfjax.ledger`) are undone first; they are an upper bound, and the fit
makes up the difference.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dfjax.decide import cuts, metrics
from dfjax.decide.cuts import Column, Number
from dfjax.imbalance.ledger import Ledger

LARGEST = 1e4  # logits beyond this, infinite ones included, count as this
IDENTITY = {"method": "none", "slope": 1.0, "intercept": 0.0}


def fit(
    scores: Column,
    labels: Column,
    *,
    method: str = "platt",
    ledger: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fits calibrated logit = slope * score + intercept by maximum likelihood.

    Args:
      scores: (n,) logits of held-out data at their natural prior.
      labels: (n,) 1 fake, 0 real.
      method: 'platt' (slope and intercept) or 'temperature' (slope alone, 1/T).
      ledger: `Ledger.to_json()` of the run, undone before slope and intercept; None if scores are log-odds.

    Returns:
      method, slope, intercept, prior (share of fakes in these data), clips, ledger: plain numbers for JSON.
      The slope
      is never negative: scores that rank the wrong way round carry no probability, only the prior. With one
        class
      alone nothing can be fitted: method 'none', slope 1, intercept 0, and a prior of None.

    Raises:
      ValueError: NaN scores, an unknown method, labels other than 0 and 1.
    """
    if method not in ("platt", "temperature"):
        raise ValueError(f"Unknown calibration {method!r}; expected one of ['platt', 'temperature']")
    scores, fake = cuts.check(scores, labels)
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN; they cannot be calibrated")
    n, positives = len(fake), int(np.count_nonzero(fake))
    about = {"clips": n, "ledger": dict(ledger) if ledger else None}
    if positives in (0, n):
        return IDENTITY | {"prior": None} | about
    z = _natural(scores, ledger)
    # Platt's targets: the posterior mean of each class's rate under a uniform prior
    target = np.where(fake, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    slope, intercept = _newton(z, target, free_intercept=method == "platt")
    if slope < 0:
        slope, intercept = 0.0, _log_odds(positives / n) if method == "platt" else 0.0
    return {"method": method, "slope": slope, "intercept": intercept, "prior": positives / n} | about


def _newton(z, target, free_intercept):
    """Minimises the mean cross-entropy of sigmoid(slope z + intercept); convex: halved Newton steps end."""
    scale = np.abs(z).max() or 1.0
    x = np.stack([z / scale, np.ones_like(z)] if free_intercept else [z / scale])
    w = np.zeros(len(x))

    def loss(w):
        logits = w @ x
        return np.mean(np.logaddexp(0, logits) - target * logits)

    value = loss(w)
    for _ in range(100):
        p = metrics.probabilities(w @ x)
        gradient = x @ (p - target) / len(z)
        # the ridge keeps a constant score solvable
        hessian = (x * (p * (1 - p))) @ x.T / len(z) + 1e-12 * np.eye(len(w))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10 and loss(w - size * step) > value:
            size /= 2
        w, before = w - size * step, value
        value = loss(w)
        if before - value <= 1e-15 * abs(before):
            break
    return float(w[0] / scale), float(w[1]) if free_intercept else 0.0


def _natural(scores, ledger):
    """Float64 log-odds with the training corrections undone, bounded so that infinities stay usable."""
    z = np.clip(np.asarray(scores, np.float64), -LARGEST, LARGEST)
    return np.clip(Ledger.from_json(ledger).correct(z), -LARGEST, LARGEST) if ledger else z


def logits(
    scores: Column, calibration: Mapping[str, Any] | None, deploy_prior: Number | None = None
) -> Float[np.ndarray, " n"]:
    """Calibrated float64 logits.

    Args:
      scores: (n,) as a detector gives them.
      calibration: what `fit` returned; None leaves scores as they are.
      deploy_prior: share of fakes where the detector is used; the share in the calibration data if None, or
        what the calibration itself names as `deploy_prior`.
    """
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    if not calibration:
        return scores
    z = calibration["slope"] * _natural(scores, calibration.get("ledger")) + calibration["intercept"]
    deploy_prior = calibration.get("deploy_prior") if deploy_prior is None else deploy_prior
    if deploy_prior is None or calibration.get("prior") is None:
        return z
    return shift_prior(z, calibration["prior"], deploy_prior)


def apply(
    scores: Column, calibration: Mapping[str, Any] | None, deploy_prior: Number | None = None
) -> Float[np.ndarray, " n"]:
    """P(fake) of each score: the sigmoid of `logits`."""
    return metrics.probabilities(logits(scores, calibration, deploy_prior))


def shift_prior(logits: Float[np.ndarray, " n"], from_prior: Number, to_prior: Number) -> Float[np.ndarray, " n"]:
    """Log-odds under another share of fakes, if fakes and reals themselves look the same.

    Raises:
      ValueError: a prior outside (0, 1).
    """
    for prior in (from_prior, to_prior):
        if not 0 < prior < 1:
            raise ValueError(f"a prior is a share of fakes between 0 and 1, got {prior}")
    return logits - _log_odds(from_prior) + _log_odds(to_prior)


def _log_odds(p):
    return float(np.log(p) - np.log1p(-p))


def quality(scores: Column, labels: Column, calibration: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """Calibration error, Brier score and log loss {before, after} the calibration, as sigmoid of the score.

    On the data of the fit the second is a little too good; judge on other data.
    """
    pairs = {"before": np.asarray(scores, np.float64), "after": logits(scores, calibration)}
    return {
        name: {
            "ece": metrics.expected_calibration_error(z, labels),
            "brier": metrics.brier(z, labels),
            "log_loss": metrics.log_loss(z, labels),
        }
        for name, z in pairs.items()
    }
