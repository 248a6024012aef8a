"""RawBoost (Tak et al., ICASSP 2022, https://arxiv.org/abs/2111.04433): noise of channels, on the device.

Three kinds of noise for raw speech, with the paper's parameters: convolutive, linear and not, through notch
filters; impulsive and dependent on the signal; stationary, coloured and independent of it. Eight ways to put
them together, by their numbers in the authors' program.

What differs from that program: filters are zero-phase, so clips stay where they are; the impulses hit each
sample with a probability instead of an exact number of samples; peaks are taken on a transform of 1,024 points.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dfjax.data.channel import Range, convolve, convolve_sum, rms, uniform, white
from dfjax.features import spectrum
from dfjax.records import SAMPLE_RATE, InputError

BANDS = 5  # notches of a filter
CENTRE = (20.0, 8000.0)  # Hz
WIDTH = (100.0, 1000.0)  # Hz
HALF_TAPS = (5, 49)  # a notch filter has 2 of these + 1 taps: the odd numbers among 10 to 100
ORDERS = 5  # powers of the signal
BIAS_DB = (5.0, 20.0)  # how far the powers above the first lie below it
PERCENT = 10.0  # of the samples that are hit at most
STRENGTH = 2.0  # of an impulse, relative to the sample that it hits
SNR_DB = (10.0, 40.0)

DESIGN = 1024  # points of the transform on which filters are multiplied; holds BANDS * 98 + 1 taps


def _bounded(x: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    """Clips with a peak above 1 are scaled to a peak of 1."""
    return x / jnp.maximum(jnp.abs(x).max(axis=1, keepdims=True), 1.0)


def notch_taps(
    centre: Float[Array, "*filters"], width: Float[Array, "*filters"], half: Array
) -> Float[Array, "*filters taps"]:
    """Band-stop filters by the window method (Hamming), symmetric about the middle tap, with a gain of 1 at 0 Hz.

    As scipy.signal.firwin(2 * half + 1, [centre - width / 2, centre + width / 2], fs=16000) with the edges kept
    inside (0, 8000).

    Args:
      centre: Hz.
      width: Hz.
      half: taps on either side of the middle, at most HALF_TAPS[1]; int, the shape of the others.
    """
    nyquist = SAMPLE_RATE / 2
    low = (jnp.maximum(centre - width / 2, 1e-3) / nyquist)[..., None]
    high = (jnp.minimum(centre + width / 2, nyquist - 1e-3) / nyquist)[..., None]
    half = half[..., None]
    k = np.arange(-HALF_TAPS[1], HALF_TAPS[1] + 1).reshape((1,) * centre.ndim + (-1,)).astype(np.float32)
    band = jnp.sinc(k) - high * jnp.sinc(high * k) + low * jnp.sinc(low * k)
    taps = jnp.where(jnp.abs(k) <= half, band * (0.54 + 0.46 * jnp.cos(np.pi * k / half)), 0)
    return taps / taps.sum(axis=-1, keepdims=True)


def _filters(key: Array, batch: int, gain_db: Float[Array, "batch n"], bands: int) -> Array:
    """(batch, n, DESIGN / 2 - 1) symmetric taps of n filters per clip, each of `bands` notches in series."""
    shape = (batch, gain_db.shape[1], bands)
    key_centre, key_width, key_half = jax.random.split(key, 3)
    centre = jax.random.uniform(key_centre, shape, minval=CENTRE[0], maxval=CENTRE[1])
    width = jax.random.uniform(key_width, shape, minval=WIDTH[0], maxval=WIDTH[1])
    half = jax.random.randint(key_half, shape, HALF_TAPS[0], HALF_TAPS[1] + 1)
    # symmetric taps have a real response, and filters in series multiply theirs
    k = np.arange(-HALF_TAPS[1], HALF_TAPS[1] + 1)
    cosine = np.cos(2 * np.pi / DESIGN * np.outer(k, np.arange(DESIGN // 2 + 1))).astype(np.float32)
    response = jnp.matmul(notch_taps(centre, width, half), cosine, precision=jax.lax.Precision.HIGHEST)
    response = response.prod(axis=2)
    response *= (10 ** (gain_db / 20))[..., None] / jnp.abs(response).max(axis=-1, keepdims=True)
    taps = spectrum.irfft(response, n=DESIGN)
    reach = DESIGN // 4 - 1
    return jnp.concatenate([taps[..., -reach:], taps[..., : reach + 1]], axis=-1)


def convolutive(
    key: Key[Array, ""], x: Float[Array, "batch time"], *, orders: int = ORDERS, bands: int = BANDS
) -> Float[Array, "batch time"]:
    """Linear and non-linear convolutive noise: the sum of x, x^2, ... x^orders, each through a filter of its own.

    A filter has `bands` notches. The powers above the first are lower by BIAS_DB. Without bands and with one order it
    is the identity, but for the mean, which is taken off.
    """
    key_gain, key_filter = jax.random.split(key)
    batch = len(x)
    gain = -jax.random.uniform(key_gain, (batch, orders), minval=BIAS_DB[0], maxval=BIAS_DB[1])
    taps = _filters(key_filter, batch, gain.at[:, 0].set(0), bands)
    reach = (taps.shape[-1] - 1) // 2
    y = convolve_sum([x ** (i + 1) for i in range(orders)], taps, lag=reach)
    return _bounded(y - y.mean(axis=1, keepdims=True))


def impulsive(
    key: Key[Array, ""],
    x: Float[Array, "batch time"],
    *,
    percent: float | int = PERCENT,
    strength: float | int = STRENGTH,
) -> Float[Array, "batch time"]:
    """Impulsive noise that depends on the signal: up to `percent` of the samples x become x + strength x u v.

    u and v are uniform in (-1, 1).
    """
    key_share, key_hit, key_factor = jax.random.split(key, 3)
    share = jax.random.uniform(key_share, (len(x), 1), maxval=percent / 100)
    drawn = jax.random.uniform(key_hit, x.shape)
    factor = (2 * drawn / jnp.maximum(share, 1e-9) - 1) * jax.random.uniform(key_factor, x.shape, minval=-1)
    # a draw below the share is itself uniform below it: the first factor is not drawn again
    return _bounded(x + jnp.where(drawn < share, strength * x * factor, 0))


def stationary(
    key: Key[Array, ""], x: Float[Array, "batch time"], *, snr_db: Range = SNR_DB, bands: int = BANDS
) -> Float[Array, "batch time"]:
    """Stationary noise independent of the signal: white noise through a filter of `bands` notches.

    The signal-to-noise ratio is drawn from `snr_db`, a range in dB.
    """
    key_noise, key_start, key_filter, key_ratio = jax.random.split(key, 4)
    taps = _filters(key_filter, len(x), jnp.zeros((len(x), 1)), bands)[:, 0]
    noise = convolve(white(key_noise, key_start, *x.shape), taps, lag=(taps.shape[-1] - 1) // 2)
    return x + noise * rms(x) / rms(noise) * 10 ** (-uniform(key_ratio, len(x), snr_db) / 20)


SERIES = {  # one after the other
    1: (convolutive,),
    2: (impulsive,),
    3: (stationary,),
    4: (convolutive, impulsive, stationary),
    5: (convolutive, impulsive),
    6: (convolutive, stationary),
    7: (impulsive, stationary),
}
PARALLEL = 8  # convolutive and impulsive side by side
ALGORITHMS = (*SERIES, PARALLEL)


def rawboost(key: Key[Array, ""], x: Float[Array, "batch time"], *, algorithm: int) -> Float[Array, "batch time"]:
    """One of the eight algorithms.

    Args:
      key: decides everything.
      x: speech in [-1, 1].
      algorithm: 1 convolutive, 2 impulsive, 3 stationary; in series 4 (1, 2, 3), 5 (1, 2), 6 (1, 3), 7 (2, 3); 8 the
        sum of 1 and 2. The authors take 5 for logical access and 3 for the deepfake track of ASVspoof 2021.

    Raises:
      InputError: there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise InputError(f"Unknown RawBoost algorithm {algorithm!r}; expected one of {list(ALGORITHMS)}")
    if algorithm == PARALLEL:
        key_first, key_second = jax.random.split(key)
        return _bounded(convolutive(key_first, x) + impulsive(key_second, x))
    for i, kind in enumerate(SERIES[algorithm]):
        x = kind(jax.random.fold_in(key, i), x)
    return x
