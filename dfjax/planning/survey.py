"""What a folder holds, or a dataset by its name: all that is there, each counted, and what is wrong with any."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from etils import epath
from tensorflow_datasets.core.constants import DATA_DIR

import data_builders
from data_builders import finding
from dfjax.planning import advice
from dfjax.planning.counting import of_found, of_prepared, of_source
from dfjax.records import InputError
from dfjax.reporting.audit import AUDITED
from dfjax.runtime import files

LEVELS = 4  # of folders between the one given and a prepared dataset: name/config/version


def collect(
    what: str,
    source: epath.PathLike | None = None,
    data_dir: epath.PathLike | None = None,
    config_name: str | None = None,
    audited: int = AUDITED,
) -> list[dict[str, Any]]:
    """The statistics of one dataset by name, or of all datasets in a folder.

    Args:
      what: a key of DATASETS; or a folder with prepared datasets, or with media in folders named like
        DATASETS.
      source: the media of the dataset `what`, counted before preparation.
      data_dir: where prepared datasets lie; default TFDS_DATA_DIR or ~/tensorflow_datasets.
      config_name: of the dataset `what`; without it, its first config before and all configs after
        preparation.
      audited: clips that the shortcut audit reads; 0 leaves it out.

    Raises:
      InputError: there is nothing to count.
    """
    if what not in data_builders.DATASETS:
        folder = epath.Path(what).expanduser()
        if not folder.is_dir():
            raise InputError(f"Unknown dataset or folder {what!r}; expected one of {sorted(data_builders.DATASETS)}")
        return _collect_folder(folder, audited)
    data_dir = epath.Path(data_dir or DATA_DIR).expanduser()
    found = [] if source is None else [of_source(what, source, config_name, audited)]
    prepared = prepared_below(data_dir / what) if (data_dir / what).is_dir() else []
    found += [of_prepared(path, audited) for path in prepared if config_name in (None, path.parent.name)]
    if not found:
        raise InputError(f"{what} is not prepared in {data_dir}; give --source with the media, or another --data_dir")
    return found


def _collect_folder(folder: epath.Path, audited: int) -> list[dict[str, Any]]:
    if files.remote(folder):
        return [of_prepared(path, audited) for path in prepared_below(folder)]
    found = of_folder(folder, audited)
    if not found["datasets"]:
        why = f" ({'; '.join(found['problems'][:3])})" if found["problems"] else ""
        raise InputError(
            f"{folder} holds no prepared dataset and none of {sorted(data_builders.DATASETS)} at most "
            f"{finding.DEPTH} levels down{why}; for media elsewhere give NAME --source DIR"
        )
    return found["datasets"]


def of_folder(folder: epath.PathLike, audited: int = AUDITED, *, measured: bool = True) -> dict[str, Any]:
    """Everything in a folder: datasets counted before or after preparation, archives, and what is wrong with any.

    Args:
      folder: a local one; see `data_builders.finding`.
      audited: clips that the shortcut audit reads; 0 leaves it out.
      measured: whether some files of each dataset are prepared, to say what its preparation will cost.

    Returns:
      root, datasets (as `of_source` and `of_prepared` count them, each with `advice`, see `planning.advice`; those
      before preparation with `either` and `notes`, see `finding.Found`), archives, problems (a line each).

    Raises:
      InputError: the folder is none, or may not be read.
    """
    found = finding.find(folder)
    datasets, problems = [], list(found.problems)
    for path in found.prepared:
        try:
            datasets.append(of_prepared(path, audited))
        except InputError as error:
            problems.append(str(error))
    for one in found.usable:
        of_configs, wrong = of_found(one, audited, measured=measured)
        problems += wrong
        datasets += [facts | {"either": list(one.either), "notes": list(one.notes)} for facts in of_configs.values()]
    for facts in datasets:
        facts["advice"] = advice.advise(facts, datasets)
    return {
        "root": found.root,
        "datasets": datasets,
        "archives": [dataclasses.asdict(archive) for archive in found.archives],
        "problems": problems,
    }


def prepared_below(folder: epath.Path, levels: int = LEVELS) -> Iterator[epath.Path]:
    """The complete prepared datasets at or below a folder, sorted."""
    if (folder / "dataset_info.json").exists():
        yield folder
    elif levels:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and path.name != "downloads":
                yield from prepared_below(path, levels - 1)
