"""Waveforms on the device: int16 rows of one length, random or first cuts, augmentation in the step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int16


def cut(
    audio: Int16[Array, "batch buffer"],
    length: Int[Array, " batch"],
    start: Int[Array, " batch"],
    samples: int,
) -> Float[Array, "batch {samples}"]:
    """`samples` samples from `start` on, tiled where the clip is shorter; float32 in [-1, 1)."""
    index = (start[:, None] + jnp.arange(samples)[None]) % length[:, None]
    return jnp.take_along_axis(audio, index, axis=1).astype(jnp.float32) / 32768


def random_cut(
    key: jax.Array, audio: Int16[Array, "batch buffer"], length: Int[Array, " batch"], samples: int
):
    """A cut that starts anywhere it fits; at a random phase of the tiling where the clip is shorter."""
    span = jnp.where(length > samples, length - samples + 1, length)
    start = jnp.minimum((jax.random.uniform(key, length.shape) * span).astype(jnp.int32), span - 1)
    return cut(audio, length, start, samples)


def augment(
    key: jax.Array, x: Float[Array, "batch time"], *, gain_db: float, noise_db: tuple[float, float]
) -> Float[Array, "batch time"]:
    """Random gain within +-gain_db, then white noise at a signal-to-noise ratio drawn from noise_db (low, high) for half the clips.

    The noise of all clips is cut from one stretch at random places: drawing it anew for every clip would cost
    as much as the network.
    """
    key_gain, key_noise, key_level, key_on, key_start = jax.random.split(key, 5)
    batch, time = x.shape
    gain = 10 ** (jax.random.uniform(key_gain, (batch, 1), minval=-gain_db, maxval=gain_db) / 20)
    level = 10 ** (-jax.random.uniform(key_level, (batch, 1), minval=noise_db[0], maxval=noise_db[1]) / 20)
    on = jax.random.bernoulli(key_on, 0.5, (batch, 1))
    rms = jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True))
    stretch = jax.random.normal(key_noise, (4 * time,))
    start = jax.random.randint(key_start, (batch,), 0, 3 * time)
    noise = jax.vmap(lambda first: jax.lax.dynamic_slice(stretch, (first,), (time,)))(start)
    return gain * (x + on * rms * level * noise)
