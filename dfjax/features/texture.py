"""The texture of a spectrogram: per frequency bin, how power and phase move from frame to frame and from bin to bin.

Averaging into mel bands hides what re-synthesis leaves behind. Griffin-Lim and its kin smooth the log power's
movement from frame to frame, neural vocoders its roughness from bin to bin, and both leave phases that
advance more, or less, regularly than a throat's. Each is one number per bin and clip, so that a small linear
map on them already tells many re-syntheses from recordings.

The phase terms are cosines of second differences, computed from products of neighbours: no angle is ever
unwrapped.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dfjax.features.spectrum import FLOOR

STATISTICS = 6
TINY = 1e-20  # added to |z|^2 before a division


def texture(
    real: Float[Array, "batch frames bins"], imaginary: Float[Array, "batch frames bins"]
) -> Float[Array, "batch inner statistics"]:
    """STATISTICS numbers per inner bin (the first and the last bin have no neighbour on one side).

    In order: mean and standard deviation over time of the log power, standard deviation of its difference in
    time and of its difference in frequency, mean cosine of the second difference of the phase in time and in
    frequency.

    Args:
      real: real part of the short-time Fourier transform; a phase referred to each frame's centre will do.
      imaginary: its imaginary part.
    """
    log_power = jnp.log(jnp.maximum(real**2 + imaginary**2, FLOOR))
    in_time, in_frequency = jnp.diff(log_power, axis=1), jnp.diff(log_power, axis=2)
    statistics = [
        log_power.mean(axis=1)[:, 1:-1],
        log_power.std(axis=1)[:, 1:-1],
        in_time.std(axis=1)[:, 1:-1],
        in_frequency.std(axis=1)[:, 1:],
        _curvature(real, imaginary, axis=1).mean(axis=1)[:, 1:-1],
        _curvature(real, imaginary, axis=2).mean(axis=1),
    ]
    return jnp.stack(statistics, axis=-1)


def _curvature(real: Array, imaginary: Array, axis: int) -> Array:
    """cos(phi[i+1] - 2 phi[i] + phi[i-1]) along an axis, phi being the phase of z.

    With u[i] = z[i+1] conj(z[i]) scaled to unit length it is Re(u[i] conj(u[i-1])).
    """

    def ends(x):
        n = x.shape[axis]
        return jax.lax.slice_in_dim(x, 1, n, axis=axis), jax.lax.slice_in_dim(x, 0, n - 1, axis=axis)

    (a, b), (c, d) = ends(real), ends(imaginary)
    x, y = a * b + c * d, c * b - a * d
    scale = 1 / jnp.sqrt(x**2 + y**2 + TINY)
    (x1, x0), (y1, y0) = ends(x * scale), ends(y * scale)
    return x1 * x0 + y1 * y0
