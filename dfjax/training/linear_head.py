"""A linear head by logistic regression on stored embeddings: what decoupled training fits again."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped
from scipy import optimize

from dfjax.imbalance.rates import class_counts


def fit(
    embeddings: Float[np.ndarray, "n dim"],
    labels: Shaped[np.ndarray, " n"],
    *,
    weights: Float[np.ndarray, " n"] | None = None,
    l2: float = 1e-3,
) -> dict[str, dict[str, np.ndarray]]:
    """A linear head by logistic regression on all rows at once (L-BFGS from zero): no seed, one answer.

    Args:
      embeddings: of the training split, resampled or not.
      labels: 1 fake, 0 real.
      weights: of each row; None weighs all alike.
      l2: strength of the penalty l2 / 2 |w|^2 on the weights of standardised embeddings, beside the mean
        loss.

    Returns:
      The parameters of `dfjax.models.heads.Linear`: {'out': {'kernel': (dim, 1), 'bias': (1,)}}, float32.
    """
    x = np.asarray(embeddings, np.float32)
    class_counts(np.bincount(np.asarray(labels).astype(np.int32), minlength=2))
    mean, spread = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    spread = np.where(spread > 1e-6 * (np.abs(mean) + 1e-6), spread, np.inf)  # constant features get weight 0
    share = np.ones(len(x)) if weights is None else np.asarray(weights)
    data = (
        jnp.asarray((x - mean) / spread, jnp.float32),
        jnp.asarray(2 * np.asarray(labels, np.float32) - 1),
        jnp.asarray(share / share.sum(), jnp.float32),
    )
    found = optimize.minimize(
        lambda w: [np.asarray(part, np.float64) for part in _regression(jnp.asarray(w, jnp.float32), *data, l2)],
        np.zeros(x.shape[1] + 1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 1e-9, "gtol": 1e-6},
    )
    kernel = found.x[:-1] / spread
    bias = found.x[-1:] - mean @ kernel
    return {"out": {"kernel": kernel[:, None].astype(np.float32), "bias": bias.astype(np.float32)}}


@jax.jit
def _regression(w, x, sign, share, l2):
    """Mean logistic loss with penalty at w (the last entry is the bias), and its gradient."""

    def objective(w):
        u = sign * (jnp.matmul(x, w[:-1], precision=jax.lax.Precision.HIGHEST) + w[-1])
        return (share * jax.nn.softplus(-u)).sum() + l2 / 2 * (w[:-1] ** 2).sum()

    return jax.value_and_grad(objective)(w)
