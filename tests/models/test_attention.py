import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.models import attention


def tokens(dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    query, slope = (jax.random.normal(key, (2, 5, 3, 16), dtype) for key in keys[:2])
    key, value = (jax.random.normal(key, (2, 7, 3, 16), dtype) for key in keys[2:])
    return (query, key, value), slope


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_values_and_slopes_are_those_of_jax(dtype, tolerance):
    x, slope = tokens(dtype)
    for attend in (attention.attend, jax.jit(attention.attend)):
        ours, ours_back = jax.vjp(attend, *x)
        theirs, theirs_back = jax.vjp(jax.nn.dot_product_attention, *x)
        for one, other in zip((ours, *ours_back(slope)), (theirs, *theirs_back(slope)), strict=True):
            assert one.dtype == other.dtype == dtype
            one, other = (np.asarray(a, "float32") for a in (one, other))
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


def test_a_query_along_one_key_finds_its_value():
    x = 100 * jnp.eye(4)[None, :, None]
    value = jnp.arange(16.0).reshape(1, 4, 1, 4)
    np.testing.assert_array_equal(attention.attend(x, x, value), value)
    np.testing.assert_array_equal(attention.probabilities(x, x)[0, 0], np.eye(4))


def test_probabilities_of_low_precision_are_float32_and_sum_to_one():
    (query, key, _), _ = tokens("bfloat16")
    found = attention.probabilities(query, key)
    assert found.dtype == "float32" and found.shape == (2, 3, 5, 7)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
