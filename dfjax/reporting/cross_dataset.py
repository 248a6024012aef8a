"""The cross-dataset table: what a decision is worth on each of many datasets. NumPy only."""

from typing import Any

import numpy as np

from dfjax.decide import operating_points, score_file
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, REAL, InputError
from dfjax.reporting import report
from dfjax.reporting.markdown import escape, number, percent, table

HEADS = ["dataset", "real", "fake", "AUC", "EER", "recall at 0.5", "recall", "false alarms", "precision", "F1"]


def row(name: str, scores: Scores, decision: dict[str, Any], *, trained: bool) -> dict[str, Any]:
    """What the decision is worth on these scores, clip by clip, with 95 % bootstrap intervals.

    Returns:
      dataset, trained (whether the detector was trained on its training split), real, fake, unit (what the
      bootstrap redraws), auc, average_precision, eer, `half` and `tuned` (see `operating_points.points`; tuned is
      None without a threshold) each with `false_alarms`. Undefined numbers are NaN.

    Raises:
      InputError: the threshold was tuned on this split, or no clip has a known label.
    """
    report.check_other_split(decision, scores.header)
    clips = score_file.by_clip(score_file.known(scores))
    if not len(clips):
        raise InputError(f"{name} has no clip with a known label; expected labelled clips")
    groups, unit = operating_points.units(clips)
    n, tuned = operating_points.replicates(len(clips)), report.threshold(decision)
    sides, _ = operating_points.points(clips, [report.HALF] if tuned is None else [report.HALF, tuned], groups, n=n)
    reals = clips.label == REAL
    of_reals = None if groups is None else groups[reals]
    for side in sides:
        side["false_alarms"] = operating_points.share(clips.score[reals] >= side["threshold"], of_reals, n=n)
    real, fake = (int((clips.label == label).sum()) for label in (REAL, FAKE))
    if real and fake:
        ranks = operating_points.ranking(clips, groups, n=n)
    else:  # one class cannot be ranked
        ranks = {key: {"value": np.nan, "low": np.nan, "high": np.nan} for key in operating_points.RANKING}
    about = {"dataset": name, "trained": trained, "real": real, "fake": fake, "unit": unit}
    return about | ranks | {"half": sides[0], "tuned": sides[1] if tuned is not None else None}


def markdown(rows: list[dict[str, Any]], decision: dict[str, Any], split: str = "test") -> str:
    """The table, ready to paste: `rows` as `evaluate` returns them, of a `split`, judged by a run's `decision`."""
    lines = []
    for r in rows:
        at = r["tuned"] or r["half"]
        name = escape(r["dataset"]) + (" (trained on)" if r["trained"] else "")
        cells = [percent(at[key]) for key in ("recall", "false_alarms", "precision", "f1")]
        half = percent(r["half"]["recall"], False)
        lines.append([name, f"{r['real']:,}", f"{r['fake']:,}", number(r["auc"]), percent(r["eer"]), half, *cells])
    value = report.threshold(decision)
    chosen = "0.5, as the run has no tuned threshold" if value is None else f"{value:.4g}"
    words = ("criterion", "dataset", "split")
    where = "tuned for {} on {} {}".format(*(decision.get(word) or "unknown" for word in words))
    if decision["status"] == "untuned":
        where = "not tuned"
    known = ""
    if value is not None and decision.get("domains") and any(r["trained"] for r in rows):
        noun = decision["domains"]["noun"]
        known = f" Clips of what it was trained on chose the threshold, too, scored by trainings without their {noun}."
    shared = "".join(
        f"\n{escape(r['dataset'])} has {' and '.join(r['shared'])} in common with what the detector was trained on, so "
        "the same clips or people may be in both, and its figures too good.\n"
        for r in rows
        if r.get("shared")
    )
    return (
        f"{table(HEADS, lines)}\n\nClips of the {split} splits; threshold {chosen}"
        f"{'' if value is None else f', {escape(where)}'}. In brackets 95 % intervals.{known}\n{shared}"
    )
