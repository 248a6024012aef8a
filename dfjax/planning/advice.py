"""Of a counted dataset: is another one needed, which strategy, which experiment as a command. No JAX, no decoding."""

import os
import pathlib
import runpy
import shlex
from collections.abc import Sequence
from typing import Any

from tensorflow_datasets.core.constants import DATA_DIR

import data_builders
from data_builders import finding, sharing
from dfjax.imbalance import balance
from dfjax.runtime import cli

FILE = "experiments/benchmark.py"
STRATEGY = {"natural": "plain", "balanced_sampling": "balanced_sampling"}  # of `balance` -> of the experiment
SPEECH = ("asvspoof2019_la", "deepfake_audio", "demo_speech", "fake_or_real", "wavefake")
VIDEOS = ("faceforensics", "celeb_df_v2", "dfd", "fakeavceleb")  # whose faces are cut out
PARTS = ("disjoint-visual", "disjoint-audio", "disjoint-av")  # configs of FakeAVCeleb: each is a dataset of its own
UNNAMED = {"fake"}  # the methods that `counting.count` tells of fakes without any


def strategies() -> list[str]:
    """Those that the experiment knows."""
    return list(runpy.run_path(cli.experiment_file(FILE))["STRATEGIES"])


def configs_of(one: finding.Found) -> list[str | None]:
    """The configs in which a dataset takes part: FakeAVCeleb once for pictures, once for sound and once for both."""
    return [one.config] if one.config or one.dataset != "fakeavceleb" else list(PARTS)


def modality_of(dataset: str, config: str | None, kind: str = "") -> str:
    """'audio', 'image' (pictures as they are), 'video' (face crops) or 'av'.

    Args:
      dataset: its name.
      config: of its builder; None for its first.
      kind: what the media of a folder_image are, 'image' or 'video', which its name does not tell.
    """
    if dataset == "fakeavceleb":
        last = (config or "").removesuffix("-index").rpartition("-")[2]
        return last if last in ("audio", "av") else "video"
    if dataset in VIDEOS:
        return "video"
    if dataset.startswith("folder_"):
        return {"audio": "audio", "av": "av"}.get(dataset.removeprefix("folder_"), kind or "image")
    return "audio" if dataset in SPEECH else "image"


def of_no_use(dataset: str) -> list[str]:
    """The datasets that are no other beside this one: itself, and those made of the same recordings or pictures."""
    return [name for name in data_builders.DATASETS if name == dataset or sharing.shared(name, dataset)]


def advise(facts: dict[str, Any], others: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What `dfjax.stats` says of a dataset beyond its counts.

    Args:
      facts: of one dataset, as `counting.of_source` counts it.
      others: of the datasets found beside it.

    Returns:
      modality; another (whether another dataset is needed), reasons (why, in words), which (name of one, or words);
      strategy (of `experiments/benchmark.py`; None where nothing can be learnt), why; experiment (FILE.py:ARGUMENT) and
      command.
    """
    dataset, modality, splits = facts["dataset"], facts["modality"], facts["splits"]
    reasons = _reasons(splits)
    given = facts["recommendation"] or {}
    strategy, why = STRATEGY.get(given.get("strategy") or ""), given.get("text", "there is no training split")
    if facts["config"].endswith("-index"):
        strategy, why = None, "There are no media in it; prepare it without -index to train on it."
    apart = [o for o in others if o["modality"] == modality and _another(o, facts) and _trainable(o["splits"])]
    best = max(apart, key=lambda o: o["splits"]["train"]["minority_groups"], default=None)
    which = f"{_called(best)}, which is here" if best else balance.worth_adding(modality, of_no_use(dataset))
    experiment = f"{FILE}:{modality}+{entry(facts)}+{strategy or 'plain'}"
    command = ["python", "-m", "dfjax.run", "--config", experiment]
    command += ["--source", facts["path"]] if facts["stage"] == "source" else _data_dir(facts)
    return {
        "modality": modality,
        "another": bool(reasons),
        "reasons": reasons,
        "which": which if reasons else None,
        "strategy": strategy,
        "why": why.partition(" Add ")[0],
        "experiment": experiment,
        "command": shlex.join(command),
    }


def entry(facts: dict[str, Any]) -> str:
    """The dataset as an experiment names it: NAME, or NAME/CONFIG where the config is not its first.

    Of the user's own folders the config is named where they are prepared, as it tells them apart.
    """
    dataset, config = facts["dataset"], facts["config"]
    builder = data_builders.load(dataset)
    own = getattr(builder, "CONFIG_PER_SOURCE", False)
    first = [dataset, *(one.name for one in builder.BUILDER_CONFIGS[:1])]  # what has no configs lies in NAME/VERSION
    return dataset if (own and facts["stage"] == "source") or config in ("", *first) else f"{dataset}/{config}"


def _data_dir(facts: dict[str, Any]) -> list[str]:
    """The words that say where a prepared dataset lies, in NAME/CONFIG/VERSION of a folder; none of the default one."""
    path = pathlib.Path(facts["path"])
    name = path.parent if path.parent.name == facts["dataset"] else path.parent.parent
    folder = str(name.parent)
    return [] if os.path.realpath(folder) == os.path.realpath(os.path.expanduser(DATA_DIR)) else ["--data_dir", folder]


def _another(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two are different datasets without recordings in common; the user's own folders have all one name."""
    if one["dataset"] == other["dataset"] and not one["dataset"].startswith("folder_"):
        return False
    same = one["path"] == other["path"] or (one["dataset"], one["config"]) == (other["dataset"], other["config"])
    return not same and not sharing.shared(one["dataset"], other["dataset"])


def _called(facts: dict[str, Any]) -> str:
    own = facts["dataset"].startswith("folder_")
    return f"{facts['dataset']} in {facts['path']}" if own else entry(facts)


def _trainable(splits: dict[str, Any]) -> bool:
    return "train" in splits and bool(splits["train"]["real"] and splits["train"]["fake"])


def _reasons(splits: dict[str, Any]) -> list[str]:
    """Why this dataset alone is not enough, worst first; empty where it is."""
    train, test = splits.get("train"), splits.get("test")
    if train is None or not _trainable(splits):
        lacking = "no training split" if train is None else f"no {'real' if not train['real'] else 'fake'} to train on"
        return [lacking]
    found = []
    if test is None or not (test["real"] and test["fake"]):
        found.append("no test split with both classes")
    if train["minority_groups"] < balance.FEW_GROUPS:
        found.append(
            f"the smaller class ({train['minority']}) comes from {train['minority_groups']} independent sources, fewer "
            f"than {balance.FEW_GROUPS}"
        )
    if set(splits["all"]["methods"]) == UNNAMED:
        found.append("the generators of its fakes are not named, and may be one")
    elif len(splits["all"]["methods"]) < 2:
        found.append("one generator: nothing is known of fakes of another")
    return found
