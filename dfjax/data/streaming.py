"""The streaming feed: grain reads the records that each batch needs, ahead of the step that takes them.

Batch s is a function of (seed, s) alone: position p of the endless mixture of strata belongs to batch p // batch. So
the state of the feed is the step, which every checkpoint holds already; a resumed run starts the mixture at its step
and nothing else is stored. It does not depend on the number of processes either: each reads its block of every batch.
"""

import sys
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from dfjax.data import sources
from dfjax.data.sampling import Strata
from dfjax.data.sources import Split
from dfjax.media import codecs, decoding
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE

THREADS = 2  # that read and decode; they wait for the disk and for decoders outside the interpreter's lock
AHEAD = 4  # batches read before they are asked for


class _Rows:
    """The given rows of a split, as grain wants a source."""

    def __init__(self, split: Split, rows: np.ndarray):
        self.split, self.rows = split, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[int, dict]:
        row = int(self.rows[i])
        return row, self.split.records[row]


class _Block:
    """This process's part of every global batch, from batch `first` on."""

    def __init__(self, mixture: grain.MapDataset, batch: int, first: int, process: int, processes: int):
        self.mixture, self.batch, self.first = mixture, batch, first
        self.size, self.start = batch // processes, process * (batch // processes)

    def __len__(self) -> int:
        return sys.maxsize // 4

    def __getitem__(self, i: int) -> tuple[int, int, dict]:
        step, place = divmod(int(i), self.size)
        position = (self.first + step) * self.batch + self.start + place
        return position, *self.mixture[position]


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
) -> Iterator[dict[str, np.ndarray]]:
    """This process's part of batch `first`, `first + 1`, ... without end, in the compact form of the resident feed.

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

    Raises:
      InputError: when a damaged record is met; the message names the file.
    """
    modality = modality or ("audio" if size is None else "image")
    labels = sources.labels(split, modality)
    rates = np.diff(strata.cumulative, prepend=0)
    parts = []
    for i, (start, count) in enumerate(zip(strata.start, strata.count, strict=True)):
        rows = np.asarray(strata.order[start : start + count])
        parts.append(grain.MapDataset.source(_Rows(split, rows)).seed(seed + i).shuffle().repeat())
    mixture = grain.MapDataset.mix(parts, rates.tolist())

    def example(found: tuple[int, int, dict]) -> dict[str, Any]:
        position, row, record = found
        if codec_rate:
            rng = np.random.default_rng([seed % 2**32, position])
            if rng.random() < codec_rate:
                record = record | {"audio": codecs.random_recode(rng, record["audio"])}
        return _compact(record, modality, size) | {"label": labels[row]}

    block = grain.MapDataset.source(_Block(mixture, batch, first, process, processes)).map(example)
    block = block.batch(batch // processes, drop_remainder=True)
    return iter(block.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)))


def example_bytes(modality: str, size: int | None) -> int:
    """Bytes of one example in compact form, at most; `size` is the side of a picture, None for audio."""
    sound = {"audio": 2 * MAX_SAMPLES, "image": 0, "av": 2 * SAMPLE_RATE}
    return sound[modality] + (0 if size is None else 3 * size**2)


def _compact(record: dict, modality: str, size: int | None) -> dict[str, Any]:
    if size is not None:
        return decoding.compact(record, modality, size)
    clip = record["audio"]
    audio = np.zeros(MAX_SAMPLES, np.int16)
    audio[: len(clip)] = clip
    return {"audio": audio, "length": np.int32(len(clip))}
