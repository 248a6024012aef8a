"""The report of a run: validation and test scores plus a decision -> report.json, report.md, report.html, figures.

Everything is judged on clips: the windows or frames of one file are averaged first. The split that is reported
never chose the threshold; a report of the split that did is refused. NumPy only, no JAX.
"""

import json
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from dfjax import calibration, metrics
from dfjax.records import FAKE, REAL, InputError
from dfjax.report_text import markdown, verdict
from dfjax.score_file import Scores, by_clip, known

__all__ = ["build", "markdown", "write"]

HALF = 0.0  # the logit of probability 0.5
REPLICATES = 1_000
SEED = 0
MIN_GROUPS = 10  # with fewer groups a bootstrap over groups says little; clips are redrawn and the report says so
RATES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
BINS = 10

Subgroups = dict[str, dict[str, str]]


def build(
    *,
    validation: Scores,
    test: Scores,
    decision: dict,
    train_counts: Mapping[str, Any],
    ledger: dict | None = None,
    audit: dict | None = None,
    run: Mapping[str, Any],
    train_methods: Collection[str] = (),
    criterion: str | None = None,
    subgroups: Subgroups | None = None,
) -> dict:
    """Everything a report says, as plain Python that strict JSON can hold (undefined numbers are None).

    Args:
      validation: scores of the split the threshold was tuned on; rows or clips.
      test: scores of the split to report.
      decision: what `dfjax.tune.decide` returned.
      train_counts: of the training split, clips: `real`, `fake`, and `groups` where known.
      ledger: `Ledger.to_json()`.
      audit: what `dfjax.audit.audit` returned.
      run: `name`, `dataset`, `synthetic` (bool), `steps`, `seconds`, `hardware`; only the name is required.
      train_methods: generators seen in training; others are marked unseen.
      criterion: what the threshold was tuned for; the decision's own by default.
      subgroups: field (gender, language, ...) -> clip -> value.

    Raises:
      InputError: the threshold was tuned on the split to be reported, or a split lacks a class.
    """
    validation, test = by_clip(known(validation)), by_clip(known(test))
    threshold = _threshold(decision, criterion)
    refuse_same_split(decision, test)
    splits = {_name(validation, "validation"): validation, _name(test, "test"): test}
    for name, scores in splits.items():
        if len(np.unique(scores.label)) < 2:
            raise InputError(f"the {name} split has {len(scores)} clips of one class; a report needs real and fake")
    units = {name: _units(scores) for name, scores in splits.items()}
    tuned = threshold["value"]
    report = {
        "format": 1,
        "run": {"dataset": "", "synthetic": False, "steps": None, "seconds": None, "hardware": ""} | dict(run),
        "split": _name(test, "test"),
        "threshold": threshold | {"split": _name(validation, "validation")},
        "decision": decision,
        "bootstrap": {"replicates": REPLICATES, "unit": units[_name(test, "test")][1]},
        "counts": {"train": _train_counts(train_counts)} | {name: counts(s) for name, s in splits.items()},
        "ranking": {name: ranking(s, units[name][0]) for name, s in splits.items()},
        "operating": {name: operating(s, tuned, units[name][0]) for name, s in splits.items()},
        "methods": {name: by_method(s, tuned, train_methods) for name, s in splits.items()},
        "subgroups": {field: by_subgroup(test, tuned, values) for field, values in (subgroups or {}).items()},
        "calibration": reliability(test, decision.get("calibration")),
        "ledger": ledger,
        "audit": audit,
    }
    report["verdict"] = verdict(report)
    return plain(report)


def refuse_same_split(decision: Mapping[str, Any], scores: Scores) -> None:
    """Raises InputError when the decision was made on the very split of these scores."""
    chosen, shown = decision.get("split"), scores.header.get("split")
    datasets = {decision.get("dataset"), scores.header.get("dataset")} - {None}
    if chosen is not None and chosen == shown and len(datasets) < 2:
        raise InputError(
            f"the threshold was tuned on the split {chosen!r}, the split to be reported; "
            "expected one tuned on other data: tune on validation and report test"
        )


def write(
    workdir: os.PathLike | str, report: dict, validation: Scores, test: Scores, subgroups: Subgroups | None = None
) -> list[pathlib.Path]:
    """Writes report.json, report.md, report.html and figures/*.png into `workdir`, each file replaced whole.

    Args:
      workdir: made if missing.
      report: what `build` returned.
      validation: as given to `build`.
      test: as given to `build`.
      subgroups: as given to `build`.

    Returns:
      The paths written.
    """
    from dfjax import figures, report_html  # matplotlib takes a moment to import

    workdir = pathlib.Path(workdir)
    validation, test = by_clip(known(validation)), by_clip(known(test))
    tuned = report["threshold"]["value"]
    paths = figures.write(workdir / "figures", validation, test, tuned, report["calibration"])
    texts = {
        "report.json": json.dumps(report, indent=2, allow_nan=False) + "\n",
        "report.md": markdown(report),
        "report.html": report_html.page(report, validation, test, subgroups),
    }
    for name, text in texts.items():
        temporary = workdir / f".{name}"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, workdir / name)
    return [workdir / name for name in texts] + paths


def counts(scores: Scores) -> dict:
    """Clips per class, groups, clips per generator, and the imbalance ratio."""
    fake = scores.label == FAKE
    names, numbers = np.unique(scores.method[fake], return_counts=True)
    return _train_counts({"real": int((~fake).sum()), "fake": int(fake.sum()), "groups": len(np.unique(scores.group))}) | {
        "methods": dict(zip(names.tolist(), numbers.tolist(), strict=True))
    }


def _train_counts(given: Mapping[str, Any]) -> dict:
    real, fake = int(given["real"]), int(given["fake"])
    return {
        "real": real,
        "fake": fake,
        "groups": given.get("groups"),
        "ratio": max(real, fake) / min(real, fake) if min(real, fake) else None,
        "majority": "real" if real >= fake else "fake",
    }


def ranking(scores: Scores, groups: np.ndarray | None) -> dict:
    """AUC, average precision and EER, which no threshold changes, with 95 % bootstrap intervals."""
    measures: dict[str, Callable] = {
        "auc": metrics.roc_auc,
        "average_precision": metrics.average_precision,
        "eer": lambda s, y: metrics.eer(s, y)[0],
    }
    return {
        name: dict(
            zip(
                ("value", "low", "high"),
                metrics.bootstrap(measure, scores.score, scores.label, groups=groups, n=REPLICATES, seed=SEED),
                strict=True,
            )
        )
        for name, measure in measures.items()
    }


def rates(table: Integer[np.ndarray, "... 4"]) -> dict[str, Float[np.ndarray, "..."]]:
    """The metrics of confusion counts (tp, fp, fn, tn) on the last axis; NaN where undefined."""
    tp, fp, fn, tn = np.moveaxis(np.asarray(table, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = tp / (tp + fn)
        return {
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
            "balanced_accuracy": (recall + tn / (fp + tn)) / 2,
            "precision": tp / (tp + fp),
            "recall": recall,
            "f1": 2 * tp / (2 * tp + fp + fn),
        }


def operating(scores: Scores, tuned: float | None, groups: np.ndarray | None, *, replicates: int = REPLICATES) -> dict:
    """Counts and metrics of the fake class at 0.5 and at the tuned threshold, and their paired difference.

    A metric at a fixed threshold depends on counts alone, so the bootstrap draws multinomially over the distinct
    rows of counts that units have: the ordinary bootstrap, without touching the clips again. Both thresholds
    see the same draws, which is what makes the interval of their difference honest.

    Returns:
      {'half': {threshold, tp, fp, fn, tn, accuracy: {value, low, high}, ...}, 'tuned': the same or None,
      'difference': {accuracy: {value, low, high}, ...} or None}.
    """
    at = [HALF] if tuned is None else [HALF, tuned]
    table = np.concatenate([_confusion(scores, t) for t in at], axis=1)
    if groups is not None:
        table = _sum_by(table, groups)
    cells, copies = np.unique(table, axis=0, return_counts=True)
    rng, units = np.random.default_rng(SEED), int(copies.sum())
    draws = np.stack([rng.multinomial(units, copies / units) @ cells for _ in range(replicates)])
    total = table.sum(0)
    sides = [(rates(total[k : k + 4]), rates(draws[:, k : k + 4])) for k in range(0, len(total), 4)]
    result: dict[str, Any] = {"tuned": None, "difference": None}
    for name, threshold, k, (value, spread) in zip(("half", "tuned"), at, (0, 4), sides, strict=False):
        result[name] = {"threshold": float(threshold)} | dict(zip(("tp", "fp", "fn", "tn"), total[k : k + 4].tolist(), strict=True))
        result[name] |= {rate: _interval(value[rate], spread[rate]) for rate in RATES}
    if tuned is not None:
        (a, x), (b, y) = sides
        result["difference"] = {rate: _interval(b[rate] - a[rate], y[rate] - x[rate]) for rate in RATES}
    return result


def by_method(scores: Scores, tuned: float | None, train_methods: Collection[str]) -> list[dict]:
    """Per generator, worst first: recall at both thresholds, EER against all real clips, unseen in training or not."""
    real = scores.label == REAL
    rows = []
    for method in np.unique(scores.method[~real]).tolist():
        own = ~real & (scores.method == method)
        hits, n = [int((scores.score[own] >= t).sum()) for t in (HALF, tuned) if t is not None], int(own.sum())
        both = real | own
        rows.append(
            {
                "method": method,
                "unseen": bool(train_methods) and method not in train_methods,
                "clips": n,
                "recall_half": wilson(hits[0], n),
                "recall": wilson(hits[1], n) if tuned is not None else None,
                "eer": metrics.eer(scores.score[both], scores.label[both])[0],
            }
        )
    return sorted(rows, key=lambda row: ((row["recall"] or row["recall_half"])["value"], row["method"]))


def by_subgroup(scores: Scores, tuned: float | None, values: Mapping[str, str]) -> list[dict]:
    """Per value of a subgroup field: fakes found and real clips called fake at the tuned threshold (else 0.5)."""
    names = np.array([values.get(str(clip), "") for clip in scores.clip])
    called, fake = scores.score >= (HALF if tuned is None else tuned), scores.label == FAKE
    rows = []
    for name in np.unique(names).tolist():
        real, fakes = (names == name) & ~fake, (names == name) & fake
        recall, false_alarms = (wilson(int((called & rows).sum()), int(rows.sum())) for rows in (fakes, real))
        rows.append({"value": name, "fake": int(fakes.sum()), "real": int(real.sum()), "recall": recall, "false_alarms": false_alarms})
    return rows


def reliability(scores: Scores, fitted: Mapping[str, Any] | None) -> dict:
    """ECE, Brier score, log loss and bins of the scores as they are and after the fitted slope and intercept."""
    raw = scores.score.astype(np.float64)
    result: dict[str, Any] = {"before": _probabilities(raw, scores.label), "after": None, "slope": 1.0, "intercept": 0.0}
    if fitted:
        slope, intercept = float(fitted["slope"]), float(fitted["intercept"])
        after = _probabilities(slope * raw + intercept, scores.label)
        result |= {"after": after, "slope": slope, "intercept": intercept}
    return result


def wilson(hits: int, n: int) -> dict:
    """A share with its 95 % score interval (Wilson 1927), which stays honest at 0 and at n; None for n = 0."""
    if not n:
        return {"value": None, "low": None, "high": None}
    z2, share = 1.959964**2, hits / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return {"value": share, "low": max(0.0, float(centre - reach)), "high": min(1.0, float(centre + reach))}


def plain(value: Any) -> Any:
    """Nested dicts and lists of Python numbers and text; NaN and infinities become None, as strict JSON demands."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _threshold(decision: Mapping[str, Any], criterion: str | None) -> dict:
    value = decision.get("threshold")
    return {
        "value": None if value is None else float(value),
        "criterion": criterion or decision.get("criterion"),
        "status": decision.get("status", "ok"),
        "validation_score": decision.get("score"),
    }


def _name(scores: Scores, default: str) -> str:
    return str(scores.header.get("split", default))


def _units(scores: Scores) -> tuple[np.ndarray | None, str]:
    """What a bootstrap redraws: (the group of each clip, or None for the clips themselves; its name)."""
    groups = len(np.unique(scores.group))
    if groups == len(scores):
        return None, f"{len(scores):,} clips"
    if groups < MIN_GROUPS:
        return None, f"{len(scores):,} clips (their {groups} groups are too few to redraw, so intervals are optimistic)"
    return scores.group, f"{groups:,} groups of clips"


def _confusion(scores: Scores, threshold: float) -> np.ndarray:
    """(clips, 4) of 0 and 1: tp, fp, fn, tn."""
    called, fake = scores.score >= threshold, scores.label == FAKE
    return np.stack([called & fake, called & ~fake, ~called & fake, ~called & ~fake], axis=1).astype(np.int64)


def _sum_by(table: np.ndarray, groups: np.ndarray) -> np.ndarray:
    index = np.unique(groups, return_inverse=True)[1]
    sums = np.zeros((index.max() + 1, table.shape[1]), np.int64)
    np.add.at(sums, index, table)
    return sums


def _interval(value: float, spread: np.ndarray) -> dict:
    """A value with the 95 % percentiles of its replicates; replicates that lack a class count for nothing."""
    spread = spread[np.isfinite(spread)]
    low, high = np.quantile(spread, (0.025, 0.975)) if len(spread) else (np.nan, np.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _probabilities(logits: np.ndarray, labels: np.ndarray) -> dict:
    """ECE, Brier score, log loss and the reliability bins of one set of logits."""
    raise NotImplementedError
