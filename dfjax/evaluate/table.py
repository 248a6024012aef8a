"""The cross-dataset table: every dataset scored once, and judged at the threshold that the run decided on."""

from collections.abc import Mapping
from typing import Any

import tqdm
from etils import epath

from dfjax.decide import clip_score, score_file
from dfjax.decide.score_file import Scores
from dfjax.evaluate import prepared, subject
from dfjax.inference import trained
from dfjax.reporting import cross_dataset
from dfjax.runtime import files, process, workdir
from dfjax.runtime.strict_json import plain


def make(
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
      What `reporting.cross_dataset.row` returns, in the order of `datasets`, and `shared`, see `subject.in_common`.

    Raises:
      InputError: no finished run, an unknown or unprepared dataset, one of the other modality; see `subject.read`; or
        the split that the threshold was tuned on, before anything is scored.
    """
    about, progress = subject.read(folder, out), progress and process.first_process()
    decision, own = about.decision, about.own
    subject.check_splits(about, datasets, split, data_dir)
    network, rows, found = None, [], []
    for name in datasets:  # all that is wrong with any comes before the first is scored
        data = prepared.content_hash(name, data_dir, own)
        stem = name.replace("/", "-")
        if data and own.get(name, data) != data:  # the run's own scores of a dataset of this name are of other data
            stem += f"-{data}"
        path = about.place / "scores" / f"{stem}.{split}.csv"
        scores = _stored(path, decision, data, own.get(name), about.sealed)
        opened = prepared.open_split(about.modality, name, split, data_dir) if scores is None else None
        found.append((name, data, path, scores, opened))
    for name, data, path, scores, opened in tqdm.tqdm(found, unit="dataset", desc="evaluate", disable=not progress):
        if scores is None:
            network = network or trained.restore(about.folder, decision.get("step"))
            scores = trained.score_split(network, opened, {"clip_score": about.rule, "data": data, **about.sealed})
            if process.first_process():
                score_file.write(path, scores)
            process.barrier("scored")  # the others look for this file only when it is whole
        row = cross_dataset.row(name, scores, decision, trained=subject.trained_on(about, name, data))
        rows.append(row | {"shared": subject.in_common(about, name, data)})
    rows = plain(rows)
    workdir.write_json(about.place / "evaluation.json", rows)
    if process.first_process():
        files.write(about.place / "evaluation.md", cross_dataset.markdown(rows, decision, split))
    process.barrier("evaluated")
    return rows


def _stored(
    path: epath.Path, decision: dict[str, Any], data: str | None, own: str | None, sealed: Mapping[str, str] = {}
) -> Scores | None:
    """The scores of an earlier call, if the same checkpoint made them of the same data for the same clip scores.

    Args:
      path: of the score file.
      decision: of the run.
      data: content hash of the dataset; of one that is gone, None, and what was scored stands.
      own: that of the dataset that the run itself has scored, whose files do not say it.
      sealed: of a `Subject`: a bundle's detector is known by its weights, a run's by its checkpoint's step.
    """
    if not path.exists():
        return None
    scores = score_file.read(path)
    made = sealed or {"step": decision.get("step")}
    same = all(value is not None and scores.header.get(key) == value for key, value in made.items())
    same &= data is None or scores.header.get("data", own) == data
    return scores if same and score_file.rule_of(scores) == clip_score.rule_of(decision) else None
