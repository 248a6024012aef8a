"""A split scored as it is and under every corruption: score files, each made once.

A call that was killed goes on with the first file that is missing.
"""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from dfjax.data import corrupted, sources
from dfjax.decide import score_file, typicality
from dfjax.decide.score_file import Scores
from dfjax.inference import reference, trained
from dfjax.inference.scorers import Network
from dfjax.media.corruptions import Corruption
from dfjax.runtime import process, workers


@dataclasses.dataclass(frozen=True)
class Case:
    """A corruption at a strength; of the records as they are, `kind` is '' and `strength` 0."""

    kind: str = ""
    strength: int = 0
    level: str = ""

    @property
    def name(self) -> str:
        """As in the names of files: 'mp3-3', or 'clean'."""
        return f"{self.kind}-{self.strength}" if self.kind else "clean"


def cases(kinds: Mapping[str, Corruption], strengths: Sequence[int]) -> list[Case]:
    """The records as they are, then every kind at every strength."""
    return [Case(), *(Case(kind, k, found.level(k)) for kind, found in kinds.items() for k in strengths)]


def score(
    folder: epath.Path,
    name: str,
    every: Sequence[Case],
    *,
    out: epath.Path,
    step: int | None,
    sealed: Mapping[str, str],
    rule: str,
    clips: int,
    split_name: str,
    data: str | None,
    open_split: Callable[[], sources.Split],
) -> Iterator[tuple[Case, Scores]]:
    """The scores of each case, in order, read back where the same checkpoint has scored the same choice of them.

    Of a run that knows what is typical of its training data, the header's `untypical` lists the clips that are not, by
    their numbers in order of appearance, as `detector.Detector` would judge them; None of another.

    Args:
      folder: the workdir, or the folder of a detector that comes with dfjax.
      name: of the dataset.
      every: from `cases`.
      out: files go to `scores/NAME.SPLIT.CASE.csv` in this folder.
      step: of the checkpoint that the decision is of; None of a detector that comes with dfjax.
      sealed: what the header says of such a detector, `weights`; of a run nothing.
      rule: how a clip's score is made, as in the decision.
      clips: how many are chosen, see `corrupted.choose`.
      split_name: of the split.
      data: content hash of the dataset, see `sources.content_hash`; of one that is gone, None, and what was scored
        stands.
      open_split: opens it; called when something is to be scored.

    Raises:
      InputError: the checkpoint, a score file or what is typical cannot be read, or a record is damaged.
    """
    network, split = None, None
    file = folder / typicality.TYPICALITY
    known = typicality.load(file) if file.exists() else None
    digest = known and hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
    with concurrent.futures.ThreadPoolExecutor(workers.cores()) as pool:
        for case in every:
            header = {"clip_score": rule, "corruption": case.name, "level": case.level, "clips": clips}
            header |= {"typicality": digest, "data": data, **sealed}
            path = out / "scores" / f"{name.replace('/', '-')}.{split_name}.{case.name}.csv"
            found = _stored(path, {"step": step, **header})
            if found is None:
                if split is None:
                    split = open_split()
                    split = sources.select(split, corrupted.choose(split, clips))
                    network = trained.restore(folder, step)
                shown = corrupted.view(split, case.kind, case.strength, pool) if case.kind else split
                found = trained.score_split(network, shown, header)
                found.header["untypical"] = known and _untypical(network, shown, known)
                if process.first_process():
                    score_file.write(path, found)
                process.barrier("scored")  # the others look for this file only when it is whole
            yield case, found


def _untypical(network: Network, split: sources.Split, known: typicality.Typicality) -> list[int]:
    """Numbers of the clips, in order of appearance, that are not typical of the training data."""
    _, first, index, sizes = np.unique(split.clip, return_index=True, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(index, kind="stable"), np.cumsum(sizes)[:-1])
    clips = [rows[k] for k in np.argsort(first)]
    return np.flatnonzero(known.atypical(*reference.describe_clips(network, split, clips))).tolist()


def _stored(path: epath.Path, header: Mapping[str, Any]) -> Scores | None:
    if not path.exists():
        return None
    scores = score_file.read(path)
    known = {key: value for key, value in header.items() if key != "data" or value is not None}
    return scores if all(scores.header.get(key) == value for key, value in known.items()) else None
