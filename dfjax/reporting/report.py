"""The report of a run: scores and a decision -> report.json, report.md, report.html and figures/*.png.

Everything is judged on clips: the windows or frames of one file become one score first. The split that is
reported never chose the threshold; a report of the split that did is refused. NumPy only, no JAX.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from etils import epath

from dfjax.decide import calibration, metrics, operating_points
from dfjax.decide.score_file import Scores, by_clip, known, rule_of
from dfjax.records import FAKE, REAL, InputError
from dfjax.reporting import domains_view
from dfjax.reporting.report_text import markdown, verdict
from dfjax.runtime import files
from dfjax.runtime.strict_json import plain

__all__ = ["build", "markdown", "refresh", "write"]

HALF = 0.0  # the logit of probability 0.5
BINS = 10  # of the reliability diagram
RUN = {"name": "", "dataset": "", "synthetic": False, "steps": None, "seconds": None, "hardware": ""}

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
      validation: scores of the split the threshold was tuned on; rows or clips. Of a decision on left-out domains:
        the run's own validation split, or the left-out scores.
      test: scores of the split to report.
      decision: what `decide.decision.decide` returned.
      train_counts: of the training split, in clips: `real`, `fake`, and `groups` where known.
      ledger: `Ledger.to_json()`.
      audit: what `reporting.audit.audit` returned.
      run: `name`, `dataset`, `synthetic` (bool), `steps`, `seconds`, `hardware`; all may be missing.
      train_methods: generators seen in training; others are marked unseen.
      criterion: what the threshold was tuned for; the decision's own by default.
      subgroups: field (gender, language, ...) -> clip -> value.

    Raises:
      InputError: the threshold was tuned on the split to be reported, or a split lacks a class.
    """
    check_other_split(decision, test.header)
    validation, test = (_clips(scores) for scores in (validation, test))
    shown, chosen = test.header.get("split", "test"), validation.header.get("split", "validation")
    splits, tuned = {chosen: validation, shown: test}, threshold(decision)
    units = {name: operating_points.units(scores) for name, scores in splits.items()}
    report = {
        "format": 1,
        "run": RUN | dict(run),
        "split": shown,
        "clip_score": rule_of(test),
        "threshold": {
            "value": tuned,
            "split": chosen,
            "criterion": criterion or decision["criterion"],
            "status": decision["status"],
            "message": decision.get("message"),
        },
        "decision": decision,
        "bootstrap": {"replicates": operating_points.replicates(len(test)), "unit": units[shown][1]},
        "counts": {"train": _imbalance(train_counts)} | {name: counts(s) for name, s in splits.items()},
        "ranking": {
            name: operating_points.ranking(s, units[name][0], n=operating_points.replicates(len(s)))
            for name, s in splits.items()
        },
        "operating": {name: before_after(s, tuned, units[name][0]) for name, s in splits.items()},
        "methods": {name: by_method(s, tuned, train_methods) for name, s in splits.items()},
        "subgroups": {field: by_subgroup(test, tuned, of) for field, of in (subgroups or {}).items()},
        "calibration": reliability(test, decision.get("calibration")),
        "ledger": ledger,
        "audit": audit,
        "train_methods": sorted(train_methods),
    }
    if decision.get("domains"):  # chosen on left-out domains
        report["threshold"]["split"] = decision["split"]
        report["left_out"] = domains_view.beside(decision, report)
    report = plain(report)  # before any words: what is undefined is None from here on
    return report | {"verdict": verdict(report)}


def check_other_split(decision: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Raises InputError when the decision was made on the very `dataset` and `split` of a score file's header.

    Folders of users have the name of their builder; there `data` tells one from another, where both say it.
    """
    chosen, shown = decision.get("split"), header.get("split")
    datasets, data = ({decision.get(key), header.get(key)} - {None} for key in ("dataset", "data"))
    others = len(datasets) == 2 or str(header.get("dataset")).startswith("folder_") and len(data) == 2
    if chosen is not None and chosen == shown and not others:
        raise InputError(
            f"the threshold was tuned on the split {chosen!r}, the split to be reported; "
            "expected one tuned on other data: tune on validation and report test"
        )


def threshold(decision: Mapping[str, Any]) -> float | None:
    """The threshold of a decision as a number; None where it is undefined or infinite."""
    value = decision["threshold"]
    return float(value) if value is not None and np.isfinite(float(value)) else None


def write(
    workdir: epath.PathLike, report: dict, validation: Scores, test: Scores, subgroups: Subgroups | None = None
) -> list[epath.Path]:
    """Writes report.json, report.md, report.html and figures/*.png into `workdir`, each file replaced whole.

    Subgroups go to subgroups.json, so that the report can be made again without the dataset. report.json comes last:
    where it is, all is.

    Args:
      workdir: made if missing.
      report: what `build` returned.
      validation: as given to `build`.
      test: as given to `build`.
      subgroups: as given to `build`.

    Returns:
      The paths written.

    Raises:
      InputError: a split lacks a class.
    """
    from dfjax.reporting import (
        figures,
        report_html,  # matplotlib takes a moment to import
    )

    workdir = epath.Path(workdir)
    validation, test = (_clips(scores) for scores in (validation, test))
    tuned = report["threshold"]["value"]
    drawings = figures.draw(validation, test, tuned, report["calibration"])
    contents: dict[str, str | bytes] = {
        "report.md": markdown(report),
        "report.html": report_html.page(report, validation, test, subgroups),
    }
    if subgroups:
        contents["subgroups.json"] = json.dumps(subgroups) + "\n"
    contents |= {f"figures/{name}.png": drawing for name, drawing in drawings.items()}
    contents["report.json"] = json.dumps(report, indent=2, allow_nan=False) + "\n"
    for name, content in contents.items():
        files.write(workdir / name, content)
    return [workdir / name for name in contents]


def refresh(workdir: epath.PathLike, decision: dict, validation: Scores, test: Scores) -> list[epath.Path]:
    """Makes the report of a finished run again around another decision; all else is as it was.

    Args:
      workdir: of the run.
      decision: the new one.
      validation: as `build` takes it.
      test: likewise.

    Returns:
      The paths written.

    Raises:
      InputError: there is no report to renew, or `build` refuses.
    """
    workdir = epath.Path(workdir)
    try:
        old = json.loads((workdir / "report.json").read_text())
        facts = {name: old[name] for name in ("ledger", "audit", "run", "train_methods")}
        trained, dataset = old["counts"]["train"], old["run"]["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{workdir} has no readable report.json; let dfjax.run finish") from error
    if test.header.get("dataset", dataset) != dataset:
        raise InputError(f"it is of {dataset}, these scores are of {test.header['dataset']}")
    data, own = test.header.get("data"), set(data_of(workdir, dataset).values())
    if data and own and data not in own:
        raise InputError(f"it is of the {dataset} that the run was trained on, these scores are of another")
    path = workdir / "subgroups.json"
    subgroups = json.loads(path.read_text()) if path.exists() else None
    renewed = build(
        validation=validation, test=test, decision=decision, train_counts=trained, subgroups=subgroups, **facts
    )
    return write(workdir, renewed, validation, test, subgroups)


def data_of(workdir: epath.PathLike, dataset: str) -> dict[str, str]:
    """Name -> content hash of the prepared datasets that a run was trained on; nothing of one that does not say it.

    Args:
      workdir: of the run.
      dataset: what its experiment calls them together.
    """
    path = epath.Path(workdir) / "environment.json"
    facts = json.loads(path.read_text()) if path.exists() else {}
    each = facts.get("datasets") or [{"name": dataset} | facts.get("dataset", {})]
    return {one["name"]: one["hash"] for one in each if "hash" in one}


def counts(scores: Scores) -> dict:
    """Of clips: real, fake, groups, ratio (larger over smaller class), majority, and methods, generator -> clips."""
    fake = scores.label == FAKE
    names, numbers = np.unique(scores.method[fake], return_counts=True)
    totals = {"real": (~fake).sum(), "fake": fake.sum(), "groups": len(np.unique(scores.group))}
    return _imbalance(totals) | {"methods": dict(zip(names.tolist(), numbers.tolist(), strict=True))}


def before_after(scores: Scores, tuned: float | None, groups: np.ndarray | None) -> dict:
    """What clips are worth at the two thresholds, see `operating_points.points`.

    Args:
      scores: one row per clip.
      tuned: the tuned threshold, a logit; None without one.
      groups: what the bootstrap redraws, see `operating_points.units`.

    Returns:
      `half`, `tuned` and their paired `difference`; None where nothing is tuned.
    """
    at = [HALF] if tuned is None else [HALF, tuned]
    sides, changes = operating_points.points(scores, at, groups, n=operating_points.replicates(len(scores)))
    return {"half": sides[0], "tuned": (sides + [None])[1], "difference": (changes + [None])[0]}


def by_method(scores: Scores, tuned: float | None, train_methods: Collection[str]) -> list[dict]:
    """What is found of each generator's fakes, worst first.

    Args:
      scores: one row per clip.
      tuned: the tuned threshold, a logit; None without one.
      train_methods: generators seen in training; none where that is not known.

    Returns:
      A row per generator: method ('' where none is named), unseen (False there), clips, eer (against all real clips),
      recall_half and recall (at the tuned threshold), each {value, low, high}; recall is None without one.
    """
    real = scores.label == REAL
    rows: list[dict[str, Any]] = []
    for method in np.unique(scores.method[~real]).tolist():
        own = ~real & (scores.method == method)
        half, recall = (None if t is None else _share(scores, own, t) for t in (HALF, tuned))
        eer = metrics.eer(scores.score[real | own], scores.label[real | own])[0]
        unseen = bool(train_methods) and bool(method) and method not in train_methods
        rows.append({"method": method, "unseen": unseen, "clips": int(own.sum()), "eer": eer})
        rows[-1] |= {"recall_half": half, "recall": recall}
    return sorted(rows, key=lambda row: ((row["recall"] or row["recall_half"])["value"], row["method"]))


def by_subgroup(scores: Scores, tuned: float | None, values: Mapping[str, str]) -> list[dict]:
    """What the tuned threshold, or else 0.5, does to clips with each value of a field.

    Args:
      scores: one row per clip.
      tuned: the tuned threshold, a logit; None without one.
      values: clip -> value; '' where a clip has none.

    Returns:
      A row per value: value, fake and real (clips), recall and false_alarms, each {value, low, high}.
    """
    names = np.array([values.get(clip, "") for clip in scores.clip.tolist()])
    at, fake = HALF if tuned is None else tuned, scores.label == FAKE
    rows: list[dict[str, Any]] = []
    for name in np.unique(names).tolist():
        fakes, reals = (names == name) & fake, (names == name) & ~fake
        rows.append({"value": name, "fake": int(fakes.sum()), "real": int(reals.sum())})
        rows[-1] |= {"recall": _share(scores, fakes, at), "false_alarms": _share(scores, reals, at)}
    return rows


def reliability(scores: Scores, fitted: Mapping[str, Any] | None) -> dict:
    """How far scores are from probabilities, before and after the decision's calibration.

    Args:
      scores: one row per clip.
      fitted: the calibration, see `calibration.fit`.

    Returns:
      `before` and `after`, each ece, brier, log_loss and bins [{probability, share, clips}] of equally many clips; and
      `fitted`, without its `deploy_prior`. The last two are None where nothing was fitted.
    """
    raw = scores.score.astype(np.float64)
    before = _calibration(raw, scores.label)
    if not fitted or fitted.get("method") == "none":
        return {"before": before, "after": None, "fitted": None}
    fitted = dict(fitted) | {"deploy_prior": None}  # judged at the share of fakes of these data
    return {"before": before, "after": _calibration(calibration.logits(raw, fitted), scores.label), "fitted": fitted}


def _calibration(logits: np.ndarray, labels: np.ndarray) -> dict:
    """ECE, Brier score, log loss, and bins of equally many clips for the reliability diagram."""
    order = np.argsort(logits, kind="stable")
    runs = [run for run in np.array_split(order, BINS) if len(run)]
    p, fake = metrics.probabilities(logits), labels == FAKE
    return {
        "ece": metrics.expected_calibration_error(logits, labels),
        "brier": metrics.brier(logits, labels),
        "log_loss": metrics.log_loss(logits, labels),
        "bins": [{"probability": p[r].mean(), "share": fake[r].mean(), "clips": len(r)} for r in runs],
    }


def _clips(scores: Scores) -> Scores:
    scores = by_clip(known(scores))
    real, fake = (int((scores.label == label).sum()) for label in (REAL, FAKE))
    if not real or not fake:
        split = scores.header.get("split", "given")
        raise InputError(f"the {split} split has {real} real and {fake} fake clips; a report needs both")
    return scores


def _imbalance(given: Mapping[str, Any]) -> dict:
    real, fake = int(given["real"]), int(given["fake"])
    ratio = max(real, fake) / min(real, fake) if min(real, fake) else None
    majority = "real" if real >= fake else "fake"
    return {"real": real, "fake": fake, "groups": given.get("groups"), "ratio": ratio, "majority": majority}


def _share(scores: Scores, rows: np.ndarray, at: float) -> dict:
    return operating_points.wilson(int((scores.score[rows] >= at).sum()), int(rows.sum()))
