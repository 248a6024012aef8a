"""Traces of lossy coding, told from a detector's embedding. NumPy only.

Where a codec spends few bits a detector is wrong more often, and what it is wrong about does not show in a file's
properties once the sound has been decoded and stored again. But a record and the same record after the codec differ in
nothing else, so a linear classifier of their embeddings looks at what the codec leaves. How much of that a record must
have to be noticed is chosen on records as they are, of domains that the classifier was fitted without.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Shaped

RIDGE = 1e-2  # weight of the squared norm beside the mean logistic loss, for embeddings of unit mean deviation
STEPS = 20  # of Newton's method; it stands still after about ten
LEAST = 1e-6  # least curvature of a record's loss in a step


@dataclasses.dataclass(frozen=True)
class Trace:
    """What one codec leaves in an embedding."""

    weights: Float[np.ndarray, " dim"]
    cut: float  # a product with the weights above it is noticed

    def noticed(self, embeddings: Float[np.ndarray, "n dim"]) -> Bool[np.ndarray, " n"]:
        """Whether each record has more of it than nearly all records had that did not pass through the codec."""
        return np.asarray(embeddings, np.float64) @ self.weights > self.cut


def fit(
    plain: Float[np.ndarray, "n dim"],
    coded: Float[np.ndarray, "n dim"],
    domains: Shaped[np.ndarray, " n"],
    share: float,
) -> Trace:
    """What tells the records after a codec from the same records as they are.

    Args:
      plain: embeddings of records as they are.
      coded: of the same records after the codec.
      domains: of the same records; two or more.
      share: of records as they are, of domains that the classifier does not know, that are noticed for nothing; every
        domain weighs alike.
    """
    plain, coded, domains = np.asarray(plain, np.float64), np.asarray(coded, np.float64), np.asarray(domains)
    names, index, counts = np.unique(domains, return_inverse=True, return_counts=True)
    levels = np.empty(len(domains))
    for k in range(len(names)):
        out = index == k
        weights, bias = _classifier(plain[~out], coded[~out])
        levels[out] = plain[out] @ weights + bias
    order = np.argsort(-levels, kind="stable")
    reached = np.cumsum(1 / (len(names) * counts[index[order]]))  # the share that lies as high or higher
    first = min(int(np.searchsorted(reached, share)), len(order) - 1)
    weights, bias = _classifier(plain, coded)
    return Trace(weights.astype(np.float32), float(levels[order[first]] - bias))


def _classifier(plain, coded):
    """Weights and bias of a logistic regression, coded records from plain ones, by Newton's method."""
    x, labels = np.concatenate([plain, coded]), np.repeat((0.0, 1.0), (len(plain), len(coded)))
    mean, unit = x.mean(axis=0), x.std(axis=0).mean() + 1e-12
    design = np.column_stack([(x - mean) / unit, np.ones(len(x))])
    penalty = RIDGE * np.append(np.ones(x.shape[1]), 1e-6)
    theta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-design @ theta))
        gradient = design.T @ (chance - labels) / len(x) + penalty * theta
        curvature = np.maximum(chance * (1 - chance), LEAST) / len(x)
        theta -= np.linalg.solve((design.T * curvature) @ design + np.diag(penalty), gradient)
    weights = theta[:-1] / unit
    return weights, theta[-1] - mean @ weights
