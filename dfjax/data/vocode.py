"""Self-vocoded fakes: real training clips re-synthesised on the device, the audio counterpart of self-blended images.

A vocoder rebuilds a waveform from a magnitude spectrum, usually a smoothed one, and a phase of its own
making. So does this file, in many randomised ways, so that a detector learns what re-synthesis leaves behind
instead of one generator's habits:

  magnitude   as it is; through a mel filter bank and back; smoothed over time; quantised in bands as a codec
              would
  phase       random; the original with noise; the same offset in all frames of a bin; the minimum phase of
              the envelope consistency 0 to ITERATIONS rounds of fast Griffin-Lim (Griffin and Lim 1984;
              Perraudin et al. 2013)

Every such clip keeps its source's group, so nothing leaks between splits; only training clips are
re-synthesised.
"""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jaxtyping import Array, Complex, Float

from dfjax.features import spectrum
from dfjax.records import SAMPLE_RATE

SIZES = (512, 1024)  # points of the transform, one per step; hop is a quarter
ITERATIONS = 6  # of fast Griffin-Lim; a clip takes part in a random number of them
MOMENTUM = 0.99  # Perraudin et al. 2013


def stft(x: Float[Array, "batch time"], size: int) -> Complex[Array, "batch frames bins"]:
    """Short-time Fourier transform, Hann window, hop size / 4, centred, zero padded."""
    return jax.lax.complex(*spectrum.stft(x, size, size // 4))


def istft(z: Complex[Array, "batch frames bins"], size: int, samples: int) -> Float[Array, "batch time"]:
    """The least-squares inverse of `stft` by overlap-add."""
    hop = size // 4
    frames = jnp.fft.irfft(z, n=size) * spectrum.hann(size)[None, None]
    batch, count, _ = frames.shape
    parts = frames.reshape(batch, count, 4, hop)
    total = sum(jnp.pad(parts[:, :, i], ((0, 0), (i, 3 - i), (0, 0))) for i in range(4))
    weight = (spectrum.hann(size) ** 2).reshape(4, hop)
    cover = sum(np.pad(np.tile(weight[i], (count, 1)), ((i, 3 - i), (0, 0))) for i in range(4))
    x = (total / np.maximum(cover, 1e-3)[None]).reshape(batch, -1)
    return x[:, size // 2 : size // 2 + samples]


@functools.cache
def _through_mel(size: int, bins: int) -> np.ndarray:
    """Magnitude to mel and back by the transposed, normalised filters, (frequency, frequency)."""
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=size, n_mels=bins, norm=None).astype(np.float64)
    forward = filters / np.maximum(filters.sum(axis=1, keepdims=True), 1e-9)
    back = filters / np.maximum(filters.sum(axis=0, keepdims=True), 1e-9)
    return (forward.T @ back).astype(np.float32)


def _minimum_phase(magnitude: Array, size: int) -> Array:
    """The phase of the minimum-phase filter with this magnitude, by the folded cepstrum."""
    cepstrum = jnp.fft.irfft(jnp.log(jnp.maximum(magnitude, 1e-5)).astype(jnp.complex64), n=size)
    fold = np.zeros(size, np.float32)
    fold[0], fold[1 : size // 8] = 1, 2  # liftered: the envelope alone
    return jnp.fft.rfft(cepstrum * fold[None, None]).imag


def _magnitude(key: jax.Array, magnitude: Array, size: int) -> Array:
    """One of four treatments per clip."""
    key_kind, key_bins, key_step = jax.random.split(key, 3)
    batch = magnitude.shape[0]
    mels = jnp.stack([magnitude @ _through_mel(size, bins) for bins in (40, 80)])
    mel = mels[jax.random.randint(key_bins, (batch,), 0, 2), jnp.arange(batch)]
    padded = jnp.pad(magnitude, ((0, 0), (1, 1), (0, 0)), mode="edge")
    smooth = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    step = jax.random.uniform(key_step, (batch, 1, 1), minval=0.2, maxval=1.0)  # nepers
    coarse = jnp.exp(jnp.round(jnp.log(jnp.maximum(magnitude, 1e-5)) / step) * step)
    return _choose(key_kind, [magnitude, mel, smooth, coarse])


def _phase(key: jax.Array, z: Array, size: int) -> Array:
    """One of four treatments per clip."""
    key_kind, key_random, key_noise, key_level, key_offset = jax.random.split(key, 5)
    batch, _, bins = z.shape
    own = jnp.angle(z)
    anything = jax.random.uniform(key_random, own.shape, minval=-np.pi, maxval=np.pi)
    level = jax.random.uniform(key_level, (batch, 1, 1), minval=0.3, maxval=1.5)
    noisy = own + level * jax.random.normal(key_noise, own.shape)
    offset = own + jax.random.uniform(key_offset, (batch, 1, bins), minval=-np.pi, maxval=np.pi)
    envelope = _minimum_phase(jnp.abs(z), size)
    return _choose(key_kind, [anything, noisy, offset, own - envelope])


def _choose(key: jax.Array, kinds: list[Array]) -> Array:
    batch = kinds[0].shape[0]
    return jnp.stack(kinds)[jax.random.randint(key, (batch,), 0, len(kinds)), jnp.arange(batch)]


def _resynthesise(key: jax.Array, x: Float[Array, "batch time"], size: int) -> Float[Array, "batch time"]:
    key_magnitude, key_phase, key_rounds = jax.random.split(key, 3)
    samples = x.shape[1]
    z = stft(x, size)
    magnitude = _magnitude(key_magnitude, jnp.abs(z), size)
    guess = magnitude * jnp.exp(1j * _phase(key_phase, z, size))
    rounds = jax.random.randint(key_rounds, (x.shape[0], 1, 1), 0, ITERATIONS + 1)

    def round_(i, carry):
        guess, previous = carry
        rebuilt = stft(istft(guess, size, samples), size)
        pushed = rebuilt + jnp.where(i > 0, MOMENTUM, 0.0) * (rebuilt - previous)
        new = magnitude * pushed / jnp.maximum(jnp.abs(pushed), 1e-9)
        return jnp.where(i < rounds, new, guess), rebuilt

    guess, _ = jax.lax.fori_loop(0, ITERATIONS, round_, (guess, jnp.zeros_like(guess)))
    y = istft(guess, size, samples)
    loudness = jnp.sqrt(
        jnp.mean(x**2, axis=1, keepdims=True) / (jnp.mean(y**2, axis=1, keepdims=True) + 1e-12)
    )
    return y * jnp.minimum(loudness, 4.0)


def resynthesise(key: jax.Array, x: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    """Vocoded versions of the clips, each in its own way, at the loudness of the original.

    Args:
      key: decides everything.
      x: real speech in [-1, 1] at 16 kHz.
    """
    key_size, key = jax.random.split(key)
    branches = [functools.partial(_resynthesise, size=size) for size in SIZES]
    return jax.lax.switch(jax.random.randint(key_size, (), 0, len(SIZES)), branches, key, x)
