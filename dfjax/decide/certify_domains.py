"""What may be promised for a domain that nobody has met, as far as the scores of left-out domains can tell.

The units are domains, not clips: see `certify`. NumPy and SciPy.
"""

import dataclasses
import fractions
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfjax.decide import certify as clip_certify
from dfjax.decide import criteria, cuts, domains, score_file, thresholds
from dfjax.decide.cuts import Number
from dfjax.decide.score_file import Scores
from dfjax.records import REAL, InputError
from dfjax.runtime.strict_json import plain

Fraction = fractions.Fraction

CONFIDENCE = 0.8  # of a certificate; seven domains can bear it
USEFUL = 0.5  # bound of a false alarm rate above which a promise promises nothing
SHOWN = 3  # domains that are named where a promise lacks clips of many
NOISE = Fraction(1, 5)  # of the certificate's risk, at least this share pays for the few clips of each domain


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What may be promised for a new domain, or what is missing for a promise.

    Attributes:
      threshold: the one certified, None where there is none or where one was given.
      max_fpr: the false alarm rate that a new domain exceeds with probability 1 - confidence at most; None if open.
      confidence: of both together: which domain comes, and which clips of each domain are known.
      domains: those with real clips.
      exceeding: how many domains may lie above the bound; the bound is the next one.
      noise: probability that the clips of any domain mislead: 1 - confidence - (exceeding + 1) / (domains + 1).
      needed: the fewest domains for this confidence.
      statement: one sentence for people.
      mean_fpr: probability of a false alarm on a real clip of a new domain, at most, on the mean over which domain
        comes; None where nothing says so. See `on_the_mean`.
    """

    threshold: thresholds.Threshold | None
    max_fpr: float | None
    confidence: float
    domains: int
    exceeding: int
    noise: float
    needed: int
    statement: str
    mean_fpr: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All but the threshold, as plain values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "threshold"}
        return plain(fields)


def needed(confidence: Number) -> int:
    """The fewest domains with which `certify` can promise anything at this confidence: 6 for 0.8, 24 for 0.95."""
    return math.ceil(1 / (_risk(confidence) * (1 - NOISE))) - 1


def _risk(confidence):
    return 1 - criteria.decimal(confidence)


def certify(
    scores: Scores,
    *,
    max_fpr: Number | None = None,
    threshold: Number | Mapping[str, Number | None] | None = None,
    confidence: Number = CONFIDENCE,
) -> Certificate:
    """Bounds the false alarms on a domain that nobody has met, from the domains at hand.

    This is conformal prediction (Vovk, Gammerman and Shafer 2005) with domains as its units: the n at hand and the new
    one count as drawn alike, in any order. Each has a threshold at which its own false alarm rate is just `max_fpr`.
    The new one's exceeds all but k - 1 of the others' with probability k / (n + 1) at most, whatever the distribution.
    Of each domain only some clips are known, so for its threshold an upper confidence bound is taken; all n hold
    together with probability 1 - noise (each at level noise / n, a union bound). Both risks add up to 1 - confidence: k
    is the greatest number with k / (n + 1) <= (1 - NOISE) (1 - confidence), noise is the rest. With `threshold` given,
    the same is said of the false alarm rates instead of the thresholds.

    The bound within a domain is the binomial one (Clopper and Pearson 1934) where each clip is its own group.
    Otherwise the unit is the group, its rate a number from 0 to 1, each group weighs alike, and the bound is Bentkus'
    ("On Hoeffding's inequalities", 2004), as Bates et al. use it ("Distribution-free, risk-controlling prediction
    sets", 2021), who also show that walking down the thresholds costs no further correction.

    Args:
      scores: by record or by clip, with domains; unknown labels are left out.
      max_fpr: the false alarm rate to be promised, for which the lowest threshold is found; give this or `threshold`.
      threshold: the threshold to make a promise for: one number, fixed before these scores were seen; or for each
        domain the one that was chosen without it, where None leaves the domain out. The promise is then, nearly, for a
        threshold chosen in the same way on all of them.
      confidence: of the whole statement.

    Raises:
      InputError: not exactly one of the two, a number outside (0, 1), no domains, or methods, which share real clips.
    """
    if (max_fpr is None) == (threshold is None):
        raise InputError(f"certify takes one of max_fpr and threshold, got {max_fpr} and {threshold}")
    if not 0 < confidence < 1 or (max_fpr is not None and not 0 < max_fpr < 1):
        raise InputError(f"max_fpr and confidence must lie between 0 and 1, got {max_fpr} and {confidence}")
    clips = domains.known_clips(scores)
    if domains.noun(clips, 1) == "method":
        raise InputError(
            "left-out methods share their real clips, so nothing can be promised of false alarms on a new one; certify "
            "without by_domain, or leave out domains"
        )
    reals = {name: real for name, own in domains.each(clips) if len(real := score_file.select(own, own.label == REAL))}
    if isinstance(threshold, Mapping):
        reals = {name: real for name, real in reals.items() if threshold.get(name) is not None}
    n, risk = len(reals), _risk(confidence)
    exceeding = math.floor((1 - NOISE) * risk * (n + 1))
    noise = float(risk - Fraction(exceeding, n + 1))
    about = {"confidence": float(confidence), "domains": n, "exceeding": max(exceeding - 1, 0), "noise": noise}
    about["needed"] = needed(confidence)
    sure, what = f"{100 * float(confidence):g} % confidence", domains.noun(scores, n)
    if exceeding < 1:
        those = f"{about['needed']} {domains.noun(scores)} with real clips; {domains.in_words(n)} given"
        statement = f"a promise for a new {domains.noun(scores, 1)} with {sure} needs {those}"
        return Certificate(None, None, statement=statement, **about)
    level, tell = noise / n, f"with {sure}, as far as {domains.in_words(n)} {what} can tell"
    if threshold is not None:
        at = threshold if isinstance(threshold, Mapping) else dict.fromkeys(reals, threshold)
        bounds = [
            clip_certify.rate_bound(real.score >= np.float32(at[name]), real.group, level)
            for name, real in reals.items()
        ]
        bound = sorted(bounds, reverse=True)[exceeding - 1]
        if not useful(bound):
            statement = useless(bound, confidence, n, about["exceeding"], domains.noun(scores, 1))
        else:
            statement = f"at most {_percent_up(bound)} % false alarms on a new {domains.noun(scores, 1)} {tell}"
        return Certificate(None, bound, statement=statement, **about)
    assert max_fpr is not None
    values = [_safe(real, float(max_fpr), level) for real in reals.values()]
    value = np.sort(np.array(values, clips.score.dtype))[n - exceeding]
    promise = f"at most {100 * float(max_fpr):g} % false alarms on a new {domains.noun(scores, 1)} {tell}"
    if not np.isfinite(value):
        statement = f"{promise} cannot be promised: {_lacking(reals, float(max_fpr), level)}"
        return Certificate(None, None, statement=statement, **about)
    both = cuts.classes(clips.score, clips.label)
    found = clip_certify.at_value(both, value, "certified_domain_fpr", {"confidence": confidence, "fpr": max_fpr})
    return Certificate(found, float(max_fpr), statement=promise, **about)


def on_the_mean(certificate: Certificate, max_fpr: Number) -> Certificate:
    """Beside a certificate, what a threshold that keeps the mean of n domains' false alarm rates promises of a new one.

    The lowest threshold at which the mean over all n + 1 domains is at most (n max_fpr + 1) / (n + 1) lies no higher,
    for the new one's rate is 1 at most; at that threshold the new one's rate is as likely any of theirs, so it is no
    more than this on the mean over which domain comes. Nothing is asked of the clips within a domain, however few their
    speakers (Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023). The n are scored
    without themselves and the new one by a detector of all n, so the promise is for nearly the same detector; and where
    the n have chosen its settings, too, they are a little easier for it than a new one.

    Args:
      certificate: of the domains with real clips; where the bound is not `useful` it is returned as it is.
      max_fpr: what the mean of their rates was kept at or below, by the lowest threshold that does or a higher one.
    """
    n = certificate.domains
    bound = float((n * criteria.decimal(max_fpr) + 1) / (n + 1))
    if not useful(bound):
        return certificate
    who = f"a real clip of a new one, drawn as the {domains.in_words(n)} were,"
    told = f"{who} is called fake with a probability of at most {_percent_up(bound)} %"
    return dataclasses.replace(certificate, mean_fpr=bound, statement=f"{certificate.statement}; {told}")


def useful(bound: float) -> bool:
    """Whether this bound of a false alarm rate is worth a promise."""
    return bound <= USEFUL


def useless(bound: float, confidence: Number, count: int, exceeding: int, noun: str) -> str:
    """Why a bound that only describes a threshold promises nothing, in a sentence for people.

    Args:
      bound: of the false alarm rate on a new domain.
      confidence: of the statement.
      count: domains with real clips.
      exceeding: how many of them may lie above the bound.
      noun: what a domain is, in the singular.
    """
    sure, which = f"{100 * float(confidence):g} % confidence", "the worst"
    which += f" but {domains.in_words(exceeding)}" if exceeding else ""
    which += f" of {domains.in_words(count)} {noun}{'s' * (count != 1)}"
    return (
        f"nothing useful can be promised of false alarms on a new {noun} with {sure}: {which} may have up to "
        f"{_percent_up(bound)} %, as far as its clips can tell"
    )


def _percent_up(share):
    """Per cent with a digit after the point, never less than the share: it stands in a promise."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:g}"


def _lacking(reals, max_fpr, level):
    """Why the real clips of the domains, name -> scores, do not bear a promise: what it takes, and where it lacks."""
    short = []
    for name, real in reals.items():
        count = len(np.unique(real.group))
        grouped = count < len(real)
        least = math.ceil(math.log(level / math.e if grouped else level) / math.log1p(-max_fpr))
        if count < least:
            things = f"{count:,} group{'s' * (count != 1)} of real clips" if grouped else f"{count:,} real clips"
            short.append(f"{name or '(unnamed)'} has {things}, it takes {least:,}")
    more = [f"{len(short) - SHOWN} more lack some"] if len(short) > SHOWN else []
    return "; ".join(short[:SHOWN] + more) or "too many of them have an infinite score"


def _safe(reals, max_fpr, level):
    """The lowest threshold at which the bound of a domain's false alarm rate is at most `max_fpr`; inf if none."""
    values = np.unique(reals.score)
    low, high = -1, len(values)  # the bound holds just above values[high]; nowhere where `high` stays len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if clip_certify.rate_bound(reals.score > values[middle], reals.group, level) <= max_fpr:
            high = middle
        else:
            low = middle
    return np.inf if high == len(values) else np.nextafter(values[high], values.dtype.type(np.inf))
