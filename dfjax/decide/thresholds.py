"""The best threshold under a criterion, exactly, from one sort. Rule: fake iff score >= threshold.

Candidates are compared as fractions of integers (see `cuts`): floats only narrow the field. A
threshold lies in the middle between the smallest score predicted fake and the largest predicted real, where
new data are least likely to cross it; the whole interval is stored beside it.
"""

import dataclasses
import fractions
import json
import math
from typing import Any

import numpy as np

from dfjax.decide import criteria, cuts
from dfjax.decide.criteria import CRITERIA
from dfjax.decide.cuts import Column
from dfjax.records import InputError
from dfjax.runtime.strict_json import plain


@dataclasses.dataclass(frozen=True)
class Threshold:
    """One operating point, frozen.

    Attributes:
      value: the threshold, exact in `dtype`; None if undefined. An infinity only where scores are infinite.
      status: 'ok'; 'undefined': a class that the criterion needs is missing; 'infeasible': no cut meets the
        constraint, and the values are those of the nearest one.
      score: the criterion's value: for 'mcc' the coefficient itself, for 'cost' the total cost, for 'eer'
        the mean of the two error rates, for 'break_even' the mean of precision and recall, for a constrained
        criterion what is maximised.
      interval: (largest_negative, smallest_positive): every threshold in (a, b] predicts the same. None
        where no score lies on that side.
      tp, fp, fn, tn: counts, or sums of weights, at the threshold.
      criterion, constraint: what was asked for.
      dtype: of the scores.
    """

    value: float | None
    status: str
    score: float | None
    interval: tuple[float | None, float | None]
    tp: int | float | None
    fp: int | float | None
    fn: int | float | None
    tn: int | float | None
    criterion: str
    constraint: dict = dataclasses.field(default_factory=dict)
    dtype: str = "float32"

    def predict(self, scores: Column) -> np.ndarray:
        """Boolean mask of the fakes among `scores` (n,), compared in the dtype of the search.

        Raises:
          ValueError: the threshold is undefined or a score is NaN.
        """
        if self.value is None:
            raise ValueError(f"the {self.criterion} threshold is undefined; it predicts nothing")
        scores = np.asarray(scores).astype(self.dtype, copy=False)
        if np.isnan(scores).any():
            raise ValueError("scores contain NaN; they cannot be compared with a threshold")
        return scores >= scores.dtype.type(self.value)

    def as_dict(self) -> dict:
        """Plain values for strict JSON: an infinite number becomes the text 'Infinity' or '-Infinity'."""
        fields = dataclasses.asdict(self) | {"interval": list(self.interval)}
        return plain(fields, name_infinities=True)

    def to_json(self) -> str:
        """Strict JSON text that `from_json` restores bit for bit."""
        return json.dumps(self.as_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | dict) -> "Threshold":
        """The threshold that `to_json` (or `as_dict`) wrote. Other keys are ignored.

        Raises:
          InputError: not JSON, or a key is missing.
        """
        try:
            fields = json.loads(text) if isinstance(text, str) else text
            found: dict[str, Any] = {f.name: _restored(fields[f.name]) for f in dataclasses.fields(cls)}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not the JSON of a threshold: {type(error).__name__} {error}") from error
        found["interval"] = tuple(found["interval"])
        return cls(**found)


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return float(value) if value in ("Infinity", "-Infinity") else value


def search(scores: Column, labels: Column, criterion: str, *, weights: Column | None = None, **constraint) -> Threshold:
    """The exact best threshold under one criterion.

    Args:
      scores: (n,) higher = more likely fake; infinities are ordered like numbers. Logits, not probabilities:
        the sigmoid makes large ones equal.
      labels: (n,) 1 fake, 0 real.
      criterion: a key of CRITERIA: 'f1', 'f_beta' (beta=), 'youden', 'balanced_accuracy', 'mcc', 'accuracy',
        'cost' (c_fp=, c_fn=), 'recall_at_precision' (min_precision=), 'precision_at_recall' (min_recall=),
        'recall_at_fpr' (max_fpr=), 'break_even', 'eer'.
      weights: (n,) not negative; floats are taken as the exact numbers they are, fractions too.
      **constraint: the criterion's own numbers. A float is the decimal it prints as: 0.3 is 3/10.

    Returns:
      The threshold. Among tied cuts the one that predicts the fewest fakes, except: precision_at_recall
      takes the most (more recall at the same precision), break_even the one with the most true positives;
      f_beta with beta 0, which is precision, takes all fakes down to the next real.

    Raises:
      InputError: an unknown criterion, a number missing, unknown or out of its bounds.
      ValueError: NaN scores, labels other than 0 and 1, bad weights, shapes that differ.
    """
    return search_all(scores, labels, {criterion: constraint}, weights=weights)[criterion]


def search_all(
    scores: Column, labels: Column, wanted: dict[str, dict], *, weights: Column | None = None
) -> dict[str, Threshold]:
    """The thresholds of several criteria from one sort.

    Args:
      scores: (n,) as in `search`.
      labels: (n,) as in `search`.
      wanted: criterion -> its constraint, such as {'f1': {}, 'recall_at_fpr': {'max_fpr': 0.01}}.
      weights: (n,) as in `search`.

    Raises:
      InputError, ValueError: as in `search`.
    """
    for name, constraint in wanted.items():
        criteria.check(name, constraint)
    kinds = {CRITERIA[name].cuts for name in wanted}
    if weights is None and kinds == {cuts.monotone}:
        both = cuts.near_optima(scores, labels, lambda *counts: _promising(wanted, counts))
    else:
        both = cuts.classes(scores, labels, weights)
    candidates = {make: make(both) for make in kinds}
    return {name: _choose(both, candidates[CRITERIA[name].cuts], name, c) for name, c in wanted.items()}


def _promising(wanted, counts):
    return np.any([criteria.promising(*counts, name, c) for name, c in wanted.items()], axis=0)


def _choose(both, candidates, name, constraint):
    row, status = criteria.best_cut(candidates, both.positives, both.negatives, name, constraint)
    if row is None:
        return _undefined(name, constraint, both.fake.dtype)
    return at_cut(both, candidates, row, status, name, constraint)


def at_cut(both: cuts.Classes, candidates: cuts.Cuts, row: int, status: str, name: str, constraint: dict) -> Threshold:
    """The threshold in the middle of one cut, with its counts and its value under a criterion.

    Args:
      both: the sorted scores.
      candidates: cuts through them.
      row: of the cut.
      status: of the search, 'ok' or 'infeasible'.
      name: a key of CRITERIA.
      constraint: its numbers.
    """
    tp, fp = int(candidates.tp[row]), int(candidates.fp[row])
    p, n, unit, dtype = both.positives, both.negatives, both.unit, both.fake.dtype
    counts = {"tp": tp, "fp": fp, "fn": p - tp, "tn": n - fp}
    smallest = candidates.smallest[row]
    interval = (both.largest(), None) if np.isnan(smallest) else (both.largest_below(smallest), float(smallest) + 0.0)
    return Threshold(
        value=midpoint(interval[0], interval[1], dtype),
        status=status,
        score=criteria.value_of(name, tp, fp, p, n, constraint, unit),
        interval=interval,
        criterion=name,
        constraint=constraint,
        dtype=dtype.name,
        **{key: _number(count * unit) for key, count in counts.items()},
    )


def _number(weight):
    return int(weight) if weight.denominator == 1 else float(weight)


def _undefined(name, constraint, dtype):
    return Threshold(None, "undefined", None, (None, None), None, None, None, None, name, constraint, dtype.name)


def midpoint(below: float | None, at: float | None, dtype) -> float:
    """The threshold between `below`, the largest score predicted real, and `at`, the smallest predicted fake.

    The middle, rounded to `dtype`; `at` where rounding would reach `below`, beside an infinity, or where nothing lies
    below (`below` is None); the next number above `below` where all are predicted real (`at` is None).
    """
    dtype = np.dtype(dtype)
    if at is None:
        with np.errstate(over="ignore"):  # above the largest finite number: infinity
            return float(np.nextafter(dtype.type(below), dtype.type(np.inf)))
    if below is None or math.isinf(below) or math.isinf(at):
        return at
    middle = float(dtype.type(float((fractions.Fraction(below) + fractions.Fraction(at)) / 2))) + 0.0
    return middle if middle > below else at
