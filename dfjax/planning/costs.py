"""What preparing and training will take on this machine, from measurements of seconds: time, memory, disk.

A prediction has a part that every job pays (start, compilation, report) and a part that grows with files, steps or
records. Both are measured: by a small run on made clips, once for each modality and kept in a file, and by decoding
some of a dataset's own files.
"""

import collections
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from data_builders import configs
from data_builders.indexing import Item
from dfjax.media.decoding import safely
from dfjax.records import SAMPLE_RATE
from dfjax.runtime import workers

SECONDS = 1.5  # that decoding files of a dataset may take, if it decoded FEW
FEW = 3  # files; of the first the time is not used
BASE_MEMORY = 600 << 20  # bytes of a process that has imported everything
WORKER_MEMORY = 150 << 20  # bytes of a process that decodes


def preparation(items: Sequence[Item], config: configs.MediaConfig) -> dict[str, Any]:
    """What preparing a dataset will take, by decoding some of its files, evenly spread, in this process.

    Args:
      items: the files.
      config: what is made of them.

    Returns:
      files, sampled, unreadable (of those sampled), each (seconds of one file on one core), seconds (of all on all
      cores, without what every job pays), records, lengths (split -> seconds of sound, rounded up -> records of the
      sample), disk (bytes of the records; twice that while they are made) and memory (bytes at most). All but files and
      sampled are None where no file of the sample could be decoded.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as in the worker processes: every core has one
    try:
        return _preparation(items, config)
    finally:
        cv2.setNumThreads(threads)


def _preparation(items: Sequence[Item], config: configs.MediaConfig) -> dict[str, Any]:
    options = {name: getattr(config, name) for name in configs.CROP_OPTIONS} | {"face_model": None, "detector": "haar"}
    began, took, sizes, counts, unreadable = time.perf_counter(), [], [], [], 0
    lengths: dict[str, collections.Counter[int]] = {}
    for item in spread(items):
        if took and time.perf_counter() - began > SECONDS * (1 if len(took) >= FEW else 4):
            break
        start = time.perf_counter()
        result, why = safely(item.path, config.modality, options)
        if why:
            unreadable += 1
            if unreadable > 20 and not took:
                break
            continue
        took.append(time.perf_counter() - start)
        sizes.append(sum(payload(record) for record in result["records"]))
        counts.append(len(result["records"]))
        if config.modality == "audio":
            of_split = lengths.setdefault(item.split, collections.Counter())
            of_split.update(-(-len(record["audio"]) // SAMPLE_RATE) for record in result["records"])
    found: dict[str, Any] = {"files": len(items), "sampled": len(took) + unreadable, "unreadable": unreadable}
    if not took:
        return found | dict.fromkeys(("each", "seconds", "records", "lengths", "disk", "memory"))
    took = took[1:] or took  # the first file pays for the decoder's start
    usable = len(items) * len(sizes) / found["sampled"]
    each, cores = float(np.mean(took)), max(workers.cores(), 1)
    memory = BASE_MEMORY + cores * (WORKER_MEMORY + 4 * max(sizes))
    disk = {"disk": round(usable * np.mean(sizes)), "memory": memory}
    sounds = {split: {str(n): of[n] for n in sorted(of)} for split, of in sorted(lengths.items())}
    records = {"records": round(usable * np.mean(counts)), "lengths": sounds}
    return found | {"each": each, "seconds": usable * each / cores} | records | disk


def spread(items: Sequence[Item]) -> list[Item]:
    """Up to 200 items, evenly spread, in an order in which any beginning is spread, too."""
    rows = np.unique(np.linspace(0, len(items) - 1, min(200, len(items))).astype(int))
    return [items[i] for i in np.random.default_rng(0).permutation(rows)]


def payload(record: dict[str, Any]) -> int:
    """Bytes of a record's media."""
    audio = record["audio"].nbytes if "audio" in record else 0
    return audio + len(record.get("image", b"")) + 200
