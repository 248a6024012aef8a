"""The shortcut audit: how well trivial properties of the files alone separate real from fake.

A detector that does not beat these numbers has learnt how the files were made, not what was faked. Features
come from media headers (`header_features`), from waveforms (`audio_features`) or from encoded pictures
(`image_features`); `audit` judges them.
"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Num, Shaped

from dfjax.media.properties import audio_features, header_features, image_features
from dfjax.records import FAKE, REAL

__all__ = ["audit", "audit_records", "audio_features", "header_features", "image_features", "table"]

WARN_ABOVE = 0.7  # AUC
AUDITED = 1000  # clips whose headers or records are read for it where datasets are counted
SAMPLE = 4_000  # clips; more are subsampled, which leaves the AUC within about 0.01
FOLDS = 5
BINS = 8  # quantile bins per numeric feature, so that a regression sees "1024 wide" and not only "wider"
LEVELS = 16  # most frequent values kept of a text feature; the rest are one value


def audit(
    features: dict[str, Shaped[np.ndarray, " n"]],
    labels: Integer[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    sample: int = SAMPLE,
    seed: int = 0,
) -> dict:
    """How well each feature, and all of them together, tell fake from real.

    A numeric feature is used as it is; its AUC a counts in whichever direction is larger, max(a, 1 - a),
    and a missing value (NaN) is a value of its own below all others, because missing headers are shortcuts
    too. A text feature (codec) is scored by the fake rate of its values, estimated on the other groups. All
    features together go through an L2 logistic regression on ranks and quantile bins, fitted
    without the groups it is scored on (5 folds); the AUC is the mean over folds.

    Args:
      features: name -> one value per clip, numbers or text. Give one row per clip: windows of one clip are
        not evidence.
      labels: 1 fake, 0 real; other values are ignored.
      groups: what must not straddle folds.
      sample: at most this many clips are used, an equal share of each class where possible.
      seed: of the subsampling and the folds.

    Returns:
      {'clips', 'used', 'real', 'fake', 'groups', 'features': {name: {'auc', 'error', 'missing'}}, 'all':
      {'auc', 'error'} or None, 'warnings': [text], 'notes': [text]}. `error` is the standard error of the
      AUC (over clips; over folds for 'all'). Features are ordered by falling AUC. AUCs are None where a
      class or a second group is absent.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    rows = sample_rows(labels, sample, seed)
    y, g = labels[rows] == FAKE, groups[rows]
    counts = {"clips": int(np.isin(labels, (REAL, FAKE)).sum()), "used": len(rows)}
    counts |= {"real": int((~y).sum()), "fake": int(y.sum()), "groups": len(np.unique(g))}
    result = {**counts, "features": {}, "all": None, "warnings": [], "notes": []}
    if len(rows) < result["clips"]:
        result["notes"].append(f"{len(rows)} of {result['clips']} clips were drawn at random")
    if y.all() or not y.any():
        result["notes"].append("one class only: nothing to tell apart")
        return result
    folds = _folds(y, g, seed)
    if not folds:
        result["notes"].append("too few groups per class for cross-validation; single features only")
    columns = {name: np.asarray(values)[rows] for name, values in features.items()}
    if not columns:
        result["notes"].append("no property differs from clip to clip")
    singles = {name: _single(column, y, folds) for name, column in columns.items()}
    result["features"] = dict(sorted(singles.items(), key=lambda item: -(item[1]["auc"] or 0)))
    if folds and columns:
        result["all"] = _together(columns, y, folds)
    result["warnings"] = _warnings(result)
    return result


def together(result: dict[str, Any]) -> str:
    """The AUC of all properties together in a few words, or why there is none; `result` is what `audit` returned."""
    if result["all"]:
        return f"{result['all']['auc']:.2f} together"
    if not (result["real"] and result["fake"]):
        return "one class only"
    return "not enough groups" if result["features"] else "no property differs from clip to clip"


def sample_rows(labels: Integer[np.ndarray, " n"], sample: int, seed: int = 0) -> Integer[np.ndarray, " k"]:
    """Sorted rows of at most `sample` labelled clips, drawn by `seed`, half of the smaller class if it has as many."""
    rng, rows = np.random.default_rng(seed), [np.flatnonzero(labels == label) for label in (REAL, FAKE)]
    if len(rows[0]) + len(rows[1]) > sample:
        small = min(len(rows[0]), len(rows[1]), sample // 2)
        keep = (small, sample - small) if len(rows[0]) <= len(rows[1]) else (sample - small, small)
        rows = [rng.choice(r, min(k, len(r)), replace=False) for r, k in zip(rows, keep, strict=True)]
    return np.sort(np.concatenate(rows))


def audit_records(
    records: Any,
    labels: Integer[np.ndarray, " n"],
    clips: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    sample: int = 1000,
    seed: int = 0,
) -> dict:
    """The audit of prepared records: one record of each clip, read only if it is drawn.

    Args:
      records: random access by `records[i]` to dicts with `audio` (and `duration`), `image` or both.
      labels: of the records; values other than 1 and 0 are ignored.
      clips: of the records; the first record of a clip stands for it.
      groups: of the records.
      sample: how many clips are read.
      seed: of the draw and the folds.

    Returns:
      What `audit` returns; `clips` counts all clips.
    """
    first = np.unique(clips, return_index=True)[1]
    drawn = first[sample_rows(labels[first], sample, seed)]
    rows = [record_features(records[int(i)]) for i in drawn]
    result = audit(table(rows), labels[drawn], groups[drawn], sample=len(drawn), seed=seed)
    result["clips"] = int(np.isin(labels[first], (REAL, FAKE)).sum())
    if len(drawn) < result["clips"]:
        result["notes"].insert(0, f"{len(drawn)} of {result['clips']} clips were drawn at random")
    return result


def record_features(record: dict) -> dict[str, float | str]:
    """The properties of one prepared record by name, see `media.properties`; the duration is the whole clip's."""
    features = image_features(record["image"]) if "image" in record else {}
    if "audio" in record:
        features |= audio_features(record["audio"]) | {"duration": float(record["duration"])}
    return features


def _folds(y, groups, seed: int) -> list:
    """(train rows, test rows) of grouped folds in which both sides have both classes."""
    from sklearn.model_selection import StratifiedGroupKFold  # a second to import; training starts without it

    _, g = np.unique(groups, return_inverse=True)
    count = min(FOLDS, len(np.unique(g[y])), len(np.unique(g[~y])))
    if count < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn complains of a class with fewer rows than folds; checked below
        folds = list(StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(y, y, g))
    return [(a, b) for a, b in folds if all(y[rows].any() and not y[rows].all() for rows in (a, b))]


def auc(scores: Num[np.ndarray, " n"], y: Shaped[np.ndarray, " n"]) -> float:
    """P(score of a fake > score of a real) + half of the ties, by midranks; `y` is 1 of a fake. NaN ranks lowest."""
    _, inverse, counts = np.unique(np.where(np.isnan(scores), -np.inf, scores), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(np.count_nonzero(y))
    return float(
        (ranks[np.asarray(y, bool)].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
    )


def _error(a: float, y) -> float:
    """Standard error of an AUC, Hanley and McNeil (1982), eq. 1; it assumes independent clips."""
    m, n = int(y.sum()), int((~y).sum())
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return float(np.sqrt(max(0.0, a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n)))


def _single(column, y, folds) -> dict:
    """AUC of one feature in its better direction."""
    if column.dtype.kind in "fiub":
        a = auc(column.astype(np.float64), y)
        a, missing = max(a, 1 - a), float(np.mean(np.isnan(column.astype(np.float64))))
    else:
        codes, missing = np.unique(column.astype(str), return_inverse=True)[1], float(np.mean(column == ""))
        a = _mean_auc(lambda train, test: _rates(codes, y, train)[codes[test]], y, folds)[0] if folds else None
        a = None if a is None else max(a, 0.5)  # its direction is learnt, so below one half is noise
    return {"auc": a, "error": None if a is None else _error(a, y), "missing": missing}


def _rates(codes, y, rows):
    """Fake rate of every code on `rows`, pulled towards the overall rate by one pseudo-clip."""
    n = codes.max() + 1
    fakes = np.bincount(codes[rows], weights=y[rows], minlength=n)
    return (fakes + y[rows].mean()) / (np.bincount(codes[rows], minlength=n) + 1)


def _mean_auc(score, y, folds) -> tuple[float, float]:
    """Mean over folds, and its standard error. Scores of different folds are never ranked together."""
    values = np.array([auc(score(train, test), y[test]) for train, test in folds])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _together(columns: dict, y, folds) -> dict:
    """Cross-validated AUC of a logistic regression on all features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([_design(column) for column in columns.values()], axis=1)

    def score(train, test):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300))
        return model.fit(x[train], y[train]).decision_function(x[test])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression short of convergence still ranks
        value, error = _mean_auc(score, y, folds)
    return {"auc": value, "error": error}


def _design(column) -> Float[np.ndarray, "n k"]:
    """Columns of the regression for one feature: rank and quantile bins, or one-hot values of a text."""
    if column.dtype.kind not in "fiub":
        _, codes, counts = np.unique(column.astype(str), return_inverse=True, return_counts=True)
        kept = np.argsort(-counts, kind="stable")[:LEVELS]
        return (codes[:, None] == kept).astype(np.float64)
    values, codes = np.unique(np.nan_to_num(column.astype(np.float64), nan=-np.inf), return_inverse=True)
    rank = (np.cumsum(np.bincount(codes)) / len(codes))[codes]  # labels play no part, so no fold leaks
    bins = np.minimum((rank * BINS).astype(int), BINS - 1)
    return np.concatenate([rank[:, None], bins[:, None] == np.arange(BINS)], axis=1)


def _warnings(result: dict) -> list[str]:
    texts = [
        f"{name} alone separates real from fake: AUC {row['auc']:.2f} +- {row['error']:.2f}"
        for name, row in result["features"].items()
        if row["auc"] is not None and row["auc"] > WARN_ABOVE
    ]
    if result["all"] and result["all"]["auc"] > WARN_ABOVE:
        texts.insert(
            0,
            f"properties of the files separate real from fake: AUC {result['all']['auc']:.2f} +- "
            f"{result['all']['error']:.2f} without looking at the content; a detector must beat this",
        )
    return texts


def table(rows: list[dict[str, float | str]]) -> dict[str, Shaped[np.ndarray, " n"]]:
    """The features of many clips as columns. Constant columns are left out: they separate nothing."""
    columns = {}
    for name in sorted({name for row in rows for name in row}):
        values = [row.get(name) for row in rows]
        text = any(isinstance(value, str) for value in values)
        empty = "" if text else float("nan")
        column = np.array([empty if value is None else value for value in values], dtype=str if text else np.float64)
        if len(np.unique(column)) > 1:
            columns[name] = column
    return columns
