import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import pooling


@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 0), (3, 1, 1), (5, 2, 2), (5, 3, 0)]
)
def test_values_and_slopes_are_those_of_xla(window, stride, padding):
    x = jax.random.normal(jax.random.key(0), (2, 17, 22, 3))

    def theirs(x):
        around = [(padding, padding)] * 2
        return nnx.max_pool(x, (window, window), (stride, stride), around)

    def slope(pool):
        return jax.grad(lambda x: (pool(x) ** 2).sum())(x)

    def ours(x):
        return pooling.max_pool(x, window, stride, padding)

    np.testing.assert_array_equal(ours(x), theirs(x))
    np.testing.assert_allclose(slope(ours), slope(theirs), rtol=1e-6)


def test_of_equal_pixels_the_first_has_the_slope():
    slope = jax.grad(lambda x: pooling.max_pool(x, 2, 2).sum())(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_array_equal(slope[0, :, :, 0], np.tile([[1, 0], [0, 0]], (2, 2)))
    x = jnp.array([[0.0, 1, 0], [1, 1, 0], [0, 0, 0]])[None, :, :, None]  # row by row
    slope = jax.grad(lambda x: pooling.max_pool(x, 3, 3).sum())(x)
    np.testing.assert_array_equal(slope[0, :, :, 0], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_largest_over_an_axis_is_that_of_jax_and_its_slope_too(axis):
    x, weights = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    found = jax.value_and_grad(lambda x: (pooling.largest(x, axis) * weights.take(0, axis)).sum())(x)
    expected = jax.value_and_grad(lambda x: (x.max(axis) * weights.take(0, axis)).sum())(x)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    slope = jax.grad(lambda x: pooling.largest(x, axis).sum())(jnp.zeros((3, 4, 5)))
    np.testing.assert_array_equal(slope, np.indices((3, 4, 5))[axis] == 0)


def test_not_a_number_stays_one():
    nan, one = jnp.array([jnp.nan, 1.0]), jnp.array([1.0, jnp.nan])
    assert jnp.isnan(pooling.maximum(nan, one)).all() and jnp.isnan(pooling.largest(nan, 0))
    picture = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1].set(jnp.nan)
    np.testing.assert_array_equal(jnp.isnan(pooling.max_pool(picture, 2, 2))[0, :, :, 0], [[1, 0], [0, 0]])


def test_over_three_drops_the_rest():
    x = jnp.arange(16.0).reshape(2, 8, 1)
    np.testing.assert_array_equal(pooling.over_three(x)[..., 0], [[2, 5], [10, 13]])


def test_detectors_take_no_maximum_whose_slope_may_be_lost():
    folder = pathlib.Path(pooling.__file__).parent
    found = [p.name for p in folder.glob("*.py") if re.search(r"jnp\.(maximum|minimum|clip)\(|\.max\(", p.read_text())]
    assert found == ["pooling.py"]
