"""RawNet2 and the recurrent layers: equal to PyTorch's at weights drawn by formula; exact in size."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import rawnet2, recurrent, weights
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from dfjax.runtime import devices
from tests import compiled
from tests.models import seeded

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/rawnet2.json").read_text())
PARITY = 2e-5


def test_parameter_count():
    model = nnx.eval_shape(lambda: rawnet2.RawNet2(rngs=Rngs(0)))
    assert sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))) == 17_621_410


def test_equals_the_published_network():
    arrays = rawnet2.from_torch(seeded.weights(GOLDEN["shapes"]))
    model = weights.fill(lambda: rawnet2.RawNet2(rngs=Rngs(0)), arrays, "seeded")
    model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
    embed = jax.jit(model.embed)
    x = jnp.asarray(seeded.waveforms(GOLDEN["samples"]))
    embedding = embed(x)
    np.testing.assert_allclose(embedding[:, :5], GOLDEN["embedding_first5"], atol=PARITY)
    np.testing.assert_allclose(model.head.out(embedding), GOLDEN["logits"], atol=PARITY)
    embed(-x)
    assert embed._cache_size() == 1


def test_missing_and_short_are_named():
    with pytest.raises(InputError, match="missing"):
        weights.fill(lambda: rawnet2.RawNet2(rngs=Rngs(0)), {}, "empty.pth")
    with pytest.raises(InputError, match=str(rawnet2.SHORTEST)):
        jax.eval_shape(lambda: rawnet2.RawNet2(rngs=Rngs(0))(jnp.zeros((1, rawnet2.SHORTEST - 1))))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def affine(linear, x):
    return x @ np.asarray(linear.kernel[...]) + np.asarray(linear.bias[...])


def test_gru_is_its_equations():
    layer = recurrent.GRU(3, 4, rngs=Rngs(0))
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    h = np.zeros((2, 4))
    for t in range(5):
        xr, xz, xn = np.split(affine(layer.gates.of_input, x[:, t]), 3, axis=1)
        hr, hz, hn = np.split(affine(layer.gates.of_state, h), 3, axis=1)
        z, n = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
        h = (1 - z) * n + z * h
        np.testing.assert_allclose(layer(jnp.asarray(x))[:, t], h, atol=1e-6)


def test_backward_lstm_is_forward_on_reversed_time():
    ahead, back = (recurrent.LSTM(3, 4, reverse=reverse, rngs=Rngs(0)) for reverse in (False, True))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 3)), jnp.float32)
    np.testing.assert_allclose(back(x), ahead(x[:, ::-1])[:, ::-1], atol=1e-7)


def frame_by_frame(layer, x):
    """The states by a Python loop, whose gradients are JAX's own."""
    cell, carry = (recurrent._gru, 1) if isinstance(layer, recurrent.GRU) else (recurrent._lstm, 2)
    carry, found = (jnp.zeros((len(x), 4), x.dtype),) * carry, []
    backwards = getattr(layer, "reverse", False)
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        carry = cell(carry, layer.gates.of_input(x)[:, t], layer.gates.of_state(carry[0]))
        found.append(carry[0])
    return jnp.stack(found[:: -1 if backwards else 1], axis=1)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "LSTM backwards"])
def test_states_and_gradients_are_those_of_a_loop(kind):
    if kind == "GRU":
        layer = recurrent.GRU(3, 4, rngs=Rngs(0))
    else:
        layer = recurrent.LSTM(3, 4, reverse=kind != "LSTM", rngs=Rngs(0))
    graphdef, params = nnx.split(layer)
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))

    def both(run):
        y, pull = jax.vjp(lambda params, x: run(nnx.merge(graphdef, params), x), params, x)
        return y, *jax.tree.leaves(pull(jnp.cos(y)))

    for one, other in zip(both(lambda layer, x: layer(x)), both(frame_by_frame), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_devices_add_up_gradients_after_all_frames():
    mesh = devices.make_mesh(2)
    graphdef, params = nnx.split(recurrent.GRU(3, 4, rngs=Rngs(0)))
    loss = lambda params, x: (nnx.merge(graphdef, params)(x) ** 2).sum()
    everywhere = devices.replicated(mesh)
    x = jax.device_put(jnp.ones((4, 5, 3)), devices.split_batch(mesh))
    program = jax.jit(jax.grad(loss), out_shardings=everywhere).lower(jax.device_put(params, everywhere), x).compile()
    assert compiled.sums_of_devices(program.as_text()) == {"at the top"}


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_layers_equal_torch(kind):
    torch = pytest.importorskip("torch")
    reference = getattr(torch.nn, kind)(3, 4, batch_first=True, bidirectional=kind == "LSTM")
    ours = recurrent.GRU if kind == "GRU" else recurrent.BLSTM
    names = {
        "GRU": {n: path.removeprefix("x.") for n, path in recurrent.torch_names("x", "l0").items()},
        "LSTM": recurrent.torch_names("forward", "l0") | recurrent.torch_names("backward", "l0", reverse=True),
    }[kind]
    arrays = {names[n]: value.detach().numpy().T for n, value in reference.named_parameters()}
    layer = weights.fill(lambda: ours(3, 4 if kind == "GRU" else 8, rngs=Rngs(0)), arrays, "torch")
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(jnp.asarray(x)), reference(torch.tensor(x))[0].detach().numpy(), atol=1e-6)
