"""What a run's handling of imbalance did to the log-odds of its scores, and the way back. NumPy only."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dfjax.imbalance.rates import Counts, Pair, class_counts
from dfjax.records import InputError

TERMS = ("sampling", "class_weights", "alpha", "logit_adjustment")


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def _focal_term(z: np.ndarray) -> np.ndarray:
    """Exp(z) softplus(-z), which rises from 0 to 1."""
    x = np.exp(-np.abs(z))
    with np.errstate(invalid="ignore", divide="ignore"):
        right = np.where(x > 0, np.log1p(x) / x, 1.0)
        left = np.where(x > 0, x * (np.log1p(x) - z), 0.0)
    return np.where(z >= 0, right, left)


@dataclasses.dataclass(frozen=True)
class Ledger:
    """What a run added to the log-odds of its scores, and which loss shaped them.

    The four terms are additive; `gamma`, or `margins` and `scale`, say how the loss's minimiser depends on
    the posterior and move no threshold while margins are equal. Exact when rates depend on the class only; a
    resampler that makes new examples also changes what a class looks like, and a network that interpolates
    its training data feels weights and rates less: take the correction as an upper bound and fit slope and
    intercept on validation data after it. Label smoothing bounds the score and is left to that fit; so is what `gamma`
    or margins do to a detector with a logit for each kind of fakes, whose sum is inverted as if it were one logit.
    """

    sampling: float = 0.0  # ln of fake:real as drawn over fake:real in the split; resampled embeddings too
    class_weights: float = 0.0  # ln(w_fake / w_real)
    alpha: float = 0.0  # ln(alpha / (1 - alpha)) of the focal loss
    logit_adjustment: float = 0.0  # -tau ln(prior / (1 - prior))
    gamma: float = 0.0
    margins: Pair = (0.0, 0.0)
    scale: float = 1.0

    def terms(self) -> dict[str, float]:
        """The additive terms by name, in log-odds."""
        return {name: getattr(self, name) for name in TERMS}

    def active(self) -> list[str]:
        """Names of the terms that are not zero."""
        return [name for name, value in self.terms().items() if abs(value) > 1e-9]

    @property
    def total(self) -> float:
        """The sum of the terms: how far scores sit above the natural log-odds."""
        return sum(self.terms().values())

    @property
    def implied_threshold(self) -> float:
        """The true posterior at which the raw score is 0, that is, where 'probability 0.5' decides."""
        return float(1 / (1 + np.exp(-self.correct(np.zeros(1))[0])))

    def correct(self, scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Log-odds under the natural prior of the training split, in float64; increasing in the score.

        The loss is inverted first: where q = sigmoid(z) minimises the expected loss, the posterior has odds
        l_real'(z) / -l_fake'(z). For the focal loss the logarithm of that is
        (1 + gamma) z + ln(1 + gamma g(-z)) - ln(1 + gamma g(z)) with g(z) = exp(z) softplus(-z)
        (Charoenphakdee et al. 2020, https://arxiv.org/abs/2011.09172); then the terms are subtracted.
        """
        z = np.asarray(scores, np.float64)
        if self.gamma > 0:
            focus = np.log1p(self.gamma * _focal_term(-z)) - np.log1p(self.gamma * _focal_term(z))
            z = (1 + self.gamma) * z + focus
        if self.margins != (0.0, 0.0) or self.scale != 1.0:
            real, fake = self.margins
            z = _softplus(self.scale * (z - fake)) - _softplus(-self.scale * (z + real))
        return z - self.total

    def initial_bias(self, counts: Counts) -> float:
        """The constant logit of least training loss: where an untrained head should start."""
        real, fake = class_counts(counts)
        low, high = -100.0, 100.0
        for _ in range(80):  # `correct` is increasing; halving 200 eighty times leaves less than one ulp
            middle = (low + high) / 2
            if self.correct(np.full(1, middle))[0] < np.log(fake / real):
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def check_stacking(self, allow_stacking: bool) -> None:
        """Raises InputError when more than one term is active and that was not allowed."""
        if len(self.active()) > 1 and not allow_stacking:
            listed = ", ".join(f"{name} {self.terms()[name]:+.2f}" for name in self.active())
            raise InputError(
                f"more than one imbalance correction is on ({listed}; {self.total:+.2f} log-odds together, "
                f"so 'probability 0.5' would be {self.implied_threshold:.3g} in truth); keep one, or set "
                "balance.allow_stacking = True"
            )

    def to_json(self) -> dict[str, Any]:
        """A dict of plain numbers, with `total` and `implied_threshold` for readers."""
        fields = dataclasses.asdict(self) | {"margins": list(self.margins)}
        return fields | {"total": self.total, "implied_threshold": self.implied_threshold}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | str) -> "Ledger":
        """The ledger that `to_json` wrote, from a dict or its text."""
        fields = dict(json.loads(fields) if isinstance(fields, str) else fields)
        known = {field.name: fields[field.name] for field in dataclasses.fields(cls) if field.name in fields}
        real, fake = known.pop("margins", (0.0, 0.0))
        return cls(margins=(float(real), float(fake)), **{name: float(value) for name, value in known.items()})
