"""The robustness table: what a threshold that was frozen on clean clips is worth under every corruption.

Rows are kinds, columns strengths, one table per measure; beside it a figure with a panel per measure. NumPy only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from dfjax.decide import metrics, operating_points, score_file
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, REAL, InputError
from dfjax.reporting import report
from dfjax.reporting.figures import INK, SOFT
from dfjax.reporting.markdown import escape, table

MEASURES = {
    "auc": "AUC",
    "false_alarms": "false alarms: real clips called fake",
    "misses": "misses: fake clips called real",
    "uncertain": "share of `uncertain`",
    "wrong": "wrong verdicts: of all clips, `uncertain` being no verdict",
}
REPLICATES = 200  # of the bootstrap
COLOURS = ("#0072B2", "#D55E00", "#007F5F", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito's
DASHES = ("-", "--", ":")
MARKERS = "osD^vPX*h<>"
PANEL = (3.0, 3.3)  # inches
LEGEND = 1.7  # inches


def judge(scores: Scores, decision: Mapping[str, Any]) -> dict:
    """What the decision is worth on these scores, clip by clip.

    Args:
      scores: rows of records with known labels; the header's `untypical` may list clips by their number, in order of
        appearance, that are unlike the training data.
      decision: with a threshold, and perhaps a band without verdict.

    Returns:
      real and fake (clips), auc, false_alarms and misses at the threshold (all clips, whether uncertain or not),
      uncertain, and wrong: the share of all clips that get a wrong verdict, `uncertain` being none; these two are None
      where the detector always gives a verdict. Each is {value, low, high}, a 95 % interval; one class alone has no AUC
      (NaN).

    Raises:
      InputError: the threshold was tuned on these clips, or no clip has a label.
    """
    report.check_other_split(decision, scores.header)
    clips = score_file.by_clip(score_file.known(scores))
    if not len(clips):
        raise InputError(f"{scores.header.get('dataset')} has no clip with a known label; expected labelled clips")
    uncertain = uncertain_clips(clips, decision)
    threshold = report.threshold(decision)
    assert threshold is not None
    at = metrics.at_threshold(clips.score, clips.label, threshold)
    auc = {"value": np.nan, "low": np.nan, "high": np.nan}
    groups, _ = operating_points.units(clips)
    if at["tp"] + at["fn"] and at["tn"] + at["fp"]:
        found = metrics.bootstrap(metrics.roc_auc, clips.score, clips.label, groups, REPLICATES)
        few = operating_points.fewest(clips.label == FAKE, groups)
        auc = operating_points.at_an_end(dict(zip(auc, found, strict=True)), few)
    wrong = (clips.score >= np.float32(threshold)) != (clips.label == FAKE)
    real, every = clips.label == REAL, np.ones(len(clips), bool)

    def share(hit, of):
        return operating_points.share(hit[of], None if groups is None else groups[of], n=REPLICATES)

    cell = {
        "real": int(real.sum()),
        "fake": int((~real).sum()),
        "auc": auc,
        "false_alarms": share(wrong, real),
        "misses": share(wrong, ~real),
        "uncertain": None,
        "wrong": None,
    }
    if uncertain is not None:
        cell["uncertain"] = share(uncertain, every)
        cell["wrong"] = share(wrong & ~uncertain, every)
    return cell


def uncertain_clips(clips: Scores, decision: Mapping[str, Any]) -> Bool[np.ndarray, " clips"] | None:
    """Mask of the clips without a verdict: untypical ones, and those in the decision's band; None if all get one."""
    untypical, band = clips.header.get("untypical"), decision.get("band")
    if untypical is None and not band:
        return None
    found = np.isin(np.arange(len(clips)), untypical or [])
    if band:
        found |= (clips.score >= np.float32(band["real_below"])) & (clips.score < np.float32(band["fake_from"]))
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """robustness.md: a table per dataset and measure, and what the strengths mean.

    Args:
      found: `threshold`, `split`, `left_out`, `kinds` (kind -> strength -> level) and `datasets`, each with `dataset`,
        `trained`, `clean` (from `judge`) and `kinds` (kind -> strength -> from `judge`).
    """
    strengths = _strengths(found)
    heads = ["corruption", *(f"strength {k}" for k in strengths)]
    parts = ["# Robustness"]
    for one in found["datasets"]:
        counts = f"{one['clean']['real']:,} real and {one['clean']['fake']:,} fake clips"
        trained = " (trained on)" if one["trained"] else ""
        parts.append(f"## {escape(one['dataset'])}{trained}")
        chosen = f"threshold {found['threshold']:.4g}, as the run chose it"
        parts.append(f"{counts} of the {found['split']} split; {chosen}.")
        for measure, name in MEASURES.items():
            if one["clean"][measure] is None:
                continue
            rows = [["clean", *[_cell(one["clean"], measure)] * len(strengths)]]
            rows += [[kind, *(_cell(by[k], measure) for k in strengths)] for kind, by in one["kinds"].items()]
            parts += [f"### {name[:1].upper()}{name[1:]}", table(heads, rows)]
    rows = [[kind, *(by[k] for k in strengths)] for kind, by in found["kinds"].items()]
    parts += ["## What the strengths are", table(heads, rows), *found["left_out"]]
    return "\n\n".join(parts) + "\n"


def figure(found: Mapping[str, Any]) -> Figure:
    """A panel per measure and a row of panels per dataset: lines per kind over strengths; 0 is clean.

    Args:
      found: as for `markdown`.
    """
    strengths = _strengths(found)
    measures = [m for m in MEASURES if any(one["clean"][m] is not None for one in found["datasets"])]
    size = PANEL[0] * len(measures) + LEGEND, PANEL[1] * len(found["datasets"])
    whole = Figure(figsize=size, layout="constrained")
    grid = whole.subplots(len(found["datasets"]), len(measures), squeeze=False)
    for one, row in zip(found["datasets"], grid, strict=True):
        for measure, axes in zip(measures, row, strict=True):
            clean = _value(one["clean"], measure)
            axes.axhline(clean, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="clean")
            for i, (kind, by) in enumerate(one["kinds"].items()):
                axes.plot(
                    [0, *map(int, strengths)],
                    [clean, *(_value(by[k], measure) for k in strengths)],
                    color=COLOURS[i % len(COLOURS)],
                    linestyle=DASHES[i // len(COLOURS) % len(DASHES)],
                    marker=MARKERS[i % len(MARKERS)],
                    markersize=4.5,
                    linewidth=1.5,
                    label=kind,
                    clip_on=False,
                )
            axes.set_title(MEASURES[measure].split(":")[0].replace("`", "") + ("" if measure == "auc" else ", %"))
            axes.set(xlabel="strength", xticks=[0, *map(int, strengths)], xlim=(0, max(map(int, strengths))))
            if measure == "auc":
                lowest = np.nanmin(np.concatenate([[0.5], *(line.get_ydata() for line in axes.lines)]))
                axes.set_ylim(np.floor(10 * lowest) / 10, 1.0)
            else:
                axes.set_ylim(0, 100)
            axes.tick_params(length=0)
        if len(found["datasets"]) > 1:
            row[0].set_ylabel(one["dataset"], color=SOFT)
    handles, names = grid[0][0].get_legend_handles_labels()
    whole.legend(handles, names, loc="outside right center")
    return whole


def _strengths(found: Mapping[str, Any]) -> list[str]:
    return list(next(iter(found["kinds"].values())))


def _value(cell: Mapping[str, Any], measure: str) -> float:
    value = cell[measure] and cell[measure]["value"]
    return np.nan if value is None else value * (1 if measure == "auc" else 100)


def _cell(cell: Mapping[str, Any], measure: str) -> str:
    value = _value(cell, measure)
    if np.isnan(value):
        return "undefined"
    return f"{value:.3f}" if measure == "auc" else f"{value:.1f} %"
