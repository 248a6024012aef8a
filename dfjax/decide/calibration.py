"""Scores to probabilities: slope and intercept on held-out data, and the step to another share of fakes.

A temperature alone (Guo et al., "On calibration of modern neural networks", 2017) cannot undo a shift of the prior; a
slope and an intercept can (Platt, "Probabilistic outputs for support vector machines", 1999). Both are fitted by
Newton's method to smoothed targets, so that separable classes leave them finite. The corrections that training made to
the log-odds (see `imbalance.ledger`) are undone first; they are an upper bound, and the fit makes up the difference.

Where the scores are of several domains (sources, corpora), each has an intercept of its own, drawn from a normal
distribution: a random intercept, fitted by maximum marginal likelihood with adaptive Gauss-Hermite quadrature
(Pinheiro and Bates, "Approximations to the log-likelihood function in the nonlinear mixed-effects model", 1995).
Its standard deviation says how far the log-odds of an unknown domain may lie off.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dfjax.decide import cuts, metrics
from dfjax.decide.cuts import Column, Number
from dfjax.imbalance.ledger import Ledger

LARGEST = 1e4  # logits beyond this, infinite ones included, count as this
IDENTITY = {"method": "none", "slope": 1.0, "intercept": 0.0}
MIN_DOMAINS = 3  # with both classes; fewer cannot tell how domains differ
NODES = 9  # of the quadrature over a domain's intercept
NEGLIGIBLE = 0.02  # a smaller standard deviation over domains counts as none


def fit(
    scores: Column,
    labels: Column,
    *,
    method: str = "platt",
    ledger: Mapping[str, Any] | None = None,
    domains: Column | None = None,
) -> dict[str, Any]:
    """Fits calibrated logit = slope * score + intercept by maximum likelihood.

    With domains: slope * score + intercept + u, where u is a normal number of each domain with mean 0. A domain's
    own share of fakes is taken out first, for how many fakes somebody put into a corpus says nothing about its
    scores; domains of one class alone say nothing about u and are left out.

    Args:
      scores: (n,) logits of held-out data at their natural prior.
      labels: (n,) 1 fake, 0 real.
      method: 'platt' (slope and intercept) or 'temperature' (slope alone, 1/T).
      ledger: `Ledger.to_json()` of the run, undone before slope and intercept; None if scores are log-odds.
      domains: (n,) name of each score's domain, for 'platt' only. The scores must be of domains that the detector
        was trained without; otherwise they show no difference between domains.

    Returns:
      method, slope, intercept, prior (share of fakes in these data), prior_clips (how many these are), clips (how
      many slope and intercept were fitted on; with domains those of domains with both classes, from which the spread
      comes, too), ledger: plain numbers for JSON. Decisions of earlier versions have no `prior_clips`. The slope is
      never negative: scores that rank the wrong way round carry no probability, only the prior. With one
      class alone nothing can be fitted: method 'none', slope 1, intercept 0, and a prior of None. With domains
      also `domains`, the number of those with both classes, and `domain_sd`, the standard deviation of u, corrected
      for the degree of freedom that the intercept takes; None where there are fewer than MIN_DOMAINS.

    Raises:
      ValueError: NaN scores, an unknown method, labels other than 0 and 1, domains of another length.
    """
    if method not in ("platt", "temperature"):
        raise ValueError(f"Unknown calibration {method!r}; expected one of ['platt', 'temperature']")
    scores, fake = cuts.check(scores, labels)
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN; they cannot be calibrated")
    n, positives = len(fake), int(np.count_nonzero(fake))
    about = {"prior_clips": n, "clips": n, "ledger": dict(ledger) if ledger else None}
    if positives in (0, n):
        return IDENTITY | {"prior": None} | about
    z = _natural(scores, ledger)
    # Platt's targets: the posterior mean of each class's rate under a uniform prior
    target = np.where(fake, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    slope, intercept = _newton(z, target, free_intercept=method == "platt")
    if slope < 0:
        slope, intercept = 0.0, _log_odds(positives / n) if method == "platt" else 0.0
    found = {"method": method, "slope": slope, "intercept": intercept, "prior": positives / n} | about
    return found if domains is None else found | _over_domains(z, target, fake, domains, method)


def _over_domains(z, target, fake, domains, method):
    """What domains change in a calibration: slope, intercept, clips and the two keys of their own."""
    if method != "platt":
        raise ValueError(f"domains differ in their intercepts; calibration {method!r} has none")
    domains = np.asarray(domains)
    if domains.shape != z.shape:
        raise ValueError(f"domains must be one per score, got {domains.shape} for {z.shape}")
    index = np.unique(domains, return_inverse=True)[1]
    share = np.bincount(index, fake) / np.bincount(index)
    used = ((share > 0) & (share < 1))[index]
    index = np.unique(index[used], return_inverse=True)[1]
    count = int(index.max(initial=-1)) + 1
    if count < MIN_DOMAINS:
        return {"domains": count, "domain_sd": None}
    z, target = z[used], target[used]
    prior = np.bincount(index, target) / np.bincount(index)  # of the smoothed targets, so that they fit together
    slope, intercept, sd = _random_intercept(z, target, index, np.log(prior / (1 - prior))[index])
    sd *= math.sqrt(count / (count - 1))
    return {
        "slope": slope,
        "intercept": intercept + _log_odds(float(fake.mean())),
        "clips": len(z),
        "domains": count,
        "domain_sd": 0.0 if sd < NEGLIGIBLE else sd,
    }


def _random_intercept(z, target, domain, offset):
    """Slope, intercept and standard deviation over domains that maximise the marginal likelihood.

    Args:
      z: (n,) log-odds.
      target: (n,) smoothed labels.
      domain: (n,) number of each clip's domain, from 0 on.
      offset: (n,) log-odds of its domain's share of fakes.
    """
    from scipy import optimize  # 0.1 s, wanted by few runs

    scale = float(z.std()) or 1.0
    slope, intercept = _newton(z, target, True, offset)
    mode = np.zeros(int(domain.max()) + 1)  # of each domain's intercept; the last search starts the next

    def loss(w):
        return -_marginal(w[0] / scale * z + w[1] + offset, target, domain, math.exp(w[2]), mode) / len(z)

    start = [max(slope * scale, 0.0), intercept, math.log(0.5)]
    bounds = [(0, None), (None, None), (math.log(NEGLIGIBLE / 2), math.log(100))]
    w = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return float(w[0] / scale), float(w[1]), math.exp(w[2])


def _marginal(logits, target, domain, sd, mode):
    """Log likelihood of logits + u with u ~ Normal(0, sd^2) of each domain integrated out; `mode` is overwritten."""
    count = len(mode)
    for _ in range(50):
        p = metrics.probabilities(logits + mode[domain])
        slope = np.bincount(domain, target - p, count) - mode / sd**2
        curve = np.bincount(domain, p * (1 - p), count) + 1 / sd**2
        step = np.clip(slope / curve, -2, 2)  # far from the mode a Newton step overshoots
        mode += step
        if np.abs(step).max() < 1e-7:
            break
    width = 1 / np.sqrt(curve)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    terms = []
    for node, weight in zip(nodes, weights, strict=True):
        u = mode + width * node
        z = logits + u[domain]
        inside = np.bincount(domain, target * z - np.logaddexp(0, z), count)
        terms.append(inside - (u / sd) ** 2 / 2 + node**2 / 2 + math.log(weight))
    if np.abs(step).max() >= 1e-7:  # not found, as where an intercept is tried that is far off: the way back is as long
        mode[:] = 0
    return float(np.sum(np.logaddexp.reduce(terms, axis=0) + np.log(width / sd) - math.log(2 * math.pi) / 2))


def _newton(z, target, free_intercept, offset=0.0):
    """Minimises the mean cross-entropy of sigmoid(slope z + intercept + offset); convex: halved steps end."""
    scale = np.abs(z).max() or 1.0
    x = np.stack([z / scale, np.ones_like(z)] if free_intercept else [z / scale])
    w = np.zeros(len(x))

    def loss(w):
        logits = w @ x + offset
        return np.mean(np.logaddexp(0, logits) - target * logits)

    value = loss(w)
    for _ in range(100):
        p = metrics.probabilities(w @ x + offset)
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

    Of an unknown domain only the distribution of its intercept u is known. The expectation of sigmoid(z + u) over
    u is about sigmoid(z / sqrt(1 + pi domain_sd^2 / 8)) (MacKay, "The evidence framework applied to classification
    networks", 1992). That is done to the likelihood ratio alone, so that a doubtful score comes closer to the prior
    and not to 0.5.

    Args:
      scores: (n,) as a detector gives them.
      calibration: what `fit` returned; None leaves scores as they are, whatever the prior.
      deploy_prior: share of fakes where the detector is used. None: what the calibration names as `deploy_prior`, or
        else the share in the calibration data.

    Raises:
      ValueError: a NaN score, or a prior outside (0, 1).
    """
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    if not calibration:
        return scores
    scores = calibration.get("scale", 1.0) * scores + calibration.get("offset", 0.0)  # those of `known_real.adapt`
    z = calibration["slope"] * _natural(scores, calibration.get("ledger")) + calibration["intercept"]
    if calibration.get("domain_sd"):
        prior = _log_odds(calibration["prior"])
        z = (z - prior) / spread(calibration["domain_sd"]) + prior
    deploy_prior = calibration.get("deploy_prior") if deploy_prior is None else deploy_prior
    if deploy_prior is None or calibration.get("prior") is None:
        return z
    return shift_prior(z, calibration["prior"], deploy_prior)


def apply(
    scores: Column, calibration: Mapping[str, Any] | None, deploy_prior: Number | None = None
) -> Float[np.ndarray, " n"]:
    """P(fake) of each score: the sigmoid of `logits`, which takes and raises the same."""
    return metrics.probabilities(logits(scores, calibration, deploy_prior))


def log_likelihood_ratio(scores: Column, calibration: Mapping[str, Any] | None) -> Float[np.ndarray, " n"] | None:
    """Natural log of P(score | fake) / P(score | real) of each score: what the score alone says, whatever the prior.

    The log-odds of `logits` less those of the share of fakes that they hold for. None where the calibration has no
    share: nothing was fitted then. A NaN score raises ValueError.
    """
    if not calibration or calibration.get("prior") is None:
        return None
    return logits(scores, calibration, calibration["prior"]) - _log_odds(calibration["prior"])


def spread(domain_sd: float) -> float:
    """The number by which a log-likelihood ratio is divided where the domain is unknown: see `logits`."""
    return math.sqrt(1 + math.pi * domain_sd**2 / 8)


def shift_prior(logits: Float[np.ndarray, " n"], from_prior: Number, to_prior: Number) -> Float[np.ndarray, " n"]:
    """Log-odds under another share of fakes, if fakes and reals themselves look the same.

    Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities", 2002.

    Args:
      logits: (n,) log-odds that hold where `from_prior` of the clips are fake.
      from_prior: a share of fakes.
      to_prior: the share of fakes that the result holds for.

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
    """How good the sigmoid of the scores is as a probability, before the calibration and after it.

    On the data of the fit `after` is a little too good; judge on other data.

    Returns:
      {'before', 'after'}, each {'ece', 'brier', 'log_loss'} as in `metrics`.

    Raises:
      ValueError: a NaN score, labels other than 0 and 1.
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
