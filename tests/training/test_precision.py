"""bfloat16 is what a detector computes in while it trains; what is kept, summed, compared and scored is float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dfjax import models
from dfjax.models import functional
from dfjax.models.streams import Rngs
from dfjax.records import MEDIA, InputError
from dfjax.run import main_job
from dfjax.training import losses, recipe, train_step
from experiments import asvspoof2019_la_aasist, image_convnext
from tests import job

EPSILON = 2.0**-8  # the largest relative error of rounding to bfloat16
HEAVY = ("vit_base", "clip_base", "clip_large", "wav2vec2", "wav2vec2_frozen", "efficientnet_b4")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in models.MODELS]


KWARGS = {"resnet_small": {"dims": (8, 16), "bins": 40, "embedding": 16}, "texture": {"embedding": 16}}


def settings(dtype="bfloat16", name="resnet_small"):
    config = job.config()
    config.data.dataset = "demo_speech"
    config.model = {"name": name, "dtype": dtype, "kwargs": KWARGS[name]}
    return config


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    time = np.arange(8000) / 16000
    x = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 3000, (16, 1)) * time) + 0.05 * rng.normal(size=(16, 8000))
    return jnp.asarray(x, jnp.float32), jnp.arange(16, dtype=jnp.int32) % 2


@pytest.mark.parametrize("name", NAMES)
def test_parameters_statistics_and_logits_are_float32(name):
    cls = models.model_class(name)
    shapes = {"audio": (2, getattr(cls, "samples", 16000))}
    if cls.modality != "audio":
        shapes["image"] = (2, cls.size, cls.size, 3)
    x = {name: jax.ShapeDtypeStruct(shapes[name], jnp.float32) for name in MEDIA[cls.modality]}

    def answer(x):
        model = models.build(name, rngs=Rngs(0), dtype=jnp.bfloat16)
        model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
        return functional.split(model)[1:], model.embed(x), model(x)

    found = jax.eval_shape(answer, x if cls.modality == "av" else x[cls.modality])
    assert {leaf.dtype for leaf in jax.tree.leaves(found) if leaf.dtype != jnp.uint32} <= {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", KWARGS)
def test_a_step_in_bfloat16_is_the_step_in_float32_up_to_rounding(batch, name):
    """The loss to a few roundings, the gradient's direction to one in a hundred; the state is float32 throughout."""
    tx = optax.sgd(1.0)  # so that the change of the parameters is minus the gradient

    def after(dtype):
        build = recipe.make_builder(settings(dtype, name), training=True)
        graphdef, state = train_step.create(build, tx, jax.random.key(0), ema=True)
        loss = lambda logits, labels, step: losses.binary_cross_entropy(logits, labels)
        words = {"graphdef": graphdef, "tx": tx, "ema": 0.9, "loss": loss}
        new, values = jax.jit(lambda state: train_step.update(state, *batch, jax.random.key(1), **words))(state)
        assert {x.dtype for x in jax.tree.leaves(new)} == {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}
        gradient = jax.tree.map(lambda a, b: np.asarray(a - b).ravel(), state.params, new.params)
        return float(values["loss"]), np.concatenate(jax.tree.leaves(gradient)), new.model_state

    (loss, gradient, statistics), (rounded, other, means) = after("float32"), after("bfloat16")
    assert loss != rounded and abs(loss - rounded) < 4 * EPSILON * loss
    assert gradient @ other > 0.99 * np.linalg.norm(gradient) * np.linalg.norm(other)
    for a, b in zip(jax.tree.leaves(statistics), jax.tree.leaves(means), strict=True):
        if a.dtype == jnp.float32:
            assert np.abs(a - b).max() < 4 * EPSILON * np.abs(a).max()


def test_logits_in_bfloat16_are_those_in_float32_up_to_rounding(batch):
    """Eight roundings of the length of the embedding, through the head."""
    x, _ = batch

    def answers(training):
        model = recipe.make_builder(settings(), training=training)(Rngs(0))
        model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
        found = nnx.jit(lambda model, x: (model(x), model.embed(x), model.head.out.kernel[...]))(model, x)
        return jax.tree.map(np.asarray, found)

    exact, embedding, kernel = answers(training=False)
    rounded, _, _ = answers(training=True)
    bound = 8 * EPSILON * np.linalg.norm(embedding, axis=1) * np.linalg.norm(kernel)
    assert exact.dtype == rounded.dtype == np.float32
    assert (exact != rounded).any() and (np.abs(exact - rounded) < bound).all()


def test_scores_are_float32_whatever_the_training_computes_in():
    graphs = [functional.graph(recipe.make_builder(settings(dtype))) for dtype in ("bfloat16", "float32")]
    assert graphs[0] == graphs[1]
    training = functional.graph(recipe.make_builder(settings(), training=True))
    assert training != graphs[0]


@pytest.mark.parametrize("name", ["float16", "bf16", ""])
def test_an_unknown_dtype_is_refused_before_anything_is_written(name):
    with pytest.raises(InputError, match=f"config.model.dtype={name!r}: expected one of 'float32', 'bfloat16'"):
        main_job.check(settings(name))


def test_experiments_compute_in_either_and_are_complete():
    configs = [asvspoof2019_la_aasist.get_config(), image_convnext.get_config()]
    for config in configs:
        main_job.check(config)
    assert [config.model.dtype for config in configs] == ["float32", "bfloat16"]
    assert recipe.part_size(configs[1]) == 32 and recipe.part_size(configs[0]) == configs[0].train.batch
