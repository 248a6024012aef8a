"""GELU is the published function in every type, and rounds once where it is computed in bfloat16 off the CPU."""

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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_cpu_it_is_that_of_jax(dtype):
    x = jnp.asarray(X, dtype)
    np.testing.assert_array_equal(gelu.gelu(x), jax.nn.gelu(x, approximate=False))


def test_in_float32_its_value_and_slope_are_rounded_once():
    value, pull = jax.vjp(gelu.in_float32, jnp.asarray(X))
    slope = pull(jnp.ones_like(X))[0]
    assert value.dtype == slope.dtype == jnp.bfloat16
    for found, right in zip((value, slope), exact(X), strict=True):
        half = 2.0**-8 * np.abs(right) + 1e-6  # half a unit in the last place of bfloat16, and float32's own error
        assert (np.abs(np.asarray(found, np.float64) - right) <= half).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_slope_is_the_published_one(dtype):
    value, pull = jax.vjp(gelu.gelu, jnp.asarray(X, dtype))
    tolerance = 3e-7 if dtype == "float32" else 2.0**-8
    np.testing.assert_allclose(
        np.asarray(pull(jnp.ones_like(value))[0], np.float64), exact(X)[1], rtol=tolerance, atol=1e-6
    )


@pytest.mark.parametrize(
    ("function", "dtype"), [(gelu.in_float32, "bfloat16"), (gelu.gelu, "bfloat16"), (gelu.gelu, "float32")]
)
def test_its_gradient_keeps_the_input_alone(function, dtype):
    _, pull = jax.vjp(function, jnp.asarray(X, dtype))
    assert [x.shape for x in jax.tree.leaves(pull) if x.size > 1] == [X.shape]


@pytest.mark.parametrize(("dtype", "erfc"), [("float32", True), ("bfloat16", False)])
def test_a_gpu_has_the_form_of_one_pass_in_bfloat16(dtype, erfc):
    lowered = jax.jit(gelu.gelu).trace(jnp.asarray(X, dtype)).lower(lowering_platforms=("cuda",))
    assert ("erfc" in lowered.as_text()) == erfc
