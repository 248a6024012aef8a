"""One detector on many datasets: the cross-dataset table, at the threshold that the run decided on.

    python -m dfjax.evaluate --workdir runs/audio_focal --datasets asvspoof2019_la,fake_or_real

Thresholds and calibration rarely travel as well as ranking does; the table shows both. With `--split validation`
the scores can be tuned on: python -m dfjax.tune --workdir runs/audio_focal --dataset fake_or_real

    python -m dfjax.evaluate --workdir runs/audio_focal --datasets fake_or_real --corruptions all

The robustness table: the same clips after codecs, telephone lines, noise, rooms (or JPEG, H.264, blur, ...). The
detector that comes with dfjax is sealed, and nothing is written into its folder: `--out DIR` takes tables and scores.
"""

import argparse
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from etils import epath

from dfjax import models, prepare
from dfjax.data import sources
from dfjax.decide import operating_points, score_file
from dfjax.decide.decision import read_decision
from dfjax.decide.score_file import Scores
from dfjax.inference import bundle, trained
from dfjax.inference import robustness as grid
from dfjax.media import corruptions
from dfjax.records import FAKE, REAL, InputError
from dfjax.reporting import figures, report
from dfjax.reporting import robustness as robustness_report
from dfjax.reporting.markdown import escape, number, percent, table
from dfjax.runtime import cli, files, process, workdir
from dfjax.runtime.strict_json import plain

HEADS = ["dataset", "real", "fake", "AUC", "EER", "recall at 0.5", "recall", "false alarms", "precision", "F1"]
CLIPS = 400  # of each dataset under a corruption


def evaluate(
    folder: epath.PathLike,
    datasets: list[str],
    *,
    out: epath.PathLike | None = None,
    data_dir: epath.PathLike | None = None,
    split: str = "test",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """A row per dataset; score files, evaluation.json and evaluation.md are left in the workdir.

    Args:
      folder: a finished run, or the folder of a detector that comes with dfjax.
      datasets: names of prepared datasets, or name/config.
      out: of the folder of such a detector, which is sealed: where the files are left instead.
      data_dir: where prepared datasets lie.
      split: which split of each; the one that the threshold was tuned on is refused.
      progress: whether to show progress.

    Returns:
      What `row` returns, in the order of `datasets`.

    Raises:
      InputError: no finished run, an unknown or unprepared dataset, one of the other modality; see `_place`; or the
        split that the threshold was tuned on, before anything is scored.
    """
    config = _experiment(folder)
    folder, progress = epath.Path(folder), progress and process.first_process()
    place, sealed = _place(folder, out)
    decision = read_decision(folder / "decision.json")
    own = _trained_on(folder, config)
    _check_splits(decision, datasets, split, data_dir, own, config.data.dataset)
    modality = models.input_of(config.model.name, config.model.kwargs).modality
    network, rows, found = None, [], []
    for name in datasets:  # all that is wrong with any comes before the first is scored
        data = _content_hash(name, data_dir, own)
        stem = name.replace("/", "-")
        if data and own.get(name, data) != data:  # the run's own scores of a dataset of this name are of other data
            stem += f"-{data}"
        path = place / "scores" / f"{stem}.{split}.csv"
        scores = _stored(path, decision, data, own.get(name), sealed)
        opened = _open(modality, name, split, data_dir) if scores is None else None
        found.append((name, data, path, scores, opened))
    for name, data, path, scores, opened in tqdm.tqdm(found, unit="dataset", desc="evaluate", disable=not progress):
        if scores is None:
            network = network or trained.restore(folder, decision.get("step"))
            scores = trained.score_split(network, opened, {"clip_score": _rule(decision), "data": data, **sealed})
            if process.first_process():
                score_file.write(path, scores)
            process.barrier("scored")  # the others look for this file only when it is whole
        rows.append(row(name, scores, decision, trained=(data or own.get(name)) in own.values()))
    rows = plain(rows)
    workdir.write_json(place / "evaluation.json", rows)
    if process.first_process():
        files.write(place / "evaluation.md", markdown(rows, decision, split))
    process.barrier("evaluated")
    return rows


def row(name: str, scores: Scores, decision: dict[str, Any], *, trained: bool) -> dict[str, Any]:
    """What the decision is worth on these scores, clip by clip, with 95 % bootstrap intervals.

    Returns:
      dataset, trained (whether the detector was trained on its training split), real, fake, unit (what the
      bootstrap redraws), auc, average_precision, eer, `half` and `tuned` (see `operating_points.points`; tuned is
      None without a threshold) each with `false_alarms`. Undefined numbers are NaN.

    Raises:
      InputError: the threshold was tuned on this split, or no clip has a known label.
    """
    report.check_other_split(decision, scores.header)
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
    """The table, ready to paste: `rows` as `evaluate` returns them, of a `split`, judged by a run's `decision`."""
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
    known = ""
    if value is not None and decision.get("domains") and any(r["trained"] for r in rows):
        noun = decision["domains"]["noun"]
        known = f" Clips of what it was trained on chose the threshold, too, scored by trainings without their {noun}."
    return (
        f"{table(HEADS, lines)}\n\nClips of the {split} splits; threshold {chosen}"
        f"{'' if value is None else f', {escape(where)}'}. In brackets 95 % intervals.{known}\n"
    )


def robustness(
    folder: epath.PathLike,
    datasets: Sequence[str],
    kinds: Sequence[str] = ("all",),
    *,
    strengths: Sequence[int] = corruptions.STRENGTHS,
    clips: int = CLIPS,
    out: epath.PathLike | None = None,
    data_dir: epath.PathLike | None = None,
    split: str = "test",
    progress: bool = True,
) -> dict[str, Any]:
    """The robustness table: what the run's threshold is worth after corruptions that it has not been chosen on.

    Leaves robustness.json, robustness.md, figures/robustness.png and a score file per kind and strength in the workdir;
    the same call continues one that was killed.

    Args:
      folder: a finished run, or the folder of a detector that comes with dfjax.
      datasets: names of prepared datasets, or name/config.
      kinds: names in `dfjax.media.corruptions`, or 'all' for those of the detector's modality.
      strengths: out of 1 to 5.
      clips: a random but fixed choice of so many clips of each dataset, half of them fake if there are; 0 for all.
      out: of the folder of such a detector, which is sealed: where the files are left instead.
      data_dir: where prepared datasets lie.
      split: which split of each; the one that the threshold was tuned on is refused.
      progress: whether to show progress.

    Returns:
      threshold, split, clips (as asked for), left_out (lines), kinds (kind -> strength -> level) and datasets, each
      with dataset, trained, clean and kinds (kind -> strength), of what `reporting.robustness.judge` returns.

    Raises:
      InputError: no finished run or no threshold, an unknown dataset, kind or strength, one of the other modality; see
        `_place`; or the split that the threshold was tuned on, before anything is scored.
    """
    config = _experiment(folder)
    folder, progress = epath.Path(folder), progress and process.first_process()
    place, sealed = _place(folder, out)
    decision = read_decision(folder / "decision.json")
    if report.threshold(decision) is None:
        raise InputError(
            f"{folder} has no usable threshold ({decision['status']}); "
            f"tune one: python -m dfjax.tune --workdir {folder}"
        )
    own = _trained_on(folder, config)
    _check_splits(decision, datasets, split, data_dir, own, config.data.dataset)
    if wrong := [k for k in strengths if k not in corruptions.STRENGTHS]:
        raise InputError(f"strength {wrong[0]} does not exist; expected some of {list(corruptions.STRENGTHS)}")
    if clips < 0 or clips == 1:
        raise InputError(f"{clips} clips show nothing; expected two or more, or 0 for all")
    modality = models.input_of(config.model.name, config.model.kwargs).modality
    for name in datasets:  # all that is wrong with any comes before the first is scored
        clean = place / "scores" / f"{name.replace('/', '-')}.{split}.clean.csv"
        if _content_hash(name, data_dir, own) or not clean.exists():  # of one that is gone, what was scored stands
            _open(modality, name, split, data_dir)
    table, left_out = corruptions.named(kinds, modality)
    every, found = grid.cases(table, sorted(set(strengths))), []
    with tqdm.tqdm(total=len(datasets) * len(every), unit="case", desc="evaluate", disable=not progress) as bar:
        for name in datasets:
            cells: dict[str, dict[str, Any]] = {}
            data = _content_hash(name, data_dir, own)
            scored = grid.score(
                folder,
                name,
                every,
                out=place,
                step=None if sealed else decision["step"],
                sealed=sealed,
                rule=_rule(decision),
                clips=clips,
                split_name=split,
                data=data,
                open_split=functools.partial(_open, modality, name, split, data_dir),
            )
            for case, scores in scored:
                cells.setdefault(case.kind, {})[str(case.strength)] = robustness_report.judge(scores, decision)
                bar.update()
            clean = cells.pop("")["0"]
            found.append(
                {"dataset": name, "trained": (data or own.get(name)) in own.values(), "clean": clean, "kinds": cells}
            )
    levels = {kind: {str(k): what.level(k) for k in sorted(set(strengths))} for kind, what in table.items()}
    about = {"threshold": report.threshold(decision), "split": split, "clips": clips, "left_out": left_out}
    result = plain(about | {"kinds": levels, "datasets": found})
    workdir.write_json(place / "robustness.json", result)
    if process.first_process():
        files.write(place / "robustness.md", robustness_report.markdown(result))
        picture = figures.png(functools.partial(robustness_report.figure, result))
        files.write(place / "figures" / "robustness.png", picture)
    process.barrier("evaluated")
    return result


def _experiment(folder: epath.PathLike) -> Any:
    """The experiment of a run or of the detector that comes with dfjax; raises InputError where there is none."""
    try:
        return workdir.read_config(folder)
    except InputError as error:
        if epath.Path(folder).exists() and bundle.is_bundle(str(folder)):
            raise InputError(
                f"{folder} is a bundle of dfjax.export, which holds no experiment; give the --workdir of the run "
                "that it was made of"
            ) from error
        raise


def _place(folder: epath.Path, out: epath.PathLike | None) -> tuple[epath.Path, dict[str, str]]:
    """Where scores and tables go, and what names a detector that comes with dfjax in score files: its weights' digest.

    Raises:
      InputError: such a detector is damaged or was altered, or no place is given beside it, or that of another; or one
        is given for a run, whose tables lie beside its own scores.
    """
    if not bundle.is_bundle(str(folder)):
        if out is not None:
            raise InputError(f"--out is of a bundle, which is sealed; tables of the run {folder} go into it")
        return folder, {}
    weights = bundle.read(str(folder)).json(bundle.ABOUT)["weights"]
    if out is None:
        raise InputError(f"{folder} is a bundle, which stays as it was sealed; give --out DIR for tables and scores")
    if any((epath.Path(out) / name).exists() for name in ("config.json", bundle.MANIFEST)):
        raise InputError(f"--out {out} holds a run or a bundle; give another folder")
    return epath.Path(out), {"weights": weights}


def _check_splits(
    decision: dict[str, Any],
    datasets: Sequence[str],
    split: str,
    data_dir: epath.PathLike | None,
    own: Mapping[str, str],
    together: str,
) -> None:
    """Raises InputError when the threshold was tuned on this split of one of the datasets, NAME or NAME/CONFIG.

    `own` is what `_trained_on` returned; `together` is what those datasets are called where they are one split.
    """
    for name in datasets:
        trained = (_content_hash(name, data_dir, own) or own.get(name)) in own.values()
        for called in {name.partition("/")[0], *([together] if trained else [])}:
            report.check_other_split(decision, {"dataset": called, "split": split})


def _trained_on(folder: epath.Path, config: Any) -> dict[str, str]:
    """Name -> content hash of the prepared datasets that a run was trained on."""
    path = folder / "environment.json"
    facts = json.loads(path.read_text()) if path.exists() else {}
    each = facts.get("datasets") or [{"name": config.data.dataset} | facts.get("dataset", {})]
    return {one["name"]: one["hash"] for one in each if "hash" in one}


def _stored(
    path: epath.Path, decision: dict[str, Any], data: str | None, own: str | None, sealed: Mapping[str, str] = {}
) -> Scores | None:
    """The scores of an earlier call, if the same checkpoint made them of the same data for the same clip scores.

    Args:
      path: of the score file.
      decision: of the run.
      data: content hash of the dataset; of one that is gone, None, and what was scored stands.
      own: that of the dataset that the run itself has scored, whose files do not say it.
      sealed: what `_place` returned: a bundle's detector is known by its weights, a run's by its checkpoint's step.
    """
    if not path.exists():
        return None
    scores = score_file.read(path)
    made = sealed or {"step": decision.get("step")}
    same = all(value is not None and scores.header.get(key) == value for key, value in made.items())
    same &= data is None or scores.header.get("data", own) == data
    return scores if same and score_file.rule_of(scores) == _rule(decision) else None


def _rule(decision: dict[str, Any]) -> str:
    """How clips were scored when the threshold was chosen, and so must be now."""
    return decision.get("clip_score", "mean")


def _directory(name: str, data_dir: epath.PathLike | None) -> epath.Path:
    """The folder of a prepared dataset, NAME or NAME/CONFIG."""
    dataset, _, config_name = name.partition("/")
    words = (dataset, None, data_dir, config_name or None)
    return epath.Path(process.in_turn(lambda: prepare.prepare(*words)))


def _content_hash(name: str, data_dir: epath.PathLike | None, own: Mapping[str, str]) -> str | None:
    """Of a prepared dataset, in the way that the run has noted `own`, name -> hash; None where it is not there."""
    try:
        directory = _directory(name, data_dir)
    except InputError:
        return None
    found, before = (sources.content_hash(directory, sized=sized) for sized in (False, True))
    return before if before in own.values() else found


def _open(modality: str, name: str, split_name: str, data_dir: epath.PathLike | None) -> sources.Split:
    """The split of a prepared dataset, which must hold the media that a detector of `modality` judges."""
    directory = _directory(name, data_dir)
    if split_name not in (names := sources.split_names(directory)):
        raise InputError(f"{name} has no {split_name} split, only {names}")
    split = sources.open_split(directory, split_name)
    sources.check_media(split, modality)
    return split


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.evaluate", description="One detector on many datasets.")
    result.add_argument(
        "--workdir", required=True, help="a finished run, or the folder of the detector that comes with dfjax"
    )
    result.add_argument("--out", help="of that detector, which is sealed: the folder for tables and scores")
    result.add_argument("--datasets", required=True, help="names, or name/config, separated by commas")
    result.add_argument("--data_dir", help="where prepared datasets lie (default ~/tensorflow_datasets)")
    result.add_argument(
        "--split", default="test", choices=("test", "validation"), help="of each dataset (default test)"
    )
    result.add_argument("--corruptions", help="make the robustness table: all, or kinds separated by commas")
    result.add_argument("--strengths", help="of the corruptions (default 1,2,3,4,5)")
    result.add_argument(
        "--clips",
        type=int,
        help=f"how many of each dataset are corrupted, half of them fake if there are (default {CLIPS}; 0 for all)",
    )
    result.add_argument("--json", action="store_true", help="print one JSON line per dataset")
    return result


def main() -> None:
    """Evaluates and prints the table."""
    flags = parser().parse_args()
    process.use_all_cores()
    process.connect()
    names = _words(flags.datasets)
    if not names:
        raise InputError("--datasets names nothing; give names separated by commas")
    if flags.corruptions is None and (flags.strengths is not None or flags.clips is not None):
        raise InputError(
            f"--{'clips' if flags.strengths is None else 'strengths'} is of --corruptions; name some, or all"
        )
    if flags.corruptions is not None:
        _robustness(flags, names)
        return
    words = {"out": flags.out, "data_dir": flags.data_dir, "split": flags.split, "progress": not flags.json}
    rows = evaluate(flags.workdir, names, **words)
    if not process.first_process():
        return
    if flags.json:
        for line in rows:
            print(json.dumps(line, allow_nan=False))
    else:
        print((epath.Path(flags.out or flags.workdir) / "evaluation.md").read_bytes().decode(), end="")


def _robustness(flags: argparse.Namespace, names: list[str]) -> None:
    """Makes the robustness table and prints it."""
    strengths = _words("1,2,3,4,5" if flags.strengths is None else flags.strengths)
    if not strengths or not all(word.isdecimal() for word in strengths):
        raise InputError(f"--strengths {flags.strengths!r} are no numbers; expected some of 1,2,3,4,5")
    found = robustness(
        flags.workdir,
        names,
        _words(flags.corruptions),
        strengths=[int(word) for word in strengths],
        clips=CLIPS if flags.clips is None else flags.clips,
        out=flags.out,
        data_dir=flags.data_dir,
        split=flags.split,
        progress=not flags.json,
    )
    if not process.first_process():
        return
    for line in found["left_out"]:
        print(line, file=sys.stderr)
    if flags.json:
        about = {key: value for key, value in found.items() if key != "datasets"}
        for one in found["datasets"]:
            print(json.dumps(about | one | {"levels": found["kinds"]}, allow_nan=False))
    else:
        print((epath.Path(flags.out or flags.workdir) / "robustness.md").read_bytes().decode(), end="")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    cli.main(main)
