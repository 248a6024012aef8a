"""The default audio detector: the texture of two spectrograms, one small layer, a logit.

Per frequency bin, six statistics over time of how power and phase move (dfjax/features/texture.py), at a
window of 25 ms, which sees single pitch periods, and of 128 ms, which sees single harmonics. One layer maps
them to the embedding. The statistics have no parameters, so with few fakes there is little to overfit;
nothing but Fourier transforms and matrix products, so it trains in a minute on a CPU.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import spectrum, texture
from dfjax.models import heads

LONG = 2048  # samples of the long window, 128 ms; its hop is an eighth


class Texture(nnx.Module):
    """Texture statistics -> normalisation, dropout -> embedding -> logit."""

    modality = "audio"

    def __init__(self, *, rngs: nnx.Rngs, dtype=jnp.float32, embedding: int = 64, dropout: float = 0.3):
        inputs = texture.STATISTICS * (spectrum.BINS - 2 + LONG // 2 - 1)
        self.norm = nnx.BatchNorm(inputs, momentum=0.95, use_bias=False, use_scale=False, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.embedding = nnx.Linear(inputs, embedding, dtype=dtype, rngs=rngs)
        self.head = heads.Linear(embedding, rngs=rngs)

    def statistics(self, x: Float[Array, "batch time"]) -> Float[Array, "batch statistics"]:
        """The texture at both windows, flattened."""
        return spectrum.few_at_a_time(_both_textures, x)

    def embed(self, x: Float[Array, "batch time"], *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding that the head sees."""
        h = self.dropout(self.norm(self.statistics(x)), rngs=rngs)
        return jax.nn.gelu(self.embedding(h).astype(jnp.float32))

    def __call__(self, x: Float[Array, "batch time"], *, rngs=None) -> Float[Array, " batch"]:
        return self.head(self.embed(x, rngs=rngs))


def _both_textures(x: Float[Array, "batch time"]) -> Float[Array, "batch statistics"]:
    both = texture.texture(*spectrum.transform(x)), texture.texture(*spectrum.stft(x, LONG, LONG // 8))
    return jnp.concatenate([one.reshape(x.shape[0], -1) for one in both], axis=-1)
