"""What detectors and augmentation take of a picture alike: its grey and its central square."""

import numpy as np
from jaxtyping import Array

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of RGB, ITU-R BT.601


def centre_crop(images: Array, *, size: int) -> Array:
    """The central size x size pixels of (..., height, width, channels)."""
    top, left = (images.shape[-3] - size) // 2, (images.shape[-2] - size) // 2
    return images[..., top : top + size, left : left + size, :]
