"""What lies between a mouth and a file: noise, rooms, telephone lines, gaps.

All are pure functions (key, x) -> x on the device.

Every function draws its numbers per clip, with shapes that start with the batch, so that they do not depend on
how the batch is laid over devices. Nothing here looks at labels: both classes pass through the same chain.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dfjax.features import masking, spectrum
from dfjax.records import SAMPLE_RATE

Range = tuple[float | int, float | int]  # (low, high)

MU = 255  # of North American and Japanese telephony, ITU-T G.711
ROOM_SAMPLES = 8192  # length of a room impulse response, half a second
LINE_HZ = ((100, 400), (3000, 3800))  # where a telephone line begins and ends
LINE_ORDER = 8  # of the Butterworth slopes at both ends


def uniform(key: Key[Array, ""], batch: int, between: Range) -> Float[Array, "batch 1"]:
    """One number for each clip of a batch, uniform in the range `between`."""
    return jax.random.uniform(key, (batch, 1), minval=between[0], maxval=between[1])


def uniforms(keys: Key[Array, " numbers"], batch: int, between: list[Range]) -> Float[Array, "numbers batch 1"]:
    """`uniform` of each key in its range, drawn together: XLA compiles one draw, not one for each."""
    low, high = np.array(between, np.float32).T
    return jax.vmap(lambda *of: jax.random.uniform(of[0], (batch, 1), minval=of[1], maxval=of[2]))(keys, low, high)


def choose(key: Key[Array, ""], rate: float | int, new: Array, old: Array) -> Array:
    """`new` (batch, time) for a share `rate` of the clips, drawn by `key`, `old` for the rest."""
    return jnp.where(jax.random.bernoulli(key, rate, (len(old), 1)), new, old)


def rms(x: Float[Array, "batch time"]) -> Float[Array, "batch 1"]:
    """Root of the mean square, per clip."""
    return jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True))


def white(key: Key[Array, ""], key_start: Key[Array, ""], batch: int, samples: int) -> Float[Array, "batch {samples}"]:
    """White Gaussian noise of unit variance, each row cut at a place drawn by `key_start` from one stretch.

    Drawing it anew for every clip would cost as much as a small network.
    """
    stretch = jax.random.normal(key, (4 * samples,))
    start = jax.random.randint(key_start, (batch,), 0, 3 * samples)
    return jax.vmap(lambda first: jax.lax.dynamic_slice(stretch, (first,), (samples,)))(start)


def convolve(
    x: Float[Array, "batch time"], taps: Float[Array, "rows taps"], *, lag: int = 0
) -> Float[Array, "batch time"]:
    """Each clip through its own filter: y[n] = sum_k taps[k] x[n + lag - k].

    Args:
      x: the clips, zero outside.
      taps: a filter per clip, or one for all.
      lag: samples by which the filter is early, at most taps - 1; (taps - 1) / 2 makes a symmetric filter zero-phase.
    """
    return convolve_sum([x], taps[:, None], lag=lag)


def convolve_sum(
    parts: list[Float[Array, "batch time"]], taps: Float[Array, "rows parts taps"], *, lag: int = 0
) -> Float[Array, "batch time"]:
    """The sum of several signals per clip, each through a filter of its own, by overlap-save; see `convolve`."""
    (batch, time), order = parts[0].shape, taps.shape[-1]
    size = 1 << (4 * order - 1).bit_length()
    if time <= 2 * (size - order + 1):
        size = _fast_size(time + order - 1)  # one frame
    hop = size - order + 1
    count = -(-time // hop)
    left = order - 1 - lag

    def transformed(x):
        x = jnp.pad(x, ((0, 0), (left, (count - 1) * hop + size - left - time)))
        return spectrum.rfft(jnp.stack([x[:, i * hop : i * hop + size] for i in range(count)], axis=1))

    responses = spectrum.rfft(taps, n=size)
    y = spectrum.irfft(sum(transformed(x) * responses[:, i, None] for i, x in enumerate(parts)), n=size)
    return y[:, :, order - 1 :].reshape(batch, -1)[:, :time]


def mu_law(x: Float[Array, "batch time"], *, levels: int = 127) -> Float[Array, "batch time"]:
    """Companded, rounded to `levels` steps on either side of zero, expanded again.

    With F(x) = sign(x) ln(1 + MU |x|) / ln(1 + MU), clipped to [-1, 1], the result is F^-1(round(levels F(x)) /
    levels): the continuous curve that the segments of G.711 follow. Zero stays zero; many levels are the identity on
    [-1, 1].
    """
    top = np.float32(np.log1p(MU))
    code = jnp.round(jnp.log1p(MU * jnp.minimum(jnp.abs(x), 1)) / top * levels) / levels
    return jnp.sign(x) * jnp.expm1(code * top) / MU


def telephone(
    key: Key[Array, ""], x: Float[Array, "batch time"], *, rate: float | int = 1.0
) -> Float[Array, "batch time"]:
    """A telephone line for a share `rate` of the clips: band-pass, 8 kHz, 8 bits of mu-law (G.711), back to 16 kHz.

    The ends of the band are drawn from LINE_HZ per clip. Nothing is left above 4 kHz.
    """
    if not rate:
        return x
    key_low, key_high, key_on = jax.random.split(key, 3)
    batch, time = x.shape
    size = _fast_size(time)
    hertz = jnp.arange(size // 4 + 1)[None] * (SAMPLE_RATE / size)
    low, high = (uniform(k, batch, ends) for k, ends in zip((key_low, key_high), LINE_HZ, strict=True))
    slope = 2 * LINE_ORDER
    line = 1 / jnp.sqrt((1 + (hertz / high) ** slope) * (1 + (low / jnp.maximum(hertz, 1.0)) ** slope))
    narrow = spectrum.irfft(spectrum.rfft(x, n=size)[:, : size // 4 + 1] * line, n=size // 2) / 2
    y = 2 * spectrum.irfft(spectrum.rfft(mu_law(narrow)), n=size)[:, :time]
    return choose(key_on, rate, y, x)


def _fast_size(time: int) -> int:
    """Points of a transform that holds `time` samples, a multiple of a large power of two."""
    return -(-time // 2048) * 2048


def reverb(
    key: Key[Array, ""],
    x: Float[Array, "batch time"],
    *,
    seconds: Range = (0.1, 0.6),
    direct_db: Range = (0.0, 20.0),
    rate: float | int = 1.0,
) -> Float[Array, "batch time"]:
    """Puts a share `rate` of the clips into a room: direct sound and a tail of exponentially decaying noise.

    That is the model of Polack (1988). The loudness stays what it was.

    Args:
      key: of the tail and its two numbers.
      x: the clips.
      seconds: range of the reverberation time, after which the tail has lost 60 dB.
      direct_db: range of the direct sound's energy over the tail's, dB.
      rate: share of the clips.
    """
    if not rate:
        return x
    key_tail, key_start, key_seconds, key_direct, key_on = jax.random.split(key, 5)
    batch = len(x)
    decay = np.float32(np.log(1000)) / (uniform(key_seconds, batch, seconds) * SAMPLE_RATE)
    tail = white(key_tail, key_start, batch, ROOM_SAMPLES) * jnp.exp(-decay * jnp.arange(ROOM_SAMPLES)[None])
    level = 10 ** (-uniform(key_direct, batch, direct_db) / 20)
    tail = tail.at[:, 0].set(0)
    tail *= level / jnp.linalg.norm(tail, axis=1, keepdims=True)
    y = convolve(x, tail.at[:, 0].set(1))
    return choose(key_on, rate, y * rms(x) / (rms(y) + 1e-12), x)


def hide(
    key: Key[Array, ""], x: Float[Array, "batch time"], *, seconds: float | int = 0.0, hertz: float | int = 0.0
) -> Float[Array, "batch time"]:
    """Silences one stretch of up to `seconds` and one band of up to `hertz` in every clip: SpecAugment for waveforms.

    Park et al., "SpecAugment", Interspeech 2019. Detectors over spectrograms mask those themselves
    (dfjax/features/masking.py).
    """
    key_time, key_band = jax.random.split(key)
    batch, time = x.shape
    if hertz:
        size = _fast_size(time)
        width = round(hertz * size / SAMPLE_RATE)
        band = masking.band(key_band, batch, size // 2 + 1, width)
        x = spectrum.irfft(jnp.where(band, 0, spectrum.rfft(x, n=size)), n=size)[:, :time]
    if seconds:
        x = jnp.where(masking.band(key_time, batch, time, round(seconds * SAMPLE_RATE)), 0, x)
    return x


def lead(
    key: Key[Array, ""],
    x: Float[Array, "batch time"],
    *,
    seconds: float | int,
    rate: float | int = 1.0,
    level_db: Range = (-90.0, -50.0),
) -> Float[Array, "batch time"]:
    """Puts up to `seconds` of near silence before a share `rate` of the clips; what no longer fits is cut off.

    How much silence a clip begins with tells many a corpus's classes apart (Mueller et al. 2021, "Speech is silver,
    silence is golden"); after this, and after trimming, it does not. The silence is white noise at a level drawn from
    `level_db` (dB of full scale), since a recording is never all zeros.
    """
    if not (seconds and rate):
        return x
    key_length, key_level, key_noise, key_start, key_on = jax.random.split(key, 5)
    batch, time = x.shape
    length = (uniform(key_length, batch, (0, seconds)) * SAMPLE_RATE).astype(jnp.int32)
    at = jnp.arange(time)[None] - length
    hush = white(key_noise, key_start, batch, time) * 10 ** (uniform(key_level, batch, level_db) / 20)
    y = jnp.where(at < 0, hush, jnp.take_along_axis(x, jnp.maximum(at, 0), axis=1))
    return choose(key_on, rate, y, x)
