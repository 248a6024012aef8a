import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.data import augment_image
from dfjax.models import build, cnn_small


@pytest.fixture(scope="module")
def model():
    return build("cnn_small", rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(0), (4, 32, 32, 3))


def evaluation(model):
    return nnx.view(model, deterministic=True, use_running_average=True)


def test_only_what_follows_the_filters_is_trained(model):
    inputs = cnn_small.GRID**2 * (len(cnn_small.RINGS) - 2)
    sizes = {v.shape for v in jax.tree.leaves(nnx.state(model, nnx.Param))}
    assert sizes == {(inputs, 64), (64,), (64, 1), (1,)}


def test_logits_are_the_head_of_the_embedding(model, images):
    model = evaluation(model)
    logits = model(images)
    assert logits.shape == (4,) and logits.dtype == jnp.float32
    np.testing.assert_array_equal(logits, model.head(model.embed(images)))
    np.testing.assert_array_equal(model.embed(images), model.pool(model.features(images)))


def test_magnitudes_are_those_of_the_cosine_transform_of_each_window():
    x = np.random.default_rng(0).uniform(size=(1, 22, 17, 3)).astype(np.float32)
    out = cnn_small.magnitudes(jnp.asarray(x))
    assert out.shape == (1, 4, 3, len(cnn_small.RINGS) - 1)
    grey = (255 * x[0] @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    for i, j in np.ndindex(4, 3):
        response = np.abs(cv2.dct(np.ascontiguousarray(grey[4 * i :, 4 * j :][:8, :8])))
        np.testing.assert_allclose(out[0, i, j], response.reshape(-1) @ cnn_small.ring_weights(), rtol=1e-3, atol=1e-3)


def test_every_frequency_but_the_mean_counts_in_one_ring():
    weights = cnn_small.ring_weights()
    np.testing.assert_array_equal((weights > 0).sum(axis=1), [0] + [1] * 63)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("n", [5, 14, 31, 111])
def test_regions_share_all_samples_evenly(n):
    shares = cnn_small.shares(n, 14)
    assert shares.shape == (14, n) and shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=0), 14 / n, rtol=1e-4)


def test_a_picture_does_not_see_its_neighbours_in_the_batch():
    x = jax.random.uniform(jax.random.key(0), (4, 40, 52, 3))
    one_by_one = jnp.concatenate([cnn_small.fall_off(x[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(cnn_small.fall_off(x), one_by_one, atol=1e-4)


def test_light_and_contrast_do_not_change_the_fall_off():
    x = jax.random.uniform(jax.random.key(0), (2, 120, 120, 3), minval=0.2, maxval=0.6)
    np.testing.assert_allclose(cnn_small.fall_off(x), cnn_small.fall_off(1.4 * x + 0.1), atol=0.02)


def test_what_was_scaled_is_seen_where_it_lies():
    """A soft part loses fine detail against coarse; far from it nothing changes."""
    x = jax.random.uniform(jax.random.key(0), (1, 232, 232, 3))
    soft = augment_image.gaussian_blur(x, jnp.array([0.7]))
    change = cnn_small.fall_off(x.at[:, 64:128, 64:128].set(soft[:, 64:128, 64:128])) - cnn_small.fall_off(x)
    assert change[0, 5:7, 5:7, 3:].max() < -0.1
    np.testing.assert_allclose(change[0, 9:], 0, atol=1e-5)
    np.testing.assert_allclose(change[0, :, :3], 0, atol=1e-5)


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


def test_level_and_spread_over_a_picture_are_divided_out():
    maps = jax.random.normal(jax.random.key(0), (3, 14, 14, 7))
    level, spread = jax.random.uniform(jax.random.key(1), (2, 3, 1, 1, 7), minval=0.5, maxval=2.0)
    out = cnn_small.within(maps)
    np.testing.assert_allclose(cnn_small.within(spread * maps + level), out, atol=1e-4)
    np.testing.assert_allclose(out.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(1, 2)), 1, atol=1e-3)
    assert not cnn_small.within(jnp.ones((1, 14, 14, 7))).any()  # a picture without detail says nothing


def test_its_products_are_exact_on_any_device():
    """Of grey levels and of rings they were as a GPU or TPU multiplies unless told: with few digits."""
    program = jax.make_jaxpr(cnn_small.magnitudes)(jnp.zeros((1, 64, 64, 3)))
    products = [step.params["precision"] for step in program.eqns if step.primitive.name == "dot_general"]
    assert len(products) == 6 and set(products) == {(jax.lax.Precision.HIGHEST,) * 2}


def test_a_detector_needs_no_more_than_its_name():
    by_name, by_seed = (nnx.state(model) for model in (build("cnn_small"), build("cnn_small", rngs=nnx.Rngs(0))))
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(by_name), nnx.to_pure_dict(by_seed))
