"""Focal loss, value and gradient of a million logits: the sign form against optax, and the rows of the table.

    python -m tests.benchmarks.losses

Prints the median of 30 runs of value and gradient and the largest relative error of the gradient against float64.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dfjax.training import losses
from tests.benchmarks import rows

N, REPEATS, GAMMA = 1_000_000, 30, 2.0


def milliseconds(function, *arguments) -> float:
    """Median wall time of a compiled call."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 8, N).astype(np.float32)
    labels = rng.integers(0, 2, N).astype(np.float32)
    u = np.where(labels == 1, logits, -logits).astype(np.float64)
    softplus, other = np.logaddexp(0, u), np.logaddexp(0, -u)
    q = np.exp(-softplus)
    exact = -np.exp(-GAMMA * softplus) * (GAMMA * (1 - q) * other + q) * np.where(labels == 1, 1, -1)
    normal = np.abs(exact) > np.finfo(np.float32).tiny  # the rest is 0 in float32

    calls = {
        "dfjax focal": lambda z, y: losses.focal(z, y, gamma=GAMMA),
        "optax focal": lambda z, y: optax.losses.sigmoid_focal_loss(z, y, gamma=GAMMA),
        "dfjax cross-entropy": losses.binary_cross_entropy,
        "optax cross-entropy": optax.losses.sigmoid_binary_cross_entropy,
        "dfjax ldam": lambda z, y: losses.ldam(z, y, margins=(0.28, 0.5)),
    }
    for name, loss in calls.items():
        step = jax.jit(jax.value_and_grad(lambda z, y, loss=loss: loss(z, y).sum()))
        elapsed = milliseconds(step, jnp.asarray(logits), jnp.asarray(labels))
        more = {}
        if "focal" in name:
            got = np.asarray(step(logits, labels)[1], np.float64)
            error = np.abs(got[normal] / exact[normal] - 1).max()
            more["gradient_within"] = float(error)
        rows.show(name, elapsed, "ms", **more)


if __name__ == "__main__":
    main()
