"""What preparing a dataset will take on this machine: time, memory, disk; and what reading its records takes.

Told by preparing some of its own files, as `dfjax.prepare` does it: 2, then 8, 32 and 128 of them, in a folder that is
removed. What the last of these preparations took beyond the one before it grows with the files; the rest is paid once.
"""

import collections
import math
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from data_builders import indexing, preparing
from data_builders.indexing import Item, Items
from dfjax import prepare
from dfjax.data import sources
from dfjax.media import decoding, properties
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE, InputError
from dfjax.runtime import workers

FILES = (2, 8, 32, 128)  # that are prepared, one after the other ...
SECONDS = 2.0  # ... until they have taken so long ...
ALONE = 30.0  # ... or the first one so long that what is paid once no longer matters in it
READ = 16  # records of each split of which reading and describing are timed
SIDE = 128  # pixels, to which pictures are read
HEADERS = 2_000  # sounds whose length is read in their header
DOMAINS = 3  # of the training data that are told, at most
BASE_MEMORY = 600 << 20  # bytes of a process that has imported everything
WORKER_MEMORY = 150 << 20  # bytes of a process that decodes


def preparation(builder: preparing.MediaBuilder, items: Sequence[Item]) -> dict[str, Any]:
    """What preparing a dataset will take, and what reading it takes afterwards.

    Args:
      builder: of the dataset.
      items: all of its files.

    Returns:
      files, sampled, unreadable (of those sampled), seconds (of all files), records, read (seconds in which a picture
      is decoded; 0 of sound), described (seconds in which the properties of a record are measured), lengths (split ->
      seconds of sound, rounded up -> records, of those whose headers were read), domains (DOMAINS at most of the
      training data), disk (bytes of the records; twice that while they are made) and memory (bytes at most). All but
      files and sampled are None where no file of the sample could be decoded.
    """
    some, took, found, sampled = spread(items), {}, None, 0
    with tempfile.TemporaryDirectory(prefix="dfjax-") as folder:
        for count in FILES:
            sampled = min(count, len(some))
            began = time.perf_counter()
            found = _prepared(builder, some[:sampled], pathlib.Path(folder, str(count))) or found
            took[sampled] = time.perf_counter() - began
            before = max((count for count in took if count < sampled), default=0)
            longer = before and took[sampled] > took[before]  # else the first has paid for what the others found
            if sampled == len(some) or sum(took.values()) > (SECONDS if longer else ALONE):
                break
        sample = _read(*found) if found else None
    told = {"files": len(items), "sampled": sampled}
    if sample is None:
        rest = ("unreadable", "seconds", "records", "read", "described", "lengths", "domains", "disk", "memory")
        return told | dict.fromkeys(rest)
    each = max(0.0, took[sampled] - took.get(before, 0.0)) / (sampled - before)
    usable = len(items) * len(sample["sizes"]) / sample["files"]
    looked = spread(items, HEADERS)
    return told | {
        "unreadable": sample["files"] - len(sample["sizes"]),
        "seconds": took[sampled] + each * (len(items) - sampled),
        "records": round(usable * sample["records"] / len(sample["sizes"])),
        "read": sample["read"],
        "described": sample["described"],
        "lengths": _lengths(looked) if builder.builder_config.modality == "audio" else {},
        "domains": sorted({item.domain for item in looked if item.split == "train"})[:DOMAINS],
        "disk": round(usable * np.mean(sample["sizes"])),
        "memory": BASE_MEMORY + workers.cores() * (WORKER_MEMORY + 4 * max(sample["sizes"])),
    }


def _prepared(builder: preparing.MediaBuilder, items: list[Item], folder: pathlib.Path):
    """(number of files, folder of the dataset) where these alone are prepared; None where none can be decoded."""
    part = type(builder)(data_dir=folder, config=builder.builder_config, progress=False)
    part.restrict(indexing.Index(builder.name, "sample", Items(items)))
    try:
        with prepare.quiet():
            part.download_and_prepare()
    except (InputError, workers.WorkerError):
        return None
    return len(items), epath.Path(part.data_dir)


def _read(files: int, directory: epath.Path) -> dict[str, Any]:
    """Of a prepared dataset of so many files: records, bytes by file, seconds to read and to describe a record."""
    sizes: collections.Counter[str] = collections.Counter()
    count, read, described = 0, [], []
    for name in sources.split_names(directory):
        split = sources.open_split(directory, name)
        for row, clip in enumerate(split.clip.tolist()):
            record = split.records[row]
            count, sizes[clip] = count + 1, sizes[clip] + payload(record)
            if row < READ:
                began = time.perf_counter()
                if "image" in record:
                    decoding.compact(record, "image", SIDE)
                read.append(time.perf_counter() - began)
                properties.measure(record)
                described.append(time.perf_counter() - began - read[-1])
    told = {"files": files, "records": count, "sizes": list(sizes.values())}
    return told | {"read": _mean(read), "described": _mean(described)}


def _mean(seconds: list[float]) -> float:
    """Without the first, which pays for imports."""
    return float(np.mean(seconds[1:] or seconds))


def _lengths(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Split -> seconds of sound, rounded up -> records, as far as the headers say; of longer ones windows are made."""
    longest = MAX_SAMPLES / SAMPLE_RATE
    found: dict[str, collections.Counter[int]] = {}
    for item in items:
        seconds = float(properties.header_features(item.path)["duration"])
        if seconds > 0:  # not so where it is not said
            many = math.ceil(seconds / longest)
            found.setdefault(item.split, collections.Counter())[math.ceil(min(seconds, longest))] += many
    return {split: {str(n): of[n] for n in sorted(of)} for split, of in sorted(found.items())}


def spread(items: Sequence[Item], count: int = max(FILES)) -> list[Item]:
    """Up to `count` items, evenly spread, in an order in which any beginning is spread, too."""
    rows = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int))
    return [items[i] for i in np.random.default_rng(0).permutation(rows)]


def payload(record: dict[str, Any]) -> int:
    """Bytes of a record's media."""
    audio = record["audio"].nbytes if "audio" in record else 0
    return audio + len(record.get("image", b"")) + 200
