"""The decision of a run: the threshold, what it was chosen for and on, its worth; decision.json, strict and whole."""

import json
import math
from collections.abc import Mapping
from typing import Any

from etils import epath

from dfjax.decide import (
    calibration,
    certify,
    certify_domains,
    criteria,
    domains,
    known_real,
    leave_one_out,
    metrics,
    operating_points,
    optimism,
    places,
    score_file,
    thresholds,
)
from dfjax.decide.score_file import Scores
from dfjax.records import InputError
from dfjax.runtime import files
from dfjax.runtime.strict_json import plain

REPLICATES = 1000  # of the bootstrap, at most


def write_decision(path: epath.PathLike, decision: Mapping[str, Any]) -> None:
    """Writes decision.json, strict JSON, replaced whole."""
    files.write(path, json.dumps(decision, indent=2, allow_nan=False) + "\n")


def read_decision(path: epath.PathLike) -> dict[str, Any]:
    """The decision that `write_decision` wrote.

    Raises:
      InputError: no such file, not JSON, or no decision.
    """
    try:
        text = epath.Path(path).read_text()
    except OSError as error:
        raise InputError(f"cannot read the decision {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return parse(text, path)


def parse(text: str, path: epath.PathLike) -> dict[str, Any]:
    """The decision that a text holds; `path` is where it is from, for the message.

    Raises:
      InputError: not strict JSON, no decision, or one whose threshold, constraint or calibration are no numbers.
    """
    try:
        decision = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(decision, dict) or not {"threshold", "status", "criterion"} <= decision.keys():
        raise InputError(f"{path} is no decision; expected what dfjax.tune or dfjax.run writes")
    if wrong := _wrong(decision):
        raise InputError(f"{path} is no usable decision: {wrong}; choose a threshold again with dfjax.tune")
    return decision


def _no_number(word):
    raise ValueError(f"{word} is no number of JSON")


def _wrong(decision):
    """What is no number where threshold, constraint or calibration need one; '' if nothing."""
    threshold, fitted = decision["threshold"], decision.get("calibration")
    if threshold is not None and threshold not in ("Infinity", "-Infinity") and not _finite(threshold):
        return f"its threshold is {threshold!r}, expected a finite number"
    constraint = decision.get("constraint") or {}
    if not isinstance(decision["criterion"], str) or not isinstance(constraint, dict):
        return f"it was chosen for {decision['criterion']!r} with {constraint!r}, expected a name and numbers"
    if wrong := [name for name, number in constraint.items() if not _finite(number)]:
        return f"its constraint has the {wrong[0]} {constraint[wrong[0]]!r}, expected a finite number"
    if (wrong_known := known_real.wrong(decision.get("known_real"))) or fitted is None:
        return wrong_known
    if not isinstance(fitted, dict):
        return f"its calibration is {fitted!r}, expected slope and intercept"
    for name in ("slope", "intercept"):
        if not _finite(fitted.get(name)):
            return f"its calibration has the {name} {fitted.get(name)!r}, expected a finite number"
    for name in ("scale", "offset"):  # of one that was adapted to files known to be real
        if name in fitted and not _finite(fitted[name]):
            return f"its calibration has the {name} {fitted[name]!r}, expected a finite number"
    for name in ("prior", "deploy_prior"):
        if (share := fitted.get(name)) is not None and not (_finite(share) and 0 < share < 1):
            return f"its calibration has the {name} {share!r}, expected a share between 0 and 1"
    for name in ("domain_sd", "domains", "clips", "prior_clips"):
        if (number := fitted.get(name)) is not None and not (_finite(number) and number >= 0):
            return f"its calibration has the {name} {number!r}, expected a number from 0 on"
    return ""


def _finite(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decide(
    scores: Scores,
    criterion: str | None = None,
    *,
    certified: float | None = None,
    by_domain: bool = False,
    abstain: float | None = None,
    deploy_prior: float | None = None,
    seed: int = 0,
    **constraint,
) -> dict[str, Any]:
    """The decision of a run: threshold, what it was chosen for and on, what it is worth, and the calibration.

    Scores of left-out domains (split 'left_out' and a column `domain`) are judged as such: in the search every domain
    weighs alike and so do both classes, what the value loses on new data is seen on each domain at the threshold of
    the others, the calibration knows how domains differ, and `domains` says what to expect of a new one.

    Args:
      scores: validation scores or left-out ones, by record or by clip; clips are judged, unknown labels left out.
      criterion: a key of `thresholds.CRITERIA`; ignored if `certified`. None: 'balanced_accuracy' for left-out
        domains, whose shares of fakes are anyone's, and 'f1' otherwise.
      certified: confidence of a guarantee instead of a criterion; then `constraint` is min_recall or max_fpr.
      by_domain: whether the guarantee is for a new domain (max_fpr only) instead of new clips.
      abstain: adds a band without verdict, outside which at most this share of each class is called wrong; of left-out
        domains on their mean.
      deploy_prior: share of fakes where the detector will be used; stored with the calibration.
      seed: of the bootstrap.
      **constraint: the criterion's numbers.

    Returns:
      What decision.json holds; plain values for strict JSON. `status` is 'ok', 'undefined' (threshold None)
      or 'infeasible' (the nearest threshold; for a certificate None), and then `message` says why.

    Raises:
      InputError: unknown criterion or bad numbers, scores of the test or training split, nothing to judge,
        `by_domain` without a confidence or with scores that are not of left-out domains.
    """
    split = scores.header.get("split")
    if split in ("test", "train"):
        raise InputError(f"these are scores of the split {split!r}; a threshold is chosen on validation scores")
    if deploy_prior is not None and not 0 < deploy_prior < 1:
        raise InputError(f"deploy_prior is a share of fakes between 0 and 1, got {deploy_prior}")
    if abstain is not None and not 0 <= abstain <= 1:
        raise InputError(f"abstain is the share of each class that may be called wrong, from 0 to 1; got {abstain}")
    clips = score_file.by_clip(score_file.known(scores))
    if not len(clips):
        raise InputError("no clip has a known label; expected scores of labelled clips")
    x, y = clips.score, clips.label
    left_out = split == score_file.LEFT_OUT and clips.domain is not None
    if by_domain and (certified is None or not left_out):
        raise InputError(
            "a guarantee for a new domain takes a confidence, and left-out scores with a column 'domain', as "
            "python -m dfjax.crossval writes them"
        )
    criterion = criterion or ("balanced_accuracy" if left_out else "f1")
    groups, unit = operating_points.units(clips)
    n = min(REPLICATES, operating_points.replicates(len(clips)))
    chosen: thresholds.Threshold | None
    worth: optimism.Optimism | leave_one_out.LeaveOneOut | None = None
    certificate: certify.Certificate | certify_domains.Certificate | None = None
    weights = domains.equal_weights(clips) if left_out else None
    if certified is not None:
        if by_domain:
            certificate = certify_domains.certify(clips, confidence=certified, **_fpr_alone(constraint))
        else:
            certificate = certify.certify(x, y, confidence=certified, groups=clips.group, **_one_rate(constraint))
        chosen, message = certificate.threshold, certificate.statement
    else:
        found = chosen = thresholds.search(x, y, criterion, weights=weights, **constraint)
        if left_out:
            worth = leave_one_out.judge(clips, criterion, n=n, seed=seed, **constraint)
            unit = worth.unit if worth else unit
        else:
            worth = optimism.bootstrap(x, y, criterion, groups=groups, n=n, seed=seed, **constraint)
        message = _message(found)
    ledger = scores.header.get("ledger")
    fitted = calibration.fit(x, y, ledger=ledger, domains=clips.domain if left_out else None)
    decision = _point(chosen, constraint) | {
        "message": message,
        "dataset": scores.header.get("dataset"),
        "data": scores.header.get("data"),
        "split": split,
        "step": scores.header.get("step"),
        "clip_score": score_file.rule_of(scores),
        "clips": {"fake": int((y == 1).sum()), "real": int((y == 0).sum())},
        "half": metrics.at_threshold(x, y, 0.0),
        "tuned": metrics.at_threshold(x, y, chosen.value) if chosen and chosen.value is not None else None,
        "corrected_value": worth and worth.corrected,
        "confidence_interval": worth and chosen and _interval(worth, criterion, clips, chosen.value, groups),
        "constrained": worth and _constrained(chosen, worth, constraint),
        "threshold_confidence_interval": worth.threshold_interval if isinstance(worth, optimism.Optimism) else None,
        "bootstrap": worth and {"replicates": worth.replicates, "unit": unit, "seed": seed},
        "calibration": fitted | {"deploy_prior": deploy_prior},
        "calibration_quality": calibration.quality(x, y, fitted),
        "band": None if abstain is None else _band(x, y, abstain, chosen and chosen.value, weights),
    }
    if left_out:
        value = chosen.value if chosen else None
        if decision["tuned"]:  # clips as they are, where the search has weighed them
            decision["counts"] = {name: decision["tuned"][name] for name in ("tp", "fp", "fn", "tn")}
        met = certified is None and criterion == "recall_at_fpr" and found.status == "ok"
        kept_fpr = constraint["max_fpr"] if met else None
        decision["domains"] = _domains(clips, value, worth, certificate, n, seed, kept_fpr)
        if isinstance(worth, leave_one_out.LeaveOneOut) and not domains.of_methods(clips):
            decision["known_real"] = places.learn(
                clips, criterion, without=worth.thresholds, abstain=abstain, seed=seed, **constraint
            )
        decision["seeds"] = scores.header.get("seeds")  # of the trainings whose mean scores these are
    return plain(decision, name_infinities=True)


def _fpr_alone(constraint):
    """The constraint of a guarantee for a new domain."""
    if set(constraint) != {"max_fpr"}:
        raise InputError(f"a guarantee for a new domain takes max_fpr alone, got {sorted(constraint) or 'nothing'}")
    return constraint


def _one_rate(constraint):
    """The constraint of a guarantee for new clips."""
    if set(constraint) not in ({"min_recall"}, {"max_fpr"}):
        raise InputError(f"a guarantee takes min_recall or max_fpr alone, got {sorted(constraint) or 'nothing'}")
    return constraint


def _domains(clips, threshold, worth, certificate, n, seed, kept_fpr):
    """What decision.json says of a new domain; see `domains`.

    Returns:
      count, noun, weights (in words), rows (`by_domain`, and `threshold_without`, which the other domains choose),
      auc, eer, false_alarms and misses (`spread`), words, certificate (None for left-out methods, which share their
      real clips, and beside a guarantee for new clips, whose threshold was chosen on these very domains).
    """
    rows = domains.by_domain(clips, threshold, n=n, seed=seed)
    without = worth.thresholds if worth else {}
    rows = [row | {"threshold_without": without.get(row["domain"])} for row in rows]
    if certificate is None and not domains.of_methods(clips) and threshold is not None:
        certificate = certify_domains.certify(clips, threshold=without or threshold)
        if kept_fpr is not None:  # the mean false alarm rate that the threshold was chosen for
            certificate = certify_domains.on_the_mean(certificate, kept_fpr)
    elif not isinstance(certificate, certify_domains.Certificate):
        certificate = None
    what = domains.noun(clips)
    return {
        "count": len(rows),
        "noun": domains.noun(clips, 1),
        "weights": f"both classes alike, and within each class all {what} alike",
        "rows": rows,
        "auc": domains.spread(rows, "auc", high_is_worse=False),
        "eer": domains.spread(rows, "eer"),
        "false_alarms": domains.spread(rows, "false_alarms"),
        "misses": domains.spread(rows, "misses"),
        "words": domains.words(rows, what),
        "certificate": certificate and certificate.to_json(),
    }


def _point(chosen, constraint):
    """The decision's fields that come from a Threshold; None: no clip count suffices for a certificate."""
    if chosen is None:
        kept = {"threshold": None, "status": "infeasible", "criterion": "certified", "constraint": constraint}
        return kept | dict.fromkeys(("value", "interval", "counts")) | {"dtype": "float32"}
    fields = chosen.as_dict()
    counts = {name: fields.pop(name) for name in ("tp", "fp", "fn", "tn")}
    return {"threshold": fields.pop("value"), "value": fields.pop("score"), "counts": counts} | fields


def _message(chosen):
    """Why there is no threshold that does what was asked; None if there is one."""
    if chosen.status == "undefined":
        needs = {"both": "clips of both classes", "fake": "fake clips", "any": "clips"}
        return f"{chosen.criterion} is undefined: it needs {needs[criteria.CRITERIA[chosen.criterion].needs]}"
    if chosen.status == "infeasible":
        (name, wanted), *_ = chosen.constraint.items()
        reached = {
            "min_precision": _ratio(chosen.tp, chosen.tp + chosen.fp),
            "max_fpr": _ratio(chosen.fp, chosen.fp + chosen.tn),
        }[name]
        return (
            f"no threshold reaches {name} {wanted}; the nearest, {chosen.value:.6g}, gives {reached:.4g} "
            f"at recall {chosen.score:.4g}"
        )
    return None


def _constrained(chosen, worth, constraint):
    """What the constraint is about, here and on new data, where it is met more narrowly; None without a constraint."""
    if worth.constrained_corrected is None:
        return None
    name = next(iter(constraint)).partition("_")[2].replace("fpr", "FPR")  # or precision, recall
    here = criteria.held(chosen.criterion, chosen.tp, chosen.fp, chosen.tp + chosen.fn, chosen.fp + chosen.tn)
    pair = {"value": here, "corrected": worth.constrained_corrected}
    return {"name": name} | ({key: 1 - value for key, value in pair.items()} if name == "FPR" else pair)


def _interval(worth, criterion, clips, threshold, groups):
    """Of the value on new data; where every replicate has the best one there is, by how many units that was shown."""
    if threshold is None or worth.interval[0] != worth.interval[1] or criterion in criteria.UNBOUNDED:
        return worth.interval
    of_domains = isinstance(worth, leave_one_out.LeaveOneOut)
    units = sum(at is not None for at in worth.thresholds.values()) if of_domains else None
    worst = criteria.WORST.get(criterion, 0.0)
    value = worth.corrected if of_domains else worth.apparent
    share = (value - worst) / (1 - worst)
    if units is None:  # as in the report, where the criterion is a metric there
        rests = operating_points.resting_on(clips, threshold, groups)
        units = rests.get(criterion.partition("_at_")[0], rests["balanced_accuracy"])
    found = operating_points.at_an_end(dict.fromkeys(("value", "low", "high"), share), units)
    luck = value - worth.corrected  # of a replicate without one class accuracy has some, too
    ends = (worst + (1 - worst) * found[end] - luck for end in ("low", "high"))
    return tuple(criteria.bounded(criterion, end) for end in ends)


def _ratio(part, whole):
    return part / whole if whole else math.nan


def _band(x, y, rate, threshold, weights):
    """The undecided band and the share of clips in it; it reaches to the threshold, from which on fakes are called."""
    # beside the band the threshold would call fake what lies on its real side, or the other way round
    edges = certify.band(x, y, max_fpr=rate, max_fnr=rate, weights=weights, around=threshold)
    low, high = (edge.value for edge in edges)
    inside = (x >= low) & (x < high)
    return {"rate": rate, "real_below": low, "fake_from": high, "undecided": float(inside.mean())}
