"""The streaming feed: grain's threads read the records of each batch, in one go, ahead of the step that takes them.

Batch s is a function of (seed, s) alone: position p of the endless mixture of strata belongs to batch p // batch. So
the state of the feed is the step, which every checkpoint holds already; a resumed run starts the mixture at its step
and nothing else is stored. It does not depend on the number of processes either: each reads its block of every batch.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import PyTree

from dfjax.data import mixture, sources
from dfjax.data.sampling import Strata
from dfjax.data.sources import Split
from dfjax.media import codecs, decoding
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE

THREADS = 2  # that read and decode; they wait for the disk and for decoders outside the interpreter's lock
AHEAD = 4  # batches read before they are asked for


def batches(
    split: Split,
    strata: Strata,
    batch: int,
    *,
    size: int | None,
    modality: str = "",
    seed: int,
    first: int = 0,
    process: int = 0,
    processes: int = 1,
    codec_rate: float | int = 0.0,
    place: Callable[[dict[str, np.ndarray]], PyTree] = dict,
) -> Iterator[PyTree]:
    """This process's part of batch `first`, `first + 1`, ... without end, in the compact form of the resident feed.

    Beside that form each batch has 'label', see `sources.labels`.

    Args:
      split: an opened split.
      strata: its rows by class and the rates of the classes.
      batch: examples of a global batch, a multiple of `processes`.
      size: side of the square that images are resized to; None for audio.
      modality: of the detector; by default 'audio' or 'image' as `size` says.
      seed: of the run; each pass over a stratum is shuffled anew.
      first: the first batch.
      process: number of this process.
      processes: how many share each batch.
      codec_rate: share of the clips that pass through a lossy codec, drawn from (seed, position) alone.
      place: what becomes of each batch as soon as it is read, on a thread: where to put it.

    Raises:
      InputError: when a damaged record is met; the message names the file.
    """
    modality = modality or ("audio" if size is None else "image")
    labels = sources.labels(split, modality)
    rows_at = mixture.make(strata, seed)
    share = batch // processes

    def read(step: int) -> PyTree:
        start = step * batch + process * share
        rows = rows_at(range(start, start + share))
        records = split.records.__getitems__(rows.tolist())
        if codec_rate:
            records = [recoded(start + i, record) for i, record in enumerate(records)]
        return place(_compact(records, modality, size) | {"label": labels[rows]})

    def recoded(position: int, record: dict) -> dict:
        rng = np.random.default_rng([seed % 2**32, position])
        return record | {"audio": codecs.random_recode(rng, record["audio"])} if rng.random() < codec_rate else record

    import grain  # 0.2 s, wanted by this feed alone

    steps = grain.MapDataset.range(first, sys.maxsize // batch).map(read)
    return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)))


def example_bytes(modality: str, size: int | None) -> int:
    """Bytes of one example in compact form, at most; `size` is the side of a picture, None for audio."""
    sound = {"audio": 2 * MAX_SAMPLES, "image": 0, "av": 2 * SAMPLE_RATE}
    return sound[modality] + (0 if size is None else 3 * size**2)


def _compact(records: list[dict], modality: str, size: int | None) -> dict[str, np.ndarray]:
    """The examples of a batch."""
    if size is not None:
        found = [decoding.compact(record, modality, size) for record in records]
        return {name: np.stack([example[name] for example in found]) for name in found[0]}
    audio = np.zeros((len(records), MAX_SAMPLES), np.int16)
    length = np.array([len(record["audio"]) for record in records], np.int32)
    for row, count, record in zip(audio, length, records, strict=True):
        row[:count] = record["audio"]
    return {"audio": audio, "length": length}
