"""Time and frequency masking of features (SpecAugment, Park et al. 2019), active in training only, like dropout."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def band(key: jax.Array, batch: int, size: int, width: int) -> Array:
    """(batch, size) booleans, true inside one random band of 0 to `width` neighbours a row."""
    key_length, key_start = jax.random.split(key)
    length = jax.random.randint(key_length, (batch, 1), 0, width + 1)
    start = jax.random.randint(key_start, (batch, 1), 0, jnp.maximum(size - length, 0) + 1)
    position = jnp.arange(size)[None]
    return (position >= start) & (position < start + length)


class Masking(nnx.Module):
    """Sets one band of frames and one band of bins to zero, the mean of normalised features."""

    def __init__(self, *, time: int, frequency: int, deterministic: bool = True):
        self.time, self.frequency, self.deterministic = time, frequency, deterministic

    def __call__(self, x: Float[Array, "batch frames bins"], *, rngs=None) -> Float[Array, "batch frames bins"]:
        if self.deterministic or not (self.time or self.frequency):
            return x
        key_time, key_frequency = jax.random.split(rngs.dropout())
        batch, frames, bins = x.shape
        hidden = band(key_time, batch, frames, self.time)[:, :, None]
        hidden |= band(key_frequency, batch, bins, self.frequency)[:, None, :]
        return jnp.where(hidden, 0, x)
