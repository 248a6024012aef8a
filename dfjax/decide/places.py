"""How places differ in where real clips are scored, and which thresholds that makes where some of one are known.

The scores of a domain's real clips are about Normal(mean_d, sd_d^2); over domains mean_d is about Normal(mean,
between^2), and sd_d^2 a scaled inverse chi-square. Of n of them the best guess of mean_d is theirs, shrunken towards
that of all domains by between^2 / (between^2 + within^2 / n), the best linear unbiased prediction (Robinson, "That BLUP
is a good thing", 1991); of sd_d^2 theirs, moderated by that of all domains as if that were of `freedom` clips more
(Smyth, "Linear models and empirical Bayes methods", 2004). Scores of that domain are brought to the mean and spread of
all, and threshold and calibration are those that left-out scores choose, each brought there by clips of its own domain.
NumPy and SciPy.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dfjax.decide import calibration, certify, domains, random_effects, score_file, thresholds
from dfjax.decide.score_file import Scores
from dfjax.records import REAL

COUNTS = (1, 2, 5, 10)  # of files, for which thresholds are chosen
REPEATS = 9  # draws of those from each domain
MOST = 1_000  # clips of a domain that are judged beside a draw: more say little more
MIN_DOMAINS = 3  # with twice as many real clips as are drawn: fewer do not tell how domains differ
NARROWEST = 1e-6  # a standard deviation of scores
ALIKE = 1e4  # clips that the usual spread is worth where domains do not differ in theirs


@dataclasses.dataclass(frozen=True)
class Family:
    """How the real clips of domains are scored.

    Attributes:
      mean: of the domains' mean scores (logits).
      between: standard deviation of those means over domains.
      within: standard deviation of a clip's score about its domain's mean, of a usual domain.
      freedom: how many clips that is worth beside a domain's own.
    """

    mean: float
    between: float
    within: float
    freedom: float

    def places(
        self, scores: Float[np.ndarray, "places n"]
    ) -> tuple[Float[np.ndarray, " places"], Float[np.ndarray, " places"]]:
        """Mean and standard deviation of the scores of real clips of places, as n of each tell."""
        scores, n = _bounded(scores), scores.shape[-1]
        centre = scores.mean(axis=-1)
        between, within = self.between**2, self.within**2
        squares = ((scores - centre[..., None]) ** 2).sum(axis=-1)
        sd = np.sqrt((self.freedom * within + squares) / (self.freedom + n - 1))
        return self.mean + between / (between + within / n) * (centre - self.mean), sd

    def affine(
        self, scores: Float[np.ndarray, "places n"]
    ) -> tuple[Float[np.ndarray, " places"], Float[np.ndarray, " places"]]:
        """Scale and offset that bring scores of the places of these real clips to the mean and spread of all."""
        centre, sd = self.places(scores)
        return self.within / sd, self.mean - self.within / sd * centre


def family(scores: Sequence[Float[np.ndarray, "..."]]) -> Family:
    """The family of two domains or more, of the scores of their real clips, each two or more; domains weigh alike.

    `between` is DerSimonian and Laird's, `within` and `freedom` are Smyth's: none counts what few clips make of a mean
    or a variance.
    """
    from scipy import optimize, special  # 0.1 s, wanted by few runs

    bounded = [_bounded(each) for each in scores]
    means = np.array([each.mean() for each in bounded])
    variances = np.array([max(each.var(ddof=1), NARROWEST**2) for each in bounded])
    sizes = np.array([len(each) for each in bounded])
    between = random_effects.pool(means.tolist(), np.sqrt(variances / sizes).tolist())["tau"]
    half = (sizes - 1) / 2
    logs = np.log(variances) - special.digamma(half) + np.log(half)
    beyond = float(logs.var(ddof=1) - special.polygamma(1, half).mean())  # what domains differ beyond few clips
    freedom = ALIKE
    if beyond > special.polygamma(1, ALIKE / 2):
        freedom = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - beyond, 1e-6, ALIKE)
    within = math.exp((logs.mean() + special.digamma(freedom / 2) - math.log(freedom / 2)) / 2)
    return Family(float(means.mean()), max(between, NARROWEST), within, freedom)


def _bounded(scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.clip(np.asarray(scores, np.float64), -calibration.LARGEST, calibration.LARGEST)


def learn(
    clips: Scores,
    criterion: str,
    *,
    without: Mapping[str, float | None],
    abstain: float | None = None,
    seed: int = 0,
    **constraint,
) -> dict[str, Any] | None:
    """What a decision must know to be adapted to a place by files that are known to be real.

    Args:
      clips: left-out scores, one row per clip, of known labels, with domains.
      criterion: a key of `thresholds.CRITERIA`.
      without: domain -> the threshold that the other domains choose.
      abstain: as `decision.decide` takes it.
      seed: of the draws.
      **constraint: the criterion's numbers.

    Returns:
      what `Family` has, and rows, one for each of COUNTS for which there are domains enough:
      files; threshold, calibration (slope, intercept, clips, domains, domain_sd) and band (or None) of scores that are
      taken back; false_alarms and misses, `domains.spread` of what is left of each domain when family and threshold are
      of the others, words of both, and without: the mean of both of the same domains at the thresholds `without`.
      None where there are too few domains, or no threshold.
    """
    rows = [
        row
        for count in COUNTS
        if (row := _row(clips, count, criterion, constraint, without=without, abstain=abstain, seed=seed))
    ]
    if not rows:
        return None
    return dataclasses.asdict(family([clips.score[real] for real in _reals(clips).values()])) | {"rows": rows}


def _reals(clips: Scores) -> dict[str, np.ndarray]:
    """Name -> places of its real clips of every domain with two or more: those that a family is of, for any count."""
    names, index = domains.numbered(clips)
    found = {name: np.flatnonzero((index == k) & (clips.label == REAL)) for k, name in enumerate(names)}
    return {name: real for name, real in found.items() if len(real) >= 2}


def _row(clips, count, criterion, constraint, *, without, abstain, seed):
    reals = _reals(clips)
    enough = [name for name, real in reals.items() if len(real) >= 2 * count]
    if len(enough) < MIN_DOMAINS:
        return None
    rng = np.random.default_rng([seed, count])
    parts = {name: draws(clips, name, count, rng) for name in enough}

    def chosen(left_out=None):
        of = family([clips.score[real] for name, real in reals.items() if name != left_out])
        back = _stack([_brought(*part, of) for name, part in parts.items() if name != left_out])
        weights = domains.equal_weights(back)
        found = thresholds.search(back.score, back.label, criterion, weights=weights, **constraint)
        return of, back, weights, found

    table = []
    for name in enough:
        of, _, _, found = chosen(name)
        if found.value is not None and without.get(name) is not None:
            own = _brought(*parts[name], of)
            plain = score_file.select(clips, clips.domain == name)
            table.append({"domain": name} | _rates(own, found.value) | {"without": _rates(plain, without[name])})
    _, back, weights, found = chosen()
    if found.value is None or found.status != "ok" or len(table) < 2:
        return None
    both = set(back.domain[back.label == REAL].tolist()) & set(back.domain[back.label != REAL].tolist())
    fitted = calibration.fit(back.score, back.label, ledger=clips.header.get("ledger"), domains=back.domain)
    if fitted["prior"] is None:
        return None
    # of all clips, so that a probability holds where as many files are fake as without such recordings
    fitted["intercept"] += _log_odds(float((clips.label != REAL).mean())) - _log_odds(fitted["prior"])
    # as `calibration.fit` counts them, but each once, however often it was drawn
    used = both if fitted["domain_sd"] is not None else set(enough)
    fitted["clips"] = int(np.isin(clips.domain, sorted(used)).sum())
    band = None
    if abstain is not None:
        words = {"max_fpr": abstain, "max_fnr": abstain, "weights": weights, "around": found.value}
        low, high = (edge.value for edge in certify.band(back.score, back.label, **words))
        band = {"real_below": low, "fake_from": high}
    plain = [row["without"] | {"domain": row["domain"]} for row in table]
    return {
        "files": count,
        "threshold": found.value,
        "calibration": {key: fitted.get(key) for key in ("slope", "intercept", "clips", "domains", "domain_sd")},
        "band": band,
        "words": domains.words(table, domains.noun(clips)),
        **{rate: domains.spread(table, rate) for rate in domains.RATES},
        "without": {rate: domains.spread(plain, rate)["mean"] for rate in domains.RATES},
    }


def draws(
    clips: Scores, name: str, count: int, rng: np.random.Generator
) -> tuple[Scores, Float[np.ndarray, "n count"]]:
    """What is judged of a domain when `count` of its real clips are known, REPEATS times one behind the other.

    Returns:
      Its other clips, MOST of them at random where they are more, and beside each the scores of those that were drawn.
    """
    own, rows, drawn = np.flatnonzero(clips.domain == name), [], []
    real = own[clips.label[own] == REAL]
    for _ in range(REPEATS):
        taken = rng.choice(real, count, replace=False)
        rest = np.setdiff1d(own, taken)
        rest = rest if len(rest) <= MOST else rng.choice(rest, MOST, replace=False)
        rows.append(rest)
        drawn.append(np.tile(clips.score[taken], (len(rest), 1)))
    return score_file.select(clips, np.concatenate(rows)), np.concatenate(drawn)


def _brought(judged: Scores, drawn: Float[np.ndarray, "n count"], of: Family) -> Scores:
    scale, offset = of.affine(drawn)
    return dataclasses.replace(judged, score=(_bounded(judged.score) * scale + offset).astype(np.float32))


def _stack(parts: list[Scores]) -> Scores:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].columns}
    return Scores(**columns, header=parts[0].header)


def _rates(scores: Scores, threshold: float) -> dict[str, float | None]:
    """Shares of the clips of each class that are called the other; None without such clips."""
    wrong = (scores.score >= np.float32(threshold)) != (scores.label != REAL)
    of = {rate: wrong[scores.label == label] for rate, label in domains.RATES.items()}
    return {rate: float(each.mean()) if len(each) else None for rate, each in of.items()}


def _log_odds(p: float) -> float:
    return math.log(p / (1 - p))
