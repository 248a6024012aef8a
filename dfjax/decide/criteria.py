"""What makes one cut better than another: objectives as fractions, constraints and comparison in integers.

`youden` is recall + specificity - 1 (Youden 1950), `mcc` the correlation of prediction and label (Matthews 1975).
"""

import dataclasses
import fractions
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dfjax.decide import cuts
from dfjax.records import InputError

Fraction = fractions.Fraction

# Objectives: (numerator, denominator) of the value to maximise, of tp and fp with p fakes and n reals. They
# take float arrays (to narrow the field) and arrays of Python integers (to decide) alike. 0/0 counts as 0.


def _f_beta(tp, fp, p, n, *, beta=1):
    a, b = (decimal(beta) ** 2).as_integer_ratio()
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
    (a, b), (c, d) = decimal(c_fp).as_integer_ratio(), decimal(c_fn).as_integer_ratio()
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
    a, b = decimal(min_precision).as_integer_ratio()
    if (p + n) * b >= 2**62:
        tp, fp = tp.astype(object), fp.astype(object)
    return ((b - a) * tp >= a * fp).astype(bool) & (tp + fp > 0)


def _enough_recall(tp, fp, p, n, *, min_recall):
    return (tp >= math.ceil(decimal(min_recall) * p)) & (tp + fp > 0)


def _low_fpr(tp, fp, p, n, *, max_fpr):
    return fp <= math.floor(decimal(max_fpr) * n)


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

    objective: Callable
    meets: Callable = _any_cut
    nearest: Callable | None = None
    needs: str = "both"
    cuts: Callable = cuts.monotone
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
    "break_even": Criterion(_closeness_of_precision_and_recall, _predicts_some, needs="fake", cuts=cuts.every),
    "eer": Criterion(_closeness_of_errors, cuts=cuts.every),
}


WORST = {"youden": -1.0, "mcc": -1.0}  # the lowest value of a criterion, of others 0
UNBOUNDED = ("cost",)  # upwards; others end at 1


def bounded(name: str, value: float) -> float:
    """The value of a criterion, a key of CRITERIA, that lies nearest to an estimate, which may lie out of its reach."""
    return min(max(value, WORST.get(name, 0.0)), math.inf if name in UNBOUNDED else 1.0)


def check(criterion: str, constraint: Mapping[str, Any]) -> None:
    """Raises InputError for an unknown criterion and for numbers missing, unknown or out of bounds."""
    if criterion not in CRITERIA:
        raise InputError(f"Unknown criterion {criterion!r}; expected one of {sorted(CRITERIA)}")
    bounds = CRITERIA[criterion].parameters
    if missing := sorted(bounds.keys() - constraint.keys()):
        raise InputError(f"criterion {criterion!r} needs {' and '.join(missing)}; give a number for each")
    if unknown := sorted(constraint.keys() - bounds.keys()):
        takes = f"{' and '.join(sorted(bounds))} alone" if bounds else "no number"
        raise InputError(f"criterion {criterion!r} takes {takes}; leave out {' and '.join(unknown)}")
    for name, value in constraint.items():
        low, high = bounds[name]
        if not (low <= value <= high and value < math.inf):
            raise InputError(f"{name} must be a number from {low} to {high}, got {value}")
    if criterion == "cost" and not any(constraint.values()):
        raise InputError("c_fp and c_fn are both 0, so every threshold costs the same; expected one of them above 0")


def decimal(number) -> Fraction:
    """A float as the decimal it prints as: 3 in 10 are an FPR <= 0.3, though 0.3 is less than 3/10."""
    return Fraction(str(number))


def best_cut(candidates: cuts.Cuts, p: int, n: int, criterion: str, constraint: dict) -> tuple[int | None, str]:
    """The row of the best cut, None where there is none, and the status: 'ok', 'infeasible' or 'undefined'.

    Args:
      candidates: cuts from few to many predicted fakes.
      p: fakes, in the units of the cuts.
      n: reals.
      criterion: a key of CRITERIA.
      constraint: its numbers.
    """
    rule = CRITERIA[criterion]
    if _undefined(rule, p, n):
        return None, "undefined"
    meets = rule.meets(candidates.tp, candidates.fp, p, n, **constraint)
    rows, status, objective, ties = np.flatnonzero(meets), "ok", rule.objective, rule.ties
    if not len(rows):
        assert rule.nearest is not None, "a criterion that can be infeasible says what comes nearest"
        rows, status, objective, ties = np.arange(len(meets)), "infeasible", rule.nearest, "most"
    return int(_argmax(objective, candidates, rows, p, n, ties, constraint)), status


def promising(edges: cuts.Cuts, hopes: cuts.Cuts, p: int, n: int, criterion: str, constraint: dict) -> np.ndarray:
    """Mask (bins,) of the bins of scores in which the best cut may lie, for a criterion whose cuts are monotone.

    Args:
      edges: the cuts between bins.
      hopes: for each bin, the fakes down to its lower and the reals down to its upper edge: no cut inside the
        bin has more of those or fewer of these.
      p: fakes.
      n: reals.
      criterion: a key of CRITERIA.
      constraint: its numbers.
    """
    rule = CRITERIA[criterion]
    if _undefined(rule, p, n):
        return np.zeros(len(edges), bool)
    allowed = rule.meets(edges.tp, edges.fp, p, n, **constraint)
    found = rule.meets(hopes.tp, hopes.fp, p, n, **constraint)
    objective = rule.objective if allowed.any() else rule.nearest
    value, hope = (_floats(objective, c.tp, c.fp, p, n, constraint) for c in (edges, hopes))
    if allowed.any():
        return found & (hope >= _nearly(value[allowed].max()))
    return found | (hope >= _nearly(value.max()))


def _undefined(rule, p, n):
    return {"both": p == 0 or n == 0, "fake": p == 0, "any": p + n == 0}[rule.needs]


def _floats(objective, tp, fp, p, n, constraint):
    """The objective in float64; also where counts are Python integers beyond its range."""
    tp, fp, p, n = (np.asarray(count / (p + n), np.float64) for count in (tp, fp, p, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        numerator, denominator = objective(tp, fp, p, n, **constraint)
        return np.where(np.equal(denominator, 0), 0, numerator / denominator)


def _nearly(value):
    """A bound below all values that may equal this one but for rounding."""
    return value - 1e-9 * max(1, abs(value))


def _argmax(objective, candidates, rows, p, n, ties, constraint):
    """The cut with the greatest objective, decided exactly. Rows run from few to many predicted fakes."""
    tp, fp = candidates.tp[rows], candidates.fp[rows]
    value = _floats(objective, tp, fp, p, n, constraint)
    near = np.flatnonzero(value >= _nearly(value.max()))
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


def held(name: str, tp: cuts.Number, fp: cuts.Number, p: cuts.Number, n: cuts.Number) -> float:
    """What a constrained criterion's constraint is about, at one cut: precision, recall or specificity; else NaN.

    It is 1 where the cut calls nothing fake: there is no false positive then.

    Args:
      name: a key of CRITERIA.
      tp: fakes called fake.
      fp: reals called fake.
      p: all fakes.
      n: all reals.
    """
    of = CRITERIA[name].nearest
    if of is None:
        return math.nan
    part, whole = of(tp, fp, p, n)
    return float(part / whole) if whole else 1.0


def value_of(name: str, tp: int, fp: int, p: int, n: int, constraint: dict, unit: Fraction | int = 1) -> float:
    """The criterion's value at one cut as a float, correctly rounded (mcc: to the last digit or two).

    Args:
      name: a key of CRITERIA.
      tp: fakes called fake.
      fp: reals called fake.
      p: all fakes.
      n: all reals.
      constraint: the criterion's numbers.
      unit: what 1 of these counts weighs; for 'cost' alone.
    """
    if name == "eer":
        return float((Fraction(fp, n) + Fraction(p - tp, p)) / 2)
    if name == "break_even":
        return float((Fraction(tp, p) + Fraction(tp, tp + fp or 1)) / 2)
    numerator, denominator = CRITERIA[name].objective(tp, fp, p, n, **constraint)
    value = Fraction(numerator, denominator or 1)
    if name == "mcc":
        return math.copysign(math.sqrt(abs(value)), value)
    return float(-value * unit if name == "cost" else value)
