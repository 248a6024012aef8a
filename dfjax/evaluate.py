"""One detector on many datasets: the cross-dataset table, at the threshold that the run decided on.

    python -m dfjax.evaluate --workdir runs/audio_focal --datasets asvspoof2019_la,fake_or_real

Thresholds and calibration rarely travel as well as ranking does; the table shows both. With `--split validation`
the scores can be tuned on: python -m dfjax.tune --workdir runs/audio_focal --dataset fake_or_real
"""

import argparse
import json
from typing import Any

import numpy as np
import tqdm
from etils import epath

from dfjax import models, prepare
from dfjax.data import sources
from dfjax.decide import operating_points, score_file
from dfjax.decide.decision import read_decision
from dfjax.decide.score_file import Scores
from dfjax.inference import detector
from dfjax.records import FAKE, REAL, InputError
from dfjax.reporting import report
from dfjax.reporting.markdown import escape, number, percent, table
from dfjax.runtime import cli, files, process, workdir
from dfjax.runtime.strict_json import plain

HEADS = [
    "dataset",
    "real",
    "fake",
    "AUC",
    "EER",
    "recall at 0.5",
    "recall",
    "false alarms",
    "precision",
    "F1",
]


def evaluate(
    folder: epath.PathLike,
    datasets: list[str],
    *,
    data_dir: epath.PathLike | None = None,
    split: str = "test",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """A row per dataset; score files, evaluation.json and evaluation.md are left in the workdir.

    Args:
      folder: a finished run.
      datasets: names of prepared datasets, or name/config.
      data_dir: where prepared datasets lie.
      split: which split of each; the one that the threshold was tuned on is refused.
      progress: whether to show progress.

    Returns:
      What `row` returns, in the order of `datasets`.

    Raises:
      InputError: no finished run, an unknown or unprepared dataset, one of the other modality.
    """
    config: Any = workdir.read_config(folder)
    folder, progress = epath.Path(folder), progress and process.first_process()
    decision = read_decision(folder / "decision.json")
    restored, rows = None, []
    for name in tqdm.tqdm(datasets, unit="dataset", desc="evaluate", disable=not progress):
        path = folder / "scores" / f"{name.replace('/', '-')}.{split}.csv"
        scores = _stored(path, decision)
        if scores is None:
            restored = restored or detector.restore(config, folder, decision.get("step"))
            scores = _score(config, restored, name, split, data_dir, _rule(decision))
            if process.first_process():
                score_file.write(path, scores)
            process.barrier("scored")  # the others look for this file only when it is whole
        rows.append(row(name, scores, decision, trained=name.split("/")[0] == config.data.dataset))
    rows = plain(rows)
    workdir.write_json(folder / "evaluation.json", rows)
    if process.first_process():
        files.write(folder / "evaluation.md", markdown(rows, decision, split))
    process.barrier("evaluated")
    return rows


def row(name: str, scores: Scores, decision: dict[str, Any], *, trained: bool) -> dict[str, Any]:
    """What the decision is worth on these scores, clip by clip, with 95 % bootstrap intervals.

    Returns:
      dataset, trained (whether the detector was trained on its training split), real, fake, unit (what the
      bootstrap redraws), auc, average_precision, eer, `half` and `tuned` (see `operating_points.points`; tuned is
      None without a threshold) each with `false_alarms`. Undefined numbers are NaN.
    """
    report.refuse_same_split(decision, scores)
    clips = score_file.by_clip(score_file.known(scores))
    if not len(clips):
        raise InputError(f"{name} has no clip with a known label; expected labelled clips")
    groups, unit = operating_points.units(clips)
    n, tuned = operating_points.replicates(len(clips)), report.threshold(decision)
    sides, _ = operating_points.points(clips, [report.HALF] if tuned is None else [report.HALF, tuned], groups, n=n)
    for side in sides:
        side["false_alarms"] = operating_points.wilson(side["fp"], side["fp"] + side["tn"])
    real, fake = (int((clips.label == label).sum()) for label in (REAL, FAKE))
    if real and fake:
        ranks = operating_points.ranking(clips, groups, n=n)
    else:  # one class cannot be ranked
        ranks = {key: {"value": np.nan, "low": np.nan, "high": np.nan} for key in operating_points.RANKING}
    about = {"dataset": name, "trained": trained, "real": real, "fake": fake, "unit": unit}
    return about | ranks | {"half": sides[0], "tuned": sides[1] if tuned is not None else None}


def markdown(rows: list[dict[str, Any]], decision: dict[str, Any], split: str = "test") -> str:
    """The table, ready to paste; `rows` as `evaluate` returns them."""
    lines = []
    for r in rows:
        at = r["tuned"] or r["half"]
        name = escape(r["dataset"]) + (" (trained on)" if r["trained"] else "")
        cells = [percent(at[key]) for key in ("recall", "false_alarms", "precision", "f1")]
        half = percent(r["half"]["recall"], False)
        lines.append([name, f"{r['real']:,}", f"{r['fake']:,}", number(r["auc"]), percent(r["eer"]), half, *cells])
    value = report.threshold(decision)
    chosen = "0.5, as the run has no tuned threshold" if value is None else f"{value:.4g}"
    words = ("criterion", "dataset", "split")
    where = "tuned for {} on {} {}".format(*(decision.get(word) or "unknown" for word in words))
    if decision["status"] == "untuned":
        where = "not tuned"
    return (
        f"{table(HEADS, lines)}\n\nClips of the {split} splits; threshold {chosen}"
        f"{'' if value is None else f', {escape(where)}'}. In brackets 95 % intervals.\n"
    )


def _stored(path: epath.Path, decision: dict[str, Any]) -> Scores | None:
    """The scores of an earlier call, if the same checkpoint made them for the same clip scores."""
    if not path.exists():
        return None
    scores = score_file.read(path)
    same = decision.get("step") is not None and scores.header.get("step") == decision["step"]
    return scores if same and score_file.rule_of(scores) == _rule(decision) else None


def _rule(decision: dict[str, Any]) -> str:
    """How clips were scored when the threshold was chosen, and so must be now."""
    return decision.get("clip_score", "mean")


def _score(
    config: Any, restored: tuple, name: str, split_name: str, data_dir: epath.PathLike | None, rule: str
) -> Scores:
    dataset, _, config_name = name.partition("/")
    words = (dataset, None, data_dir, config_name or None)
    directory = process.in_turn("prepared", lambda: prepare.prepare(*words))
    if split_name not in (names := sources.split_names(directory)):
        raise InputError(f"{name} has no {split_name} split, only {names}")
    split = sources.open_split(directory, split_name)
    sources.check_media(split, models.input_of(config.model.name, config.model.kwargs).modality)
    return detector.score_split(config, restored, split, {"clip_score": rule})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m dfjax.evaluate", description="One detector on many datasets.")
    result.add_argument("--workdir", required=True, help="a finished run")
    result.add_argument("--datasets", required=True, help="names, or name/config, separated by commas")
    result.add_argument("--data_dir", help="where prepared datasets lie (default ~/tensorflow_datasets)")
    result.add_argument(
        "--split", default="test", choices=("test", "validation"), help="of each dataset (default test)"
    )
    result.add_argument("--json", action="store_true", help="print one JSON line per dataset")
    return result


def main() -> None:
    """Evaluates and prints the table."""
    flags = parser().parse_args()
    process.use_all_cores()
    process.connect()
    names = [name.strip() for name in flags.datasets.split(",") if name.strip()]
    if not names:
        raise InputError("--datasets names nothing; give names separated by commas")
    rows = evaluate(flags.workdir, names, data_dir=flags.data_dir, split=flags.split, progress=not flags.json)
    if not process.first_process():
        return
    if flags.json:
        for line in rows:
            print(json.dumps(line, allow_nan=False))
    else:
        print((epath.Path(flags.workdir) / "evaluation.md").read_bytes().decode(), end="")


if __name__ == "__main__":
    cli.main(main)
