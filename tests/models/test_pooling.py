import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import pooling


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 0)])
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


def test_pixels_that_share_the_maximum_share_its_slope():
    slope = jax.grad(lambda x: pooling.max_pool(x, 2, 2).sum())(jnp.ones((1, 4, 4, 1)))
    assert (slope > 0).all()
    np.testing.assert_array_equal(slope.reshape(2, 2, 2, 2).sum(axis=(1, 3)), np.ones((2, 2)))
