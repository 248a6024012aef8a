"""The best threshold under a criterion, exactly, from one sort. Rule: fake iff score >= threshold.

Candidates are compared as fractions of integers (see `dfjax.cuts`): floats only narrow the field. A
threshold lies in the middle between the smallest score predicted fake and the largest predicted real, where
new data are least likely to cross it; the whole interval is stored beside it.
"""

import dataclasses
import fractions
import json
import math

import numpy as np

from dfjax import cuts
from dfjax.cuts import Column
from dfjax.records import InputError

Fraction = fractions.Fraction


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
        return {name: plain(value) for name, value in fields.items()}

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
            found = {f.name: _restored(fields[f.name]) for f in dataclasses.fields(cls)}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not the JSON of a threshold: {type(error).__name__} {error}") from error
        return cls(**found | {"interval": tuple(found["interval"])})


def plain(value):
    """A value as strict JSON can hold it: an infinity becomes its name, a fraction its text."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _restored(value):
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return float(value) if value in ("Infinity", "-Infinity") else value


# Objectives: (numerator, denominator) of the value to maximise, of tp and fp with p fakes and n reals. They
# take float arrays (to narrow the field) and arrays of Python integers (to decide) alike. 0/0 counts as 0.


def _f_beta(tp, fp, p, n, *, beta=1):
    a, b = (_decimal(beta) ** 2).as_integer_ratio()
    return (a + b) * tp, (a + b) * tp + a * (p - tp) + b * fp


def _youden(tp, fp, p, n):
    return tp * n - fp * p, p * n


def _balanced_accuracy(tp, fp, p, n):
    return tp * n + (n - fp) * p, 2 * p * n


def _mcc(tp, fp, p, n):
    """The signed square of the coefficient, which is rational."""
    covariance = tp * n - fp * p
    return covariance * abs(covariance), (tp + fp) * (p - tp + n - fp) * p * n


def _accuracy(tp, fp, p, n):
    return tp + (n - fp), p + n


def _saving(tp, fp, p, n, *, c_fp, c_fn):
    """The negative cost, over a constant."""
    (a, b), (c, d) = _decimal(c_fp).as_integer_ratio(), _decimal(c_fn).as_integer_ratio()
    return -(a * d * fp + c * b * (p - tp)), b * d


def _recall(tp, fp, p, n, **_):
    return tp, p


def _precision(tp, fp, p, n, **_):
    return tp, tp + fp


def _specificity(tp, fp, p, n, **_):
    return n - fp, n


def _closeness_of_precision_and_recall(tp, fp, p, n):
    return -tp * abs(p - tp - fp), (tp + fp) * p


def _closeness_of_errors(tp, fp, p, n):
    return -abs(fp * p - (p - tp) * n), p * n


# Constraints: a boolean mask of the cuts that meet them, decided in integers.


def _any_cut(tp, fp, p, n, **_):
    return np.ones(len(tp), bool)


def _predicts_some(tp, fp, p, n):
    return tp + fp > 0


def _enough_precision(tp, fp, p, n, *, min_precision):
    a, b = _decimal(min_precision).as_integer_ratio()
    if (p + n) * b >= 2**62:
        tp, fp = tp.astype(object), fp.astype(object)
    return ((b - a) * tp >= a * fp).astype(bool) & (tp + fp > 0)


def _enough_recall(tp, fp, p, n, *, min_recall):
    return (tp >= math.ceil(_decimal(min_recall) * p)) & (tp + fp > 0)


def _low_fpr(tp, fp, p, n, *, max_fpr):
    return fp <= math.floor(_decimal(max_fpr) * n)


@dataclasses.dataclass(frozen=True)
class Criterion:
    """How cuts are compared.

    Attributes:
      objective: the fraction to maximise.
      meets: the cuts allowed.
      nearest: what to maximise when no cut is allowed.
      needs: classes without which the criterion is undefined.
      cuts: the candidates.
      ties: which of the cuts with the same objective: 'fewest' or 'most' predicted fakes.
      parameters: required keyword arguments and their bounds.
    """

    objective: object
    meets: object = _any_cut
    nearest: object = None
    needs: str = "both"
    cuts: object = cuts.monotone
    ties: str = "fewest"
    parameters: dict = dataclasses.field(default_factory=dict)


ANY, RATE = (0, math.inf), (0, 1)
CRITERIA = {
    "f1": Criterion(_f_beta, needs="fake"),
    "f_beta": Criterion(_f_beta, needs="fake", parameters={"beta": ANY}),
    "youden": Criterion(_youden),
    "balanced_accuracy": Criterion(_balanced_accuracy),
    "mcc": Criterion(_mcc),
    "accuracy": Criterion(_accuracy, needs="any"),
    "cost": Criterion(_saving, needs="any", parameters={"c_fp": ANY, "c_fn": ANY}),
    "recall_at_precision": Criterion(
        _recall, _enough_precision, _precision, needs="fake", parameters={"min_precision": RATE}
    ),
    # with equal precision more recall costs nothing
    "precision_at_recall": Criterion(
        _precision, _enough_recall, _recall, needs="fake", ties="most", parameters={"min_recall": RATE}
    ),
    "recall_at_fpr": Criterion(_recall, _low_fpr, _specificity, parameters={"max_fpr": RATE}),
    # a cut without a true positive breaks even trivially: among ties, the most true positives
    "break_even": Criterion(
        _closeness_of_precision_and_recall, _predicts_some, needs="fake", cuts=cuts.every
    ),
    "eer": Criterion(_closeness_of_errors, cuts=cuts.every),
}


def search(
    scores: Column, labels: Column, criterion: str, *, weights: Column | None = None, **constraint
) -> Threshold:
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
      takes the most (more recall at the same precision), break_even the one with the most true positives.

    Raises:
      InputError: an unknown criterion, a number missing, unknown or out of its bounds.
      ValueError: NaN scores, labels other than 0 and 1, bad weights, shapes that differ.
    """
    _check(criterion, constraint)
    both = cuts.classes(scores, labels, weights)
    return _choose(both, CRITERIA[criterion].cuts(both), criterion, constraint)


def search_all(
    scores: Column, labels: Column, criteria: dict[str, dict], *, weights: Column | None = None
) -> dict[str, Threshold]:
    """The thresholds of several criteria from one sort.

    Args:
      scores: (n,) as in `search`.
      labels: (n,) as in `search`.
      weights: (n,) as in `search`.
      criteria: name -> its constraint, such as {'f1': {}, 'recall_at_fpr': {'max_fpr': 0.01}}.

    Raises:
      InputError, ValueError: as in `search`.
    """
    for name, constraint in criteria.items():
        _check(name, constraint)
    both = cuts.classes(scores, labels, weights)
    candidates = {make: make(both) for make in {CRITERIA[name].cuts for name in criteria}}
    return {name: _choose(both, candidates[CRITERIA[name].cuts], name, c) for name, c in criteria.items()}


def _check(criterion, constraint):
    if criterion not in CRITERIA:
        raise InputError(f"Unknown criterion {criterion!r}; expected one of {sorted(CRITERIA)}")
    bounds = CRITERIA[criterion].parameters
    if set(bounds) != set(constraint):
        raise InputError(
            f"criterion {criterion!r} takes {sorted(bounds) or 'no number'}, got {sorted(constraint)}"
        )
    for name, value in constraint.items():
        low, high = bounds[name]
        if not (low <= value <= high and value < math.inf):
            raise InputError(f"{name} must be a number from {low} to {high}, got {value}")


def _decimal(number):
    """A float as the decimal it prints as: 3 in 10 are an FPR <= 0.3, though 0.3 is less than 3/10."""
    return Fraction(str(number))


def _choose(both, candidates, name, constraint):
    row, status = best_cut(candidates, both.positives, both.negatives, name, constraint)
    if row is None:
        return _undefined(name, constraint, both.fake.dtype)
    return at_cut(both, candidates, row, status, name, constraint)


def best_cut(
    candidates: cuts.Cuts, p: int, n: int, criterion: str, constraint: dict
) -> tuple[int | None, str]:
    """The row of the best cut, or None, and the status.

    Args:
      candidates: cuts from few to many predicted fakes.
      p: fakes, in the units of the cuts.
      n: reals.
      criterion: a key of CRITERIA.
      constraint: its numbers.
    """
    rule = CRITERIA[criterion]
    if {"both": p == 0 or n == 0, "fake": p == 0, "any": p + n == 0}[rule.needs]:
        return None, "undefined"
    meets = rule.meets(candidates.tp, candidates.fp, p, n, **constraint)
    rows, status, objective, ties = np.flatnonzero(meets), "ok", rule.objective, rule.ties
    if not len(rows):
        rows, status, objective, ties = np.arange(len(meets)), "infeasible", rule.nearest, "most"
    return int(_argmax(objective, candidates, rows, p, n, ties, constraint)), status


def _argmax(objective, candidates, rows, p, n, ties, constraint):
    """The cut with the greatest objective, decided exactly. Rows run from few to many predicted fakes."""
    tp, fp, total = candidates.tp[rows], candidates.fp[rows], p + n
    shares = [
        np.asarray(count / total, np.float64) for count in (tp, fp)
    ]  # also where counts are Python ints
    with np.errstate(divide="ignore", invalid="ignore"):
        numerator, denominator = objective(*shares, p / total, n / total, **constraint)
        value = np.where(np.equal(denominator, 0), 0, numerator / denominator)
    # rounding is far below 1e-9: the best is among these
    near = np.flatnonzero(value >= value.max() - 1e-9 * max(1, abs(value.max())))
    if len(near) == 1:
        return rows[near[0]]
    tp, fp = tp[near].astype(object), fp[near].astype(object)
    numerator, denominator = (
        np.broadcast_to(np.asarray(part, object), len(near)) for part in objective(tp, fp, p, n, **constraint)
    )
    best = 0
    for i in range(1, len(near)):
        difference = numerator[i] * (denominator[best] or 1) - numerator[best] * (denominator[i] or 1)
        tied = tp[i] > tp[best] if objective is _closeness_of_precision_and_recall else ties == "most"
        if difference > 0 or (difference == 0 and tied):
            best = i
    return rows[near[best]]


def at_cut(
    both: cuts.Classes, candidates: cuts.Cuts, row: int, status: str, name: str, constraint: dict
) -> Threshold:
    """The threshold in the middle of one cut, with its counts and its value under a criterion."""
    tp, fp = int(candidates.tp[row]), int(candidates.fp[row])
    p, n, unit, dtype = both.positives, both.negatives, both.unit, both.fake.dtype
    counts = {"tp": tp, "fp": fp, "fn": p - tp, "tn": n - fp}
    smallest = candidates.smallest[row]
    interval = (
        (both.largest(), None)
        if np.isnan(smallest)
        else (both.largest_below(smallest), float(smallest) + 0.0)
    )
    return Threshold(
        value=midpoint(*interval, dtype),
        status=status,
        score=value_of(name, tp, fp, p, n, constraint, unit),
        interval=interval,
        criterion=name,
        constraint=constraint,
        dtype=dtype.name,
        **{key: _number(count * unit) for key, count in counts.items()},
    )


def value_of(
    name: str, tp: int, fp: int, p: int, n: int, constraint: dict, unit: Fraction | int = 1
) -> float:
    """The criterion's value at one cut as a float, correctly rounded (mcc: to the last digit or two)."""
    if name == "eer":
        return float((Fraction(fp, n) + Fraction(p - tp, p)) / 2)
    if name == "break_even":
        return float((Fraction(tp, p) + Fraction(tp, tp + fp or 1)) / 2)
    numerator, denominator = CRITERIA[name].objective(tp, fp, p, n, **constraint)
    value = Fraction(numerator, denominator or 1)
    if name == "mcc":
        return math.copysign(math.sqrt(abs(value)), value)
    return float(-value * unit if name == "cost" else value)


def _number(weight):
    return int(weight) if weight.denominator == 1 else float(weight)


def _undefined(name, constraint, dtype):
    return Threshold(
        None, "undefined", None, (None, None), None, None, None, None, name, constraint, dtype.name
    )


def midpoint(below: float | None, at: float | None, dtype) -> float:
    """The threshold between the largest score predicted real and the smallest predicted fake.

    The middle, rounded to `dtype`; the smallest fake where rounding would reach the real, beside an
    infinity, or where nothing lies below; the next number above the largest score where all are predicted
    real.
    """
    dtype = np.dtype(dtype)
    if at is None:
        with np.errstate(over="ignore"):  # above the largest finite number: infinity
            return float(np.nextafter(dtype.type(below), dtype.type(np.inf)))
    if below is None or math.isinf(below) or math.isinf(at):
        return at
    middle = float(dtype.type(float((Fraction(below) + Fraction(at)) / 2))) + 0.0
    return middle if middle > below else at
