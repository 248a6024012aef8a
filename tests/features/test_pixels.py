"""The grey and the central square of pictures."""

import cv2
import jax.numpy as jnp
import numpy as np

from dfjax.features import pixels


def test_the_centre_crop_is_central():
    images = jnp.arange(2 * 10 * 12 * 3).reshape(2, 10, 12, 3)
    np.testing.assert_array_equal(pixels.centre_crop(images, size=8), images[:, 1:9, 2:10])


def test_grey_is_that_of_opencv():
    image = np.random.default_rng(0).random((5, 6, 3), np.float32)
    np.testing.assert_allclose(image @ pixels.GREY, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), atol=1e-6)
