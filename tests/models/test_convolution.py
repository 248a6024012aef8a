import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from dfjax.models import convolution
from dfjax.runtime import devices
from tests import compiled

CASES = [  # side, channels in and out, kernel, stride, padding
    (9, 5, 7, 1, 1, "SAME"),
    (9, 5, 7, 1, 2, "SAME"),
    (8, 5, 7, 1, 2, "VALID"),
    (9, 5, 7, 3, 2, "SAME"),
    (8, 5, 7, 3, 2, "SAME"),
    (10, 5, 7, 3, 1, "VALID"),
    (11, 5, 7, 3, 2, "VALID"),
    (8, 5, 7, 2, 2, "VALID"),
    (9, 5, 7, 4, 4, "VALID"),
    (9, 5, 7, 5, 2, ((2, 1), (1, 2))),
    (10, 16, 17, 3, 1, "VALID"),  # slopes by rows: whole multiples of four, or not
    (11, 17, 16, 3, 1, "VALID"),
    (9, 16, 16, 5, 1, ((2, 1), (0, 4))),
    (4, 16, 16, 2, 1, "SAME"),
    (3, 16, 16, 3, 1, "VALID"),
    (6, 16, 16, 2, 1, ((0, 3), (2, 0))),  # padded with more than the kernel
]
CASE = "side", "inputs", "outputs", "k", "stride", "padding"


@pytest.mark.parametrize(CASE, CASES)
def test_every_form_is_the_convolution_and_so_are_its_gradients(side, inputs, outputs, k, stride, padding):
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (2, side, side + 1, inputs))
    kernel = jax.random.normal(keys[1], (k, k, inputs, outputs))
    plain = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    out = []
    for function in (convolution.convolution, plain):
        y, back = jax.vjp(lambda x, kernel: function(x, kernel, (stride, stride), padding), x, kernel)  # noqa: B023
        out.append((y, *back(jnp.cos(jnp.arange(y.size)).reshape(y.shape))))
    for ours, theirs in zip(*out, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("k", "stride", "channels", "expected"), [(1, 1, 3, 0), (1, 2, 3, 0), (2, 2, 3, 0), (3, 1, 3, 2), (3, 1, 16, 2)]
)
def test_a_cpu_gets_products_and_other_devices_the_convolution(k, stride, channels, expected):
    x, kernel = jnp.ones((2, 8, 8, channels)), jnp.ones((k, k, channels, channels))
    slopes = jax.jit(jax.grad(lambda x, w: convolution.convolution(x, w, (stride,) * 2, "VALID").sum(), argnums=(0, 1)))
    forward = jax.jit(lambda x, w: jnp.cos(convolution.convolution(x, w, (stride,) * 2, "VALID")))
    texts = {}
    for platform in ("cpu", "cuda"):
        made = [export.export(f, platforms=[platform])(x, kernel).mlir_module() for f in (forward, slopes)]
        texts[platform] = sum(text.count("stablehlo.convolution") for text in made)
    assert texts["cpu"] == expected and texts["cuda"] == 3


@pytest.mark.parametrize(CASE, CASES)
def test_a_batch_of_unknown_size_can_be_exported(side, inputs, outputs, k, stride, padding):
    batch = export.symbolic_shape("b")[0]
    x = jax.ShapeDtypeStruct((batch, side, side, inputs), jnp.float32)
    kernel = jnp.ones((k, k, inputs, outputs))
    form = jax.jit(lambda x: convolution.convolution(x, kernel, (stride, stride), padding))
    made, some = export.export(form, platforms=["cpu", "cuda"])(x), jnp.ones((3, side, side, inputs))
    np.testing.assert_allclose(made.call(some), form(some), rtol=1e-5)


@pytest.mark.parametrize("channels", [3, 16])
def test_half_precision_keeps_its_type(channels):
    x, kernel = jnp.ones((2, 8, 8, channels), jnp.bfloat16), jnp.ones((3, 3, channels, channels), jnp.bfloat16)
    y, back = jax.vjp(lambda x, kernel: convolution.convolution(x, kernel, (1, 1), "SAME"), x, kernel)
    assert {part.dtype for part in (y, *back(y))} == {jnp.dtype(jnp.bfloat16)}


def test_slopes_by_rows_are_added_up_in_full_precision():
    """In bfloat16 a sum of many rows stands still where what is added is below its last bit."""
    x, dy = jnp.ones((1, 4098, 3, 16), jnp.bfloat16), jnp.ones((1, 4096, 1, 16), jnp.bfloat16)
    _, back = jax.vjp(lambda w: convolution.convolution(x, w, (1, 1), "VALID"), jnp.zeros((3, 3, 16, 16), jnp.bfloat16))
    np.testing.assert_array_equal(back(dy)[0], np.full((3, 3, 16, 16), 4096))


def test_devices_take_their_own_pictures_and_add_up_after_all_rows():
    x, kernel = jax.random.normal(jax.random.key(0), (4, 11, 10, 16)), jnp.ones((3, 3, 16, 17))

    def loss(kernel, x):
        return jnp.cos(convolution.convolution(x, kernel, (1, 1), "VALID")).sum()

    mesh = devices.make_mesh(4)
    everywhere, shared = devices.replicated(mesh), devices.shared_by(mesh)(jax.grad(loss))
    spread = jax.device_put(kernel, everywhere), jax.device_put(x, devices.split_batch(mesh))
    program = jax.jit(shared, out_shardings=everywhere).lower(*spread).compile()
    np.testing.assert_allclose(program(*spread), jax.grad(loss)(kernel, x), rtol=1e-4, atol=1e-4)
    assert compiled.sums_of_devices(program.as_text()) == {"at the top"}
    assert "all-gather" not in program.as_text()


def test_what_it_does_not_compute_is_refused():
    with pytest.raises(AssertionError, match="dilated"):
        convolution.Conv(4, 4, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))(jnp.ones((1, 8, 8, 4)))


def test_the_module_has_the_variables_of_flax():
    ours, theirs = (cls(3, 4, (3, 3), 2, rngs=nnx.Rngs(0)) for cls in (convolution.Conv, nnx.Conv))
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(ours)), nnx.to_pure_dict(nnx.state(theirs)))
    x = jax.random.normal(jax.random.key(1), (2, 9, 9, 3))
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
