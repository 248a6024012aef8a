"""A split whose records pass through a corruption on the host while the device scores those before them."""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from dfjax.data.sources import Split
from dfjax.media import corruptions
from dfjax.records import FAKE, REAL, UNKNOWN

KEPT = 2_000  # records; a view of no more holds what it has made, for a second look


class Corrupted:
    """Records that have passed through a kind of corruption; made in threads, a block ahead of the one asked for."""

    def __init__(self, split: Split, kind: str, strength: int, pool: concurrent.futures.Executor):
        self._split, self._kind, self._strength, self._pool = split, kind, strength, pool
        self._started: dict[int, concurrent.futures.Future] = {}
        self._keep = len(split) <= KEPT

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, row: int) -> dict:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        self._start(rows)
        wanted = [self._started[row] for row in rows]
        if not self._keep:  # what was made ahead and is passed over is let go of, too
            self._started = {}
        if rows[-1] - rows[0] < len(rows):  # one after the other, so that the next are likely to be asked for
            self._start(range(rows[-1] + 1, min(rows[-1] + 1 + len(rows), len(self))))
        return [future.result() for future in wanted]

    def _start(self, rows: Sequence[int]) -> None:
        """FFmpeg, soxr, OpenCV and SciPy let go of the interpreter, so threads keep all cores busy."""
        rows = [row for row in rows if row not in self._started]
        for row, record in zip(rows, self._split.records.__getitems__(rows) if rows else [], strict=True):
            name = str(self._split.id[row])
            self._started[row] = self._pool.submit(corruptions.corrupt, record, self._kind, self._strength, name)


def view(split: Split, kind: str, strength: int, pool: concurrent.futures.Executor) -> Split:
    """The split as it is after a corruption; see `dfjax.media.corruptions`.

    Args:
      split: an opened split.
      kind: a name in `corruptions.TABLES`.
      strength: 1 to 5.
      pool: threads that work on the records.
    """
    records: Any = Corrupted(split, kind, strength, pool)
    return dataclasses.replace(split, records=records)


def choose(split: Split, clips: int) -> Bool[np.ndarray, " rows"]:
    """Mask of the records of a random but fixed choice of labelled clips: as many real as fake ones, if there are.

    Where one class has fewer, the other fills up. A clip's turn depends on its name alone.

    Args:
      split: an opened split.
      clips: how many; 0 for all.
    """
    names, first = np.unique(split.clip[split.label != UNKNOWN], return_index=True)
    label = split.label[split.label != UNKNOWN][first]
    turn = np.argsort([hashlib.blake2b(name.encode(), digest_size=8).hexdigest() for name in names.tolist()])
    real, fake = (names[turn][label[turn] == one] for one in (REAL, FAKE))
    if not clips or clips >= len(names):
        return split.label != UNKNOWN
    fakes = min(len(fake), max(clips // 2, clips - len(real)))
    return np.isin(split.clip, np.r_[fake[:fakes], real[: clips - fakes]]) & (split.label != UNKNOWN)
