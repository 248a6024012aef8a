"""Xception (Chollet, CVPR 2017): the baseline of every face forgery table. 20.8 M parameters.

As released for ImageNet and used by FaceForensics++: input 299 x 299, scaled to [-1, 1].
"""

import pathlib

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import heads, normalisation, pooling, weights
from dfjax.models.convolution import Conv
from dfjax.models.depthwise import Depthwise
from dfjax.models.streams import Rngs

SOURCE = "https://huggingface.co/timm/legacy_xception.tf_in1k (model.safetensors)"

# (input width, width after each separable convolution, stride) of the twelve blocks
BLOCKS = (
    (64, (128, 128), 2),
    (128, (256, 256), 2),
    (256, (728, 728), 2),
    *[(728, (728, 728, 728), 1)] * 8,
    (728, (728, 1024), 2),
)
WIDTH = 2048  # of the embedding


class Separable(nnx.Module):
    """A depthwise 3x3 convolution, a pointwise one, BatchNorm."""

    def __init__(self, width_in: int, width: int, *, dtype, rngs: nnx.Rngs):
        self.depthwise = Depthwise(width_in, 3, dtype=dtype, rngs=rngs)
        self.pointwise = Conv(width_in, width, (1, 1), use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = normalisation.BatchNorm(width, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.pointwise(self.depthwise(x)))


class Block(nnx.Module):
    """Two or three separable convolutions, each after a ReLU (but the network's first), and a shortcut."""

    def __init__(self, width_in: int, widths: tuple[int, ...], stride: int, *, first: bool, dtype, rngs):
        self.stride, self.first = stride, first
        self.units = nnx.List(
            [Separable(a, b, dtype=dtype, rngs=rngs) for a, b in zip((width_in, *widths[:-1]), widths, strict=True)]
        )
        if stride > 1:
            self.skip = Conv(width_in, widths[-1], (1, 1), stride, use_bias=False, dtype=dtype, rngs=rngs)
            self.skip_norm = normalisation.BatchNorm(widths[-1], momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        y = x
        for i, unit in enumerate(self.units):
            y = unit(y if self.first and i == 0 else nnx.relu(y))
        if self.stride == 1:
            return y + x
        y = pooling.max_pool(y, 3, 2, padding=1)
        return y + self.skip_norm(self.skip(x))


class Xception(nnx.Module):
    """Entry, middle and exit flow; mean over space; one logit."""

    modality = "image"
    size = 299
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self, *, rngs: nnx.Rngs, dropout: float = 0.5, dtype=jnp.float32):
        def conv(width_in, width, stride):  # not padded
            return Conv(width_in, width, (3, 3), stride, padding="VALID", use_bias=False, dtype=dtype, rngs=rngs)

        def norm(width):
            return normalisation.BatchNorm(width, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

        self.conv1, self.bn1 = conv(3, 32, 2), norm(32)
        self.conv2, self.bn2 = conv(32, 64, 1), norm(64)
        self.blocks = nnx.List([Block(*block, first=i == 0, dtype=dtype, rngs=rngs) for i, block in enumerate(BLOCKS)])
        self.conv3 = Separable(1024, 1536, dtype=dtype, rngs=rngs)
        self.conv4 = Separable(1536, WIDTH, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(WIDTH, rngs=rngs)

    def features(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w 2048"]:
        """The last feature maps, at a 32nd of the resolution."""
        x = (x - jnp.array([[[self.mean]]])) / jnp.array([[[self.std]]])
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        for block in self.blocks:
            x = block(x)
        return nnx.relu(self.conv4(nnx.relu(self.conv3(x))))

    def pool(self, maps: Float[Array, "batch h w 2048"], *, rngs=None) -> Float[Array, "batch 2048"]:
        """The embedding of feature maps: mean over space, dropout."""
        return self.dropout(maps.astype(jnp.float32).mean(axis=(1, 2)), rngs=rngs)

    def embed(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch 2048"]:
        """The embedding of images in [0, 1]."""
        return self.pool(self.features(x), rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, " batch"]:
        """The logit of "fake" of images in [0, 1]."""
        return self.head(self.embed(x, rngs=rngs))


def _timm_name(path: tuple) -> str:
    """As timm numbers the layers of a block, ReLUs included, from 0: [relu,] separable, norm, relu, ..."""
    match path:
        case ("blocks", b, "units", u, layer, *rest):
            at = 3 * u + (b > 0)
            prefix = f"block{b + 1}.rep"
            middle = {"depthwise": f"{at}.conv1", "pointwise": f"{at}.pointwise", "norm": f"{at + 1}"}[layer]
            return weights.torch_name((prefix, middle, *rest))
        case ("blocks", b, layer, *rest):
            return weights.torch_name((f"block{b + 1}", {"skip": "skip", "skip_norm": "skipbn"}[layer], *rest))
        case ("conv3" | "conv4" as conv, "norm", *rest):
            return weights.torch_name((f"bn{conv[-1]}", *rest))
        case ("conv3" | "conv4" as conv, layer, *rest):
            return weights.torch_name((conv, {"depthwise": "conv1", "pointwise": "pointwise"}[layer], *rest))
    return weights.torch_name(path)


def load(path: str | pathlib.Path, **kwargs) -> Xception:
    """Xception with the weights of timm's `legacy_xception`; its classifier is dropped, the head is new.

    Raises InputError where the file is missing or holds other weights.
    """
    return weights.fill_by_name(
        lambda: Xception(rngs=Rngs(0), **kwargs),
        weights.read(path, source=SOURCE),
        path,
        name=_timm_name,
        unused=lambda name: name.startswith("fc.") or name.endswith("num_batches_tracked"),
    )
