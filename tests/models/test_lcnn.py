"""LFCC-LCNN-BLSTM equals the published baseline at weights drawn by formula; the mel ResNet18 its size."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.features import lfcc_asvspoof
from dfjax.models import lcnn, resnet18_mel, weights
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from tests.models import seeded

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/lcnn.json").read_text())
PARITY = 1e-4  # the LFCC are near 10, their logarithms lose float32 digits near silence


def count(module):
    return sum(p.size for p in jax.tree.leaves(nnx.state(module, nnx.Param)))


def test_parameter_counts():
    assert count(nnx.eval_shape(lambda: lcnn.LCNN(rngs=Rngs(0)))) == 269_729
    mel = nnx.eval_shape(lambda: resnet18_mel.ResNet18Mel(rngs=Rngs(0)))
    assert count(mel) - count(mel.head) == 4_105_440  # published without its output layer


def test_front_end_equals_the_published_one():
    x = jnp.asarray(seeded.waveforms(GOLDEN["samples"]))
    features = lfcc_asvspoof.lfcc(x)
    assert features.shape == (2, 1 + GOLDEN["samples"] // lfcc_asvspoof.HOP, lfcc_asvspoof.DIM)
    np.testing.assert_allclose(features[:, 60], GOLDEN["lfcc_frame60"], atol=PARITY)
    np.testing.assert_allclose(jnp.sqrt((features**2).sum((1, 2))), GOLDEN["lfcc_l2"], rtol=1e-5)


def test_equals_the_published_network():
    arrays = lcnn.from_torch(seeded.weights(GOLDEN["shapes"]))
    model = weights.fill(lambda: lcnn.LCNN(rngs=Rngs(0)), arrays, "seeded")
    model = nnx.view(model, deterministic=True, use_running_average=True)
    score = jax.jit(lambda x: model(x))(jnp.asarray(seeded.waveforms(GOLDEN["samples"])))
    np.testing.assert_allclose(score, -np.array(GOLDEN["bona_fide_logit"]), atol=PARITY)


@pytest.mark.parametrize("build", [lcnn.LCNN, resnet18_mel.ResNet18Mel])
def test_a_training_step_reaches_every_parameter(build):
    graph, params, rest = nnx.split(seeded.model(lambda: build(rngs=Rngs(0))), nnx.Param, ...)
    x = jnp.asarray(seeded.waveforms(8_000))

    @jax.jit
    def gradient(params):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            model = nnx.view(model, deterministic=False, use_running_average=False, raise_if_not_found=False)
            return (model(x, rngs=Rngs(dropout=0)) ** 2).sum()

        return jax.grad(loss)(params)

    for path, value in nnx.to_flat_state(gradient(params)):
        assert np.all(np.isfinite(value[...])) and np.abs(value[...]).max() > 0, path


def test_too_short_a_clip_is_named():
    def shape(samples):
        return lcnn.LCNN(rngs=Rngs(0))(jnp.zeros((1, samples)), rngs=Rngs(0))

    assert jax.eval_shape(lambda: shape(lcnn.SHORTEST)).shape == (1,)
    with pytest.raises(InputError, match=str(lcnn.SHORTEST)):
        jax.eval_shape(lambda: shape(lcnn.SHORTEST - 1))
