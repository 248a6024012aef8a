"""Blocks computed again on the way back: the same logits and gradients in less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import functional, vit, wav2vec2
from dfjax.models.streams import Rngs
from dfjax.runtime import process
from tests.models.test_wav2vec2 import TINY

# its transformer outweighs its convolutions
DEEP = dataclasses.replace(TINY, hidden=64, layers=6, feed_forward=1024)


class Small(vit.CLIPBase):
    size, width, depth, n_heads, patch = 32, 32, 4, 4, 4


KINDS = {
    "clip": (Small, {"dropout": 0.1}, (4, 32, 32, 3)),
    "wav2vec2": (wav2vec2.Wav2Vec2, {"size": DEEP, "dropout": 0.1}, (4, 16_000)),
}


def both(kind, dtype=jnp.float32):
    """(compiled function, parameters, input) without and with rematerialisation."""
    cls, kwargs, shape = KINDS[kind]
    x = jax.random.normal(jax.random.key(1), shape)
    for remat in (False, True):
        build = lambda rngs: cls(rngs=rngs, remat=remat, dtype=dtype, **kwargs)
        graphdef, params, model_state = functional.split(build(Rngs(params=0)))

        def objective(params, x):
            model = nnx.merge(graphdef, params, model_state, copy=True)
            model = nnx.view(model, deterministic=False, raise_if_not_found=False)
            logits = model(x, rngs=Rngs(dropout=jax.random.key(2)))
            return (logits**2).sum(), logits

        run = jax.jit(jax.value_and_grad(objective, has_aux=True))
        yield run.lower(params, x).compile(process.compiler_options()), params, x


@pytest.mark.parametrize("kind", ["clip", pytest.param("wav2vec2", marks=pytest.mark.slow)])
def test_same_logits_and_gradients_in_less_memory(kind):
    (one, params, x), (other, same, _) = both(kind)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    ((_, logits), gradient), ((_, again), recomputed) = one(params, x), other(params, x)
    np.testing.assert_allclose(again, logits, rtol=1e-6, atol=1e-6)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6 * largest), gradient, recomputed)
    before, after = (f.memory_analysis().temp_size_in_bytes for f in (one, other))
    print(kind, before, after)
    assert after < 0.7 * before
