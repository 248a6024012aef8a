import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.data import self_blend

SIZE = 64


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(0), (6, SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def blend():
    return jax.jit(self_blend.blend)


@pytest.fixture(scope="module")
def blended(images, blend):
    return blend(jax.random.key(1), images)


def test_fakes_are_images_and_masks_are_shares(blended, images):
    fakes, share = blended
    assert fakes.shape == images.shape and share.shape == images.shape[:3]
    assert fakes.min() >= 0 and fakes.max() <= 1 and share.min() >= 0 and share.max() <= 1


def test_the_key_decides(blended, blend, images):
    fakes, _ = blend(jax.random.key(1), images)
    np.testing.assert_array_equal(fakes, blended[0])
    others, _ = blend(jax.random.key(2), images)
    assert (jnp.abs(others - fakes).max(axis=(1, 2, 3)) > 0.01).all()


def test_each_image_gets_its_own_numbers(blend, images):
    _, share = blend(jax.random.key(0), jnp.concatenate([images[:1]] * 6))
    assert (jnp.abs(share[1:] - share[:1]).max(axis=(1, 2)) > 0.01).all()


def test_masks_cover_the_face_and_not_the_corners(images):
    masks = jax.jit(lambda key: self_blend.masks(key, self_blend.crop_ellipse(64, SIZE), size=SIZE))
    share = masks(jax.random.key(0))
    assert share[:, SIZE // 2, SIZE // 2].min() > 0.9
    assert share[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() < 0.1


def test_without_differences_only_the_mask_region_changes(images):
    """Colour 0 and no loss of resolution: outside the mask the target is untouched or only sharpened."""
    smooth = jnp.broadcast_to(jnp.linspace(0.2, 0.8, SIZE)[None, None, :, None], (6, SIZE, SIZE, 3))
    blend = jax.jit(functools.partial(self_blend.blend, colour=0.0, downscale=1.0))
    fakes, share = blend(jax.random.key(0), smooth)
    interior = jnp.zeros((SIZE, SIZE), bool).at[4:-4, 4:-4].set(True)
    outside = (share < 1e-3) & interior[None]
    assert outside.any()
    np.testing.assert_allclose(fakes[outside], smooth[outside], atol=2e-3)


def test_a_swap_takes_the_next_face_in_full(images):
    """Flat faces of different brightness: inside, the tone of the target; where masked, detail of the source."""
    stripes = 0.1 * (jnp.arange(SIZE) // 4 % 2)
    detail = jnp.zeros((6, SIZE, SIZE, 3)).at[0].set(stripes[:, None, None])
    blend = jax.jit(functools.partial(self_blend.blend, swap=1.0, colour=0.0, downscale=1.0))
    fakes, share = blend(jax.random.key(0), 0.3 + detail)
    roughness = jnp.abs(jnp.diff(fakes, axis=1))[:, SIZE // 2, SIZE // 2 - 4 : SIZE // 2 + 4].max(axis=(1, 2))
    assert roughness[1] > 0.01 and roughness[2:].max() < 1e-3
    np.testing.assert_allclose(share.max(axis=(1, 2)), 1, atol=0.05)


def test_align_moves_one_ellipse_onto_the_other():
    image = jnp.zeros((1, SIZE, SIZE, 3)).at[0, 20, 30].set(1.0)
    at, to = jnp.array([[30.0, 20, 10, 10, 0]]), jnp.array([[40.0, 25, 10, 10, 0]])
    expected = jnp.zeros((1, SIZE, SIZE, 3)).at[0, 25, 40].set(1.0)
    align = jax.jit(self_blend.align)
    np.testing.assert_array_equal(align(image, at, to), expected)
    np.testing.assert_array_equal(align(image, at, at), image)


def test_an_ellipse_outside_the_crop_changes_nothing_inside(images, blend):
    far = jnp.broadcast_to(jnp.array([[-500.0, -500, 20, 30, 0]]), (6, 5))
    _, share = blend(jax.random.key(0), images, far)
    assert share.max() < 1e-6


def test_the_ellipse_follows_the_landmarks():
    points = jnp.array([[[20.0, 20], [40, 20], [30, 30], [23, 40], [37, 40]]])
    upright = self_blend.face_ellipse(points)[0]
    np.testing.assert_allclose(upright, [30, 31, 20, 28, 0], atol=1e-5)
    # a quarter turn clockwise on the screen: (x, y) -> (-y, x)
    turned = self_blend.face_ellipse(jnp.stack([-points[..., 1], points[..., 0]], -1))[0]
    np.testing.assert_allclose(turned, [-31, 30, 20, 28, np.pi / 2], atol=1e-5)
    moved = self_blend.face_ellipse(2 * points + 5)[0]
    np.testing.assert_allclose(moved, [65, 67, 40, 56, 0], atol=1e-4)


def test_a_wider_crop_shows_a_smaller_face():
    tight, wide = (self_blend.crop_ellipse(2, 130, margin)[0] for margin in (1.3, 2.6))
    np.testing.assert_allclose(tight[2:4] / wide[2:4], 2, rtol=1e-6)
    np.testing.assert_allclose(tight[:2] - 65, 2 * (wide[:2] - 65), atol=1e-4)
