"""Prepared datasets, by the names that the command line gives them."""

from collections.abc import Mapping

from etils import epath
from tensorflow_datasets.core.constants import DATA_DIR

from dfjax import prepare
from dfjax.data import sources
from dfjax.records import InputError, SourceNeeded
from dfjax.runtime import process


def _directory(name: str, data_dir: epath.PathLike | None) -> epath.Path:
    """The folder of a prepared dataset, NAME or NAME/CONFIG; raises InputError where there is none."""
    dataset, _, config_name = name.partition("/")
    words = (dataset, None, data_dir, config_name or None)
    try:
        return epath.Path(process.in_turn(lambda: prepare.prepare(*words)))
    except SourceNeeded as error:
        there = ", ".join(f"{dataset}/{one}" for one in prepare.prepared(dataset, data_dir))
        ways = f"prepare it: python -m dfjax.prepare {dataset} --source DIR"
        ways = f"give one of {there} among --datasets" if there else ways
        where = f"{name} is not prepared in {data_dir or DATA_DIR}"
        raise InputError(f"{where}; {ways}, or the --data_dir where it lies") from error


def content_hash(name: str, data_dir: epath.PathLike | None, own: Mapping[str, str]) -> str | None:
    """Of a prepared dataset, in the way that the run has noted `own`, name -> hash; None where it is not there."""
    try:
        directory = _directory(name, data_dir)
    except InputError:
        return None
    found, before = (sources.content_hash(directory, sized=sized) for sized in (False, True))
    return before if before in own.values() else found


def open_split(modality: str, name: str, split_name: str, data_dir: epath.PathLike | None) -> sources.Split:
    """The split of a prepared dataset.

    Raises:
      InputError: there is no such dataset or split, or its media are not those that a detector of `modality` judges.
    """
    directory = _directory(name, data_dir)
    if split_name not in (names := sources.split_names(directory)):
        raise InputError(f"{name} has no {split_name} split, only {names}")
    split = sources.open_split(directory, split_name)
    sources.check_media(split, modality)
    return split
