import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import build, cnn_small


@pytest.fixture(scope="module")
def model():
    return build("cnn_small", rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(0), (4, 32, 32, 3))


def evaluation(model):
    return nnx.view(model, deterministic=True, use_running_average=True)


def test_size(model):
    assert 0.2e6 < sum(v.size for v in jax.tree.leaves(nnx.state(model, nnx.Param))) < 0.4e6


def test_logits_are_the_head_of_the_embedding(model, images):
    model = evaluation(model)
    logits = model(images)
    assert logits.shape == (4,) and logits.dtype == jnp.float32
    np.testing.assert_array_equal(logits, model.head(model.embed(images)))
    np.testing.assert_array_equal(model.embed(images), model.pool(model.features(images)))


def test_filters_ignore_flat_and_linear_pictures():
    """Each filter sums to zero, and so do its first moments."""
    kernel = cnn_small.high_pass_filters()[:, :, 0].reshape(25, 3)
    offsets = np.mgrid[-2:3, -2:3].reshape(2, 25)
    np.testing.assert_allclose(kernel.sum(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(offsets @ kernel, 0, atol=1e-6)


def test_residuals_grow_with_noise_up_to_the_limit():
    noise = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    flat, weak, strong = (jnp.abs(cnn_small.residuals(0.5 + s * noise)).mean() for s in (0.0, 0.002, 10.0))
    assert flat < 1e-5 < weak < strong <= cnn_small.LIMIT


def test_training_mode_drops_and_moves_the_statistics(model, images):
    model = nnx.clone(model)
    training = nnx.view(model, deterministic=False, use_running_average=False)
    before = jax.tree.map(np.array, nnx.state(training, nnx.BatchStat))
    first, second = (training(images, rngs=nnx.Rngs(dropout=seed)) for seed in (0, 1))
    assert (first != second).any()
    after = nnx.state(training, nnx.BatchStat)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    assert all(jax.tree.leaves(moved))


def test_any_size_and_a_window(images):
    whole = evaluation(cnn_small.CNNSmall(rngs=nnx.Rngs(0)))
    window = evaluation(cnn_small.CNNSmall(rngs=nnx.Rngs(0), window=24))
    np.testing.assert_allclose(window(images), whole(images[:, 4:28, 4:28]), rtol=1e-5)
    np.testing.assert_array_equal(window(images[:, :20, :22]), whole(images[:, :20, :22]))


def test_bfloat16_computes_close_to_float32(model, images):
    half = build("cnn_small", rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(nnx.state(half, nnx.Param)))
    logits = evaluation(half)(images)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, evaluation(model)(images), atol=0.05)


def test_mean_brightness_of_a_flat_picture_reaches_the_logit(model):
    """Colours are seen too, not only residuals."""
    dark, bright = evaluation(model)(jnp.stack([jnp.full((32, 32, 3), v) for v in (0.1, 0.9)]))
    assert abs(dark - bright) > 1e-3
