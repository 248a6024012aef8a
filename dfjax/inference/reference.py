"""What a detector was trained on, described: embeddings and media properties, from which typicality is judged.

Typicality itself, `decide.typicality`, knows neither detector nor records; here both become its arrays.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from dfjax.data.sources import READ_AHEAD, Split
from dfjax.decide import typicality
from dfjax.inference import scorers, scoring
from dfjax.inference.scorers import Network
from dfjax.media import properties
from dfjax.records import UNKNOWN
from dfjax.runtime import devices

RECORDS = {"train": 1_200, "validation": 800}  # that are described, at most: quantiles gain little from more

Described = tuple[Float[np.ndarray, "n dim"], dict[str, Float[np.ndarray, " n"]]]  # embeddings, properties


def describe(
    network: Network,
    split: Split,
    rows: Sequence[int] | Int[np.ndarray, " n"] | None = None,
) -> Described:
    """Embeddings and properties of records of a prepared split, in the order of `rows`; memory stays flat.

    Args:
      network: of the detector.
      split: an opened split.
      rows: of the split; None for all.

    Returns:
      (n, dim) float32 embeddings, and name -> (n,) of every property of `properties.measure`.

    Raises:
      InputError: a record is damaged, or its picture cannot be decoded.
    """
    mesh = devices.make_mesh()
    found: list[dict[str, float]] = []

    def examples() -> Iterator[dict]:
        for record in _records(split, range(len(split)) if rows is None else [int(row) for row in rows]):
            found.append(properties.measure(record))
            yield scoring.example(record, network.takes)

    embeddings = scoring.score_examples(
        scorers.make_embedder(network.graphdef, network.takes.modality),
        network.params,
        network.model_state,
        examples(),
        batch=min(network.batch, scoring.EACH) * mesh.size,
        mesh=mesh,
    )
    names = found[0] if found else {}
    return embeddings.astype(np.float32), {name: np.array([each[name] for each in found]) for name in names}


def fit_typicality(
    network: Network,
    splits: Mapping[str, Split],
    *,
    left_out: tuple | None = None,
    seed: int = 0,
) -> typicality.Typicality:
    """What is typical of a detector's training data, clip by clip; the same for the same checkpoint, data and seed.

    Args:
      network: of the detector.
      splits: 'train' and, held back from the network, 'validation' if there is one.
      left_out: as `typicality.fit` takes it: distances of domains from networks trained without them.
      seed: of the choice of records, landmarks and folds.

    Raises:
      InputError: fewer than two clips to train on.
    """
    train = splits["train"]
    clips = _choose(train, RECORDS["train"], seed, evenly=True)
    embeddings, found = describe_clips(network, train, clips)
    firsts = np.array([rows[0] for rows in clips], int)
    held_back = None
    if len(splits.get("validation", ())):
        held_back = describe_clips(
            network, splits["validation"], _choose(splits["validation"], RECORDS["validation"], seed)
        )
    return typicality.fit(
        embeddings,
        found,
        train.domain[firsts],
        groups=train.group[firsts],
        held_back=held_back,
        left_out=left_out,
        seed=seed,
    )


def _choose(split: Split, count: int, seed: int, *, evenly: bool = False) -> list[Int[np.ndarray, " k"]]:
    """The rows of each clip drawn; as many clips with a known label as have about `count` rows to be looked at.

    They are drawn from all alike, or `evenly` over domains and labels.
    """
    known = np.flatnonzero(split.label != UNKNOWN)
    _, first, index, sizes = np.unique(split.clip[known], return_index=True, return_inverse=True, return_counts=True)
    order = np.split(known[np.argsort(index, kind="stable")], np.cumsum(sizes)[:-1])
    kinds = np.array(
        [f"{split.domain[row]} {split.label[row]}" for row in known[first]] if evenly else [""] * len(first)
    )
    clips = max(2, int(count / np.minimum(sizes, properties.LOOKS).mean())) if len(sizes) else 0
    return [order[i] for i in typicality.evenly(kinds, clips, seed)]


def describe_clips(network: Network, split: Split, clips: Sequence[Int[np.ndarray, " _"]]) -> Described:
    """`describe`, clip by clip, each by its `properties.looks` as a detector sees a new file.

    Args:
      network: of the detector.
      split: an opened split.
      clips: the rows of each clip, all of them.
    """
    clips = [rows[properties.looks(len(rows))] for rows in clips]
    embeddings, found = describe(network, split, np.concatenate(clips) if clips else [])
    ends = np.cumsum([len(rows) for rows in clips])
    parts = [slice(end - len(rows), end) for rows, end in zip(clips, ends, strict=True)]
    means, middles = zip(
        *(typicality.whole(embeddings[k], {n: v[k] for n, v in found.items()}) for k in parts), strict=True
    )
    return np.stack(means), {name: np.array([middle[name] for middle in middles]) for name in found}


def _records(split: Split, rows: Sequence[int]) -> Iterator[dict]:
    for start in range(0, len(rows), READ_AHEAD):
        yield from split.records.__getitems__(list(rows[start : start + READ_AHEAD]))
