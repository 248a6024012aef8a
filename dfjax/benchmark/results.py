"""What all jobs of a workdir have left, as one object for the report: a function of their files, without times."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_builders import sharing
from dfjax import crossval
from dfjax.benchmark.jobs import DONE, Board
from dfjax.benchmark.plan import MODALITIES, Dataset, Job
from dfjax.benchmark.work import Workshop
from dfjax.data import sources
from dfjax.decide import random_effects, score_file, thresholds
from dfjax.decide.score_file import Scores
from dfjax.imbalance.ledger import Ledger
from dfjax.planning import counting
from dfjax.reporting import comparison, cross_dataset
from dfjax.runtime.strict_json import plain

WORTH = ("f1_tuned", "average_precision", "auc")  # metrics by which remedies are compared
BEFORE = "plain at 0.5"
ALL_BUT = "all but the one tested on"


def collect(
    shop: Workshop, board: Board, about: Mapping[str, Any], problems: Sequence[str], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything that the report says.

    Args:
      shop: the datasets and where they lie.
      board: the jobs.
      about: what is said of the whole, such as root and seeds.
      problems: lines, of what was left out before any job.
      notes: lines, of what is worth knowing and no problem.

    Returns:
      about, datasets, before_after, remedies, method (how their means were taken), matrices, problems, notes; of plain
      Python for strict JSON.
    """
    directories = _directories(shop, board)
    sources_of = _sources(directories)
    datasets = [_dataset(d, directories, shop, board, sources_of) for d in shop.datasets.values()]
    compared = {d.key: found for d in shop.datasets.values() if (found := _compared(d, shop, board))}
    failed = [job for job in board.jobs if board.state(job) != DONE]
    lines = [*problems, *(f"{job.id}: {board.facts(job).get('problem', 'not done')}" for job in failed)]
    return plain(
        {
            "about": dict(about),
            "datasets": datasets,
            "before_after": compared,
            "remedies": _remedies(compared),
            "method": random_effects.METHOD,
            "matrices": {m: found for m in MODALITIES if (found := _matrix(m, shop, board, datasets, directories))},
            "problems": lines,
            "notes": list(notes),
        }
    )


def _directories(shop: Workshop, board: Board) -> dict[str, pathlib.Path]:
    """Key -> folder of what is prepared."""
    done = [d for d in shop.datasets.values() if board.state(f"prepare/{d.key}") == DONE]
    return {d.key: directory for d in done if (directory := shop.directory(d))}


def _sources(directories: Mapping[str, pathlib.Path]) -> dict[str, set[str]]:
    """Key -> what the files of a dataset say of where they come from."""
    found: dict[str, set[str]] = {}
    for key, directory in directories.items():
        for path in directory.glob("index.*.npz"):
            with np.load(path, allow_pickle=False) as index:
                found.setdefault(key, set()).update(np.unique(index["domains"]).tolist() if "domains" in index else ())
    return found


def _dataset(d: Dataset, directories, shop: Workshop, board: Board, sources_of) -> dict[str, Any]:
    """Its counts, what it shares with the others, and how far properties of its files alone would get."""
    about = {"key": d.key, "name": d.name, "config": d.config, "modality": d.modality, "strategy": d.strategy}
    if d.key not in directories:
        return about | {"splits": None, "skipped": {}, "dropped": {}, "shares": {}, "shortcuts": None}
    counted = counting.of_prepared(directories[d.key], audited=0)
    shares = {}
    for other in shop.datasets.values():
        if other.key == d.key:
            continue
        common = ["all of it"] if other.name == d.name and not d.name.startswith("folder_") else []
        common = common or sharing.shared(
            d.name, other.name, (sources_of.get(d.key, ()), sources_of.get(other.key, ()))
        )
        if common:
            shares[other.key] = common
    report = _report(_job(board, "train", d.key, "plain", 0), shop, board)
    audit = (report or {}).get("audit") or {}
    best = {name: row["auc"] for name, row in list((audit.get("features") or {}).items())[:3]}
    shortcuts = {"auc": _shortcut(audit), "best": best, "warnings": audit.get("warnings", [])} if audit else None
    about |= {part: counted[part] for part in ("splits", "skipped", "dropped")}
    return about | {"shares": shares, "shortcuts": shortcuts}


def _shortcut(audit: Mapping[str, Any]) -> float | None:
    """The AUC of a file's properties: of all together, or of the best one where groups are too few for that."""
    if audit.get("all"):
        return audit["all"]["auc"]
    return max((row["auc"] for row in (audit.get("features") or {}).values() if row["auc"] is not None), default=None)


def _job(board: Board, kind: str, dataset: str, strategy: str, seed: int) -> Job | None:
    wanted = (kind, dataset, strategy, seed)
    return next((j for j in board.jobs if (j.kind, j.dataset, j.strategy, j.seed) == wanted), None)


def _report(job: Job | None, shop: Workshop, board: Board) -> dict[str, Any] | None:
    if job is None or board.state(job) != DONE:
        return None
    return json.loads((shop.folder(job, board) / "report.json").read_text())


# ---- Before and after -------------------------------------------------------------------------------------


def _compared(d: Dataset, shop: Workshop, board: Board) -> dict[str, Any] | None:
    """The strategies of a dataset, compared with plain training at 0.5 and with plain training tuned."""
    by_strategy: dict[str, list[Job]] = {}
    for job in board.jobs:
        if job.kind == "train" and job.dataset == d.key:
            by_strategy.setdefault(job.strategy, []).append(job)
    runs = {
        strategy: [_run(d, job, shop, board) for job in jobs]
        for strategy, jobs in by_strategy.items()
        if all(board.state(job) == DONE for job in jobs)
    }
    if "plain" not in runs:
        return None
    half = [comparison.Run(run.clips, 0.0, run.ledger, run.seconds) for run in runs["plain"]]
    before = comparison.compare({BEFORE: half} | runs)
    after = comparison.compare(runs)
    pages = {s: [_page(job, shop, board) for job in jobs] for s, jobs in by_strategy.items() if s in runs}
    for found in (before, after):
        for of in found["experiments"].values():
            of.pop("seconds")  # a time, which is another one every time
    return {"before": before, "after": after, "pages": pages, "advised": d.strategy}


def _run(d: Dataset, job: Job, shop: Workshop, board: Board) -> comparison.Run:
    folder = shop.folder(job, board)
    report = json.loads((folder / "report.json").read_text())
    clips = score_file.by_clip(score_file.known(score_file.read(folder / "scores" / f"{d.name}.test.csv")))
    return comparison.Run(clips, report["threshold"]["value"], Ledger.from_json(report["ledger"] or {}), 0.0)


def _page(job: Job, shop: Workshop, board: Board) -> str:
    """A run's page, relative to the workdir."""
    return (shop.folder(job, board) / "report.html").relative_to(shop.workdir).as_posix()


def _remedies(compared: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What each remedy was worth: the threshold tuned against 0.5, then each strategy against plain, tuned both."""
    rows = []
    strategies = dict.fromkeys(s for of in compared.values() for s in of["after"]["experiments"] if s != "plain")
    remedies = [("threshold tuned", "before", "plain", ("f1_tuned",)), *((s, "after", s, WORTH) for s in strategies)]
    for name, side, experiment, metrics in remedies:
        for metric in metrics:
            effects = []
            for key, of in compared.items():
                change = (of[side]["experiments"].get(experiment) or {}).get("difference")
                if change and change[metric]["value"] is not None and change[metric]["low"] is not None:
                    effects.append((key, change[metric], _error(change[metric], of[side]["fakes"])))
            pooled = random_effects.pool([c["value"] for _, c, _ in effects], [error for *_, error in effects])
            each = {key: {part: change[part] for part in ("value", "low", "high")} for key, change, _ in effects}
            rows.append({"remedy": name, "metric": metric, "each": each} | pooled)
    return rows


def _error(change: Mapping[str, float], fakes: int) -> float:
    """The standard error that an interval stands for; one of no width is taken as half a fake clip."""
    return max((change["high"] - change["low"]) / (2 * 1.959964), 0.5 / max(fakes, 1))


# ---- Trained on, tested on --------------------------------------------------------------------------------


def _matrix(
    modality: str,
    shop: Workshop,
    board: Board,
    datasets: list[dict[str, Any]],
    directories: Mapping[str, pathlib.Path],
) -> dict[str, Any] | None:
    """Every detector of a modality on the test clips of every dataset, at its frozen threshold; means over seeds."""
    tested = shop.members(Job("", "", modality), board)
    if not tested:
        return None
    jobs = [j for j in board.jobs if j.kind == "evaluate" and j.modality == modality and board.state(j) == DONE]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for job in jobs:
        folder = shop.folder(job, board)
        found = {row["dataset"]: row for row in json.loads((folder / "evaluation.json").read_text())}
        row = rows.setdefault((job.dataset, job.strategy), {"pages": [], "seeds": []})
        row["pages"].append(_page(job, shop, board))
        row["seeds"].append({d.key: found[d.entry] for d in tested if d.entry in found})
    shares = {d["key"]: d["shares"] for d in datasets}
    table = []
    for (key, strategy), row in rows.items():
        on = [key] if key else [d.key for d in tested]
        cells = {}
        for d in tested:
            marks = {"seen": d.key in on, "shares": _common(on, d.key, shares)}
            cells[d.key] = _cell([s[d.key] for s in row["seeds"] if d.key in s]) | marks
        name = key or f"all of {modality}"
        table.append({"trained": name, "strategy": strategy, "cells": cells, "pages": row["pages"]})
    left_out = _left_out(modality, shop, board, tested, directories)
    if left_out:
        for key, cell in left_out["cells"].items():
            cell |= {"seen": False, "shares": _common([d.key for d in tested], key, shares)}
    shortcuts = {d["key"]: d["shortcuts"]["auc"] for d in datasets if d["shortcuts"]}
    return {"tested": [d.key for d in tested], "rows": table, "left_out": left_out, "shortcuts": shortcuts}


def _common(trained: Sequence[str], tested: str, shares: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """What the other datasets that a detector was trained on share with the one it is tested on."""
    return sorted({what for key in trained if key != tested for what in shares.get(key, {}).get(tested, ())})


def _cell(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of what `dfjax.evaluate` says of one dataset; the interval is that of the first seed."""

    def mean(values: list[float | None]) -> float | None:
        return None if not values or None in values else float(np.mean([v for v in values if v is not None]))

    if not seeds:
        return {"auc": None, "low": None, "high": None, "balanced_accuracy": None, "f1": None}
    at = [seed["tuned"] or seed["half"] for seed in seeds]
    return {
        "auc": mean([seed["auc"]["value"] for seed in seeds]),
        "low": seeds[0]["auc"]["low"],
        "high": seeds[0]["auc"]["high"],
        "balanced_accuracy": mean([side["balanced_accuracy"]["value"] for side in at]),
        "f1": mean([side["f1"]["value"] for side in at]),
    }


def _left_out(
    modality: str, shop: Workshop, board: Board, tested: list[Dataset], directories: Mapping[str, pathlib.Path]
) -> dict[str, Any] | None:
    """A row of the detectors that were trained without one dataset each, on the test clips of that one.

    The threshold is chosen as a run chooses it, on validation clips: those of the other datasets, each scored without
    it. Those scores are of training clips, too, so the splits come from the prepared datasets.
    """
    job = next((j for j in board.jobs if j.kind == "left_out" and j.modality == modality), None)
    if job is None or board.state(job) != DONE:
        return None
    folder = shop.folder(job, board)
    held_back = score_file.known(score_file.read(folder / "scores" / f"{crossval.LEFT_OUT}.csv"))
    tests = folder / "scores" / f"{crossval.TESTED}.csv"  # earlier versions wrote all to one file
    of = {"validation": held_back, "test": score_file.known(score_file.read(tests)) if tests.exists() else held_back}
    criterion = shop.config(job, tested).decision.criterion
    known_by = sources.names_of(d.joint for d in tested)
    names = {d.key: known_by[d.joint] for d in tested}
    rows = {
        split: {key: _rows(scores, name, directories[key], split) for key, name in names.items()}
        for split, scores in of.items()
    }
    cells = {}
    for key in names:
        own, others = rows["test"][key], [at for other, at in rows["validation"].items() if other != key]
        chosen = score_file.by_clip(score_file.select(held_back, np.any(others, axis=0)))
        threshold = thresholds.search(chosen.score, chosen.label, criterion).value
        part = score_file.select(of["test"], own)
        found = [cross_dataset.row(key, part, {"threshold": threshold}, trained=False)] if own.any() else []
        cells[key] = _cell([plain(one) for one in found])
    page = (folder / "crossval.md").relative_to(shop.workdir).as_posix()
    return {"trained": ALL_BUT, "strategy": "plain", "cells": cells, "pages": [page]}


def _rows(scores: Scores, name: str, directory: pathlib.Path, split: str) -> np.ndarray:
    """Which scores are of a split of one of several datasets, whose records bear its name."""
    with np.load(directory / f"index.{split}.npz", allow_pickle=False) as index:
        return np.isin(scores.id, np.char.add(f"{name}/", index["ids"]))
