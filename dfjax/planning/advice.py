"""Of a counted dataset: is another one needed, which strategy, which experiment as a command. No JAX, no decoding."""

import runpy
import shlex
from collections.abc import Sequence
from typing import Any

import data_builders
from data_builders import sharing
from dfjax.imbalance import balance
from dfjax.runtime import cli

FILE = "experiments/benchmark.py"
STRATEGY = {"natural": "plain", "balanced_sampling": "balanced_sampling"}  # of `balance` -> of the experiment
SPEECH = ("asvspoof2019_la", "deepfake_audio", "demo_speech", "fake_or_real", "wavefake")
VIDEOS = ("faceforensics", "celeb_df_v2", "dfd", "fakeavceleb")  # whose faces are cut out
ADD = balance.ADD | {"video": "faceforensics (1,000 real and 5,000 fake videos) or celeb_df_v2 (890 and 5,639)"}


def strategies() -> list[str]:
    """Those that the experiment knows."""
    return list(runpy.run_path(cli.experiment_file(FILE))["STRATEGIES"])


def modality_of(dataset: str, config: str | None, kind: str = "") -> str:
    """'audio', 'image' (pictures as they are), 'video' (face crops) or 'av'.

    Args:
      dataset: its name.
      config: of its builder; None for its first.
      kind: what its media are, 'audio' or 'image', where the name does not tell.
    """
    if dataset == "fakeavceleb":
        last = (config or "").removesuffix("-index").rpartition("-")[2]
        return last if last in ("audio", "av") else "video"
    if dataset in VIDEOS:
        return "video"
    if dataset.startswith("folder_"):
        return {"audio": "audio", "av": "av"}.get(dataset.removeprefix("folder_"), kind or "image")
    return "audio" if dataset in SPEECH else "image"


def advise(facts: dict[str, Any], others: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What `dfjax.stats` says of a dataset beyond its counts.

    Args:
      facts: of one dataset, as `dfjax.stats` counts it.
      others: of the datasets found beside it.

    Returns:
      modality; another (whether another dataset is needed), reasons (why, in words), which (name of one, or words);
      strategy (of `experiments/benchmark.py`; None where nothing can be learnt), why; experiment (FILE.py:ARGUMENT) and
      command.
    """
    dataset, config, splits = facts["dataset"], facts["config"], facts["splits"]
    modality = modality_of(dataset, config)
    reasons = _reasons(splits)
    given = facts["recommendation"] or {}
    strategy = STRATEGY.get(given.get("strategy") or "")
    beside = [o for o in others if o["dataset"] != dataset and modality_of(o["dataset"], o["config"]) == modality]
    apart = [o for o in beside if not sharing.shared(o["dataset"], dataset) and "train" in o["splits"]]
    best = max(apart, key=lambda o: o["splits"]["train"]["minority_groups"], default=None)
    experiment = f"{FILE}:{modality}+{entry(facts)}+{strategy or 'plain'}"
    command = ["python", "-m", "dfjax.run", "--config", experiment]
    command += ["--source", facts["path"]] if facts["stage"] == "source" else []
    return {
        "modality": modality,
        "another": bool(reasons),
        "reasons": reasons,
        "which": (f"{best['dataset']}, which is here" if best else ADD[modality]) if reasons else None,
        "strategy": strategy,
        "why": given.get("text", "there is no training split").partition(" Add ")[0],
        "experiment": experiment,
        "command": shlex.join(command),
    }


def entry(facts: dict[str, Any]) -> str:
    """The dataset as an experiment names it: NAME, or NAME/CONFIG where the config is not its first."""
    dataset, config = facts["dataset"], facts["config"]
    builder = data_builders.load(dataset)
    if getattr(builder, "CONFIG_PER_SOURCE", False) or config in ("", builder.BUILDER_CONFIGS[0].name):
        return dataset
    return f"{dataset}/{config}"


def _reasons(splits: dict[str, Any]) -> list[str]:
    """Why this dataset alone is not enough, worst first; empty where it is."""
    train, test = splits.get("train"), splits.get("test")
    if train is None or not (train["real"] and train["fake"]):
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
    if len(splits["all"]["methods"]) < 2:
        found.append("one generator: nothing is known of fakes of another")
    return found
