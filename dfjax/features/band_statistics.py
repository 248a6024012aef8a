"""Statistics of a spectrogram averaged in bands: how phase and power move from frame to frame and from bin to bin.

Nothing here knows the absolute spectrum or the level, which belong to the microphone and the line: phases enter as
cosines of second differences, log powers less the mean of their bin, and the recording at unit power. What is left
tells how coherently harmonics advance, how rough their valleys are and how long power keeps its course, which
re-synthesis by vocoders changes and a channel hardly does. Each number is an average over a band and over the frames
that are not silent, so it depends little on what is said.

The phase statistics are those of `texture`, averaged over louder, quieter and valley bins of a band, with the mixed
difference in time and frequency (its deviation from 0 is that of the group delay from frame to frame) beside them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.features import spectrum, turns

BANDS = 16
WINDOWS = (256, 512, 1024)  # samples: 16, 32 and 64 ms; the hop is a quarter
LAGS = (1, 2, 4)  # frames over which the log power's course is correlated
SILENT = 10**-4.5  # of the power of loud frames (their 95th percentile): frames below are left out
TINY = 1e-9
RISE = 0.01  # in log power, of both neighbours together, above what is a valley
STATISTICS = 9 + len(LAGS) + 5  # numbers per band and window


def band_statistics(
    x: Float[Array, "batch time"], *, windows: tuple[int, ...] = WINDOWS, floored: bool = False
) -> Float[Array, "batch out"]:
    """STATISTICS numbers for each of BANDS bands and each window, flattened: window, statistic, band.

    Args:
      x: waveforms at 16 kHz, any level; at least two of the longest windows long.
      windows: lengths of the analysis windows in samples, even.
      floored: whether bins without power count for nothing. Else a band that is empty, as the topmost of a clip that
        is played slower, has the phases and valleys of rounding, which differ from device to device.
    """
    x = x - x.mean(axis=1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(axis=1, keepdims=True) + 1e-18)
    found = [
        turns.few_at_a_time(functools.partial(_window, size=size, floored=floored), x, each=spectrum.CLIPS).reshape(
            x.shape[0], -1
        )
        for size in windows
    ]
    return jnp.concatenate(found, axis=1)


def _window(x: Float[Array, "batch time"], *, size: int, floored: bool) -> Float[Array, "batch statistics bands"]:
    # XLA computes elementwise terms again wherever they are used on a CPU, so what all bins of a frame share comes out
    # of a product, and sums over frames are products with the frames' weights
    real, imaginary = spectrum.stft(x, size, size // 4)
    power = real**2 + imaginary**2
    frame_power = power.sum(axis=2)
    loud = _loud(frame_power)
    active = (frame_power > SILENT * loud).astype(x.dtype)
    floor = 1e-9 / power.shape[2] * frame_power.mean(axis=1)[:, None, None] + 1e-12
    log_power = jnp.log(power + floor)
    scale = jax.lax.rsqrt(power + (floor if floored else 1e-3 * floor))
    # inner frames and bins, those with neighbours on both sides
    inner = log_power[:, 1:-1, 1:-1]
    active = active[:, 1:-1]
    frames = active.sum(axis=1, keepdims=True)
    fold = _bands(inner.shape[2])
    bins = fold.sum(axis=0)[None]  # in each band
    per_bin = np.float32(1) / bins  # a factor: XLA divides by a constant in different ways in different programs

    def total(values: Float[Array, "batch inner bins"], weights: Float[Array, "batch inner"]) -> Array:
        """The weighted sum over frames, (batch, bins)."""
        return _product(weights[:, None], values)[:, 0]

    sums = total(inner, active)
    louder = inner > _spread(_product(sums, fold) / (frames * bins + 1), fold)[:, None]
    valley = log_power[:, 1:-1, 2:] + log_power[:, 1:-1, :-2] >= (2 * inner + RISE if floored else 2 * inner)
    louder, valley = (jnp.where(where, active[:, :, None], 0.0) for where in (louder, valley))
    louder_bins, valley_bins = (_product(where.sum(axis=1), fold) for where in (louder, valley))
    found = []
    for curvature in _curvatures(real * scale, imaginary * scale):
        of_louder, of_valley = (_product((curvature * where).sum(axis=1), fold) for where in (louder, valley))
        quieter = _product(total(curvature, active), fold) - of_louder
        found += [
            of_louder / (louder_bins + 1),
            quieter / (frames * bins - louder_bins + 1),
            of_valley / (valley_bins + 1),
        ]

    # the course of log power: less the mean of its bin, then less that of its band in each frame
    per_frame = 1 / (frames + TINY)
    rest = inner - (sums * per_frame)[:, None]
    of_band = _product(rest, fold) * per_bin[None]
    rest = rest - _spread(of_band, fold)

    def moment(values: Array, weights: Array) -> Float[Array, "batch bands"]:
        return _product(total(values, weights), fold) * per_bin

    square, weights = rest**2, active * per_frame
    variance = moment(square, weights) + TINY
    for lag in LAGS:
        both = active[:, lag:] * active[:, :-lag]
        both = both / (both.sum(axis=1, keepdims=True) + TINY)
        found.append(moment(rest[:, lag:] * rest[:, :-lag], both) / variance)
    found += _shape(variance, moment(square * rest, weights), moment(square * square, weights))
    found += _shape(*(total(of_band**power, weights) for power in (2, 3)))
    return jnp.stack(found, axis=1)


def _shape(second: Array, third: Array, fourth: Array | None = None) -> list[Array]:
    """Log standard deviation, skewness and, of the fourth moment, log kurtosis of central moments."""
    deviation = jnp.sqrt(second) + 1e-6
    found = [jnp.log(deviation), third / deviation**3]
    return found if fourth is None else [*found, jnp.log(fourth / deviation**4 + TINY)]


def _curvatures(real: Array, imaginary: Array) -> list[Float[Array, "batch inner bins"]]:
    """Real parts of the second differences of unit phasors at the inner frames and bins: in time, frequency, both."""

    def advance(axis: int) -> tuple[Array, Array]:
        """u[i + 1] conj(u[i]) along an axis."""
        a, b = (jax.lax.slice_in_dim(z, 1, None, axis=axis) for z in (real, imaginary))
        c, d = (jax.lax.slice_in_dim(z, 0, -1, axis=axis) for z in (real, imaginary))
        return a * c + b * d, b * c - a * d

    def between(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> Array:
        return later[0] * earlier[0] + later[1] * earlier[1]

    in_time, in_frequency = advance(1), advance(2)
    time = between(*(tuple(z[:, at, 1:-1] for z in in_time) for at in (slice(1, None), slice(None, -1))))
    frequency = between(*(tuple(z[:, 1:-1, at] for z in in_frequency) for at in (slice(1, None), slice(None, -1))))
    both = between(*(tuple(z[:, :-1, at] for z in in_time) for at in (slice(1, -1), slice(None, -2))))
    return [time, frequency, both]


def _bands(bins: int) -> Float[np.ndarray, "bins bands"]:
    """Which of BANDS equally wide bands each bin belongs to, as zeros and ones."""
    edges = np.linspace(0, bins, BANDS + 1).round().astype(int)
    of = np.searchsorted(edges[1:-1], np.arange(bins), side="right")
    return np.eye(BANDS, dtype=np.float32)[of]


def _spread(of_band: Float[Array, "*any bands"], fold: np.ndarray) -> Float[Array, "*any bins"]:
    """A number per band at each of its bins."""
    return _product(of_band, fold.T)


def _loud(frame_power: Float[Array, "batch frames"]) -> Float[Array, "batch 1"]:
    """The 95th percentile of the frames, by linear interpolation: the largest are found ten times as fast as sorted."""
    last = frame_power.shape[1] - 1
    below, between = np.divmod(0.95 * last, 1)
    largest = jax.lax.top_k(frame_power, last - int(below) + 1)[0]
    return largest[:, -1:] * np.float32(1 - between) + largest[:, -2:][:, :1] * np.float32(between)


def _product(a: Array, b: Array | np.ndarray) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
