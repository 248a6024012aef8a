"""The robustness table: the same clips after corruptions, judged at the threshold that the run decided on."""

import functools
from collections.abc import Sequence
from typing import Any

import tqdm
from etils import epath

from dfjax.evaluate import prepared, subject
from dfjax.inference import robustness as grid
from dfjax.media import corruptions
from dfjax.records import InputError
from dfjax.reporting import figures, report, robustness
from dfjax.runtime import files, process, workdir
from dfjax.runtime.strict_json import plain

CLIPS = 400  # of each dataset


def make(
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
        `subject.read`; or the split that the threshold was tuned on, before anything is scored.
    """
    about, progress = subject.read(folder, out), progress and process.first_process()
    decision = about.decision
    if report.threshold(decision) is None:
        raise InputError(
            f"{folder} has no usable threshold ({decision['status']}); "
            f"tune one: python -m dfjax.tune --workdir {folder}"
        )
    subject.check_splits(about, datasets, split, data_dir)
    if wrong := [k for k in strengths if k not in corruptions.STRENGTHS]:
        raise InputError(f"strength {wrong[0]} does not exist; expected some of {list(corruptions.STRENGTHS)}")
    if clips < 0 or clips == 1:
        raise InputError(f"{clips} clips show nothing; expected two or more, or 0 for all")
    for name in datasets:  # all that is wrong with any comes before the first is scored
        clean = about.place / "scores" / f"{name.replace('/', '-')}.{split}.clean.csv"
        # of one that is gone, what was scored stands
        if prepared.content_hash(name, data_dir, about.own) or not clean.exists():
            prepared.open_split(about.modality, name, split, data_dir)
    table, left_out = corruptions.named(kinds, about.modality)
    every, found = grid.cases(table, sorted(set(strengths))), []
    with tqdm.tqdm(total=len(datasets) * len(every), unit="case", desc="evaluate", disable=not progress) as bar:
        for name in datasets:
            cells: dict[str, dict[str, Any]] = {}
            data = prepared.content_hash(name, data_dir, about.own)
            scored = grid.score(
                about.folder,
                name,
                every,
                out=about.place,
                step=None if about.sealed else decision["step"],
                sealed=about.sealed,
                rule=about.rule,
                clips=clips,
                split_name=split,
                data=data,
                open_split=functools.partial(prepared.open_split, about.modality, name, split, data_dir),
            )
            for case, scores in scored:
                cells.setdefault(case.kind, {})[str(case.strength)] = robustness.judge(scores, decision)
                bar.update()
            clean, known = cells.pop("")["0"], subject.trained_on(about, name, data)
            found.append({"dataset": name, "trained": known, "clean": clean, "kinds": cells})
    levels = {kind: {str(k): what.level(k) for k in sorted(set(strengths))} for kind, what in table.items()}
    said = {"threshold": report.threshold(decision), "split": split, "clips": clips, "left_out": left_out}
    result = plain(said | {"kinds": levels, "datasets": found})
    workdir.write_json(about.place / "robustness.json", result)
    if process.first_process():
        files.write(about.place / "robustness.md", robustness.markdown(result))
        picture = figures.png(functools.partial(robustness.figure, result))
        files.write(about.place / "figures" / "robustness.png", picture)
    process.barrier("evaluated")
    return result
