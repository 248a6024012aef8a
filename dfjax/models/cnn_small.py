"""A small convolutional network for faces: 0.22 M parameters, minutes on a CPU.

Blending leaves its traces in the noise: the pasted region was resampled, so its fine grain differs from that
of the skin around it. The network therefore sees, beside the colours, the residuals of three fixed high-pass
filters (Fridrich and Kodovsky, "Rich models for steganalysis of digital images", 2012), at the resolution at
which the picture comes: shrinking it first would remove what is to be found. It is convolutional to the end,
so it may be trained on small random cuts and applied to whole faces.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dfjax.data import augment_image
from dfjax.models import heads

MEAN, STD = 0.5, 0.25  # of colours in [0, 1]
GAIN, LIMIT = 32.0, 4.0  # residuals of clean photographs are about 1/32 of the range; edges are cut off


def high_pass_filters() -> np.ndarray:
    """Three filters (5, 5, 1, 3), each summing to zero: second order, square 3x3 and square 5x5."""
    line = np.zeros((5, 5))
    line[2, 1:4] = np.array([1, -2, 1]) / 2
    square3 = np.zeros((5, 5))
    square3[1:4, 1:4] = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    first, second, third = [-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2]
    square5 = np.array([first, second, third, second, first]) / 12
    return np.stack([line, square3, square5], axis=-1)[:, :, None, :].astype(np.float32)


def residuals(x: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
    """High-pass residuals of the grey image, in units of GAIN and cut at LIMIT; zero where it is flat."""
    grey = jnp.pad(x.mean(axis=-1, keepdims=True), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    out = jax.lax.conv_general_dilated(
        grey, high_pass_filters(), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.clip(GAIN * out, -LIMIT, LIMIT)


class Block(nnx.Module):
    """Two 3x3 convolutions with BatchNorm and ReLU, the first with a stride of two, and a shortcut."""

    def __init__(self, width_in: int, width: int, *, dtype, rngs: nnx.Rngs):
        def conv(width_in, size, stride):
            return nnx.Conv(width_in, width, (size, size), stride, use_bias=False, dtype=dtype, rngs=rngs)

        def norm():
            return nnx.BatchNorm(width, momentum=0.9, dtype=dtype, rngs=rngs)

        self.conv1, self.norm1 = conv(width_in, 3, 2), norm()
        self.conv2, self.norm2 = conv(width, 3, 1), norm()
        self.shortcut = conv(width_in, 1, 1)

    def __call__(self, x):
        """Halves the resolution."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + self.shortcut(nnx.avg_pool(x, (2, 2), (2, 2), "SAME")))


class CNNSmall(nnx.Module):
    """Colours and residuals, a strided stem, three residual blocks, mean over space, one logit.

    Args:
      size: side of the images that the model is to be given, in pixels; cuts of any size are understood.
      window: side of the central square that is looked at; 0 for all of the image. For pictures that show more
        than a face and are to be used at their own resolution.
      widths: of the stem and the blocks.
    """

    modality = "image"
    size = 128

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        size: int = 128,
        window: int = 0,
        widths: tuple[int, ...] = (16, 32, 64, 96),
        dropout: float = 0.2,
        bias: float = 0.0,
        dtype=jnp.float32,
    ):
        self.size, self.window = size, window
        self.stem = nnx.Conv(6, widths[0], (3, 3), 2, use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(widths[0], momentum=0.9, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            [Block(a, b, dtype=dtype, rngs=rngs) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(widths[-1], bias=bias, rngs=rngs)

    def features(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w c"]:
        """The last feature maps, at a 16th of the resolution."""
        if 0 < self.window < min(x.shape[1:3]):
            x = augment_image.centre_crop(x, size=self.window)
        x = jnp.concatenate([(x - MEAN) / STD, residuals(x)], axis=-1)
        x = nnx.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x

    def pool(self, maps: Float[Array, "batch h w c"], *, rngs=None) -> Float[Array, "batch c"]:
        """The embedding of feature maps: mean over space, dropout."""
        return self.dropout(maps.astype(jnp.float32).mean(axis=(1, 2)), rngs=rngs)

    def embed(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch c"]:
        """The embedding of images in [0, 1]."""
        return self.pool(self.features(x), rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, " batch"]:
        """The logit of "fake" of images in [0, 1]."""
        return self.head(self.embed(x, rngs=rngs))
