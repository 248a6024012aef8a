"""Knowing what a detector does not know: how typical a file is of what the detector was trained and calibrated on.

A file must pass these tests. Its embedding must lie as near to the training data as embeddings of records do that the
network was not trained on: a conformal p-value (Vovk, Gammerman and Shafer 2005) says which share of those lies at
least as far away. And every property of the file (bandwidth, loudness, picture size, ...) must lie in the range of the
training data; one that does not is named in words. Where codecs were looked for (`decide.traces`), it must not have
their traces either, nor say of itself that it is stored so. NumPy only, never JAX.
"""

import dataclasses
import io
import math
import statistics
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, Shaped

from dfjax.decide import embedding_space, property_ranges
from dfjax.decide.embedding_space import Space
from dfjax.decide.property_ranges import Column, Range
from dfjax.decide.traces import Trace
from dfjax.records import InputError
from dfjax.runtime import files

TYPICALITY = "typicality.npz"  # the file's name
ALPHA = 0.05  # a p-value below it is not typical
FOLDS = 5  # of groups, held back in turn where nothing else is
DISTANCES = 4_000  # that are kept for p-values, at most

Records = tuple[Float[np.ndarray, "held dim"], Mapping[str, Shaped[np.ndarray, " held"]]]
CODECS = {"mp3": "MP3", "aac": "AAC", "opus": "Opus"}  # how those that leave traces are told


@dataclasses.dataclass(frozen=True)
class Typicality:
    """What is typical of a detector's training data; `judge` compares a file with it."""

    space: Space
    held: Float[np.ndarray, " c"]  # distances of records that the network was not trained on, rising
    ranges: dict[str, Range]
    basis: str  # what was held back, in words
    alpha: float = ALPHA  # of a stored one, what held when it was learnt
    traces: Mapping[str, Trace] = dataclasses.field(default_factory=dict)  # of codecs, by their names

    def too_few(self) -> str | None:
        """Why no distance is ever too far, in words; None where enough records were held back for one to be."""
        needed = math.floor(1 / self.alpha)  # with so many the least p-value is below alpha
        if len(self.held) >= needed:
            return None
        return (
            f"typicality was learnt of {len(self.held)} {self.basis}; with fewer than {needed} a file's distance from "
            "the training data alone makes no verdict uncertain, its properties do"
        )

    def p_value(self, embedding: Float[np.ndarray, " dim"]) -> float:
        """Share of held-back records as far from the training data or farther, the new one among them.

        It is uniform on (0, 1], or larger, for a record like those held back.
        """
        return float(self.p_values(np.asarray(embedding)[None])[0])

    def p_values(self, embeddings: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " n"]:
        """`p_value` of each."""
        distances = self.space.distances(embeddings).astype(np.float32)
        beyond = len(self.held) - np.searchsorted(self.held, distances, side="left")
        return (beyond + 1) / (len(self.held) + 1)

    def judge(
        self,
        embedding: Float[np.ndarray, " dim"],
        properties: Mapping[str, Any],
        coding: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Whether a file is typical, and why not.

        Args:
          embedding: the detector's, of the file.
          properties: its properties; names that training did not have are not looked at, nor are NaN.
          coding: `codec` and `bit_rate` (bit/s of a channel) that a lossy file says of itself.

        Returns:
          `p_value`, `typical`, and `reasons`, in words: empty if typical.
        """
        p = self.p_value(embedding)
        reasons = []
        for name, limits in self.ranges.items():
            value = properties.get(name)
            if value is not None and not limits.holds(value):
                reasons.append(limits.reason(name, value))
        for name, trace in self.traces.items():
            codec = CODECS.get(name, name)
            if coding and coding["codec"] == name and trace.told(coding["bit_rate"]):
                rate = f"{coding['bit_rate'] / 1000:.0f} kbit/s"
                reasons.append(f"stored as {codec} of {rate} a channel, where the detector is often wrong")
            elif trace.noticed(np.asarray(embedding)[None])[0]:
                reasons.append(f"traces of {codec} at a low bit rate, where the detector is often wrong")
        if p < self.alpha:
            reasons.append(f"unlike the training data to the detector: {100 * p:.1f} % of {self.basis} lie as far off")
        return {"p_value": p, "typical": not reasons, "reasons": reasons}

    def atypical(
        self, embeddings: Float[np.ndarray, "n dim"], properties: Mapping[str, Column]
    ) -> Bool[np.ndarray, " n"]:
        """Whether each of many records is not typical; as `judge`, without words."""
        found = self.p_values(embeddings) < self.alpha
        for name, limits in self.ranges.items():
            if name in properties:
                found |= [not limits.holds(value) for value in properties[name].tolist()]
        for trace in self.traces.values():
            found |= trace.noticed(embeddings)
        return found

    def save(self, path: epath.PathLike) -> None:
        """Writes the file, as a whole: arrays without pickles."""
        arrays: dict[str, Any] = {field.name: getattr(self.space, field.name) for field in dataclasses.fields(Space)}
        alike = np.ones(len(self.held), np.float32)  # what earlier versions read, and would miss
        arrays |= {"held": self.held, "weights": alike, "basis": self.basis, "alpha": self.alpha}
        for name, limits in self.ranges.items():
            arrays[f"range.{name}"] = np.array([limits.low, limits.high, *limits.seen])
            if limits.kinds:
                arrays[f"kinds.{name}"] = np.array(limits.kinds)
        for name, trace in self.traces.items():
            arrays[f"trace.{name}"] = np.append(trace.weights, np.float32(trace.cut))
            arrays[f"coding.{name}"] = np.array([trace.bit_rate, trace.found])
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        files.write(path, buffer.getvalue())


def whole(embeddings: Float[np.ndarray, "n dim"], found: Mapping[str, Float[np.ndarray, " n"]]) -> tuple:
    """A clip of its windows or frames: the mean embedding (dim,), and name -> median of what is not NaN.

    The median, because a file is what most of it is: a passage of music in a conversation makes no music of it.
    """
    middle = {
        name: statistics.median(v) if (v := [x for x in column.tolist() if math.isfinite(x)]) else math.nan
        for name, column in found.items()
    }
    return embeddings.mean(axis=0), middle


def load(path: epath.PathLike) -> Typicality:
    """What `Typicality.save` wrote.

    Raises:
      InputError: the file cannot be read, or is another one.
    """
    try:
        return parse(epath.Path(path).read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def parse(content: bytes, path: str = TYPICALITY) -> Typicality:
    """What `Typicality.save` wrote, of its bytes; `path` is where they are from, for the message.

    Raises:
      InputError: the bytes are of something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = dict(stored)
        ranges = {}
        for name, array in _named(arrays, "range."):
            low, high, *seen = array.tolist()
            kinds = arrays.get(f"kinds.{name}", np.array([])).tolist()
            ranges[name] = Range(low, high, (seen[0], seen[1]), tuple(kinds))
        return Typicality(
            Space(arrays["centre"], arrays["axes"], arrays["landmarks"]),
            arrays["held"],
            ranges,
            str(arrays["basis"]),
            float(arrays["alpha"]),
            {
                name: Trace(array[:-1], float(array[-1]), *arrays.get(f"coding.{name}", np.zeros(2)).tolist())
                for name, array in _named(arrays, "trace.")
            },
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} holds no typicality ({str(error) or type(error).__name__}); run again without it"
        ) from error


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    return ((key.removeprefix(prefix), array) for key, array in arrays.items() if key.startswith(prefix))


def fit(
    embeddings: Float[np.ndarray, "n dim"],
    properties: Mapping[str, Column],
    domains: Column,
    *,
    groups: Column | None = None,
    held_back: Records | None = None,
    seed: int = 0,
) -> Typicality:
    """What is typical of the training data.

    Args:
      embeddings: of clips (the mean over windows or frames) of the training data.
      properties: of the same clips, name -> (n,); numbers, NaN where there is none, or text.
      domains: of the same clips.
      groups: of the same clips: what is held back together where `held_back` is not given; each clip is one by default.
      held_back: embeddings and properties of clips that the network was not trained on, of the domains that it was
        trained on: a validation split.
      seed: of landmarks and folds.

    Raises:
      InputError: fewer than two clips, or embeddings that are not finite.
    """
    embeddings, domains = np.asarray(embeddings), np.asarray(domains)
    properties = {name: np.asarray(column) for name, column in properties.items()}
    of_all = embedding_space.space(embeddings, domains, seed=seed)
    numbers = {name: column for name, column in properties.items() if property_ranges.numeric(column)}
    if held_back is not None:
        kept, basis = [(np.ones(len(embeddings), bool), held_back)], "records held back"
    else:
        groups = np.arange(len(domains)) if groups is None else np.asarray(groups)
        kept, basis = list(_folds(embeddings, numbers, groups, seed)), "records held back in turn"
    distances, outside = [], []
    for rows, (others, columns) in kept:
        part = of_all if rows.all() else embedding_space.space(embeddings[rows], domains[rows], seed=seed)
        distances.append(part.distances(others))
        parts = [
            property_ranges.excess(name, column[rows], columns[name])
            for name, column in numbers.items()
            if name in columns
        ]
        outside.append(np.max(parts, axis=0) if parts else np.zeros(len(others)))
    held = np.concatenate(distances)
    thinned = np.random.default_rng(seed).permutation(len(held))[:DISTANCES]
    order = thinned[np.argsort(held[thinned], kind="stable")]
    margin = property_ranges.margin_of(np.concatenate(outside))
    known: Mapping[str, np.ndarray] = {} if held_back is None else held_back[1]  # what these have is typical as well
    ranges = {
        name: property_ranges.fit(
            name, column, np.concatenate([column, np.asarray(known.get(name, column[:0]))]), margin
        )
        for name, column in properties.items()
    }
    return Typicality(of_all, held[order].astype(np.float32), ranges, basis)


def _folds(embeddings, numbers, groups, seed) -> Iterator[tuple[np.ndarray, Records]]:
    """(rows that stay, records held back) of each of FOLDS parts of the groups."""
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < FOLDS:  # too few to do without some
        yield np.ones(len(groups), bool), (embeddings, numbers)
        return
    fold = np.random.default_rng(seed).permutation(len(names))[index] % FOLDS
    for k in np.unique(fold):
        out = fold == k
        if (~out).sum() >= 2:
            yield ~out, (embeddings[out], {name: column[out] for name, column in numbers.items()})
