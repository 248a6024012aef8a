"""What each kind of job does, with the commands of dfjax."""

import json
import pathlib
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections

import data_builders
from dfjax import compare, crossval, prepare
from dfjax.benchmark.jobs import DONE, OPEN, Board
from dfjax.benchmark.plan import Dataset, Job, folder_of
from dfjax.data import sources
from dfjax.evaluate import table
from dfjax.planning.advice import FILE
from dfjax.records import FAKE, LABEL_NAMES, REAL, SPLITS, InputError
from dfjax.run import main_job
from dfjax.training import options

Say = Callable[[str], None]


class Workshop:
    """What all jobs of a workdir have in common."""

    def __init__(self, workdir: pathlib.Path, data_dir: pathlib.Path, datasets: Sequence[Dataset], changes: Mapping):
        """`changes` are options of every experiment, by dotted name."""
        self.workdir, self.data_dir, self.changes = workdir, data_dir, dict(changes)
        self.datasets = {d.key: d for d in datasets}

    def members(self, job: Job, board: Board) -> list[Dataset]:
        """The datasets of a job's modality that are prepared."""
        every = [d for d in self.datasets.values() if d.modality == job.modality]
        return [d for d in every if board.state(f"prepare/{d.key}") == DONE]

    def trained_on(self, job: Job, board: Board) -> list[Dataset]:
        """The datasets that a job trains on, or trained on."""
        return [self.datasets[job.dataset]] if job.dataset else self.members(job, board)

    def folder(self, job: Job, board: Board) -> pathlib.Path:
        """The workdir of the run that a job trains or evaluates."""
        return self.workdir / folder_of(job, self.trained_on(job, board))

    def directory(self, d: Dataset) -> pathlib.Path | None:
        """Where a dataset is prepared, if it is; of several versions the last."""
        config = d.entry.partition("/")[2] or data_builders.load(d.name).BUILDER_CONFIGS[0].name
        found = sorted(self.data_dir.glob(f"{d.name}/{config}/*/preparation.json"))
        return found[-1].parent if found else None

    def made(self, job: Job, board: Board) -> bool:
        """Whether what a job that is done has made is there; not so of datasets that are not those it was done with."""
        if job.kind == "prepare":
            return self.directory(self.datasets[job.dataset]) is not None
        folder = self.folder(job, board)
        path = folder / {"left_out": "crossval.md", "evaluate": "evaluation.json"}.get(job.kind, "report.json")
        if not path.exists() or job.kind != "evaluate":
            return path.exists()
        judged_on = {row["dataset"] for row in json.loads(path.read_text())}
        return judged_on.issuperset(d.entry for d in self.members(job, board))

    def config(self, job: Job, members: Sequence[Dataset]) -> ml_collections.ConfigDict:
        """The experiment of a job."""
        entries = [d.entry for d in members] if job.dataset else [d.joint for d in members]
        return experiment(job.modality, entries, job.strategy, job.seed, self.changes)


def experiment(
    modality: str, entries: Sequence[str], strategy: str, seed: int, changes: Mapping[str, str]
) -> ml_collections.ConfigDict:
    """An experiment of `experiments/benchmark.py`.

    Args:
      modality: 'audio', 'image', 'video' or 'av'.
      entries: the datasets that are trained on, NAME or NAME/CONFIG.
      strategy: one of its STRATEGIES.
      seed: of the run.
      changes: options by dotted name, as text.

    Raises:
      InputError: there is no such strategy, or a change is wrong.
    """
    (config,) = compare.experiments([f"{FILE}:{modality}+{','.join(entries)}+{strategy}"]).values()
    config.seed = seed
    options.override(config, list(changes.items()))
    options.check(config)
    return config


def do(job: Job, shop: Workshop, board: Board) -> None:
    """Does a job of the board, going on where it was left.

    Raises:
      InputError: it cannot be done; the message says why.
    """
    if job.kind == "prepare":
        d = shop.datasets[job.dataset]
        directory = prepare.prepare(d.name, d.source, shop.data_dir, d.config, progress=False)
        if lacking := {"train", "validation", "test"} - set(sources.split_names(directory)):
            raise InputError(f"{d.key} has no {' and no '.join(sorted(lacking))} split; its files are too few")
        for name in SPLITS:
            if missing := {REAL, FAKE} - set(sources.open_split(directory, name).label.tolist()):
                raise InputError(
                    f"{d.key} has no {LABEL_NAMES[missing.pop()]} files in its {name} split that could be decoded; "
                    f"{directory / 'preparation.json'} lists what was skipped and why"
                )
        return
    members, folder = shop.trained_on(job, board), shop.folder(job, board)
    words: dict[str, Any] = {"data_dir": shop.data_dir, "progress": False}
    if job.kind == "evaluate":
        table.make(folder, [d.entry for d in shop.members(job, board)], **words)
        return
    if not job.dataset and len(members) < 2:
        raise InputError(f"{len(members)} dataset of {job.modality} could be prepared; two are needed")
    config, name = shop.config(job, members), job.id.partition("/")[2].replace("/", ", ")
    if config.data.get("datasets"):  # own folders may have been prepared with other files before
        words["source"] = {d.joint: d.source for d in members if d.name.startswith("folder_")}
    if job.kind == "left_out":
        crossval.crossval(config, folder, name=f"all_{job.modality}", by="dataset", whole=False, **words)
    else:
        main_job.run(config, folder, name=name, **words)


def work(shop: Workshop, board: Board, say: Say) -> None:
    """Does what is to be done, job by job; one that fails is noted, with a line, and the rest goes on.

    `say` is told what begins and what fails. A workdir that may not be written to raises InputError.
    """
    for job in board.open_jobs():
        again = board.begun(job)
        ended = sum(board.state(other) != OPEN for other in board.jobs)
        say(f"[{ended + 1}/{len(board.jobs)}] {job.id}")
        began, problem = time.perf_counter(), ""
        try:
            do(job, shop, board)
        except (InputError, OSError, FloatingPointError, ArithmeticError, ValueError, RuntimeError) as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            problem = kind + " ".join(str(error).split())
            say(f"  failed: {problem[:400]}")
        jax.clear_caches()  # the next job compiles its own programs
        facts = {
            "seconds": round(time.perf_counter() - began, 2),
            "memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "continued": again,
        }
        board.end(job, facts, problem)
