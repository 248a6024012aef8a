"""Inputs standardised over the batch."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dfjax.models import normalisation


def test_a_level_far_above_the_spread_costs_no_digits():
    """The mean of squares less the square of the mean is up to 19 % off here."""
    x = np.random.default_rng(0).normal(300, 0.25, size=(64, 5)).astype(np.float32)
    exact = (x - x.mean(axis=0, dtype=np.float64)) / np.sqrt(x.var(axis=0, dtype=np.float64) + 1e-5)
    model = normalisation.standardise(5, momentum=0.9, rngs=nnx.Rngs(0))
    y = nnx.view(model, use_running_average=False)(jnp.asarray(x))
    np.testing.assert_allclose(y, exact, atol=3e-4)


def test_there_is_nothing_to_train():
    model = normalisation.standardise(3, momentum=0.9, rngs=nnx.Rngs(0))
    assert not nnx.state(model, nnx.Param)
