"""ResNet18 on log-mel features: the plain baseline, 4,105,440 parameters up to the embedding.

The recipe is that of speaker-recognition toolkits (WeSpeaker, and WeDefense for spoofing): 3x3 stem without
pooling, four stages of two basic blocks, mean and standard deviation over time, one linear map. He, Zhang,
Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. Features are librosa-style log-mel, less
each clip's mean; those toolkits use Kaldi's, with dither.

Layout: activations are (batch, frames, bins, channels).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import spectrum
from dfjax.models import heads, normalisation

BINS = 80
CHANNELS = (32, 64, 128, 256)  # of the four stages, each but the first halving frames and bins
EMBEDDING = 256
EPSILON = 1e-8  # added to the variance over time


def conv(inputs: int, outputs: int, kernel: int, stride: int, dtype, rngs: nnx.Rngs) -> nnx.Conv:
    """Convolution without bias; PyTorch's padding, which with stride two differs from 'SAME'."""
    pad = kernel // 2
    return nnx.Conv(
        inputs, outputs, (kernel, kernel), (stride, stride), padding=pad, use_bias=False, dtype=dtype, rngs=rngs
    )


class Block(nnx.Module):
    """Basic residual block: two 3x3 convolutions with batch norm, a 1x1 skip where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, dtype, rngs: nnx.Rngs):
        norm = {"momentum": 0.9, "rngs": rngs}
        self.conv1 = conv(inputs, outputs, 3, stride, dtype, rngs)
        self.bn1 = normalisation.BatchNorm(outputs, **norm)
        self.conv2 = conv(outputs, outputs, 3, 1, dtype, rngs)
        self.bn2 = normalisation.BatchNorm(outputs, **norm)
        changes = stride != 1 or inputs != outputs
        self.skip = conv(inputs, outputs, 1, stride, dtype, rngs) if changes else None
        self.skip_bn = normalisation.BatchNorm(outputs, **norm) if changes else None

    def __call__(self, x: Float[Array, "b t f inputs"]) -> Float[Array, "b t2 f2 outputs"]:
        h = self.bn2(self.conv2(jax.nn.relu(self.bn1(self.conv1(x)))))
        return jax.nn.relu(h + (x if self.skip is None else self.skip_bn(self.skip(x))))


class ResNet18Mel(nnx.Module):
    """Log-mel -> ResNet18 -> mean and standard deviation over time -> 256 numbers -> logit."""

    modality = "audio"

    def __init__(self, *, rngs: nnx.Rngs, dtype=jnp.float32):
        self.stem = conv(1, CHANNELS[0], 3, 1, dtype, rngs)
        self.stem_bn = normalisation.BatchNorm(CHANNELS[0], momentum=0.9, rngs=rngs)
        blocks, inputs = [], CHANNELS[0]
        for stage, channels in enumerate(CHANNELS):
            for repeat in range(2):
                stride = 2 if stage > 0 and repeat == 0 else 1
                blocks.append(Block(inputs, channels, stride, dtype=dtype, rngs=rngs))
                inputs = channels
        self.blocks = nnx.List(blocks)
        self.embedding = nnx.Linear(2 * BINS // 8 * CHANNELS[-1], EMBEDDING, rngs=rngs)
        self.head = heads.Linear(EMBEDDING, rngs=rngs)

    def embed(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, "b dim"]:
        """The embedding; clips of one second and more have enough frames for the standard deviation."""
        h = spectrum.log_mel(x, bins=BINS)
        h = (h - h.mean(axis=1, keepdims=True))[..., None]
        h = jax.nn.relu(self.stem_bn(self.stem(h)))
        for block in self.blocks:
            h = block(h)
        h = h.reshape(*h.shape[:2], -1).astype(jnp.float32)
        deviation = jnp.sqrt(h.var(axis=1, ddof=1) + EPSILON)
        return self.embedding(jnp.concatenate([h.mean(axis=1), deviation], axis=-1))

    def __call__(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, " b"]:
        return self.head(self.embed(x, rngs=rngs))
