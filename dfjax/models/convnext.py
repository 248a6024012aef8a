"""ConvNeXt-Tiny (Liu et al., CVPR 2022): LayerNorm only, so no running statistics."""

import pathlib

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import heads, weights
from dfjax.models.convolution import Conv
from dfjax.models.depthwise import Depthwise
from dfjax.models.gelu import gelu
from dfjax.models.linear import Linear
from dfjax.models.streams import Rngs

SOURCE = "https://huggingface.co/timm/convnext_tiny.in12k_ft_in1k (model.safetensors)"

DEPTHS = (3, 3, 9, 3)
WIDTHS = (96, 192, 384, 768)
EPSILON = 1e-6


class Block(nnx.Module):
    """Depthwise 7x7, LayerNorm, two pointwise layers with GELU, layer scale, shortcut."""

    def __init__(self, width: int, *, drop_path: float, dtype, rngs: nnx.Rngs):
        self.conv_dw = Depthwise(width, 7, use_bias=True, dtype=dtype, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.fc1 = Linear(width, 4 * width, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(4 * width, width, dtype=dtype, rngs=rngs)
        self.gamma = nnx.Param(jnp.full((width,), 1e-6))  # layer scale, section A.1
        self.drop_path = nnx.Dropout(drop_path, broadcast_dims=(1, 2, 3))

    def __call__(self, x, *, rngs=None):
        y = self.norm(self.conv_dw(x))
        y = self.fc2(gelu(self.fc1(y)))
        return x + self.drop_path(y * self.gamma[None, None, None].astype(y.dtype), rngs=rngs)


class Stage(nnx.Module):
    """Reduction to half the resolution (but in the first stage), then blocks."""

    def __init__(self, width_in: int, width: int, drop_paths: list[float], *, dtype, rngs: nnx.Rngs):
        self.reduces = width_in != width
        if self.reduces:
            self.down_norm = nnx.LayerNorm(width_in, epsilon=EPSILON, dtype=dtype, rngs=rngs)
            self.down_conv = Conv(width_in, width, (2, 2), 2, padding="VALID", dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(width, drop_path=p, dtype=dtype, rngs=rngs) for p in drop_paths])

    def __call__(self, x, *, rngs=None):
        if self.reduces:
            x = self.down_conv(self.down_norm(x))
        for block in self.blocks:
            x = block(x, rngs=rngs)
        return x


class ConvNeXt(nnx.Module):
    """Patchify stem, four stages, mean over space, LayerNorm, one logit."""

    modality = "image"
    size = 224
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, *, rngs: nnx.Rngs, drop_path: float = 0.1, dropout: float = 0.0, dtype=jnp.float32):
        self.stem_conv = Conv(3, WIDTHS[0], (4, 4), 4, padding="VALID", dtype=dtype, rngs=rngs)
        self.stem_norm = nnx.LayerNorm(WIDTHS[0], epsilon=EPSILON, dtype=dtype, rngs=rngs)
        rates = [drop_path * i / (sum(DEPTHS) - 1) for i in range(sum(DEPTHS))]
        starts = [sum(DEPTHS[:i]) for i in range(len(DEPTHS))]
        self.stages = nnx.List(
            [
                Stage(width_in, width, rates[start : start + depth], dtype=dtype, rngs=rngs)
                for width_in, width, start, depth in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, starts, DEPTHS, strict=True)
            ]
        )
        self.norm = nnx.LayerNorm(WIDTHS[-1], epsilon=EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(WIDTHS[-1], rngs=rngs)

    def features(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch h w 768"]:
        """The last feature maps, at a 32nd of the resolution."""
        x = (x - jnp.array([[[self.mean]]])) / jnp.array([[[self.std]]])
        x = self.stem_norm(self.stem_conv(x))
        for stage in self.stages:
            x = stage(x, rngs=rngs)
        return x

    def pool(self, maps: Float[Array, "batch h w 768"], *, rngs=None) -> Float[Array, "batch 768"]:
        """The embedding of feature maps: mean over space, LayerNorm, dropout."""
        return self.dropout(self.norm(maps.astype(jnp.float32).mean(axis=(1, 2))), rngs=rngs)

    def embed(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch 768"]:
        """The embedding of images in [0, 1]."""
        return self.pool(self.features(x, rngs=rngs), rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, " batch"]:
        """The logit of "fake" of images in [0, 1]."""
        return self.head(self.embed(x, rngs=rngs))


TIMM = {  # layer -> its name in timm, where it differs
    "stem_conv": "stem.0",
    "stem_norm": "stem.1",
    "down_norm": "downsample.0",
    "down_conv": "downsample.1",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}


def _timm_name(path: tuple) -> str:
    if path[0] == "norm":
        return weights.torch_name(("head", *path))
    return weights.torch_name([TIMM.get(part, part) for part in path])


def load(path: str | pathlib.Path, **kwargs) -> ConvNeXt:
    """ConvNeXt-Tiny with timm's weights; the classifier is dropped, the head is new.

    Raises InputError where the file is missing or holds other weights.
    """
    return weights.fill_by_name(
        lambda: ConvNeXt(rngs=Rngs(0), **kwargs),
        weights.read(path, source=SOURCE),
        path,
        name=_timm_name,
        unused=lambda name: name.startswith("head.fc."),
    )
