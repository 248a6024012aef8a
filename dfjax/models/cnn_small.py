"""A small convolutional network for face crops: 0.3 M parameters, minutes on a CPU.

Blending leaves its traces in the noise: the pasted region was resampled, so its fine grain differs from that of the skin
around it. The front end therefore hands the network, beside the colours, the residuals of three fixed high-pass filters
(Fridrich and Kodovsky, "Rich models for steganalysis of digital images", 2012) at the full resolution of the crop.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import heads

MEAN, STD = 0.5, 0.25  # of colours in [0, 1]
RESIDUAL_GAIN = 32.0  # residuals of clean photographs are about 1/32 of the range
RESIDUAL_LIMIT = 4.0  # edges of the picture are not noise: cut them off


def high_pass_filters() -> np.ndarray:
    """Three residual filters (5, 5, 1, 3), each summing to zero: second order, square 3x3 and square 5x5."""
    line = np.zeros((5, 5))
    line[2, 1:4] = np.array([1, -2, 1]) / 2
    square3 = np.zeros((5, 5))
    square3[1:4, 1:4] = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    square5 = np.array(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    )
    return np.stack([line, square3, square5 / 12], axis=-1)[:, :, None, :].astype(np.float32)


def residuals(x: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
    """High-pass residuals of the grey image, clipped to [-1, 1]; zero where the picture is flat."""
    grey = jnp.pad(x.mean(axis=-1, keepdims=True), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    out = jax.lax.conv_general_dilated(
        grey, high_pass_filters(), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.clip(out * RESIDUAL_GAIN, -RESIDUAL_LIMIT, RESIDUAL_LIMIT) / RESIDUAL_LIMIT


class Block(nnx.Module):
    """Two 3x3 convolutions with BatchNorm and ReLU, a shortcut, and a stride of two on the first."""

    def __init__(self, width_in: int, width: int, *, dtype, rngs: nnx.Rngs):
        def conv(width_in, size, stride):
            return nnx.Conv(width_in, width, (size, size), stride, use_bias=False, dtype=dtype, rngs=rngs)

        self.conv1, self.norm1 = (
            conv(width_in, 3, 2),
            nnx.BatchNorm(width, momentum=0.9, dtype=dtype, rngs=rngs),
        )
        self.conv2, self.norm2 = conv(width, 3, 1), nnx.BatchNorm(width, momentum=0.9, dtype=dtype, rngs=rngs)
        self.shortcut = conv(width_in, 1, 1)

    def __call__(self, x):
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + self.shortcut(nnx.avg_pool(x, (2, 2), (2, 2))))


class CNNSmall(nnx.Module):
    """Fixed high-pass residuals and colours, five strided residual blocks, mean over space."""

    modality = "image"
    size = 128

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        widths: tuple[int, ...] = (16, 32, 64, 96),
        dropout: float = 0.2,
        bias: float = 0.0,
        dtype=jnp.float32,
    ):
        self.blocks = nnx.List(
            [Block(width_in, width, dtype=dtype, rngs=rngs) for width_in, width in zip((6, *widths), widths)]
        )
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(widths[-1], rngs=rngs, bias=bias)

    def features(self, x):
        x = jnp.concatenate([(x - MEAN) / STD, residuals(x)], axis=-1)
        for block in self.blocks:
            x = block(x)
        return x

    def embed(self, x, *, rngs=None):
        x = self.features(x).astype(jnp.float32).mean(axis=(1, 2))
        return self.dropout(x, rngs=rngs)

    def __call__(self, x, *, rngs=None):
        return self.head(self.embed(x, rngs=rngs))
