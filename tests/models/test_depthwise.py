import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from dfjax.models import depthwise

CASES = [(9, 3, 1), (9, 3, 2), (8, 3, 2), (10, 5, 2), (7, 7, 1), (4, 7, 1)]  # side, kernel, stride


def draw(side, k):
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (2, side, side + 1, 5)), jax.random.normal(keys[1], (k, k, 1, 5))


@pytest.mark.parametrize(("side", "k", "stride"), CASES)
def test_shifts_are_the_convolution_and_so_are_their_gradients(side, k, stride):
    x, kernel = draw(side, k)

    @jax.jit
    def both(x, kernel):
        out = []
        for function in (depthwise._shifted, depthwise._convolution):
            y, back = jax.vjp(lambda x, kernel: function(x, kernel, stride), x, kernel)  # noqa: B023
            out.append((y, *back(jnp.cos(jnp.arange(y.size)).reshape(y.shape))))
        return out

    for ours, theirs in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_each_platform_gets_its_own_form():
    x, kernel = draw(8, 3)
    function = jax.jit(functools.partial(depthwise.depthwise, stride=1))
    assert "stablehlo.convolution" not in export.export(function, platforms=["cpu"])(x, kernel).mlir_module()
    assert "stablehlo.convolution" in export.export(function, platforms=["cuda"])(x, kernel).mlir_module()


def test_a_channel_does_not_see_the_others():
    x, kernel = draw(6, 3)
    changed = depthwise.depthwise(x.at[..., 0].set(0.0), kernel)
    np.testing.assert_array_equal(changed[..., 1:], depthwise.depthwise(x, kernel)[..., 1:])
    np.testing.assert_array_equal(changed[..., 0], 0)
