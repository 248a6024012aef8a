"""A sound at another speed, pitch and all."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dfjax.features import spectrum

STEP = 240  # samples: lengths that are multiples of it transform fast


def stretched(x: Float[Array, "batch time"], samples: int) -> Float[Array, "batch {samples}"]:
    """The sounds as if played until `samples` are full: a transform of one size and its inverse of another.

    Band-limited: what lies above the new half rate is lost, and nothing is folded down.
    """
    return spectrum.irfft(spectrum.rfft(x), n=samples) * (samples / x.shape[1])


def played(x: Float[Array, "batch time"], speed: float | int) -> Float[Array, "batch time"]:
    """The sounds at about `speed` times their speed, cut or begun again to be as long as before; at 1 as they are.

    Args:
      x: waveforms, longer than STEP.
      speed: 1.05 is faster and higher; from 0.5 to 2.
    """
    if speed == 1:
        return x
    time = x.shape[1]
    y = stretched(x, STEP * round(time / speed / STEP))
    return jnp.concatenate([y, y, y], axis=1)[:, :time]
