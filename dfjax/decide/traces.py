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
MORE = 1.1  # times `Trace.bit_rate`, up to which a file has few bits: encoders keep to a rate only roughly
FOREIGN = 0.2  # share of records after the codec that are noticed, at least, where training has none of its kind
LEAST = 1e-6  # least curvature of a record's loss in a step
HALVINGS = 30  # of a step, at most
SLACK = 1e-9  # by which rounding may raise the loss where the method stands still


@dataclasses.dataclass(frozen=True)
class Trace:
    """What one codec leaves in an embedding."""

    weights: Float[np.ndarray, " dim"]
    cut: float  # a product with the weights above it is noticed
    bit_rate: float = 0.0  # bit/s of a channel, up to which a file that says of itself that it is stored so has it
    found: float = 0.0  # share of records after the codec, of domains that the classifier did not know, noticed

    def noticed(self, embeddings: Float[np.ndarray, "n dim"]) -> Bool[np.ndarray, " n"]:
        """Whether each record has more of it than nearly all records had that did not pass through the codec."""
        return np.asarray(embeddings, np.float64) @ self.weights > self.cut

    def told(self, bit_rate: float | int) -> bool:
        """Whether a file that says of itself that it is stored by the codec, at so many bit/s a channel, has it.

        Not where the codec could hardly be noticed: there the training data have been through such a one themselves.
        """
        return self.found >= FOREIGN and bit_rate <= MORE * self.bit_rate


def fit(
    plain: Float[np.ndarray, "n dim"],
    coded: Float[np.ndarray, "n dim"],
    domains: Shaped[np.ndarray, " n"],
    share: float,
    bit_rate: float = 0.0,
) -> Trace:
    """What tells the records after a codec from the same records as they are.

    Args:
      plain: embeddings of records as they are.
      coded: of the same records after the codec.
      domains: of the same records; two or more.
      share: of records as they are, of domains that the classifier does not know, that are noticed for nothing; every
        domain weighs alike.
      bit_rate: of `Trace`.
    """
    plain, coded, domains = np.asarray(plain, np.float64), np.asarray(coded, np.float64), np.asarray(domains)
    names, index, counts = np.unique(domains, return_inverse=True, return_counts=True)
    levels, after = np.empty(len(domains)), np.empty(len(domains))
    for k in range(len(names)):
        out = index == k
        weights, bias = _classifier(plain[~out], coded[~out])
        levels[out], after[out] = plain[out] @ weights + bias, coded[out] @ weights + bias
    order = np.argsort(-levels, kind="stable")
    alike = 1 / (len(names) * counts[index])
    reached = np.cumsum(alike[order])  # the share that lies as high or higher
    first = min(int(np.searchsorted(reached, share)), len(order) - 1)
    weights, bias = _classifier(plain, coded)
    cut = float(levels[order[first]])
    return Trace(weights.astype(np.float32), cut - bias, bit_rate, float(alike[after > cut].sum()))


def _classifier(plain, coded):
    """Weights and bias of a logistic regression, coded records from plain ones, by Newton's method.

    Of few records whole steps may lead away without end; one that raises the loss is halved until it does not.
    """
    x, labels = np.concatenate([plain, coded]), np.repeat((0.0, 1.0), (len(plain), len(coded)))
    mean, unit = x.mean(axis=0), x.std(axis=0).mean() + 1e-12
    design = np.column_stack([(x - mean) / unit, np.ones(len(x))])
    penalty = RIDGE * np.append(np.ones(x.shape[1]), 1e-6)
    theta = np.zeros(design.shape[1])

    def loss(at):
        logits = design @ at
        return np.mean(np.logaddexp(0, logits) - labels * logits) + 0.5 * penalty @ at**2

    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-design @ theta))
        gradient = design.T @ (chance - labels) / len(x) + penalty * theta
        curvature = np.maximum(chance * (1 - chance), LEAST) / len(x)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(penalty), gradient)
        most = loss(theta) + SLACK
        for _ in range(HALVINGS):
            if loss(theta - step) <= most:
                break
            step /= 2
        theta -= step
    weights = theta[:-1] / unit
    return weights, theta[-1] - mean @ weights
