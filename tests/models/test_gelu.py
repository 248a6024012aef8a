"""GELU is the published function in every type, computed in float32 and rounded once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dfjax.models import gelu

X = np.linspace(-9, 9, 2401).astype(jnp.bfloat16)


def exact(x):
    """(the value, the slope) in float64."""
    x = np.asarray(x, np.float64)
    return x * stats.norm.cdf(x), stats.norm.cdf(x) + x * stats.norm.pdf(x)


def test_it_is_that_of_jax_to_the_rounding_of_an_error_function_near_one():
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(gelu.gelu(x), jax.nn.gelu(x, approximate=False), rtol=2e-7, atol=1.2e-6)


def test_its_value_and_slope_are_rounded_once():
    value, pull = jax.vjp(gelu.gelu, jnp.asarray(X))
    slope = pull(jnp.ones_like(X))[0]
    assert value.dtype == slope.dtype == jnp.bfloat16
    for found, right in zip((value, slope), exact(X), strict=True):
        half = 2.0**-8 * np.abs(right) + 1e-6  # half a unit in the last place of bfloat16, and float32's own error
        assert (np.abs(np.asarray(found, np.float64) - right) <= half).all()


def test_in_float32_its_value_and_slope_are_the_published_ones():
    value, pull = jax.vjp(gelu.gelu, jnp.asarray(X, jnp.float32))
    for found, right in zip((value, pull(jnp.ones_like(value))[0]), exact(X), strict=True):
        np.testing.assert_allclose(found, right, rtol=3e-7, atol=1.2e-6)


def test_its_gradient_keeps_the_input_alone():
    _, pull = jax.vjp(gelu.gelu, jnp.asarray(X))
    assert [x.shape for x in jax.tree.leaves(pull) if x.size > 1] == [X.shape]


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_one_pass_everywhere(dtype, platform):
    lowered = jax.jit(gelu.gelu).trace(jnp.asarray(X, dtype)).lower(lowering_platforms=(platform,))
    assert "erf" in lowered.as_text() and "erfc" not in lowered.as_text()
