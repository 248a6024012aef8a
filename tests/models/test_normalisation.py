"""Inputs standardised over the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


def trained(kind, dtype, x, weights):
    """(output, running statistics, slopes to parameters and input) of a norm whose outputs count by these weights."""
    norm = kind(x.shape[-1], momentum=0.9, epsilon=1e-3, dtype=dtype, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    norm.scale[...], norm.bias[...] = (jnp.asarray(rng.normal(size=x.shape[-1]), jnp.float32) for _ in range(2))
    graphdef, params, rest = nnx.split(nnx.view(norm, use_running_average=False), nnx.Param, ...)

    def loss(params, x):
        norm = nnx.merge(graphdef, params, rest, copy=True)
        y = norm(x)
        return (y.astype(jnp.float32) * weights).sum(), (y, nnx.state(norm, nnx.Not(nnx.Param)))

    (_, seen), slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    return jax.tree.leaves(seen), jax.tree.leaves(slopes)


@pytest.mark.parametrize(("dtype", "apart"), [(jnp.float32, 2e-6), (jnp.bfloat16, 1e-2)])
def test_batch_norm_is_flaxs_to_the_bit_and_its_slopes_are_those_that_jax_derives(dtype, apart):
    x, weights = np.random.default_rng(0).normal(1, 2, size=(2, 4, 7, 5, 24)).astype(np.float32)
    (values, slopes), (same, derived) = (
        trained(kind, dtype, jnp.asarray(x, dtype), weights) for kind in (normalisation.BatchNorm, nnx.BatchNorm)
    )
    for ours, flaxs in zip(values, same, strict=True):
        np.testing.assert_array_equal(ours, flaxs)
    for ours, flaxs in zip(slopes, derived, strict=True):
        assert ours.dtype == flaxs.dtype
        ours, flaxs = np.asarray(ours, np.float32), np.asarray(flaxs, np.float32)
        np.testing.assert_allclose(ours, flaxs, atol=apart * np.abs(flaxs).max())


def test_slopes_lose_one_digit_where_the_level_is_ten_times_the_spread():
    """The variance, whose formula is Flax's, loses two."""
    x, weights = np.random.default_rng(0).normal(size=(2, 16, 8, 8, 3))
    x = 10 + x
    apart = x - x.mean((0, 1, 2))
    exact = (weights * apart).sum((0, 1, 2)) / np.sqrt(x.var((0, 1, 2)) + 1e-3)
    _, (_, dscale, _) = trained(normalisation.BatchNorm, jnp.float32, jnp.asarray(x, jnp.float32), weights)
    np.testing.assert_allclose(dscale, exact, rtol=1e-4)


def test_nothing_as_large_as_the_input_is_kept_beside_it():
    graphdef, state = nnx.split(nnx.view(normalisation.BatchNorm(3, rngs=nnx.Rngs(0)), use_running_average=False))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 9, 3)), jnp.float32)
    _, back = jax.vjp(lambda x: nnx.merge(graphdef, state, copy=True)(x), x)
    kept = [leaf for leaf in jax.tree.leaves(back) if leaf.size == x.size]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], x)
