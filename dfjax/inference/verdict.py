"""What a verdict says of a file's scores, at the stored threshold, and of what a vocoder left in it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from dfjax.decide import calibration, clip_score, known_real

UNCERTAIN = "uncertain"  # the verdict that is none
PLAIN = 2.0  # that lines or levels add to a file's log-odds, from which on they are told


def of_scores(
    decision: dict, scores: Float[np.ndarray, " rows"], frames: Shaped[np.ndarray, " rows"]
) -> dict[str, Any]:
    """What a clip's scores, of the frames (or windows) of these numbers, mean at the stored threshold.

    How sure that is shows in `spread`, the standard deviation from frame to frame (None of one), and `above`, the
    share of frames that would be called fake by themselves. Frames of a clip resemble each other, so no error of
    the mean is made of the spread. In the decision's band without a verdict, if it has one, it is 'uncertain'.

    Returns:
      `score`, `threshold`, `probability`, `log10_likelihood_ratio`, `verdict`, `reasons`, `spread` and `above`, as a
      call of a `Detector` returns them; and `known_real`, where files known to be real moved the threshold.
    """
    threshold = np.float32(decision["threshold"])
    rule = clip_score.rule_of(decision)
    score = clip_score.clip_scores(scores, frames, np.zeros_like(frames), rule)[0]
    each = clip_score.clip_scores(scores, frames, frames)  # every frame by itself
    probability = calibration.apply(np.array([score]), decision["calibration"])[0]
    ratio = calibration.log_likelihood_ratio(np.array([score]), decision["calibration"])
    called, reasons = "fake" if score >= threshold else "real", []
    if band := decision.get("band"):
        low, high = (np.float32(band[name]) for name in ("real_below", "fake_from"))
        if low <= score < high:
            called, reasons = UNCERTAIN, [f"score of {score:.2f}; from {low:.2f} to {high:.2f} there is no verdict"]
    return {
        "score": float(score),
        "threshold": float(decision["threshold"]),
        "probability": float(probability),
        "log10_likelihood_ratio": None if ratio is None else float(ratio[0] / np.log(10)),
        "verdict": called,
        "reasons": reasons,
        "spread": float(each.std(ddof=1)) if len(each) > 1 else None,
        "above": float((each >= threshold).mean()),
    } | _known(decision, float(score))


def _known(decision, score):
    """What files known to be real say of a score, where there are any."""
    given = known_real.given(decision)
    return {"known_real": given | {"p_value": known_real.p_value(decision, score)}} if given else {}


def plain_lines(found: Mapping[str, Any]) -> dict[str, float] | None:
    """`lines` of a verdict: those of upsampling in a file's windows, if they are plain.

    Args:
      found: what `scorers.judged` says of all windows.
    """
    if "lines" not in found:
        return None
    rates, deviations, logits = np.asarray(found["lines"]).T
    if logits.mean() < PLAIN:
        return None
    at = int(deviations.argmax())
    return {"rate": float(rates[at]), "deviations": float(deviations[at]), "logit": float(logits.mean())}


def of_lines(lines: Mapping[str, float]) -> str:
    """The note on `plain_lines`."""
    words = f"lines at multiples of {lines['rate']:.2f} Hz, as the frames of a vocoder leave them"
    return f"{words}, {lines['deviations']:.1f} standard deviations out of noise"


def few_levels(found: Mapping[str, Any]) -> dict[str, float] | None:
    """`levels` of a verdict: those of a file's samples, if they are plain; as `plain_lines`."""
    if "levels" not in found:
        return None
    levels, logits = np.asarray(found["levels"]).T
    return {"per_octave": float(levels.max()), "logit": float(logits.mean())} if logits.mean() >= PLAIN else None


def of_levels(levels: Mapping[str, float]) -> str:
    """The note on `few_levels`."""
    words = f"samples on {levels['per_octave']:.0f} levels an octave, ever further apart"
    return f"{words}, as of a model that draws them from classes of mu-law"


def scores_of(result: Mapping[str, Any]) -> list[float]:
    """The scores (logits) of all windows or faces of a verdict."""
    return [part["score"] for part in result.get("windows") or result["frames"]]


def along(result: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """The time line of a verdict: seconds and scores (logits), of a frame's faces the highest, as in the clip's score.

    A window lies at its middle.
    """
    if "windows" in result:
        return [0.5 * (window["start"] + window["end"]) for window in result["windows"]], scores_of(result)
    highest: dict[int, Mapping[str, Any]] = {}
    for face in result["frames"]:
        if face["frame"] not in highest or face["score"] > highest[face["frame"]]["score"]:
            highest[face["frame"]] = face
    return [face["seconds"] for face in highest.values()], [face["score"] for face in highest.values()]


def noted(decided: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a file that is itself one of those known to be real, with the note that it is."""
    said = "one of the files known to be real itself: it had a part in its threshold"
    return {**decided, "notes": [*decided.get("notes", []), said]}
