"""A sound built again from its magnitudes alone: what the sound itself is compared with.

Its phases are made up, as a vocoder makes them. Of a recording much is lost that way; of a sound whose phases were made
up before, less. The microphone, the line and the speaker are those of the sound itself, so that what they do to
statistics is the same in both and falls out of the difference.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.features import spectrum

SIZE = 1024  # points of the transform, 64 ms; the hop is a quarter


def rebuilt(x: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    """The sounds with random phases instead of their own, the same ones for all sounds and every time.

    The inverse transform is that of Griffin and Lim (1984), without their iterations, which gain nothing here.

    Args:
      x: waveforms, any level; longer than SIZE / 2.
    """
    magnitude = jnp.abs(jax.lax.complex(*spectrum.stft(x, SIZE, SIZE // 4)))
    phase = jax.random.uniform(jax.random.key(0), (1, *magnitude.shape[1:]), minval=-np.pi, maxval=np.pi)
    return spectrum.istft(magnitude * jax.lax.complex(jnp.cos(phase), jnp.sin(phase)), SIZE, x.shape[1])
