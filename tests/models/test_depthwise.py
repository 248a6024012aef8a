import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from dfjax.models import depthwise, depthwise_gpu

# side, kernel, stride
CASES = [(9, 3, 1), (9, 3, 2), (8, 3, 2), (10, 5, 2), (7, 7, 1), (4, 7, 1), (13, 3, 1), (1, 3, 1)]


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


def test_rows_of_slopes_are_added_together_so_that_few_are_left_over():
    together = {rows: depthwise._at_once(rows) for rows in (1, 2, 7, 10, 14, 19, 37, 56, 74, 147)}
    assert together == {1: 1, 2: 1, 7: 3, 10: 5, 14: 7, 19: 6, 37: 6, 56: 7, 74: 2, 147: 7}


@pytest.mark.parametrize("side", [13, 14])  # of 13 rows one is left over
def test_adding_rows_together_changes_no_bit(side, monkeypatch):
    x, kernel = draw(side, 3)

    def slopes(rows):
        monkeypatch.setattr(depthwise, "ROWS", rows)
        to_kernel = jax.jit(jax.grad(lambda kernel: jnp.sin(depthwise._shifted(x, kernel, 1)).sum())).trace(kernel)
        return str(to_kernel.jaxpr), to_kernel.lower().compile()(kernel)

    (program, together), (other, singly) = slopes(7), slopes(1)
    assert program != other
    np.testing.assert_array_equal(together, singly)


@pytest.mark.parametrize(
    ("shape", "k", "dtype"),
    [((2, 9, 8, 40), 3, "bfloat16"), pytest.param((5, 6, 7, 33), 5, "float32", marks=pytest.mark.slow)],
)
def test_the_kernels_for_a_gpu_are_the_convolution_and_so_are_their_gradients(shape, k, dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    x, dy = (jax.random.normal(key, shape, dtype) for key in keys[:2])
    kernel = jax.random.normal(keys[2], (k, k, 1, shape[-1]), dtype)

    def all_of(function):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(dy)

    ours = all_of(lambda x, kernel: depthwise_gpu.depthwise(x, kernel, True))
    theirs = all_of(lambda x, kernel: depthwise._convolution(x, kernel, 1))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        one, other = one.astype(jnp.float32), other.astype(jnp.float32)
        np.testing.assert_allclose(
            one, other, rtol=0, atol=(1e-6 if dtype == "float32" else 2**-8) * jnp.abs(other).max()
        )


def test_one_gpu_gets_kernels_where_they_are_worth_it(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    card = types.SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(jax, "devices", lambda: [card])
    x, kernel = draw(8, 3)
    images, taps = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)

    def has_kernels(x, kernel, stride=1):
        return "pallas_call" in str(jax.make_jaxpr(functools.partial(depthwise.depthwise, stride=stride))(x, kernel))

    assert has_kernels(images, taps)
    assert not has_kernels(x, kernel)  # float32
    assert not has_kernels(images, taps, stride=2)
    card.compute_capability = "7.5"  # computes nothing in bfloat16
    assert not has_kernels(images, taps)
    card.compute_capability = "gfx90a"  # is no NVIDIA
    assert not has_kernels(images, taps)
    card.compute_capability = "10.0"
    assert has_kernels(images, taps)
    monkeypatch.setattr(jax, "device_count", lambda: 8)  # which the compiler would not share a kernel among
    assert not has_kernels(images, taps)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    function = jax.jit(functools.partial(depthwise.depthwise, stride=1))
    (batch,) = export.symbolic_shape("b")
    exported = export.export(function, platforms=["cuda"])(jax.ShapeDtypeStruct((batch, 8, 9, 5), "bfloat16"), taps)
    assert "stablehlo.convolution" in exported.mlir_module()  # of any batch


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
