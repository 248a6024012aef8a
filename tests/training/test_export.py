"""What cannot run here is at least lowered: the training and scoring steps of every detector, for TPU and CUDA."""

import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from dfjax import models
from dfjax.data import audio
from dfjax.inference import scorers
from dfjax.models import functional
from dfjax.models.streams import Rngs
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE
from dfjax.runtime import checkpoint, devices
from dfjax.training import losses, train_step

PLATFORMS = ("cuda", "tpu")
BATCH = 2
QUICK = ("texture", "cnn_small")  # the defaults; the rest are a matter of minutes
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in models.MODELS]


def examples(model):
    """Shapes of a batch in compact form."""
    if model.modality != "audio":
        picture = {"image": jax.ShapeDtypeStruct((BATCH, model.size, model.size, 3), jnp.uint8)}
        second = {"audio": jax.ShapeDtypeStruct((BATCH, SAMPLE_RATE), jnp.int16)}
        return picture | second if model.modality == "av" else picture
    samples = getattr(model, "samples", SAMPLE_RATE)
    return {
        "audio": jax.ShapeDtypeStruct((BATCH, samples), jnp.int16),
        "length": jax.ShapeDtypeStruct((BATCH,), jnp.int32),
    }


def training_input(key, batch):
    if "image" in batch:
        picture = batch["image"].astype(jnp.float32) / 255
        return {"image": picture, "audio": audio.to_float(batch["audio"])} if "audio" in batch else picture
    x = audio.random_cut(key, batch["audio"], batch["length"], min(batch["audio"].shape[1], MAX_SAMPLES))
    return audio.augment(key, x, gain_db=6.0, noise_db=(15.0, 40.0))


@pytest.mark.parametrize("name", NAMES)
def test_training_and_scoring_lower_for_accelerators(name):
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))

    def build(rngs):
        return models.build(name, rngs=rngs, dtype=jnp.bfloat16)

    graphdef, params, model_state = functional.split(nnx.eval_shape(lambda: build(Rngs(0))))
    state = checkpoint.State(
        step=jax.ShapeDtypeStruct((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=jax.eval_shape(tx.init, params),
        average=params,
    )
    model = models.model_class(name)

    def step(state, batch, labels, seed):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        loss = lambda logits, labels, step: losses.focal(logits, labels, gamma=2.0)
        words = {"graphdef": graphdef, "tx": tx, "ema": 0.99, "loss": loss}
        return train_step.update(state, training_input(key, batch), labels, key, **words)

    labels = jax.ShapeDtypeStruct((BATCH, 3) if model.modality == "av" else (BATCH,), jnp.int32)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    trained = jax.export.export(jax.jit(step), platforms=PLATFORMS)(state, examples(model), labels, seed)
    assert trained.platforms == PLATFORMS
    assert [x.shape for x in jax.tree.leaves(trained.out_avals)][-1] == ()  # loss and gradient norm are numbers
    new_state = jax.tree.unflatten(trained.out_tree, trained.out_avals)[0]
    pairs = zip(jax.tree.leaves(new_state), jax.tree.leaves(state), strict=True)
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)

    scorer = scorers.make_scorer(graphdef, devices.make_mesh())
    scored = jax.export.export(scorer, platforms=PLATFORMS)(params, model_state, examples(model))
    (scores,) = scored.out_avals
    assert scores.shape == (BATCH,) and scores.dtype == jnp.float32
