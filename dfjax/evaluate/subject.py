"""What is evaluated: a run, or the detector that comes with dfjax, and where its scores and tables go."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from etils import epath

from data_builders import sharing
from dfjax import models
from dfjax.decide import clip_score
from dfjax.decide.decision import read_decision
from dfjax.evaluate import prepared
from dfjax.inference import bundle
from dfjax.records import InputError
from dfjax.reporting import report
from dfjax.runtime import workdir


@dataclasses.dataclass(frozen=True)
class Subject:
    """A detector with its decision, and what is known of the data that it was trained on."""

    folder: epath.Path
    place: epath.Path  # where scores and tables go
    sealed: dict[str, str]  # what names it in score files if it comes with dfjax, `weights`; of a run nothing
    modality: str
    decision: dict[str, Any]
    own: dict[str, str]  # name -> content hash of the prepared datasets that it was trained on
    together: str  # what those are called where they are one split

    @property
    def rule(self) -> str:
        """How clips were scored when the threshold was chosen, and so must be now."""
        return clip_score.rule_of(self.decision)


def read(folder: epath.PathLike, out: epath.PathLike | None) -> Subject:
    """A finished run, or the detector that comes with dfjax.

    Args:
      folder: of it.
      out: where scores and tables of the latter go, which is sealed.

    Raises:
      InputError: there is no experiment or no decision; see `_place`.
    """
    config, folder = _experiment(folder), epath.Path(folder)
    place, sealed = _place(folder, out)
    own, decision = report.data_of(folder, config.data.dataset), read_decision(folder / "decision.json")
    if decision.get("data") is None:  # a run's own scores do not say it
        decision["data"] = own.get(decision.get("dataset"))
    return Subject(
        folder=folder,
        place=place,
        sealed=sealed,
        modality=models.input_of(config.model.name, config.model.kwargs).modality,
        decision=decision,
        own=own,
        together=config.data.dataset,
    )


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


def trained_on(subject: Subject, name: str, data: str | None) -> bool:
    """Whether the detector was trained on a dataset, NAME or NAME/CONFIG, of this content hash (None: it is gone).

    Of released weights the name alone is known.
    """
    if not subject.own:
        return name.partition("/")[0] == subject.together
    return (data or subject.own.get(name)) in subject.own.values()


def in_common(subject: Subject, name: str, data: str | None) -> list[str]:
    """What a dataset that it was not trained on, NAME or NAME/CONFIG, is made of as are those that it was trained on.

    That is collections of recordings or pictures, or the same download, split in another way. Of one's own folders
    nothing is known.
    """
    dataset, found = name.partition("/")[0], set()
    if trained_on(subject, name, data):
        return []
    for other in (one.partition("/")[0] for one in subject.own or [subject.together]):
        if other == dataset and not dataset.startswith("folder_"):
            found.add("the same download")
        elif other != dataset:
            found |= set(sharing.shared(other, dataset))
    return sorted(found)


def check_splits(subject: Subject, datasets: Sequence[str], split: str, data_dir: epath.PathLike | None) -> None:
    """Raises InputError when the threshold was tuned on this split of one of the datasets, NAME or NAME/CONFIG."""
    for name in datasets:
        data = prepared.content_hash(name, data_dir, subject.own)
        for called in {name.partition("/")[0], *([subject.together] if trained_on(subject, name, data) else [])}:
            report.check_other_split(subject.decision, {"dataset": called, "split": split, "data": data})
