"""What JPEG (ITU-T T.81) loses, on the device: all of the codec but the lossless coding of its coefficients."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.features import turns

# Quantisation tables of JPEG (ITU-T T.81, annex K.1), at quality 50.
JPEG_LUMA = np.float32(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
JPEG_CHROMA = np.full((8, 8), 99, np.float32)
JPEG_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def dct_matrix() -> np.ndarray:
    """The orthonormal 8-point DCT-II, (frequency, sample)."""
    k, n = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _quantise(plane: Float[Array, "b h w"], table: Float[Array, "b 8 8"]) -> Float[Array, "b h w"]:
    """Rounds the DCT coefficients of each 8x8 block to multiples of `table`."""
    b, h, w = plane.shape
    transform = np.kron(dct_matrix(), dct_matrix())  # of a block's 64 pixels at once
    blocks = plane.reshape(b, h // 8, 8, w // 8, 8).transpose(0, 1, 3, 2, 4).reshape(b, -1, 64)
    table = table.reshape(b, 1, 64)
    coefficients = jnp.round(_product(blocks, transform.T) / table) * table
    blocks = _product(coefficients, transform).reshape(b, h // 8, w // 8, 8, 8)
    return blocks.transpose(0, 1, 3, 2, 4).reshape(b, h, w)


def _product(a: Array, b: np.ndarray) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _through(matrix: np.ndarray, planes: list[Array]) -> list[Array]:
    """A matrix times the channels of each pixel; as a product of matrices so small a side is slow on CPU."""
    return [sum(float(weight) * plane for weight, plane in zip(row, planes, strict=True)) for row in matrix]


def _doubled(plane: Array, axis: int) -> Array:
    """Twice as many samples, linear in between; the ends repeat."""
    count = plane.shape[axis]
    first, last = (jax.lax.slice_in_dim(plane, at, at + 1, axis=axis) for at in (0, count - 1))
    before = jnp.concatenate([first, jax.lax.slice_in_dim(plane, 0, count - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(plane, 1, count, axis=axis), last], axis)
    pairs = jnp.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
    return pairs.reshape(*plane.shape[:axis], 2 * count, *plane.shape[axis + 1 :])


def jpeg_like(images: Float[Array, "b h w 3"], quality: Float[Array, " b"]) -> Float[Array, "b h w 3"]:
    """Images in [0, 1] after JPEG's losses at quality[i] (1 to 100): chroma halved (4:2:0), 8x8 DCT, quantisation.

    Entropy coding loses nothing and is left out. Tables scale with quality as in libjpeg, which below 50 rounds their
    factor down to whole percents first. Sides that are no multiple of 16 are padded with their edge, as an encoder
    does.
    """
    return turns.few_at_a_time(lambda pair: _coded(*pair), (images, quality), each=1)


def _coded(images: Float[Array, "b h w 3"], quality: Float[Array, " b"]) -> Float[Array, "b h w 3"]:
    _, h, w, _ = images.shape
    padded = jnp.round(jnp.pad(images, ((0, 0), (0, -h % 16), (0, -w % 16), (0, 0)), mode="edge") * 255)
    ycc = _through(TO_YCBCR, [padded[..., channel] for channel in range(3)])
    scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    luma, chroma = (jnp.clip(jnp.floor((table[None] * scale + 50) / 100), 1, 255) for table in (JPEG_LUMA, JPEG_CHROMA))
    y = _quantise(jnp.round(ycc[0]) - 128, luma) + 128

    def halved(plane):
        small = plane[:, ::2] + plane[:, 1::2]
        small = (small[:, :, ::2] + small[:, :, 1::2]) / 4
        return _doubled(_doubled(_quantise(jnp.round(small), chroma), 1), 2)

    ycc = [jnp.round(plane) for plane in (y, halved(ycc[1]), halved(ycc[2]))]
    rgb = jnp.round(jnp.stack(_through(np.linalg.inv(TO_YCBCR), ycc), axis=-1))
    return jnp.clip(rgb[:, :h, :w] / 255, 0, 1)
