"""Prepared datasets on disk: open a split, know its labels without decoding, read records at random.

A prepared dataset is a TFDS folder of ArrayRecord files with `index.<split>.npz` beside them (labels, ids, groups,
clips, methods in record order), written by `dfjax.prepare`.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epath
from jaxtyping import Bool, Int, Shaped

from dfjax.data.parsing import parse
from dfjax.decide.score_file import Scores
from dfjax.records import FAKE, LABEL_NAMES, MAX_SAMPLES, MEDIA, PARTS, REAL, SUBGROUPS, UNKNOWN, InputError
from dfjax.runtime.files import local_copy

Directory = epath.PathLike | Mapping[str, epath.PathLike]  # of a prepared dataset, or of several by name
COLUMNS = ("label", "id", "clip", "group", "method", "domain", "of")  # of a Split, in record order
BY = {"domain": "domain", "method": "method", "dataset": "of"}  # what can be left out -> the column that tells it
BUFFER = 32_768  # bytes read of a file at once, as array_record's own source does
READ_AHEAD = 256  # records per read: large enough to amortise, small enough to keep memory flat


class Rows:
    """Some rows of records, in an order of their own; still read at random."""

    def __init__(self, records: Any, rows: Int[np.ndarray, " rows"]):
        self._records, self._rows = records, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict:
        return self._records[int(self._rows[row])]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        return self._records.__getitems__([int(self._rows[row]) for row in rows])


class Chained:
    """The records of several datasets, one after another."""

    def __init__(self, parts: list[Any]):
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _place(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._ends, row, side="right"))
        return part, row - int(self._ends[part - 1] if part else 0)

    def __getitem__(self, row: int) -> dict:
        part, at = self._place(row)
        return self._parts[part][at]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        found: list[Any] = [None] * len(rows)
        places = [self._place(row) for row in rows]
        for part in sorted({part for part, _ in places}):
            wanted = [i for i, (of, _) in enumerate(places) if of == part]
            read = self._parts[part].__getitems__([places[i][1] for i in wanted])
            for i, record in zip(wanted, read, strict=True):
                found[i] = record
        return found


class Shards:
    """The bytes of the records in ArrayRecord files, one file after another; read at random, by several threads."""

    def __init__(self, files: list[str], lengths: list[int]):
        """`files` hold `lengths` records each; one is opened when it is first read from."""
        self._files, self._ends, self._lengths = files, np.cumsum(lengths), lengths
        self._readers: dict[int, Any] = {}  # of array_record

    def read(self, rows: list[int]) -> list[bytes]:
        """The records of these rows, in their order. A damaged file raises what riegeli, its reader, does."""
        found: list[Any] = [None] * len(rows)
        shards = np.searchsorted(self._ends, rows, side="right")
        for shard in sorted(set(shards.tolist())):
            wanted = np.flatnonzero(shards == shard).tolist()
            first = int(self._ends[shard]) - self._lengths[shard]
            read = self._reader(shard).read([rows[i] - first for i in wanted])
            for i, data in zip(wanted, read, strict=True):
                found[i] = data
        return found

    def _reader(self, shard: int) -> Any:
        if shard not in self._readers:
            from array_record.python.array_record_module import ArrayRecordReader

            words = {"options": "readahead_buffer_size:0", "file_reader_buffer_size": BUFFER}
            self._readers[shard] = ArrayRecordReader(self._files[shard], **words)
        return self._readers[shard]

    def where(self, row: int) -> str:
        """The file of a row, and its place there."""
        shard = int(np.searchsorted(self._ends, row, side="right"))
        return f"{self._files[shard]}, record {row - int(self._ends[shard]) + self._lengths[shard]}"


class Records:
    """Random access to the records of one split; damage is an InputError with the file, whatever the reader raises."""

    def __init__(self, shards: Shards, labels: np.ndarray):
        """`labels` is what the index says of every row."""
        self._shards, self._labels = shards, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> dict:
        try:
            record = parse(self._shards.read([row])[0])
        except Exception as error:  # riegeli, protobuf and numpy each have their own
            raise InputError(f"{self._shards.where(row)} cannot be read ({_first_line(error)}); {AGAIN}") from error
        self._check(row, record)
        return record

    def __getitems__(self, rows: list[int]) -> list[dict]:
        try:
            records = [parse(data) for data in self._shards.read(rows)]
        except Exception:  # one of them is damaged: reading one by one says which
            return [self[row] for row in rows]
        for row, record in zip(rows, records, strict=True):
            self._check(row, record)
        return records

    def _check(self, row: int, record: dict) -> None:
        label = record.get("label")
        if label != self._labels[row]:
            raise InputError(
                f"{self._shards.where(row)} has label {label}, the index says {self._labels[row]}; {AGAIN}"
            )
        if "audio" in record and not 0 < len(record["audio"]) <= MAX_SAMPLES:
            raise InputError(
                f"{self._shards.where(row)} has {len(record['audio'])} samples; expected 1 to {MAX_SAMPLES}; {AGAIN}"
            )


AGAIN = "delete the prepared dataset and prepare it again"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a prepared dataset; every array is in record order."""

    name: str
    dataset: str
    records: Any  # a random-access sequence of records
    label: np.ndarray  # int32
    id: np.ndarray
    clip: np.ndarray
    group: np.ndarray
    method: np.ndarray
    domain: np.ndarray  # where it was recorded or published
    of: np.ndarray  # the dataset of each record
    subgroups: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.label)


def open_split(directory: epath.PathLike, name: str) -> Split:
    """The split of a prepared dataset.

    Raises:
      InputError: the folder is no complete prepared dataset, or has no such split.
    """
    import tensorflow_datasets as tfds  # half a second, which a detector that judges files does without

    directory = local_copy(directory)
    try:
        builder = tfds.builder_from_directory(directory)
        with (directory / f"index.{name}.npz").open("rb") as file:
            index = dict(np.load(file, allow_pickle=False))
        info = builder.info.splits[name]
        files = [str(path) for path in info.filepaths]
    except MemoryError:
        raise
    except Exception as error:  # TFDS, protobuf, zipfile and numpy each have their own
        raise InputError(
            f"{directory} has no readable split {name!r} ({_first_line(error)}); delete it and prepare it again"
        ) from error
    if missing := [path for path in files if not epath.Path(path).exists()]:
        raise InputError(f"{missing[0]} is missing; {AGAIN}")
    if info.num_examples != len(index["labels"]):
        raise InputError(
            f"{directory}: {info.num_examples} records of {name} but an index of {len(index['labels'])}; delete it and "
            "prepare it again"
        )
    return Split(
        name=name,
        dataset=builder.name,
        records=Records(Shards(files, info.shard_lengths), index["labels"]),
        label=index["labels"].astype(np.int32),
        id=index["ids"],
        clip=index["clips"],
        group=index["groups"],
        method=index["methods"],
        domain=index.get("domains", np.full(len(index["ids"]), builder.name)),
        of=np.full(len(index["ids"]), builder.name),
        subgroups={field: index[field] for field in (*SUBGROUPS, *PARTS) if field in index},
    )


def open_data(data: ml_collections.ConfigDict, directory: Directory, name: str) -> Split:
    """The split that an experiment works on, without what `data.leave_out` says, an object of `by` and `value`.

    With a domain or dataset go the records of its groups in others: recordings of the same speakers, or fakes made from
    them, are no place where a detector has never been. Methods have their groups in common by design, so those stay.

    Args:
      data: `config.data` of the experiment.
      directory: the prepared dataset, or name -> folder of several.
      name: of the split.

    Raises:
      InputError: see `open_splits`.
    """
    directories = directory if isinstance(directory, Mapping) else {data.dataset: directory}
    split = open_splits(directories, name, data.dataset)
    if left_out := data.get("leave_out"):
        out = values_of(split, left_out.by) == left_out.value
        split = select(split, ~out if left_out.by == "method" else ~np.isin(split.group, split.group[out]))
    return split


def names_of(entries: Iterable[str]) -> dict[str, str]:
    """NAME or NAME/CONFIG of several datasets -> what each is known by where they are trained on together.

    That is NAME, of a user's folder CONFIG, and both where NAME is there twice.
    """
    parts = {entry: entry.partition("/")[::2] for entry in entries}
    times = collections.Counter(name for name, _ in parts.values())
    return {
        entry: config if config and name.startswith("folder_") else name if times[name] == 1 else entry
        for entry, (name, config) in parts.items()
    }


def open_splits(directories: Mapping[str, epath.PathLike], name: str, together: str) -> Split:
    """The split of several prepared datasets as one; the ids, clips and groups of each bear its name.

    Args:
      directories: name of a dataset -> its folder. A single one is as `open_split` opens it, but for its name.
      name: of the split; datasets without it are left out.
      together: what they are called, be there one or several, and with them the files of their scores.

    Raises:
      InputError: none of them has the split, or one cannot be read.
    """
    if len(directories) == 1:
        return dataclasses.replace(open_split(next(iter(directories.values())), name), dataset=together)
    parts = {
        dataset: open_split(directory, name)
        for dataset, directory in directories.items()
        if name in split_names(directory)
    }
    if not parts:
        raise InputError(f"none of {list(directories)} has a {name} split")
    columns: dict[str, Any] = {
        field: np.concatenate([np.char.add(f"{dataset}/", getattr(part, field)) for dataset, part in parts.items()])
        for field in ("id", "clip", "group")
    }
    for field in ("label", "method", "domain"):
        columns[field] = np.concatenate([getattr(part, field) for part in parts.values()])
    fields = [field for field in (*SUBGROUPS, *PARTS) if any(field in part.subgroups for part in parts.values())]
    empty = {dataset: np.full(len(part), "") for dataset, part in parts.items()}
    return Split(
        name=name,
        dataset=together,
        records=Chained([part.records for part in parts.values()]),
        of=np.repeat(list(parts), [len(part) for part in parts.values()]),
        subgroups={
            field: np.concatenate([part.subgroups.get(field, empty[dataset]) for dataset, part in parts.items()])
            for field in fields
        },
        **columns,
    )


def select(split: Split, rows: Bool[np.ndarray, " rows"]) -> Split:
    """The records of a split where `rows` is true, in record order."""
    kept = np.flatnonzero(rows)
    columns = {field: getattr(split, field)[kept] for field in COLUMNS}
    subgroups = {field: values[kept] for field, values in split.subgroups.items()}
    return dataclasses.replace(split, records=Rows(split.records, kept), subgroups=subgroups, **columns)


def values_of(split: Split, by: str) -> Shaped[np.ndarray, " rows"]:
    """What each record has for `by`, a key of BY; empty for a real record's method. Another key raises InputError."""
    if by not in BY:
        raise InputError(f"Unknown {by!r} to leave out by; expected one of {list(BY)}")
    return getattr(split, BY[by])


def split_names(directory: epath.PathLike) -> list[str]:
    """The splits that a prepared dataset holds; a folder that is none raises InputError."""
    import tensorflow_datasets as tfds

    try:
        return sorted(tfds.builder_from_directory(epath.Path(directory)).info.splits)
    except MemoryError:
        raise
    except Exception as error:  # TFDS and protobuf each have their own
        why = f"{type(error).__name__}: {_first_line(error)}"
        raise InputError(
            f"{directory} is a prepared dataset that cannot be read ({why}); remove it and prepare it again"
        ) from error


def content_hash(directory: epath.PathLike, *, sized: bool = False) -> str:
    """16 hex digits that change with a prepared dataset: with what its files are called, its indexes and its summary.

    They are the same for the same media prepared again, whose files of records have other paddings and so other sizes.

    Args:
      directory: of the prepared dataset.
      sized: whether the sizes of files count instead of the summary, as runs noted it until 27 November 2026.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(epath.Path(directory).iterdir()):
        digest.update(f"{path.name}\t{path.stat().length if sized else ''}\n".encode())
        if path.name.startswith("index.") or (path.name == "preparation.json" and not sized):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def known_rows(split: Split) -> np.ndarray:
    """Row numbers with a label; unknown ones are scored but never trained on."""
    return np.flatnonzero(split.label != UNKNOWN)


def labels(split: Split, modality: str) -> Int[np.ndarray, "rows ..."]:
    """What a detector learns of each record: its label; of audio-visual ones (rows, 3) whole, picture and sound."""
    if modality != "av":
        return split.label
    number = {name: label for label, name in enumerate(LABEL_NAMES)}
    parts = [[number.get(value, UNKNOWN) for value in split.subgroups[part].tolist()] for part in PARTS]
    return np.stack([split.label, *np.array(parts, np.int32)], axis=1)


def clip_counts(split: Split) -> dict[str, int]:
    """{'real', 'fake', 'groups'}: clips of each class, and the independent groups of both together."""
    clips = {label: len(set(split.clip[split.label == label].tolist())) for label in (REAL, FAKE)}
    return {"real": clips[REAL], "fake": clips[FAKE], "groups": len(set(split.group.tolist()))}


def subgroups_of_clips(split: Split) -> dict[str, dict[str, str]]:
    """Field -> clip -> value, for the fields that the dataset has filled in."""
    return {
        field: dict(zip(split.clip.tolist(), values.tolist(), strict=True))
        for field, values in split.subgroups.items()
        if any(values)
    }


def check_media(split: Split, modality: str) -> None:
    """Raises InputError unless the records hold what a detector of this modality takes."""
    if missing := [name for name in MEDIA[modality] if name not in split.records[0]]:
        raise InputError(f"{split.dataset} holds no {missing[0]}, which is what this detector judges")


def as_scores(split: Split, score: np.ndarray, header: dict) -> Scores:
    """Scores of all records of a split as a score file holds them.

    Args:
      split: an opened split.
      score: (rows,) logits in record order.
      header: what the file is to say beside dataset and split.
    """
    return Scores(
        id=split.id,
        clip=split.clip,
        group=split.group,
        label=split.label,
        method=split.method,
        score=score,
        header={"dataset": split.dataset, "split": split.name, **header},
    )
