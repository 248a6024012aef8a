"""What a detector was trained on, described: embeddings and media properties, from which typicality is judged.

Typicality itself, `decide.typicality`, knows neither detector nor records; here both become its arrays.
"""

import concurrent.futures
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from dfjax.data import corrupted, sources
from dfjax.data.sources import Split
from dfjax.decide import embedding_space, traces, typicality
from dfjax.inference import scorers, scoring
from dfjax.inference.scorers import Network
from dfjax.media import corruptions, properties
from dfjax.records import UNKNOWN
from dfjax.runtime import devices, workers

RECORDS = {"train": 1_200, "validation": 800}  # that are described, at most: quantiles gain little from more
CODED = 400  # training clips, at most, that pass through each codec of CODECS
# Strength as in `corruptions` and share for `traces.fit`; and the most bit/s of a channel that are few: with so many or
# less the detector that comes with dfjax has AUC below .9 on sources left out (experiments/README.md).
CODECS = {"mp3": (2, 0.01, 48_000.0), "aac": (2, 0.01, 40_000.0), "opus": (2, 0.04, 32_000.0)}
DOMAINS = 3  # of the training data, at least: what codecs leave is learnt on two and its cut chosen on a third

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
        for record in scorers.records(split, None if rows is None else [int(row) for row in rows]):
            found.append(properties.measure(record))
            yield scoring.example(record, network.takes)

    embeddings = scoring.score_examples(
        scorers.make_embedder(network.graphdef, mesh),
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
    seed: int = 0,
) -> typicality.Typicality:
    """What is typical of a detector's training data, clip by clip; the same for the same checkpoint, data and seed.

    Of sounds of DOMAINS domains or more, also what the CODECS leave in them.

    Args:
      network: of the detector.
      splits: 'train' and, held back from the network, 'validation' if there is one.
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
    learnt = typicality.fit(
        embeddings,
        found,
        train.domain[firsts],
        groups=train.group[firsts],
        held_back=held_back,
        seed=seed,
    )
    if network.takes.modality == "audio" and len(np.unique(train.domain[firsts])) >= DOMAINS:
        kept = embedding_space.evenly(train.domain[firsts], CODED, seed)
        learnt = dataclasses.replace(learnt, traces=_traces(network, train, [clips[i] for i in kept], embeddings[kept]))
    return learnt


def _traces(network, split, clips, plain) -> dict[str, traces.Trace]:
    """What each codec leaves in the embeddings of clips, by its name; `plain` are those of the clips as they are."""
    rows = np.sort(np.concatenate(clips))
    part = sources.select(split, np.isin(np.arange(len(split)), rows))
    own = [np.searchsorted(rows, clip) for clip in clips]
    domains = split.domain[[clip[0] for clip in clips]]
    found = {}
    for name, view in coded(part):
        embeddings, _ = describe_clips(network, view, own)
        found[name] = traces.fit(plain, embeddings, domains, *CODECS[name][1:])
    return found


def coded(split: Split) -> Iterator[tuple[str, Split]]:
    """Each of CODECS that FFmpeg has here, and the split as it is after it."""
    with concurrent.futures.ThreadPoolExecutor(workers.cores()) as pool:
        for name, (strength, *_) in CODECS.items():
            if not corruptions.missing(corruptions.SOUND[name]):
                yield name, corrupted.view(split, name, strength, pool)


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
    return [order[i] for i in embedding_space.evenly(kinds, clips, seed)]


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
