"""EfficientNet-B0 and B4 (Tan and Le, ICML 2019) as released for TensorFlow.

That is, with "SAME" padding and BatchNorm epsilon 1e-3.

B4 is the backbone of the DFDC winners and of self-blended images; B0 (4.0 M parameters) is for a CPU.
"""

import math
import pathlib

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import heads, normalisation, weights
from dfjax.models.convolution import Conv
from dfjax.models.depthwise import Depthwise
from dfjax.models.streams import Rngs

SOURCE = "https://huggingface.co/timm/tf_efficientnet_{}.ns_jft_in1k (model.safetensors)"

# (expansion, kernel, stride, width, depth) of the seven stages of B0, table 1 of the paper
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
DROP_PATH = 0.2  # of the last block; grows linearly with depth


def scaled(width: int, multiplier: float) -> int:
    """The width rounded to a multiple of 8, never down by more than 10 %."""
    rounded = max(8, int(width * multiplier + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width * multiplier else rounded + 8


class MBConv(nnx.Module):
    """Inverted bottleneck: expand, depthwise, squeeze and excite, project, shortcut."""

    def __init__(self, width_in, width, expansion, kernel, stride, *, drop_path, dtype, rngs):
        inner = width_in * expansion

        def conv(a, b, use_bias=False):
            return Conv(a, b, (1, 1), use_bias=use_bias, dtype=dtype, rngs=rngs)

        def norm(width):
            return normalisation.BatchNorm(width, momentum=0.99, epsilon=1e-3, dtype=dtype, rngs=rngs)

        self.expands, self.has_shortcut = expansion > 1, stride == 1 and width_in == width
        if self.expands:
            self.expand, self.expand_norm = conv(width_in, inner), norm(inner)
        self.depthwise = Depthwise(inner, kernel, stride, dtype=dtype, rngs=rngs)
        self.depthwise_norm = norm(inner)
        squeezed = round(width_in / 4)
        self.squeeze, self.excite = conv(inner, squeezed, True), conv(squeezed, inner, True)
        self.project, self.project_norm = conv(inner, width), norm(width)
        self.drop_path = nnx.Dropout(drop_path, broadcast_dims=(1, 2, 3))

    def __call__(self, x, *, rngs=None):
        y = nnx.silu(self.expand_norm(self.expand(x))) if self.expands else x
        y = nnx.silu(self.depthwise_norm(self.depthwise(y)))
        gate = self.excite(nnx.silu(self.squeeze(y.mean(axis=(1, 2), keepdims=True))))
        y = self.project_norm(self.project(y * nnx.sigmoid(gate)))
        return self.drop_path(y, rngs=rngs) + x if self.has_shortcut else y


class EfficientNetB0(nnx.Module):
    """Stem, seven stages of MBConv, a 1x1 convolution, mean over space, one logit."""

    modality = "image"
    size = 224
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    wider, deeper, rate = 1.0, 1.0, 0.2  # multipliers of widths and depths, dropout

    def __init__(self, *, rngs: nnx.Rngs, dropout: float | None = None, dtype=jnp.float32):
        wider, deeper = self.wider, self.deeper

        def conv(a, b, kernel, stride):
            return Conv(a, b, (kernel, kernel), stride, use_bias=False, dtype=dtype, rngs=rngs)

        def norm(width):
            return normalisation.BatchNorm(width, momentum=0.99, epsilon=1e-3, dtype=dtype, rngs=rngs)

        width_in = scaled(32, wider)
        self.conv_stem, self.bn1 = conv(3, width_in, 3, 2), norm(width_in)
        depths = [math.ceil(depth * deeper) for *_, depth in STAGES]
        self.stages = nnx.List([])
        for i, (expansion, kernel, stride, width, _) in enumerate(STAGES):
            stage = nnx.List([])
            for j in range(depths[i]):
                drop_path = DROP_PATH * (sum(depths[:i]) + j) / sum(depths)
                stage.append(
                    MBConv(
                        width_in,
                        scaled(width, wider),
                        expansion,
                        kernel,
                        stride if j == 0 else 1,
                        drop_path=drop_path,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                width_in = scaled(width, wider)
            self.stages.append(stage)
        self.dim = scaled(1280, wider)
        self.conv_head, self.bn2 = conv(width_in, self.dim, 1, 1), norm(self.dim)
        self.dropout = nnx.Dropout(self.rate if dropout is None else dropout)
        self.head = heads.Linear(self.dim, rngs=rngs)

    def features(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch h w c"]:
        """The last feature maps, at a 32nd of the resolution."""
        x = (x - jnp.array([[[self.mean]]])) / jnp.array([[[self.std]]])
        x = nnx.silu(self.bn1(self.conv_stem(x)))
        for stage in self.stages:
            for block in stage:
                x = block(x, rngs=rngs)
        return nnx.silu(self.bn2(self.conv_head(x)))

    def pool(self, maps: Float[Array, "batch h w c"], *, rngs=None) -> Float[Array, "batch c"]:
        """The embedding of feature maps: mean over space, dropout."""
        return self.dropout(maps.astype(jnp.float32).mean(axis=(1, 2)), rngs=rngs)

    def embed(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch c"]:
        """The embedding of images in [0, 1]."""
        return self.pool(self.features(x, rngs=rngs), rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, " batch"]:
        """The logit of "fake" of images in [0, 1]."""
        return self.head(self.embed(x, rngs=rngs))


class EfficientNetB4(EfficientNetB0):
    """B0, 1.4 times as wide and 1.8 times as deep, at 380 pixels."""

    size = 380
    wider, deeper, rate = 1.4, 1.8, 0.4


# Names of layers in timm; the first stage has no expansion and is numbered from the depthwise convolution.
FIRST = {"depthwise": "conv_dw", "depthwise_norm": "bn1", "project": "conv_pw", "project_norm": "bn2"}
OTHERS = {
    "expand": "conv_pw",
    "expand_norm": "bn1",
    "depthwise": "conv_dw",
    "depthwise_norm": "bn2",
    "project": "conv_pwl",
    "project_norm": "bn3",
}
GATE = {"squeeze": "se.conv_reduce", "excite": "se.conv_expand"}


def _timm_name(path: tuple) -> str:
    if path[0] != "stages":
        return weights.torch_name(path)
    _, stage, block, layer, variable = path
    names = {**(OTHERS if stage else FIRST), **GATE}
    return weights.torch_name(("blocks", stage, block, names[layer], variable))


def load_b0(path: str | pathlib.Path, cls: type[EfficientNetB0] = EfficientNetB0, **kwargs) -> EfficientNetB0:
    """EfficientNet with the weights of timm's `tf_efficientnet_b0`; the classifier is dropped, the head new.

    The `ap` releases expect inputs scaled with mean and deviation 0.5; this file's constants are those of all
    others. Raises InputError where the file is missing or holds other weights.
    """
    return weights.fill_by_name(
        lambda: cls(rngs=Rngs(0), **kwargs),
        weights.read(path, source=SOURCE.format(cls.__name__[-2:].lower())),
        path,
        name=_timm_name,
        unused=lambda name: name.startswith("classifier.") or name.endswith("num_batches_tracked"),
    )


def load_b4(path: str | pathlib.Path, **kwargs) -> EfficientNetB4:
    """As `load_b0`, with `tf_efficientnet_b4`."""
    return load_b0(path, EfficientNetB4, **kwargs)
