"""Linear layers over many axes are flax's, and their gradients are one product each, no factor turned around."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import linear
from dfjax.models.streams import Rngs


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6), (2, 3, 4, 6)])
def test_layer_and_gradients_are_those_of_flax(shape):
    ours, theirs = (layer(6, 4, rngs=Rngs(0)) for layer in (linear.Linear, nnx.Linear))
    x = jax.random.normal(jax.random.key(0), shape)

    def both(layer):
        graphdef, params = nnx.split(layer)
        y, pull = jax.vjp(lambda params, x: nnx.merge(graphdef, params)(x), params, x)
        return y, *jax.tree.leaves(pull(jnp.cos(y)))

    for one, other in zip(both(ours), both(theirs), strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_gradient_to_the_kernel_copies_no_factor():
    x, kernel, dy = jnp.ones((4, 14, 14, 24)), jnp.ones((24, 40)), jnp.ones((4, 14, 14, 40))

    def copies(product):
        to_kernel = jax.jit(lambda x, kernel, dy: jax.vjp(lambda kernel: product(x, kernel), kernel)[1](dy)[0])
        return len(re.findall(r" (?:copy|transpose)\(", to_kernel.lower(x, kernel, dy).compile().as_text()))

    assert copies(linear.product) == 0
    assert copies(lambda x, kernel: jnp.einsum("bhwc,cd->bhwd", x, kernel)) > 0  # else this module has lost its reason
