"""Fast convolutions of a signal in three phases: each piece is what it stands for.

A residual block is the plain one with its slopes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import graph_attention, winograd
from dfjax.runtime import devices
from tests import compiled

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


def whole(parts, length):
    return np.stack(parts, axis=3).reshape(*parts[0].shape[:2], -1, parts[0].shape[3])[:, :, :length]


def plain_conv(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((0, 0), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("length", [9, 10, 11])
@pytest.mark.parametrize("inputs", [1, 3])
def test_conv_and_moments(length, inputs):
    x, kernel = normal(2, 4, length, inputs), normal(2, 3, inputs, 5)
    expected = plain_conv(x, kernel)
    found = winograd.conv(winograd.split(x), kernel)
    np.testing.assert_allclose(whole(found, length), expected, atol=1e-5)
    moments = [winograd.moments(found, length)]
    if inputs == 1:
        moments.append(winograd.moments_of_conv(winograd.split(x), kernel, length))
    for mean, var in moments:
        np.testing.assert_allclose(mean, expected.mean((0, 1, 2)), atol=1e-5)
        np.testing.assert_allclose(var, expected.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ("inputs", "outputs", "length"), [(1, 4, 3 * winograd.TILE + 20), (1, 4, 31), (4, 4, 31), (4, 6, 30), (4, 6, 32)]
)
def test_a_block_is_the_plain_one(inputs, outputs, length, monkeypatch):
    x, weight = normal(2, 5, length, inputs), normal(2, 5, length // 3, outputs)
    block = graph_attention.Block(inputs, outputs, first=inputs == 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
    block.bn2.scale[...], block.bn2.bias[...] = normal(outputs), normal(outputs)
    block.conv1.bias[...], block.conv2.bias[...] = normal(outputs), normal(outputs)
    graph, params, rest = nnx.split(block, nnx.Param, ...)

    def run(params, x):
        block = nnx.view(nnx.merge(graph, params, rest, copy=True), use_running_average=False)
        y = block(x)
        return (y * weight).sum(), (y, nnx.to_pure_dict(nnx.state(block, nnx.BatchStat)))

    def found(by_winograd):
        monkeypatch.setattr(graph_attention.Block, "by_winograd", by_winograd)
        return jax.jit(lambda params, x: jax.grad(run, (0, 1), has_aux=True)(params, x))(params, x)

    (ours, slope), (y, statistics) = found(True)
    (plain, plain_slope), (plain_y, plain_statistics) = found(False)
    np.testing.assert_allclose(y, plain_y, atol=1e-4)
    np.testing.assert_allclose(slope, plain_slope, atol=1e-3)
    for a, b in ((ours, plain), (statistics, plain_statistics)):
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-3, rtol=1e-4), a, b)


def test_devices_share_the_first_block_and_add_up_its_gradients_after_all_tiles():
    x, weight = normal(4, 5, 3 * winograd.TILE + 20, 1), normal(4, 5, winograd.TILE + 6, 4)
    block = graph_attention.Block(1, 4, first=True, dtype=jnp.float32, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(block, nnx.Param, ...)

    def loss(params, x):
        block = nnx.view(nnx.merge(graph, params, rest, copy=True), use_running_average=False)
        return (block(x) * weight).sum()

    mesh = devices.make_mesh(2)
    everywhere, shared = devices.replicated(mesh), devices.shared_by(mesh)(jax.value_and_grad(loss))
    spread = jax.device_put(params, everywhere), jax.device_put(x, devices.split_batch(mesh))
    program = jax.jit(shared, out_shardings=everywhere).lower(*spread).compile()
    alone = jax.value_and_grad(loss)(params, x)
    for one, other in zip(jax.tree.leaves(program(*spread)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
    assert compiled.sums_of_devices(program.as_text()) == {"at the top"}


def test_only_training_on_cpu_goes_by_winograd(monkeypatch):
    block = graph_attention.Block(4, 4, first=False, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jnp.zeros((1, 5, 9, 4))
    calls = []
    monkeypatch.setattr(graph_attention.Block, "_by_winograd", lambda self, x: calls.append(1) or x[:, :, ::3])
    nnx.view(block, use_running_average=True)(x)
    assert not calls
    nnx.view(block, use_running_average=False)(x)
    assert len(calls) == (jax.default_backend() == "cpu")
