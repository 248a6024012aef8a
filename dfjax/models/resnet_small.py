"""A small residual network over time and frequency: the classical choice, for accelerators; on a CPU it is slow."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import masking, spectrum
from dfjax.models import heads, normalisation


class Block(nnx.Module):
    """Two 3x3 convolutions with batch norm and a skip (He et al. 2016), halving both axes where `stride` is 2."""

    def __init__(self, dim: int, out: int, stride: int, *, dtype, rngs: nnx.Rngs):
        def conv(inputs, width, step):
            return nnx.Conv(inputs, out, (width, width), strides=step, use_bias=False, dtype=dtype, rngs=rngs)

        def norm():
            return normalisation.BatchNorm(out, momentum=0.9, dtype=dtype, rngs=rngs)

        self.first, self.second = conv(dim, 3, stride), conv(out, 3, 1)
        self.first_norm, self.second_norm = norm(), norm()
        self.skip = conv(dim, 1, stride) if stride > 1 or dim != out else None

    def __call__(self, x: Float[Array, "batch frames bins dim"]) -> Float[Array, "batch frames2 bins2 out"]:
        h = jax.nn.relu(self.first_norm(self.first(x)))
        h = self.second_norm(self.second(h))
        return jax.nn.relu(h + (x if self.skip is None else self.skip(x)))


class ResNetSmall(nnx.Module):
    """Log filter bank -> four residual blocks -> mean and standard deviation over time -> embedding -> logit."""

    modality = "audio"

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        bins: int = 80,
        dims: tuple[int, ...] = (16, 32, 64, 96),
        embedding: int = 128,
        dropout: float = 0.2,
        masks: tuple[int, int] = (0, 0),
    ):
        self.bins = bins
        self.mask = masking.Masking(time=masks[0], frequency=masks[1])
        self.norm = normalisation.standardise(bins, momentum=0.99, rngs=rngs)
        widths = (1, *dims)
        self.blocks = nnx.List([Block(a, b, 2, dtype=dtype, rngs=rngs) for a, b in zip(widths[:-1], dims, strict=True)])
        self.embedding = nnx.Linear(2 * dims[-1] * -(-bins // 2 ** len(dims)), embedding, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(embedding, rngs=rngs)

    def embed(self, x: Float[Array, "batch time"], *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding that the head sees."""
        h = self.mask(self.norm(spectrum.log_mel(x, bins=self.bins)), rngs=rngs)[..., None]
        for block in self.blocks:
            h = block(h)
        h = h.reshape(h.shape[0], h.shape[1], -1).astype(jnp.float32)
        pooled = jnp.concatenate([h.mean(axis=1), jnp.sqrt(h.var(axis=1) + 1e-5)], axis=-1)
        return self.dropout(jax.nn.relu(self.embedding(pooled)), rngs=rngs)

    def __call__(self, x: Float[Array, "batch time"], *, rngs=None) -> Float[Array, " batch"]:
        return self.head(self.embed(x, rngs=rngs))
