"""Files known to be real adapt a decision to the place that they are from, by what `places` learnt of left-out scores.

A decision has what was learnt as `known_real`, and once it is adapted there as `given` the scores of the files and what
it was without them. Here are the change, the words about it, and the check of what is stored.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dfjax.decide import domains
from dfjax.decide.places import Family
from dfjax.records import InputError


def adaptable(decision: Mapping[str, Any]) -> bool:
    """Whether a decision can be adapted to a place."""
    return all(decision.get(name) for name in ("known_real", "calibration", "domains"))


def check(decision: Mapping[str, Any]) -> None:
    """Raises InputError where a decision cannot be adapted to a place."""
    if not adaptable(decision):
        raise InputError(
            "this detector does not know what files known to be real tell of a place; its threshold must be chosen on "
            "three sources left out or more (python -m dfjax.crossval --by domain, then python -m dfjax.tune --split "
            "left_out, again if an earlier version did) and not be certified"
        )


def adapt(decision: Mapping[str, Any], scores: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """The decision for the place of some files that are known to be real.

    Args:
      decision: with `known_real`, what `places.learn` returned.
      scores: of the files, n of them, one or more.

    Returns:
      The decision with another threshold, calibration and band, what `domains` says of errors with so many files,
      and `known_real` as it was with `given`: files, mean_score, scores, and what it was `without` them.

    Raises:
      InputError: no files, or fewer than the decision needs; the decision cannot be adapted.
    """
    check(decision)
    known = decision["known_real"]
    row = _fitting(known, len(scores))
    of_all = Family(*(known[field.name] for field in dataclasses.fields(Family)))
    scale, offset = (float(each[0]) for each in of_all.affine(np.asarray(scores, np.float64)[None]))

    def back(score: float) -> float:
        return float(np.float32((score - offset) / scale))

    changed = {
        "threshold": back(row["threshold"]),
        "calibration": {**decision["calibration"], **row["calibration"], "scale": scale, "offset": offset},
        "calibration_quality": None,  # it is of other numbers
        "band": row.get("band") and {key: back(edge) for key, edge in row["band"].items()},
        "domains": {**decision["domains"], **{key: row[key] for key in (*domains.RATES, "words")}, "certificate": None},
    }
    given = {"files": len(scores), "mean_score": float(np.mean(scores)), "scores": np.sort(scores).tolist()}
    before = {"without": {key: decision[key] for key in changed}}
    return {**decision, **changed, "known_real": {**known, "given": given | before}}


def _fitting(known: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The row of the most files that are no more than `count`."""
    fitting = [row for row in known["rows"] if row["files"] <= count]
    if not fitting:
        least = min(row["files"] for row in known["rows"])
        raise InputError(f"{count} files known to be real are given; expected {least} or more")
    return max(fitting, key=lambda row: row["files"])


def plain(decision: dict[str, Any]) -> dict[str, Any]:
    """The decision as it was before it was adapted, if it was."""
    return decision | decision["known_real"]["given"]["without"] if given(decision) else decision


def given(decision: Mapping[str, Any]) -> dict[str, Any] | None:
    """What moved the threshold of a decision: files, mean_score, and the threshold `without` them; or None."""
    known = (decision.get("known_real") or {}).get("given")
    if not known:
        return None
    return {
        "files": known["files"],
        "mean_score": known["mean_score"],
        "without": float(known["without"]["threshold"]),
    }


def p_value(decision: Mapping[str, Any], score: float) -> float:
    """How likely a real file of the place scores so high at most, whatever scores look like there.

    The share of the files known to be real and this one that score as high or higher. Of a real file that is drawn as
    those were, all orders are alike, so it is p or less with probability p at most (Vovk, Gammerman and Shafer, 2005).

    Args:
      decision: that was adapted.
      score: of the file, as float32 rounds it.
    """
    scores = np.asarray(decision["known_real"]["given"]["scores"], np.float32)
    return (1 + int((scores >= np.float32(score)).sum())) / (1 + len(scores))


def told(decision: Mapping[str, Any]) -> str | None:
    """What the files known to be real changed, in a sentence; None of a decision without any."""
    known = given(decision)
    if not known:
        return None
    count = known["files"]
    return (
        f"{count:,} file{'s' * (count != 1)} known to be real, of score {known['mean_score']:.2f} on the mean, "
        f"moved the threshold from {known['without']:.2f} to {decision['threshold']:.2f}"
    )


def such(decision: Mapping[str, Any]) -> str | None:
    """With how many known files the errors of an adapted decision were counted, in words; None of one without any.

    That may be fewer than were given: no more are drawn than the greatest of `places.COUNTS`.
    """
    known = given(decision)
    if not known:
        return None
    count = _fitting(decision["known_real"], known["files"])["files"]
    return "one file known to be real" if count == 1 else f"{count} files known to be real"


def worth(decision: Mapping[str, Any]) -> str | None:
    """The errors of an adapted decision on sources left out, in a sentence; None of one without known files."""
    found, known = decision["domains"], such(decision)
    return known and f"on {found['noun']}s left out, with {known}: {found['words']}"


def summary(decision: Mapping[str, Any]) -> list[str]:
    """What files known to be real are worth, a sentence for each number of them."""
    told = []
    for row in (decision.get("known_real") or {}).get("rows", []):
        rates = [rate for rate in domains.RATES if row[rate]["mean"] is not None]
        both = [
            f"{rate.replace('_', ' ')} {domains.percent(row[rate]['mean'])} % "
            f"({domains.percent(row['without'][rate])} % without)"
            for rate in rates
        ]
        several = "one file" if row["files"] == 1 else f"{row['files']} files"
        told.append(
            f"with {several} of a {decision['domains']['noun']} known to be real {', '.join(both)}, on the mean"
        )
    return told


def wrong(known: Any) -> str:
    """What of a stored `known_real` is not as `places.learn` makes it, in words; '' if nothing."""
    if known is None:
        return ""
    rows = known.get("rows") if isinstance(known, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return "what it knows of real files has no rows"
    numbers = [known.get(field.name) for field in dataclasses.fields(Family)]
    for row in rows:
        parts = [row.get(name) for name in ("calibration", "without", *domains.RATES)]
        band = row.get("band")
        if not all(isinstance(each, dict) for each in parts) or not isinstance(band, dict | None):
            return "what it knows of real files has a row without calibration, errors or band"
        fitted, without, *rates = parts
        numbers += [row.get("files"), row.get("threshold"), fitted.get("slope"), fitted.get("intercept")]
        numbers += [fitted[n] for n in ("clips", "domains", "domain_sd") if fitted.get(n) is not None]
        for name, errors in zip(domains.RATES, rates, strict=True):
            mean = errors.get("mean", "")
            numbers += [] if mean is None else [mean, without.get(name)]
        numbers += [] if band is None else [band.get("real_below"), band.get("fake_from")]
        if not isinstance(row.get("words"), str):
            return "what it knows of real files has a row without words"
    if (moved := known.get("given")) is not None:
        before = moved.get("without") if isinstance(moved, dict) else None
        if not isinstance(before, dict) or not all(isinstance(before.get(n), dict) for n in ("calibration", "domains")):
            return "what it knows of real files lacks what it was without them"
        if not isinstance(scores := moved.get("scores"), list):
            return "what it knows of real files lacks their scores"
        numbers += [moved.get("files"), moved.get("mean_score"), before.get("threshold"), *scores]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers):
        return "what it knows of real files has something else than finite numbers"
    if not all(row["files"] > 0 for row in rows) or not min(known["within"], known["freedom"]) > 0:
        return "what it knows of real files has spreads or counts that are not above 0"
    return ""
