"""Statistics of a spectrogram averaged in bands: how phase and power move from frame to frame and from bin to bin.

Nothing here knows the absolute spectrum or the level, which belong to the microphone and the line: phases enter as
cosines of second differences, log powers less the mean of their bin, and the recording at unit power. What is left
tells how coherently harmonics advance, how rough their valleys are and how long power keeps its course, which
re-synthesis by vocoders changes and a channel hardly does. Each number is an average over a band and over the frames
that are not silent, so it depends little on what is said.

The phase statistics are those of `texture`, averaged over louder, quieter and valley bins of a band, with the mixed
difference in time and frequency (its deviation from 0 is that of the group delay from frame to frame) beside them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.features import spectrum

BANDS = 16
WINDOWS = (256, 512, 1024)  # samples: 16, 32 and 64 ms; the hop is a quarter
LAGS = (1, 2, 4)  # frames over which the log power's course is correlated
SILENT = 10**-4.5  # of the power of loud frames (their 95th percentile): frames below are left out
TINY = 1e-9
STATISTICS = 9 + len(LAGS) + 5  # numbers per band and window


def band_statistics(x: Float[Array, "batch time"], *, windows: tuple[int, ...] = WINDOWS) -> Float[Array, "batch out"]:
    """STATISTICS numbers for each of BANDS bands and each window, flattened: window, statistic, band.

    Args:
      x: waveforms at 16 kHz, any level; at least two of the longest windows long.
      windows: lengths of the analysis windows in samples, even.
    """
    x = x - x.mean(axis=1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(axis=1, keepdims=True) + 1e-18)
    return jnp.concatenate([_window(x, size).reshape(x.shape[0], -1) for size in windows], axis=1)


def _window(x: Float[Array, "batch time"], size: int) -> Float[Array, "batch statistics bands"]:
    real, imaginary = spectrum.stft(x, size, size // 4)
    power = real**2 + imaginary**2
    frame_power = power.sum(axis=2)
    active = (frame_power > SILENT * jnp.quantile(frame_power, 0.95, axis=1, keepdims=True)).astype(x.dtype)
    floor = 1e-9 * power.mean(axis=(1, 2), keepdims=True) + 1e-12
    log_power = jnp.log(power + floor)
    scale = jax.lax.rsqrt(power + 1e-3 * floor)
    # inner frames and bins, those with neighbours on both sides
    inner = log_power[:, 1:-1, 1:-1]
    active = active[:, 1:-1, None]
    fold = _bands(inner.shape[2])

    def per_band(values: Array, weights: Array) -> Float[Array, "batch bands"]:
        """The weighted mean over frames and the bins of a band."""
        total = jnp.matmul((values * weights).sum(axis=1), fold, precision=jax.lax.Precision.HIGHEST)
        return total / (jnp.matmul(weights.sum(axis=1), fold, precision=jax.lax.Precision.HIGHEST) + 1.0)

    everywhere = jnp.broadcast_to(active, inner.shape)
    louder = inner > _spread(per_band(inner, everywhere), fold)[:, None]
    valley = log_power[:, 1:-1, 2:] + log_power[:, 1:-1, :-2] >= 2 * inner
    places = [jnp.where(where, active, 0.0) for where in (louder, ~louder, valley)]
    curvatures = _curvatures(real * scale, imaginary * scale)
    found = [per_band(curvature, where) for curvature in curvatures for where in places]

    # the course of log power: less the mean of its bin, then less that of its band in each frame
    frames = active.sum(axis=1, keepdims=True) + TINY
    per_frame = 1 / frames
    rest = inner - (inner * active).sum(axis=1, keepdims=True) * per_frame
    per_bin = (1 / fold.sum(axis=0))[None]
    of_band = jnp.matmul(rest, fold, precision=jax.lax.Precision.HIGHEST) * per_bin[None]
    rest = (rest - _spread(of_band, fold)) * active

    def moment(values: Array) -> Float[Array, "batch bands"]:
        mean = values.sum(axis=1) * per_frame[:, 0]
        return jnp.matmul(mean, fold, precision=jax.lax.Precision.HIGHEST) * per_bin

    variance = moment(rest**2) + TINY
    for lag in LAGS:
        both = (active[:, lag:] * active[:, :-lag]).sum(axis=1) + TINY
        product = (rest[:, lag:] * rest[:, :-lag]).sum(axis=1) * (1 / both)
        found.append(jnp.matmul(product, fold, precision=jax.lax.Precision.HIGHEST) * per_bin / variance)
    found += _shape(variance, moment(rest**3), moment(rest**4))
    of_band = of_band * active
    found += _shape(*((of_band**power).sum(axis=1) * per_frame[:, 0] for power in (2, 3)))
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
    return jnp.matmul(of_band, fold.T, precision=jax.lax.Precision.HIGHEST)
