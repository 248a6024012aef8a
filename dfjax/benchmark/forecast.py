"""How long each job will take on this machine, and how far that was off: measured in miniature before, compared after.

A training, an evaluation and their parts are timed on a few made clips, once for each modality; preparing and reading
on some of a dataset's own files, see `planning.costs`. A job is then a sum of them: what it does once, such as
compiling its step, is counted once, and what grows with files, steps, judgements, batches and records is counted so
often. Sounds of other lengths compile programs of their own, see `scoring.BUCKETS`. Jobs of one process compile anew,
except trainings of a left-out job after its first, which validate with the program of that one.
"""

import collections
import json
import math
import pathlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dfjax import models, prepare
from dfjax.benchmark.jobs import DONE, Board
from dfjax.benchmark.plan import MODALITIES, Dataset, Job
from dfjax.benchmark.work import Workshop, experiment
from dfjax.data import sources
from dfjax.evaluate import table
from dfjax.inference import reference, scorers, scoring, trained
from dfjax.media import properties
from dfjax.planning import costs, miniature
from dfjax.records import SAMPLE_RATE, SPLITS
from dfjax.reporting.markdown import aligned_table, duration, escape, size
from dfjax.run import main_job

STEPS = {"train.steps": "6", "train.eval_every": "3", "train.log_every": "3", "optim.warmup_steps": "1"}
OF_MINIATURE = scoring.audio_example(np.zeros(round(miniature.SECONDS * SAMPLE_RATE)))["audio"].size  # its bucket
KINDS = {kind: "image" if kind == "video" else kind for kind in MODALITIES}  # a video's faces are pictures
Counts = Mapping[int, float]  # size of a scorer's input, in samples (that of the miniature for pictures) -> records
Told = Mapping[str, Mapping[str, float | None]]  # job -> seconds, memory, disk


class Records(NamedTuple):
    """A split, or a part of one."""

    counts: Counts
    read: float  # seconds in which all are decoded
    described: float  # seconds in which the properties of all are measured


def measure(modality: str, changes: Mapping[str, str]) -> dict[str, float]:
    """Seconds that parts of a job take on this machine: a run on made clips, in a folder that is removed.

    `changes` are options of the experiment, by dotted name, as text.

    Returns:
      train (STEPS, from records to checkpoint), of which first (what only the first training of a detector in a process
      pays: its scores are compiled), step (an update) and judge (a judgement, without scores); report (all that a run
      does after training); evaluate (of one dataset) and table (of one more), both without scores but for evaluate's
      first batch; batch (one scored), which holds `size` records; coded (a sound described after every codec, see
      `reference.CODECS`, without its embeddings; 0 of pictures).
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dfjax-"))
    took: dict[str, float] = {}
    try:
        name = miniature.make(folder / "clips", modality)
        directory = prepare.prepare(name, folder / "clips", folder / "data", progress=False)
        entry = f"{name}/{directory.parent.name}"
        config = experiment(modality, [entry], "plain", 0, {**changes, **STEPS})
        began = time.perf_counter()
        main_job.run(config, folder / "run", name="miniature", data_dir=folder / "data", progress=False)
        whole = time.perf_counter() - began
        network, split = trained.restore(folder / "run"), sources.open_split(directory, "test")
        began = time.perf_counter()
        trained.score_split(network, split, {})  # by the program that the run compiled
        took["batch"] = time.perf_counter() - began
        clock = json.loads((folder / "run" / "timing.json").read_text())["training"]
        steps, judged = clock["steps"], clock["judged"]
        took["step"] = max(0.0, clock["seconds"] - clock["first_step_seconds"] - sum(judged)) / max(steps - 1, 1)
        took["first"], took["judge"] = judged[0] - min(judged), max(0.0, min(judged) - took["batch"])
        took["train"], took["report"] = clock["seconds"], whole - clock["seconds"]
        took["size"] = min(config.train.batch, scoring.EACH) * jax.device_count()
        took["coded"] = _coded(split) if modality == "audio" else 0.0
        jax.clear_caches()
        for part in ("evaluate", "table"):  # the second call finds the scores
            began = time.perf_counter()
            table.make(folder / "run", [entry], data_dir=folder / "data", progress=False)
            took[part] = time.perf_counter() - began
        jax.clear_caches()
        return {name: round(float(value), 4) for name, value in took.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _coded(split: sources.Split) -> float:
    """Seconds in which a record passes through every codec and is described after each."""
    began = time.perf_counter()
    for _, view in reference.coded(split):
        for record in scorers.records(view):
            properties.measure(record)
    return (time.perf_counter() - began) / len(split)


def forecast(
    shop: Workshop,
    jobs: Sequence[Job],
    facts: Mapping[str, Mapping[str, Any]],
    machine: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float | None]]:
    """Job -> seconds, memory (bytes) and disk (bytes that it leaves); None where the files could not be read.

    Args:
      shop: the datasets.
      jobs: all of them.
      facts: dataset's key -> what `counting.of_source` says of it, with `cost`.
      machine: one of KINDS -> what `measure` returned.
    """
    records = {d.key: _records(facts[d.key], _one_length(d, shop.changes)) for d in shop.datasets.values()}
    found: dict[str, dict[str, float | None]] = {}
    for job in jobs:
        of = machine[KINDS[job.modality]]
        members = [d for d in shop.datasets.values() if d.modality == job.modality]
        on = [shop.datasets[job.dataset]] if job.dataset else members
        sizes = [records[d.key] for d in on]
        cost = facts[on[0].key]["cost"]
        seconds, memory, disk = None, costs.BASE_MEMORY * 2, 2e6
        if job.kind == "prepare" and cost["seconds"] is not None:
            seconds, memory, disk = cost["seconds"], cost["memory"], cost["disk"]
        elif job.kind in ("train", "joint") and all(sizes):
            together = _sum(sizes)
            seconds = _training(shop, job, of, together, on) + of["report"]
            seconds += _scoring(of, together["validation"], together["test"]) - 2 * of["batch"]
            described = [_at_most(together[split], most) for split, most in reference.RECORDS.items()]
            seconds += _scoring(of, *described) - 2 * of["batch"] + sum(part.described for part in described)
            if _domains(on, facts) >= reference.DOMAINS:
                kept = _at_most(together["train"], reference.CODED)
                seconds += of["coded"] * _lengths(kept) + len(reference.CODECS) * _scoring(of, kept)
            seconds += 2 * _compiling(of, *together.values())  # scores and embeddings
        elif job.kind == "left_out" and all(sizes):
            folds = [_sum([s for s in sizes if s is not one]) for one in sizes]
            seconds = sum(_training(shop, job, of, fold, on) for fold in folds) - of["first"] * (len(folds) - 1)
            seconds += sum(_scoring(of, *(one[split] for split in SPLITS)) for one in sizes)
            seconds += _compiling(of, *(one[split] for one in sizes for split in SPLITS))
            disk *= len(on)
        elif job.kind == "evaluate" and all(records[d.key] for d in members):
            new = [d for d in members if not (d.key == job.dataset and d.entry == d.name)]  # a run has scored its own
            tests = [records[d.key]["test"] for d in new]
            seconds = len(members) * of["table"]
            if new:
                seconds += of["evaluate"] - of["table"] + _scoring(of, *tests) - of["batch"] + _compiling(of, *tests)
        if job.kind != "prepare" and all(sizes):  # the training split lies in memory
            memory += sum(_bytes(facts[d.key], records[d.key]["train"]) for d in on)
        found[job.id] = {"seconds": seconds, "memory": memory, "disk": disk}
    return found


def _one_length(dataset: Dataset, changes: Mapping[str, str]) -> bool:
    """Whether all that the dataset's detector scores has one size."""
    model = experiment(dataset.modality, [dataset.joint], "plain", 0, changes).model
    return dataset.modality != "audio" or bool(models.input_of(model.name, model.kwargs).samples)


def _records(facts: Mapping[str, Any], one_length: bool) -> dict[str, Records] | None:
    """Each split; None where none of the files could be decoded."""
    cost, splits = facts["cost"], facts["splits"]
    if not cost["records"]:
        return None
    each = cost["records"] / splits["all"]["total"]
    lengths = {} if one_length else cost.get("lengths") or {}
    found = {}
    for split in SPLITS:
        n, here = each * splits.get(split, {"total": 0})["total"], [lengths[split]] if split in lengths else []
        sizes = collections.Counter()
        for of in here or lengths.values():  # of a split without a sample, as in all
            for seconds, count in of.items():
                sizes[scoring.BUCKETS[min(int(seconds), len(scoring.BUCKETS)) - 1]] += count
        sizes = sizes or collections.Counter({OF_MINIATURE: 1})
        counts = {size: n * count / sizes.total() for size, count in sizes.items()}
        found[split] = Records(counts, n * cost["read"], n * cost["described"])
    return found


def _domains(on: Sequence[Dataset], facts: Mapping[str, Mapping[str, Any]]) -> int:
    """Of the training data of several sets of sounds together, as far as they are told; pictures have none."""
    every = ((d, domain) for d in on if d.modality == "audio" for domain in facts[d.key]["cost"]["domains"])
    return len({domain or d.name for d, domain in every})


def _bytes(facts: Mapping[str, Any], records: Records) -> float:
    return sum(records.counts.values()) * facts["cost"]["disk"] / facts["cost"]["records"]


def _sum(parts: Sequence[Mapping[str, Records]]) -> dict[str, Records]:
    found: dict[str, Records] = {}
    for split in SPLITS:
        counts, read, described = zip(*(part[split] for part in parts), strict=True)
        sizes = set().union(*counts)
        added = {size: sum(of.get(size, 0.0) for of in counts) for size in sizes}
        found[split] = Records(added, sum(read), sum(described))
    return found


def _at_most(records: Records, most: int) -> Records:
    """So many of the records, of every size its share."""
    share = min(1.0, most / max(sum(records.counts.values()), 1))
    counts = {size: n * share for size, n in records.counts.items()}
    return Records(counts, records.read * share, records.described * share)


def _lengths(records: Records) -> float:
    """How many sounds as long as those of the miniature are as long as all together."""
    return sum(n * size / OF_MINIATURE for size, n in records.counts.items())


def _scoring(of: Mapping[str, float], *parts: Records) -> float:
    """Seconds in which the records of each part are read and scored, in batches of one size each."""
    every = ((size, math.ceil(n / of["size"])) for part in parts for size, n in part.counts.items())
    batches = sum((of["batch"] * batches * size / OF_MINIATURE for size, batches in every), 0.0)
    return batches + sum(part.read for part in parts)


def _compiling(of: Mapping[str, float], *parts: Records) -> float:
    """Seconds in which a scorer is compiled for the sizes of the records beyond the first."""
    sizes = {size for part in parts for size, n in part.counts.items() if n}
    return of["first"] * max(len(sizes) - 1, 0)


def _training(shop: Workshop, job: Job, of: Mapping[str, float], records: Mapping[str, Records], on: Sequence[Dataset]):
    """Seconds from records to checkpoint."""
    train = experiment(job.modality, [d.joint for d in on], job.strategy, job.seed, shop.changes).train
    judgements = math.ceil(train.steps / train.eval_every)
    seconds = of["train"] + (train.steps - int(STEPS["train.steps"])) * of["step"] + records["train"].read
    seconds += judgements * (of["judge"] + _scoring(of, records["validation"]))
    return seconds - 2 * (of["judge"] + of["batch"])  # of the miniature


def times(board: Board, told: Told) -> list[dict[str, Any]]:
    """A row per job: job, kind, modality, expected and taken (seconds), factor (taken over expected), memory (bytes).

    They are None where they are not known; so is the factor of a job that was interrupted.
    """
    rows = []
    for job in board.jobs:
        facts = board.facts(job) if board.state(job) == DONE else {}
        expected = told.get(job.id, {}).get("seconds")
        taken = facts.get("seconds")
        known = expected and taken and not facts.get("continued")
        rows.append({"job": job.id, "kind": job.kind, "modality": job.modality, "expected": expected, "taken": taken})
        rows[-1] |= {"factor": taken / expected if known else None, "memory": facts.get("memory")}
    return rows


def markdown(
    shop: Workshop,
    told: Told,
    rows: Sequence[Mapping[str, Any]],
    problems: Sequence[str],
    notes: Sequence[str] = (),
) -> str:
    """The plan with its times, and what it took as far as it is done, as Markdown.

    Args:
      shop: the datasets.
      told: from `forecast`; empty: nothing was measured.
      rows: from `times`.
      problems: a line for everything left out.
      notes: a line for what is worth knowing and no problem.
    """
    heads = ["job", "expected", "taken", "factor", "memory", "disk"]
    cells = []
    for row in rows:
        of = told.get(row["job"], {})
        factor = "" if row["factor"] is None else f"{row['factor']:.2f}"
        taken = "" if row["taken"] is None else duration(row["taken"])
        cells.append(
            [row["job"], duration(of.get("seconds")), taken, factor, size(of.get("memory")), size(of.get("disk"))]
        )
    total = sum(of["seconds"] or 0 for of in told.values())
    disk = sum(of["disk"] or 0 for of in told.values())
    whole = (
        f"about {duration(total)} in one process, {size(disk)} of disk" if told else "no times, nothing was measured"
    )
    parts = [
        f"# {len(shop.datasets)} datasets, {len(rows)} jobs: {whole}",
        aligned_table(heads, [[escape(cell) for cell in row] for row in cells]),
    ]
    factors = [row["factor"] for row in rows if row["factor"]]
    if factors:
        off = [max(f, 1 / f) for f in factors]
        near = sum(f <= 1.5 for f in off)
        parts.append(
            f"Of {len(factors)} jobs done without interruption {near} took what was expected within a factor of 1.5; "
            f"the median factor is {np.median(off):.2f}."
        )
    for kind in MODALITIES:
        names = [f"{d.key} ({d.entry} in {d.source})" for d in shop.datasets.values() if d.modality == kind]
        if names:
            parts.append(f"{kind}: {escape(', '.join(names))}.")
    for title, lines in (("Notes", notes), ("Left out", problems)):
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(f"* {escape(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"
