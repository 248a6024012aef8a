"""How far an embedding lies from those that a detector was trained on. NumPy only, never JAX."""

import dataclasses

import numpy as np
from jaxtyping import Float, Integer, Shaped

from dfjax.records import InputError

LANDMARKS = 500  # training embeddings that are kept, at most
DIMENSIONS = 32  # principal directions of the embedding that are looked at, at most
NEIGHBOURS = 5  # landmarks whose mean distance counts


@dataclasses.dataclass(frozen=True)
class Space:
    """Distance from training embeddings: the mean over the nearest landmarks, in whitened principal directions."""

    centre: Float[np.ndarray, " dim"]
    axes: Float[np.ndarray, "dim k"]
    landmarks: Float[np.ndarray, "m k"]

    def distances(self, embeddings: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " n"]:
        """How far off each embedding lies. 1 is the median between landmarks, so that several spaces compare."""
        return _nearest((np.asarray(embeddings, np.float64) - self.centre) @ self.axes, self.landmarks, NEIGHBOURS)


def _nearest(x, landmarks, count):
    """Mean distance to the `count` nearest landmarks."""
    count, found = min(count, len(landmarks)), [np.zeros(0)]
    for start in range(0, len(x), 256):  # a block of rows times landmarks fits the cache
        rows = x[start : start + 256]
        squares = (rows**2).sum(axis=1)[:, None] + (landmarks**2).sum(axis=1) - 2 * rows @ landmarks.T
        nearest = np.partition(squares, count - 1, axis=1)[:, :count]
        found.append(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))
    return np.concatenate(found)


def space(embeddings: Float[np.ndarray, "n dim"], domains: Shaped[np.ndarray, " n"], *, seed: int = 0) -> Space:
    """The space of a network's training embeddings, its landmarks drawn evenly over domains.

    Raises:
      InputError: there are fewer than two embeddings, or some are not finite.
    """
    x = np.asarray(embeddings, np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        raise InputError(f"typicality needs two or more finite embeddings; got {len(x)}")
    centre = x.mean(axis=0)
    variance, directions = np.linalg.eigh((x - centre).T @ (x - centre) / (len(x) - 1))
    variance, directions = variance[::-1][:DIMENSIONS], directions[:, ::-1][:, :DIMENSIONS]
    kept = variance > 1e-8 * variance[0]
    kept[0] = True  # equal embeddings span nothing: one direction stays, in which all that differs is far away
    axes = directions[:, kept] / np.sqrt(np.maximum(variance[kept], 1e-18))
    landmarks = (x[evenly(domains, LANDMARKS, seed)] - centre) @ axes
    count = min(NEIGHBOURS + 1, len(landmarks))  # a landmark's nearest one is itself, at no distance
    unit = np.median(_nearest(landmarks, landmarks, count)) * count / (count - 1)
    unit = unit if unit > 1e-6 else 1.0
    return Space(*(np.asarray(part, np.float32) for part in (centre, axes / unit, landmarks / unit)))


def evenly(domains: Shaped[np.ndarray, " n"], count: int, seed: int = 0) -> Integer[np.ndarray, " k"]:
    """Sorted rows, at most `count`, from every domain as many as from the others or all that it has."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(domains))
    index = np.unique(domains[order], return_inverse=True)[1]
    turn = np.empty(len(order), int)  # how many of its domain came before each
    for domain in range(index.max(initial=-1) + 1):
        rows = np.flatnonzero(index == domain)
        turn[rows] = np.arange(len(rows))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])
