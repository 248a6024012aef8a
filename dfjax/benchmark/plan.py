"""From what was found to the list of jobs: a function of datasets, strategies and seeds alone."""

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

import data_builders
from data_builders import configs, finding
from dfjax.planning import advice

MODALITIES = ("audio", "image", "video", "av")
KINDS = ("prepare", "train", "joint", "evaluate", "left_out")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset as one modality."""

    key: str  # names its folders and stands in tables; unique
    name: str  # of the builder
    config: str | None  # of the builder; None for its first
    entry: str  # what experiments and `dfjax.evaluate` call it when it is prepared: NAME or NAME/CONFIG
    joint: str  # what an experiment on several datasets calls it
    modality: str
    source: str
    strategy: str  # that is advised


@dataclasses.dataclass(frozen=True)
class Job:
    """A piece of work that one process does; its id names its files."""

    id: str
    kind: str  # one of KINDS
    modality: str
    dataset: str = ""  # key of the dataset that is prepared or trained on; '' for several
    strategy: str = ""
    seed: int = 0
    needs: tuple[str, ...] = ()  # jobs that must have succeeded
    after: tuple[str, ...] = ()  # jobs that must have ended, well or not


def datasets_of(
    found: Sequence[finding.Found], facts: Sequence[Mapping[str | None, dict[str, Any]]]
) -> dict[Dataset, dict[str, Any]]:
    """The datasets that take part, each with its facts.

    Args:
      found: usable datasets.
      facts: of each, by those of its `advice.configs_of` that can be used, what `counting.of_source` counted.

    Raises:
      InputError: a dataset has no builder, or a folder of the user's own is gone.
    """
    result: dict[Dataset, dict[str, Any]] = {}
    stems = collections.Counter(
        (one.dataset, configs.folder_stem(epath.Path(one.source))) for one in found if one.dataset.startswith("folder_")
    )
    for one, of in zip(found, facts, strict=True):
        several = len(advice.configs_of(one)) > 1
        for config, counted in of.items():
            name, modality = one.dataset, counted["modality"]
            builder = data_builders.load(name)
            if config == builder.BUILDER_CONFIGS[0].name and not several:
                config = None
            key, entry = name, f"{name}/{config}" if config else name
            joint = entry
            if name.startswith("folder_"):
                source = epath.Path(one.source)
                entry = f"{name}/{configs.source_config(builder.BUILDER_CONFIGS[0], source).name}"
                stem = configs.folder_stem(source)
                joint = f"{name}/{stem}" if stems[name, stem] == 1 else entry
                key = joint.replace("/", "-")
            elif several:
                key = f"{name}-{modality}"
            strategy = advice.advise(counted)["strategy"] or "plain"
            result[Dataset(key, name, config, entry, joint, modality, one.source, strategy)] = counted
    return dict(sorted(result.items(), key=lambda of: (MODALITIES.index(of[0].modality), of[0].key)))


def jobs_of(datasets: Sequence[Dataset], strategies: Sequence[str] = (), seeds: int = 1) -> list[Job]:
    """All jobs, in the order in which one process alone does them.

    Every dataset is prepared, then trained on plainly, with its advised strategy and those asked for; every detector is
    judged on all datasets of its modality. Where a modality has several, a detector of all of them and one without
    each are trained, plainly.

    Args:
      datasets: from `datasets_of`.
      strategies: of `experiments/benchmark.py`, beside plain and the advised one.
      seeds: trainings of each, 0 to seeds - 1.
    """
    prepare = {d.key: Job(f"prepare/{d.key}", "prepare", d.modality, d.key) for d in datasets}
    rest: list[Job] = []
    for seed in range(seeds):
        for d in datasets:
            every = tuple(prepare[other.key].id for other in datasets if other.modality == d.modality)
            for strategy in dict.fromkeys(("plain", d.strategy, *strategies)):
                name = f"{d.key}/{strategy}-seed{seed}"
                words = (d.modality, d.key, strategy, seed)
                rest.append(Job(f"train/{name}", "train", *words, needs=(prepare[d.key].id,)))
                rest.append(Job(f"evaluate/{name}", "evaluate", *words, needs=(f"train/{name}",), after=every))
        for modality in MODALITIES:
            members = [d for d in datasets if d.modality == modality]
            if len(members) < 2:
                continue
            every, words = tuple(prepare[d.key].id for d in members), (modality, "", "plain", seed)
            name = f"all_{modality}/plain-seed{seed}"
            rest.append(Job(f"joint/{name}", "joint", *words, after=every))
            rest.append(Job(f"evaluate/{name}", "evaluate", *words, needs=(f"joint/{name}",), after=every))
            if seed == 0:
                rest.append(Job(f"left_out/{modality}", "left_out", *words, after=every))
    return [*prepare.values(), *rest]


def folder_of(job: Job, members: Sequence[Dataset]) -> str:
    """Where a job's run lies below the workdir; of several datasets it changes with which they are.

    Args:
      job: that trains or evaluates.
      members: the datasets that are trained on.
    """
    if job.dataset:
        return f"runs/{job.dataset}/{job.strategy}-seed{job.seed}"
    digest = hashlib.blake2b("\n".join(d.joint for d in members).encode(), digest_size=3).hexdigest()
    kind = "left_out" if job.kind == "left_out" else "runs"
    return f"{kind}/all_{job.modality}-{digest}/{job.strategy}-seed{job.seed}"
