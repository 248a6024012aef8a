import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.data import augment_image as aug
from dfjax.features import jpeg_like

OPERATIONS = {  # operation, its strength, the same at zero
    "flip": (aug.flip, {"rate": 0.5}, {"rate": 0.0}),
    "affine": (aug.affine, {"degrees": 10.0, "zoom": 0.1, "shift": 0.1}, {}),
    "colour": (aug.colour, {"brightness": 0.2, "contrast": 0.2, "saturation": 0.3, "tint": 0.1}, {}),
    "blur": (aug.blur, {"sigma": 2.0}, {}),
    "noise": (aug.noise, {"std": 0.1}, {}),
    "downscale": (aug.downscale, {"factor": 3.0}, {}),
    "cut_out": (aug.cut_out, {"side": 0.5}, {}),
    "jpeg": (aug.jpeg, {"quality": (30, 60), "rate": 1.0}, {}),
}


@pytest.fixture(scope="module")
def images():
    """Smooth pictures with an edge and some noise, (4, 40, 48, 3); the sides are no multiples of 16."""
    y, x = np.mgrid[:40, :48] / 40
    rng = np.random.default_rng(0)
    base = [np.stack([0.5 + 0.3 * np.sin(3 * x + i), y, 0.2 + 0.5 * (x > 0.5)], -1) for i in range(4)]
    return jnp.asarray(np.clip(base + 0.02 * rng.standard_normal((4, 40, 48, 3)), 0, 1), jnp.float32)


@pytest.fixture(scope="module")
def jitted():
    return {
        name: jax.jit(functools.partial(operation, **strength)) for name, (operation, strength, _) in OPERATIONS.items()
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_strength_zero_is_the_identity(name, images):
    operation, _, zero = OPERATIONS[name]
    np.testing.assert_array_equal(operation(jax.random.key(0), images, **zero), images)


@pytest.mark.parametrize("name", OPERATIONS)
def test_in_range_repeatable_and_different_per_key_and_image(name, images, jitted):
    batch = jnp.concatenate([images[:1]] * 4)
    out = jitted[name](jax.random.key(1), batch)
    assert out.shape == batch.shape and out.dtype == jnp.float32
    assert out.min() >= -1e-6 and out.max() <= 1 + 1e-6
    np.testing.assert_array_equal(out, jitted[name](jax.random.key(1), batch))
    others = [jitted[name](jax.random.key(i), batch) for i in range(2, 5)]
    assert any(not np.array_equal(out, other) for other in others)
    assert any(not np.array_equal(a[0], a[i]) for a in (out, *others) for i in range(1, 4))


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rate_is_a_share_of_the_images(rate, images):
    out = aug.blur(jax.random.key(0), images, sigma=2.0, rate=rate)
    changed = jnp.abs(out - images).max(axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(changed, rate == 1)


def test_bytes_become_floats_in_the_unit_interval():
    pixels = jnp.array([[[[0, 51, 255]]]], jnp.uint8)
    np.testing.assert_allclose(aug.to_float(pixels), [[[[0, 0.2, 1]]]], rtol=1e-6)


def test_crop_copies_pixels():
    images = jnp.arange(2 * 10 * 12 * 3).reshape(2, 10, 12, 3)
    out = np.asarray(aug.crop(jax.random.key(0), images, size=8))
    for window, image in zip(out, np.asarray(images), strict=True):
        top, left = np.argwhere(image[..., 0] == window[0, 0, 0])[0]
        np.testing.assert_array_equal(window, image[top : top + 8, left : left + 8])


def test_a_stepped_crop_starts_on_multiples_of_the_step_and_reaches_all_of_them():
    images = jnp.broadcast_to(jnp.arange(21)[None, :, None, None], (64, 21, 21, 1))
    tops = np.asarray(aug.crop(jax.random.key(0), images, size=10, step=4))[:, 0, 0, 0]
    assert set(tops.tolist()) == {0, 4, 8}


def test_blur_is_the_gaussian_of_opencv(images):
    ours = aug.gaussian_blur(images, jnp.full(4, 1.5))
    theirs = np.stack([cv2.GaussianBlur(np.asarray(x), (15, 15), 1.5) for x in images])
    np.testing.assert_allclose(ours[:, 8:-8, 8:-8], theirs[:, 8:-8, 8:-8], atol=1e-4)


def test_blur_keeps_a_flat_image():
    flat = jnp.full((1, 9, 9, 3), 0.3)
    np.testing.assert_allclose(aug.gaussian_blur(flat, jnp.array([2.0])), flat, rtol=1e-5)


def test_resample_at_the_pixels_is_the_identity_and_in_between_the_mean():
    images = jax.random.uniform(jax.random.key(0), (1, 5, 6, 3))
    rows, columns = jnp.arange(5.0)[None], jnp.arange(6.0)[None]
    np.testing.assert_array_equal(aug.resample(images, rows, columns), images)
    between = aug.resample(images, rows[:, :4] + 0.5, columns)
    np.testing.assert_allclose(between, (images[:, 1:] + images[:, :-1]) / 2, rtol=1e-5)
    outside = aug.resample(images, rows + 10, columns)
    np.testing.assert_array_equal(outside, jnp.broadcast_to(images[:, -1:], images.shape))


def test_affine_by_whole_turns_and_pixels():
    image = jax.random.uniform(jax.random.key(0), (9, 9, 3))
    y, x = jnp.mgrid[:9, :9].astype(jnp.float32)
    np.testing.assert_allclose(aug.sample(image, 8 - y, 8 - x), image[::-1, ::-1], atol=1e-6)


def test_downscale_removes_the_finest_detail_and_keeps_the_mean():
    y, x = np.mgrid[:64, :64]
    checks = np.float32((x + y) % 2)[None, ..., None].repeat(3, -1)
    out = aug.downscale(jax.random.key(3), jnp.asarray(checks), factor=4.0)
    assert out.std() < 0.25 * checks.std()
    np.testing.assert_allclose(out.mean(), 0.5, atol=0.03)


def test_cut_out_leaves_the_rest_alone(images):
    out = aug.cut_out(jax.random.key(0), images, side=0.6)
    same = (out == images).all(axis=-1)
    np.testing.assert_array_equal(out[~same], 0.5)
    assert 0 < same.mean() < 1


def test_dct_matrix_is_orthonormal():
    np.testing.assert_allclose(jpeg_like.dct_matrix() @ jpeg_like.dct_matrix().T, np.eye(8), atol=1e-6)


def psnr(a, b):
    return 10 * np.log10(1 / np.mean((np.asarray(a, np.float64) - b) ** 2))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_like_is_close_to_jpeg(quality, images):
    coded = []
    for image in np.asarray(images):
        pixels = np.round(image[..., ::-1] * 255).astype(np.uint8)
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        coded.append(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] / 255)
    coded = np.stack(coded)
    ours = jpeg_like.jpeg_like(images, jnp.full(4, quality, jnp.float32))
    assert abs(psnr(ours, images) - psnr(coded, images)) < 0.5  # dB: loses as much
    assert psnr(ours, coded) > psnr(coded, images) + 3  # and the same


def test_jpeg_again_changes_next_to_nothing(images):
    quality = jnp.full(4, 80.0)
    once = jpeg_like.jpeg_like(images, quality)
    assert psnr(jpeg_like.jpeg_like(once, quality), once) > psnr(once, images) + 3


def test_each_picture_has_its_own_quality_whatever_is_beside_it(images):
    quality = jnp.array([30.0, 50.0, 75.0, 95.0])
    together = jax.jit(jpeg_like.jpeg_like)(images, quality)  # one after another, each device its own
    for i in range(4):
        alone = jpeg_like.jpeg_like(images[i : i + 1], quality[i : i + 1])[0]  # fewer than devices: at once
        assert np.mean(np.abs(together[i] - alone) > 1e-6) < 0.01  # coefficients on a tie may round either way


def test_a_reduction_is_blur_and_resampling_there_and_back(images):
    key = jax.random.key(5)
    by = jax.random.uniform(jax.random.split(key)[0], (4, 1), minval=1, maxval=3.0)
    rows, columns = (jnp.arange(n, dtype=jnp.float32)[None] for n in images.shape[1:3])
    small = aug.resample(aug.gaussian_blur(images, 0.375 * jnp.sqrt(by[:, 0] ** 2 - 1)), rows * by, columns * by)
    expected = aug.resample(small, rows / by, columns / by)
    np.testing.assert_allclose(aug.downscale(key, images, factor=3.0), expected, atol=2e-6)


def test_the_chain_is_the_identity_without_options_and_jits_with_all(images):
    key = jax.random.key(0)
    np.testing.assert_array_equal(aug.augment(key, images, flip_rate=0.0), images)
    words = {"degrees": 5.0, "brightness": 0.1, "blur_sigma": 1.0, "factor": 2.0, "noise_std": 0.05}
    chain = functools.partial(aug.augment, size=32, **words, jpeg_rate=1.0, cut_out_side=0.2)
    out = jax.jit(chain)(key, images)
    assert out.shape == (4, 32, 32, 3) and out.min() >= 0 and out.max() <= 1
